//! `CREATE TABLE`: columns, keys, watermarks, options.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType as SqlType, Expr as SqlExpr, Ident, StructBracketKind, StructField,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::catalog::{Table, Watermark};
use super::computed::Written;
use super::interval::interval_millis;
use super::metadata::{Metadata, MetadataOf, metadata};
use super::table_options::check_options;
use super::types;
use crate::error::{Place, Result};
use crate::options::Options;
use crate::sql::diagnose::unknown_column;
use crate::sql::dialect::other_names::cast_to;
use crate::sql::names::Names;
use crate::sql::plan::processing_time;
use crate::sql::tokens::StatementReader;

impl StatementReader<'_> {
    /// After `CREATE TABLE`.
    pub(in crate::sql) fn table(&mut self) -> Result<Table> {
        self.take_words(&["IF", "NOT", "EXISTS"]);
        let place = self.place();
        let name = self.name("the table's name")?;
        let mut definition = TableDefinition::default();
        if self.take(&Token::LParen) {
            loop {
                self.table_element(&mut definition)?;
                if !self.take(&Token::Comma) {
                    break;
                }
            }
            self.end_of_list("another column, PRIMARY KEY or WATERMARK")?;
        }
        if self.take_words(&["COMMENT"]) {
            self.string("the table's comment")?;
        }
        // RisingWave's word for rows that are only added, which the format says here.
        self.take_words(&["APPEND", "ONLY"]);
        if !self.take_words(&["WITH"]) {
            let message = format!(
                "expected WITH, found {}; a table says where it is: WITH ('connector' = 'kafka', …); a query with a name is a CREATE VIEW",
                self.found()
            );
            return Err(self.error(message).into());
        }
        let (options, option_places) = self.options(&name)?;
        let (options, option_places) = self.plain_options(&options, option_places)?;
        if !self.is_word("AS") {
            self.end()?;
        }
        let table = self.checked(definition, name, options, place, option_places)?;
        check_options(&table)?;
        Ok(table)
    }

    fn table_element(&mut self, table: &mut TableDefinition) -> Result<()> {
        let start = self.place();
        if self.take_words(&["PRIMARY", "KEY"]) {
            self.refuse_second_key(table, start)?;
            self.expect(&Token::LParen)?;
            table.primary_key = self.names_in_parens()?;
            self.take_words(&["NOT", "ENFORCED"]);
        } else if self.take_words(&["WATERMARK", "FOR"]) {
            if table.watermark.is_some() {
                return Err(self.text.error(start, "a table has one WATERMARK; this is the second").into());
            }
            let place = self.place();
            let watermark = self.watermark(&table.fields)?;
            table.watermark = Some((watermark, place));
        } else {
            self.column(table)?;
        }
        Ok(())
    }

    fn column(&mut self, table: &mut TableDefinition) -> Result<()> {
        let place = self.place();
        let name = self.name("a column, PRIMARY KEY or WATERMARK")?;
        if table.fields.iter().any(|field| field.name() == &name) {
            return Err(self.text.error(place, format!("column \"{name}\" is defined twice")).into());
        }
        if self.take_words(&["AS"]) {
            return self.computed(table, &name, place);
        }
        let type_place = self.place();
        let declared = self.data_type()?;
        let field = types::column(name.as_str(), &declared)
            .map_err(|message| self.text.error(type_place, format!("column \"{name}\": {message}")))?;
        if self.take_words(&["METADATA"]) {
            let key_place = self.place();
            let from = self.take_words(&["FROM"]);
            let key_place = if from { self.place() } else { key_place };
            let key = if from { self.string("the metadata's key, such as 'timestamp'")? } else { name.clone() };
            let key_place = if from { key_place } else { place };
            self.take_words(&["VIRTUAL"]);
            table.metadata.push((name.clone(), key, key_place));
        }
        if self.take_words(&["GENERATED", "ALWAYS", "AS"]) {
            return self.generated(table, &name, place, &field);
        }
        let mut nullable = true;
        loop {
            if self.take_words(&["NOT", "NULL"]) {
                nullable = false;
            } else if self.take_words(&["PRIMARY", "KEY"]) {
                self.refuse_second_key(table, place)?;
                table.primary_key = vec![(name.clone(), place)];
                self.take_words(&["NOT", "ENFORCED"]);
            } else if self.take_words(&["COMMENT"]) {
                let comment = self.string("the column's comment")?;
                table.comments.insert(name.clone(), comment);
            } else if !self.take_words(&["NULL"]) {
                break;
            }
        }
        table.fields.push(field.with_nullable(nullable));
        Ok(())
    }

    /// After `name AS`.
    fn computed(&mut self, table: &mut TableDefinition, name: &str, place: Location) -> Result<()> {
        let first = self.at;
        let expression = self.parse(|parser| parser.parse_expr())?;
        if processing_time::is_call(&expression) {
            table.processing_time.push((name.to_owned(), place));
            table.fields.push(processing_time::field(name));
        } else {
            let (name, text) = (name.to_owned(), self.text.clone());
            let tokens = self.tokens[first..self.at].to_vec();
            // The type is known when it has been planned.
            table.fields.push(Field::new(&name, DataType::Null, true));
            table.written.push(Written { name, expression, tokens, text });
        }
        if self.take_words(&["COMMENT"]) {
            let comment = self.string("the column's comment")?;
            table.comments.insert(name.to_owned(), comment);
        }
        Ok(())
    }

    /// After `name type GENERATED ALWAYS AS`: standard SQL's computed column, whose type is declared.
    fn generated(&mut self, table: &mut TableDefinition, name: &str, place: Location, field: &Field) -> Result<()> {
        if self.tokens.get(self.at).map(|it| &it.token) != Some(&Token::LParen) {
            return Err(self.error(format!("expected `(` and an expression, found {}", self.found())).into());
        }
        self.computed(table, name, place)?;
        if let Some(written) = table.written.last_mut().filter(|written| written.name == name) {
            written.expression = cast_to(&written.expression, &field.data_type().to_string());
        }
        let _ = self.take_words(&["STORED"]) || self.take_words(&["VIRTUAL"]);
        Ok(())
    }

    /// Nested types, which the parser's dialect writes otherwise: `ARRAY<type>`, `MAP<key, value>`, `ROW<name type, …>` or `STRUCT<…>`.
    fn data_type(&mut self) -> Result<SqlType> {
        let next = self.tokens.get(self.at + 1).map(|next| &next.token);
        let (is_nested, is_row) = (next == Some(&Token::Lt), matches!(next, Some(Token::Lt | Token::LParen)));
        if is_nested && self.take_words(&["MAP"]) {
            self.at += 1;
            let key = self.data_type()?;
            self.expect(&Token::Comma)?;
            let value = self.data_type()?;
            self.close_type()?;
            return Ok(SqlType::Map(Box::new(key), Box::new(value)));
        }
        if is_nested && self.take_words(&["ARRAY"]) {
            self.at += 1;
            let element = self.data_type()?;
            self.close_type()?;
            return Ok(SqlType::Array(ArrayElemTypeDef::AngleBracket(Box::new(element))));
        }
        if is_row && (self.take_words(&["ROW"]) || self.take_words(&["STRUCT"])) {
            let is_angle = self.take(&Token::Lt) || !self.take(&Token::LParen);
            let mut fields = Vec::new();
            loop {
                let name = Ident::new(self.name("the name of a field")?);
                self.take(&Token::Colon);
                let field_type = self.data_type()?;
                let _ = self.take_words(&["NOT", "NULL"]) || self.take_words(&["NULL"]);
                fields.push(StructField { field_name: Some(name), field_type, options: None });
                if !self.take(&Token::Comma) {
                    break;
                }
            }
            if is_angle {
                self.close_type()?
            } else {
                self.end_of_list("another field")?
            }
            return Ok(SqlType::Struct(fields, StructBracketKind::AngleBrackets));
        }
        self.parse(|parser| parser.parse_data_type())
    }

    /// The `>` at the end of a type; `>>` is two of them.
    fn close_type(&mut self) -> Result<()> {
        match self.tokens.get_mut(self.at) {
            Some(TokenWithSpan { token: token @ Token::ShiftRight, .. }) => {
                *token = Token::Gt;
                Ok(())
            }
            _ => self.expect(&Token::Gt),
        }
    }

    fn refuse_second_key(&self, table: &TableDefinition, place: Location) -> Result<()> {
        if table.primary_key.is_empty() {
            return Ok(());
        }
        let message =
            "a table has one PRIMARY KEY; this is the second (write PRIMARY KEY (a, b) for a key of several columns)";
        Err(self.text.error(place, message).into())
    }

    /// After `WATERMARK FOR`: `col AS col [- INTERVAL …] [IDLE TIMEOUT INTERVAL …]`.
    fn watermark(&mut self, fields: &[Field]) -> Result<Watermark> {
        let column_place = self.place();
        let column = self.name("the column with the event time")?;
        if !self.take_words(&["AS"]) {
            let found = self.found();
            let message =
                format!("expected AS, found {found}; say how late rows may come: AS {column} - INTERVAL '5' SECOND");
            return Err(self.error(message).into());
        }
        let place = self.place();
        let expression = self.parse(|parser| parser.parse_expr())?;
        let is_known = fields.is_empty() || fields.iter().any(|field| field.name().eq_ignore_ascii_case(&column));
        let delay = watermark_delay(&expression, &column).map_err(|message| match is_known {
            true => self.text.error(place, message),
            false => {
                let known = fields.iter().map(|field| field.name().as_str());
                self.text.error(column_place, unknown_column(&column, None, known))
            }
        })?;
        let mut idle_timeout = None;
        if self.take_words(&["IDLE", "TIMEOUT"]) {
            let place = self.place();
            let expression = self.parse(|parser| parser.parse_expr())?;
            idle_timeout = Some(interval_millis(&expression).map_err(|message| self.text.error(place, message))?);
        }
        Ok(Watermark { column, delay, idle_timeout })
    }

    /// After `WITH`: the options and where their names stand.
    pub(super) fn options(&mut self, table: &str) -> Result<(Options, BTreeMap<String, Place>)> {
        self.expect(&Token::LParen)?;
        let mut values = BTreeMap::new();
        let mut places = BTreeMap::new();
        loop {
            let place = self.place();
            let name = self.option_name()?;
            self.expect(&Token::Eq)?;
            let value = self.string("the option's value, in single quotes")?;
            if values.insert(name.clone(), value).is_some() {
                return Err(self.text.error(place, format!("option '{name}' is given twice")).into());
            }
            places.insert(name, self.text.place(place));
            if !self.take(&Token::Comma) {
                break;
            }
        }
        self.end_of_list("another option")?;
        Ok((Options::new(table, values), places))
    }

    /// In quotes, or bare as in PostgreSQL: `connector`, `properties.group.id`.
    fn option_name(&mut self) -> Result<String> {
        let what = "an option's name, such as 'connector'";
        let Some(TokenWithSpan { token: Token::Word(_), .. }) = self.tokens.get(self.at) else {
            return self.string(what);
        };
        let mut name = self.name(what)?;
        while self.take(&Token::Period) {
            name = format!("{name}.{}", self.name(what)?);
        }
        Ok(name)
    }

    /// Checks what a table's parts say of each other.
    fn checked(
        &self,
        definition: TableDefinition,
        name: String,
        options: Options,
        place: Location,
        option_places: BTreeMap<String, Place>,
    ) -> Result<Table> {
        let names = Names::new(definition.fields.iter().map(|field| field.name().as_str()));
        let resolve = |column: &str, place: Location| {
            let columns = definition.fields.iter().map(|field| field.name().as_str());
            let unknown = || self.text.error(place, unknown_column(column, Some(&name), columns));
            names.resolve(column).ok_or_else(unknown)
        };
        let mut fields = definition.fields.clone();
        let mut metadata = self.metadata(&definition.metadata, &mut fields, &options)?;
        metadata.extend(definition.processing_time.iter().map(|(name, _)| (name.clone(), processing_time::metadata())));
        let is_computed = |column: &str| definition.written.iter().any(|written| written.name == *column);
        let mut primary_key = Vec::new();
        // Without columns they are looked up later, and the rest is checked then.
        let is_open = fields.is_empty();
        if is_open {
            primary_key.extend(definition.primary_key.iter().map(|(column, _)| column.clone()));
        }
        for (column, place) in definition.primary_key.iter().filter(|_| !is_open) {
            let column = resolve(column, *place)?;
            if metadata.contains_key(&column) {
                let message = format!("PRIMARY KEY names columns of the row; \"{column}\" is METADATA");
                return Err(self.text.error(*place, message).into());
            }
            if is_computed(&column) {
                let message = format!("PRIMARY KEY names columns of the row; \"{column}\" is computed");
                return Err(self.text.error(*place, message).into());
            }
            fields.iter_mut().filter(|field| field.name() == &column).for_each(|field| field.set_nullable(false));
            primary_key.push(column);
        }
        let mut watermark = None;
        if let Some((clause, place)) = definition.watermark {
            let column = if is_open { clause.column.clone() } else { resolve(&clause.column, place)? };
            let field = definition.fields.iter().find(|field| field.name() == &column);
            if let Some(field) = field.filter(|field| !is_computed(&column) && !is_timestamp(field)) {
                let found = crate::type_name::sql_name(field.data_type());
                let message = format!("WATERMARK needs a TIMESTAMP column; \"{column}\" is {found}");
                return Err(self.text.error(place, message).into());
            }
            watermark = Some(Watermark { column, ..clause });
        }
        for (column, place) in &definition.processing_time {
            if let Some(clock) = &watermark {
                let message = format!(
                    "column \"{column}\" is PROCTIME(), and the table's windows are over \"{}\" already; declare the same topic as another table \
                     for other windows",
                    clock.column
                );
                return Err(self.text.error(*place, message).into());
            }
            watermark = Some(processing_time::watermark(column));
        }
        let columns = Arc::new(Schema::new(fields));
        Ok(Table {
            name,
            columns,
            comments: definition.comments,
            metadata,
            written: definition.written,
            computed: BTreeMap::new(),
            primary_key,
            watermark,
            options,
            open: false,
            place: self.text.place(place),
            option_places,
        })
    }
}

impl StatementReader<'_> {
    /// What the METADATA columns are taken from. Which of them may be null is not the declaration's to say.
    fn metadata(
        &self,
        declared: &[(String, String, Location)],
        fields: &mut [Field],
        options: &Options,
    ) -> Result<BTreeMap<String, Metadata>> {
        let mut columns = BTreeMap::new();
        let mut paths: BTreeMap<String, (DataType, String)> = BTreeMap::new();
        for (column, key, place) in declared {
            let Some(field) = fields.iter_mut().find(|field| field.name() == column) else { continue };
            let failed = |message: String| self.text.error(*place, format!("column \"{column}\": {message}"));
            if let Some(connector @ ("clickhouse" | "print" | "blackhole")) = options.get("connector") {
                let message = format!(
                    "connector '{connector}' is only written to, and METADATA is of records that are read; leave it out"
                );
                return Err(failed(message).into());
            }
            let metadata = metadata(options, key, field.data_type()).map_err(failed)?;
            if metadata.nullable && !field.is_nullable() {
                return Err(failed(format!("METADATA '{key}' may be missing; leave out NOT NULL")).into());
            }
            if let MetadataOf::Envelope { path, data_type } = &metadata.of {
                let (first, by) = paths.entry(path.clone()).or_insert_with(|| (data_type.clone(), column.clone()));
                if first != data_type {
                    return Err(failed(format!(
                        "METADATA '{key}' is of another type in \"{by}\"; declare it once, and CAST"
                    ))
                    .into());
                }
            }
            field.set_nullable(metadata.nullable);
            columns.insert(column.clone(), metadata);
        }
        Ok(columns)
    }
}

#[derive(Default)]
struct TableDefinition {
    fields: Vec<Field>,
    comments: BTreeMap<String, String>,
    /// Columns, their metadata keys, and where these stand.
    metadata: Vec<(String, String, Location)>,
    /// Columns that are `PROCTIME()`.
    processing_time: Vec<(String, Location)>,
    /// Columns that are computed from others.
    written: Vec<Written>,
    primary_key: Vec<(String, Location)>,
    watermark: Option<(Watermark, Location)>,
}

fn is_timestamp(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Timestamp(..))
}

/// The delay of `column` or `column - INTERVAL …`.
fn watermark_delay(expression: &SqlExpr, column: &str) -> Result<i64, String> {
    use datafusion::sql::sqlparser::ast::BinaryOperator::Minus;
    let is_column = |expression: &SqlExpr| matches!(expression, SqlExpr::Identifier(Ident { value, .. }) if value.eq_ignore_ascii_case(column));
    match expression {
        SqlExpr::Nested(inner) => watermark_delay(inner, column),
        expression if is_column(expression) => Ok(0),
        SqlExpr::BinaryOp { left, op: Minus, right } if is_column(left) => match interval_millis(right)? {
            delay @ 0.. => Ok(delay),
            _ => Err(format!("the delay of a watermark is not negative; write \"{column} - INTERVAL '10' SECOND\"")),
        },
        _ => Err(format!("a watermark is written \"{column} - INTERVAL '10' SECOND\", not `{expression}`")),
    }
}
