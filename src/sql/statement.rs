//! Tokens → statements: our DDL by hand, queries by DataFusion's own parser.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Ident, Query as SqlQuery};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};

use super::catalog::{Insert, Script, Table, View, Watermark};
use super::diagnose::{lower_first, unknown_column};
use super::interval::interval_millis;
use super::names::Names;
use super::text::Text;
use super::types::arrow_type;
use crate::connector::{CONNECTORS, known_options};
use crate::error::{Place, Result, SqlError, suggestion};
use crate::format::FORMATS;
use crate::options::Options;

/// Reads all statements of a text into `script`, whose earlier tables and views they may use.
pub fn read_statements(text: &Text, script: &mut Script) -> Result<()> {
    let tokens = Tokenizer::new(&GenericDialect {}, &text.content)
        .tokenize_with_location()
        .map_err(|error| text.error(error.location, tokenizer_message(&error.message)))?;
    for statement in tokens.split(|token| token.token == Token::SemiColon) {
        let tokens: Vec<_> = statement.iter().filter(|it| !matches!(it.token, Token::Whitespace(_))).cloned().collect();
        if !tokens.is_empty() {
            StatementReader { text, tokens, at: 0 }.read(script)?;
        }
    }
    Ok(())
}

struct StatementReader<'a> {
    text: &'a Text,
    tokens: Vec<TokenWithSpan>,
    at: usize,
}

impl StatementReader<'_> {
    fn read(mut self, script: &mut Script) -> Result<()> {
        let place = self.place();
        if self.take_words(&["CREATE", "TABLE"]) {
            let table = self.table()?;
            refuse_twice(script, &table.name, &table.place)?;
            script.tables.insert(table.name.clone(), Arc::new(table));
        } else if self.take_words(&["CREATE", "VIEW"]) {
            let place = self.text.place(self.place());
            let name = self.name("the view's name")?;
            refuse_twice(script, &name, &place)?;
            self.expect_word("AS")?;
            let (query, tokens) = self.query(script)?;
            script.views.push(View { name, query, tokens });
        } else if self.take_words(&["INSERT", "INTO"]) {
            let place = self.place();
            let target = Some(self.name("the name of the table to fill")?);
            let columns = if self.take(&Token::LParen) { self.names_in_parens()? } else { Vec::new() };
            if !self.is_word("SELECT") && !self.is_word("WITH") {
                return Err(self
                    .error(format!(
                        "expected SELECT, found {}; rows come from a query, as in INSERT INTO … SELECT",
                        self.found()
                    ))
                    .into());
            }
            let (query, tokens) = self.query(script)?;
            let columns = columns.into_iter().map(|(name, place)| (name, self.text.place(place))).collect();
            script.inserts.push(Insert { target, columns, query, place, tokens });
        } else if self.is_word("SELECT") || self.is_word("WITH") {
            let (query, tokens) = self.query(script)?;
            script.inserts.push(Insert { target: None, columns: Vec::new(), query, place, tokens });
        } else {
            let known = "statements are CREATE TABLE, CREATE VIEW, INSERT INTO … SELECT, and SELECT";
            return Err(self.error(format!("cannot read {} here; {known}", self.found())).into());
        }
        Ok(())
    }

    /// After `CREATE TABLE`.
    fn table(&mut self) -> Result<Table> {
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
            let watermark = self.watermark()?;
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
    fn watermark(&mut self) -> Result<Watermark> {
        let column = self.name("the column with the event time")?;
        self.expect_word("AS")?;
        let place = self.place();
        let expression = self.parse(|parser| parser.parse_expr())?;
        let delay = watermark_delay(&expression, &column).map_err(|message| self.text.error(place, message))?;
        let mut idle_timeout = None;
        if self.take_words(&["IDLE", "TIMEOUT"]) {
            let place = self.place();
            let expression = self.parse(|parser| parser.parse_expr())?;
            idle_timeout = Some(interval_millis(&expression).map_err(|message| self.text.error(place, message))?);
        }
        Ok(Watermark { column, delay, idle_timeout })
    }

    /// After `WITH`: the options and where their names stand.
    fn options(&mut self, table: &str) -> Result<(Options, BTreeMap<String, Place>)> {
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

    /// The `)` of a list that could have gone on.
    fn end_of_list(&mut self, more: &str) -> Result<()> {
        if self.take(&Token::RParen) {
            return Ok(());
        }
        Err(self.error(format!("expected `,` and {more}, or `)`, found {}", self.found())).into())
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
        for (column, place) in &definition.primary_key {
            let column = resolve(column, *place)?;
            fields.iter_mut().filter(|field| field.name() == &column).for_each(|field| field.set_nullable(false));
            primary_key.push(column);
        }
        let mut watermark = None;
        if let Some((clause, place)) = definition.watermark {
            let column = resolve(&clause.column, place)?;
            let field = definition.fields.iter().find(|field| field.name() == &column);
            if let Some(field) = field.filter(|field| !field.data_type().is_temporal() || !is_timestamp(field)) {
                let found = super::types::sql_name(field.data_type());
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
            place: self.text.place(place),
            option_places,
        })
    }

    /// The rest of the statement as a query. Unquoted names are put in the case in which they were defined.
    fn query(&mut self, script: &Script) -> Result<(Box<SqlQuery>, Vec<TokenWithSpan>)> {
        self.emission()?;
        self.drop_table_words();
        let names = Names::of(script);
        for token in &mut self.tokens[self.at..] {
            if let Token::Word(Word { value, quote_style: None, .. }) = &mut token.token
                && let Some(defined) = names.resolve(value)
            {
                *value = defined;
            }
        }
        let tokens = self.tokens[self.at..].to_vec();
        let query = self.parse(|parser| parser.parse_query())?;
        self.end()?;
        Ok((query, tokens))
    }

    /// `TUMBLE(TABLE t, …)`, as Flink writes it, is `TUMBLE(t, …)`.
    fn drop_table_words(&mut self) {
        let opens = |token: &Token| matches!(token, Token::LParen | Token::Comma | Token::RArrow);
        let is_argument = |at: usize| {
            is_unquoted(&self.tokens[at].token, "TABLE")
                && at > 0
                && opens(&self.tokens[at - 1].token)
                && matches!(self.tokens.get(at + 1).map(|it| &it.token), Some(Token::Word(_)))
        };
        let dropped: Vec<_> = (self.at..self.tokens.len()).filter(|&at| is_argument(at)).collect();
        dropped.into_iter().rev().for_each(|at| drop(self.tokens.remove(at)));
    }

    /// Takes an `EMIT …` clause off the end of the statement.
    fn emission(&mut self) -> Result<()> {
        let mut depth = 0_i32;
        let emit = (self.at..self.tokens.len()).find(|&at| {
            match &self.tokens[at].token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            depth == 0 && at > self.at && is_unquoted(&self.tokens[at].token, "EMIT")
        });
        let Some(emit) = emit else { return Ok(()) };
        let clause = self.tokens.split_off(emit);
        let words: Vec<_> = clause.iter().map(|it| it.token.to_string().to_ascii_uppercase()).collect();
        if words == ["EMIT", "ON", "WINDOW", "CLOSE"] {
            return Ok(());
        }
        let message = match words.get(1).map(String::as_str) {
            Some("CHANGES") => "EMIT CHANGES (early results) is not supported yet; use EMIT ON WINDOW CLOSE",
            _ => "cannot read this EMIT clause; use EMIT ON WINDOW CLOSE",
        };
        Err(self.text.error(clause[0].span.start, message).into())
    }

    fn parse<T>(&mut self, rule: impl FnOnce(&mut Parser) -> Result<T, ParserError>) -> Result<T> {
        let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(self.tokens[self.at..].to_vec());
        match rule(&mut parser) {
            Ok(parsed) => {
                self.at += parser.index();
                Ok(parsed)
            }
            Err(error) => {
                let place = parser.peek_token().span.start;
                let place = if place.line == 0 { self.last_place() } else { place };
                Err(self.text.error(place, parser_message(&error)).into())
            }
        }
    }

    fn place(&self) -> Location {
        self.tokens.get(self.at).map_or_else(|| self.last_place(), |token| token.span.start)
    }

    fn last_place(&self) -> Location {
        self.tokens.last().map_or(Span::empty().start, |token| token.span.end)
    }

    fn found(&self) -> String {
        self.tokens.get(self.at).map_or_else(|| "the end of the statement".into(), |it| format!("`{}`", it.token))
    }

    fn error(&self, message: impl Into<String>) -> SqlError {
        self.text.error(self.place(), message)
    }

    fn is_word(&self, word: &str) -> bool {
        self.tokens.get(self.at).is_some_and(|token| is_unquoted(&token.token, word))
    }

    fn take_words(&mut self, words: &[&str]) -> bool {
        let found = words
            .iter()
            .enumerate()
            .all(|(ahead, word)| self.tokens.get(self.at + ahead).is_some_and(|token| is_unquoted(&token.token, word)));
        if found {
            self.at += words.len();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.take_words(&[word]) {
            return Ok(());
        }
        Err(self.error(format!("expected {word}, found {}", self.found())).into())
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|it| it.token == *token);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token) -> Result<()> {
        if self.take(token) {
            return Ok(());
        }
        Err(self.error(format!("expected `{token}`, found {}", self.found())).into())
    }

    fn end(&self) -> Result<()> {
        match self.tokens.get(self.at) {
            None => Ok(()),
            Some(token) => {
                let hint = match &token.token {
                    Token::Word(word) if is_sql_word(&word.value) => {
                        format!("; a name that is a word of SQL is quoted: \"{}\"", word.value)
                    }
                    Token::Word(_) => "; is a comma missing before it?".to_owned(),
                    _ => String::new(),
                };
                Err(self.error(format!("expected the end of the statement, found {}{hint}", self.found())).into())
            }
        }
    }

    fn name(&mut self, what: &str) -> Result<String> {
        if let Some(TokenWithSpan { token: Token::Word(word), .. }) = self.tokens.get(self.at) {
            self.at += 1;
            return Ok(word.value.clone());
        }
        Err(self.error(format!("expected {what}, found {}", self.found())).into())
    }

    /// After `(`: the names and where they stand.
    fn names_in_parens(&mut self) -> Result<Vec<(String, Location)>> {
        let mut names = Vec::new();
        loop {
            let place = self.place();
            names.push((self.name("a column")?, place));
            if !self.take(&Token::Comma) {
                break;
            }
        }
        self.end_of_list("another column")?;
        Ok(names)
    }

    fn string(&mut self, what: &str) -> Result<String> {
        if let Some(TokenWithSpan { token: Token::SingleQuotedString(text), .. }) = self.tokens.get(self.at) {
            self.at += 1;
            return Ok(text.clone());
        }
        Err(self.error(format!("expected {what}, found {}", self.found())).into())
    }
}

fn refuse_twice(script: &Script, name: &str, place: &Place) -> Result<()> {
    let earlier = match script.tables.get(name) {
        Some(table) => format!("{}:{}", table.place.file, table.place.line),
        None if script.views.iter().any(|view| view.name == name) => "as a view".into(),
        None => return Ok(()),
    };
    Err(place.error(format!("\"{name}\" is defined twice, first {earlier}; give one of them another name")).into())
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
            let not_yet =
                format.contains("avro") || matches!(format, "protobuf" | "canal-json" | "maxwell-json" | "raw");
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

fn is_unquoted(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(word))
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

fn parser_message(error: &ParserError) -> String {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "the query is nested too deeply",
    };
    // The parser ends its messages in a place of its own, which ours replaces.
    let end = text.rfind(" at Line:").unwrap_or(text.len());
    let text = &text[..end];
    match text.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")) {
        Some((expected, found)) => {
            let thing = |text: &str| match text {
                "EOF" => "the end of the statement".to_owned(),
                text if text.contains(' ') && !text.starts_with('\'') => text.to_owned(),
                text => format!("`{text}`"),
            };
            let hint = if is_sql_word(found) {
                format!("; a name that is a word of SQL is quoted: \"{found}\"")
            } else {
                String::new()
            };
            format!("expected {}, found {}{hint}", thing(expected), thing(found))
        }
        None => lower_first(text),
    }
}

/// Words that people like to give to columns and that SQL keeps for itself.
fn is_sql_word(word: &str) -> bool {
    [
        "order", "group", "table", "from", "to", "user", "end", "start", "limit", "offset", "values", "set", "case",
        "select",
    ]
    .iter()
    .any(|it| it.eq_ignore_ascii_case(word) && word.chars().all(|letter| letter.is_ascii_lowercase()))
}

fn tokenizer_message(message: &str) -> String {
    match message {
        "Unterminated string literal" => "a string has no end; close it with '".into(),
        message if message.starts_with("Expected close delimiter") => {
            let quote = message.split('\'').nth(1).unwrap_or("\"");
            format!("a quoted name has no end; close it with {quote}")
        }
        message => lower_first(message.trim_end_matches('.')),
    }
}

/// Whether a word would be read as SQL's and not as a name, unless it is quoted.
pub fn is_reserved(word: &Word) -> bool {
    word.quote_style.is_none() && word.keyword != Keyword::NoKeyword
}
