//! `CREATE TABLE`: columns, keys, watermarks, options.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Ident};
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use super::catalog::{Table, Watermark};
use super::diagnose::unknown_column;
use super::interval::interval_millis;
use super::names::Names;
use super::tokens::StatementReader;
use super::types::arrow_type;
use crate::connector::{CONNECTORS, known_options};
use crate::error::{Place, Result, suggestion};
use crate::format::FORMATS;
use crate::options::Options;

impl StatementReader<'_> {
    /// After `CREATE TABLE`.
    pub(super) fn table(&mut self) -> Result<Table> {
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
        if !self.take_words(&["WITH"]) {
            let message = format!(
                "expected WITH, found {}; a table says where it is: WITH ('connector' = 'kafka', …)",
                self.found()
            );
            return Err(self.error(message).into());
        }
        let (options, option_places) = self.options(&name)?;
        self.end()?;
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
        let type_place = self.place();
        let declared = self.parse(|parser| parser.parse_data_type())?;
        let data_type = arrow_type(&declared)
            .map_err(|message| self.text.error(type_place, format!("column \"{name}\": {message}")))?;
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
        table.fields.push(Field::new(name, data_type, nullable));
        Ok(())
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
        self.expect_word("AS")?;
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
            let name = self.string("an option's name, such as 'connector'")?;
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
        let mut primary_key = Vec::new();
        // Without columns they are looked up later, and the rest is checked then.
        let is_open = fields.is_empty();
        if is_open {
            primary_key.extend(definition.primary_key.iter().map(|(column, _)| column.clone()));
        }
        for (column, place) in definition.primary_key.iter().filter(|_| !is_open) {
            let column = resolve(column, *place)?;
            fields.iter_mut().filter(|field| field.name() == &column).for_each(|field| field.set_nullable(false));
            primary_key.push(column);
        }
        let mut watermark = None;
        if let Some((clause, place)) = definition.watermark {
            let column = if is_open { clause.column.clone() } else { resolve(&clause.column, place)? };
            let field = definition.fields.iter().find(|field| field.name() == &column);
            if let Some(field) = field.filter(|field| !field.data_type().is_temporal() || !is_timestamp(field)) {
                let found = crate::type_name::sql_name(field.data_type());
                let message = format!("WATERMARK needs a TIMESTAMP column; \"{column}\" is {found}");
                return Err(self.text.error(place, message).into());
            }
            watermark = Some(Watermark { column, ..clause });
        }
        let columns = Arc::new(Schema::new(fields));
        Ok(Table {
            name,
            columns,
            comments: definition.comments,
            primary_key,
            watermark,
            options,
            open: false,
            place: self.text.place(place),
            option_places,
        })
    }
}

/// Options that no connector or format knows are spelling mistakes.
fn check_options(table: &Table) -> Result<()> {
    let connectors = CONNECTORS.join(", ");
    let Some(connector) = table.options.get("connector") else {
        return Err(table
            .place
            .error(format!("table \"{}\" needs the option 'connector'; there are {connectors}", table.name))
            .into());
    };
    let place = |option: &str| table.option_places.get(option).unwrap_or(&table.place);
    let Some(known) = known_options(connector) else {
        let hint = suggestion(connector, CONNECTORS.iter().copied());
        let hint = if hint.is_empty() { format!("; there are {connectors}") } else { hint };
        return Err(place("connector").error(format!("connector '{connector}' is not known{hint}")).into());
    };
    if let Some(format) = table.options.get("format") {
        let formats: Vec<_> =
            FORMATS.iter().copied().chain(["parquet"].into_iter().filter(|_| connector == "filesystem")).collect();
        if !formats.contains(&format) {
            let not_yet = matches!(format, "protobuf" | "canal-json" | "maxwell-json" | "raw");
            let hint = if not_yet { String::new() } else { suggestion(format, formats.iter().copied()) };
            let hint =
                if hint.is_empty() { format!("; connector '{connector}' has {}", formats.join(", ")) } else { hint };
            let trouble = if not_yet { "is not supported yet" } else { "is not known" };
            return Err(place("format").error(format!("format '{format}' {trouble}{hint}")).into());
        }
    }
    for name in table.options.names() {
        if !known.iter().any(|it| it == &name || it.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix))) {
            let near = suggestion(name, known.iter().copied());
            let hint = if near.is_empty() { format!("; there are {}", known.join(", ")) } else { near };
            return Err(place(name)
                .error(format!("option '{name}' is not known to connector '{connector}'{hint}"))
                .into());
        }
    }
    Ok(())
}

#[derive(Default)]
struct TableDefinition {
    fields: Vec<Field>,
    comments: BTreeMap<String, String>,
    primary_key: Vec<(String, Location)>,
    watermark: Option<(Watermark, Location)>,
}

fn is_timestamp(field: &Field) -> bool {
    matches!(field.data_type(), datafusion::arrow::datatypes::DataType::Timestamp(..))
}

/// The delay of `column` or `column - INTERVAL …`.
fn watermark_delay(expression: &SqlExpr, column: &str) -> Result<i64, String> {
    use datafusion::sql::sqlparser::ast::BinaryOperator::Minus;
    let is_column = |expression: &SqlExpr| matches!(expression, SqlExpr::Identifier(Ident { value, .. }) if value.eq_ignore_ascii_case(column));
    match expression {
        expression if is_column(expression) => Ok(0),
        SqlExpr::BinaryOp { left, op: Minus, right } if is_column(left) => match interval_millis(right)? {
            delay @ 0.. => Ok(delay),
            _ => Err(format!("the delay of a watermark is not negative; write \"{column} - INTERVAL '10' SECOND\"")),
        },
        _ => Err(format!("a watermark is written \"{column} - INTERVAL '10' SECOND\", not `{expression}`")),
    }
}
