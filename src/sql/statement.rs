//! Tokens → statements: our DDL by hand, queries by DataFusion's own parser.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Query as SqlQuery;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};

use super::define::catalog::{Insert, Script, View};
use super::names::Names;
use super::syntax::tokenizer_message;
use super::text::Text;
use super::tokens::StatementReader;
use crate::error::{Place, Result, SqlError};

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

impl StatementReader<'_> {
    fn read(mut self, script: &mut Script) -> Result<()> {
        if self.is_bracket_of_set()? {
            return Ok(());
        }
        let place = self.place();
        if self.take_create("TABLE") {
            let table = self.table()?;
            let (name, table_place) = (table.name.clone(), place);
            refuse_twice(script, &name, &table.place)?;
            script.tables.insert(name.clone(), Arc::new(table));
            if self.take_words(&["AS"]) {
                // As in Flink: the table, and an INSERT that fills it.
                self.expect_query()?;
                let emit = self.emission()?;
                let (query, tokens) = self.query(script)?;
                let insert =
                    Insert { target: Some(name), columns: Vec::new(), query, place: table_place, tokens, emit };
                script.inserts.push(insert);
            }
        } else if self.take_words(&["CREATE", "DATABASE"]) {
            self.database(script)?;
        } else if self.take_create("VIEW") {
            self.view(script)?;
        } else if self.take_words(&["INSERT", "INTO"]) {
            self.take_words(&["TABLE"]);
            let place = self.place();
            let target = Some(self.name("the name of the table to fill")?);
            let columns = if self.take(&Token::LParen) { self.names_in_parens()? } else { Vec::new() };
            self.expect_query()?;
            let emit = self.emission()?;
            let (query, tokens) = self.query(script)?;
            let columns = columns.into_iter().map(|(name, place)| (name, self.text.place(place))).collect();
            script.inserts.push(Insert { target, columns, query, place, tokens, emit });
        } else if self.is_word("SELECT") || self.is_word("WITH") {
            let emit = self.emission()?;
            let (query, tokens) = self.query(script)?;
            script.inserts.push(Insert { target: None, columns: Vec::new(), query, place, tokens, emit });
        } else {
            return Err(self.not_a_statement().into());
        }
        Ok(())
    }

    /// `CREATE`, what may stand around it in other engines without a meaning here, and a word.
    fn take_create(&mut self, what: &str) -> bool {
        let forms: [&[&str]; 4] = [&[], &["OR", "REPLACE"], &["TEMPORARY"], &["OR", "REPLACE", "TEMPORARY"]];
        forms.into_iter().any(|form| self.take_words(&[&["CREATE"], form, &[what]].concat()))
    }

    /// After `CREATE VIEW`.
    fn view(&mut self, script: &mut Script) -> Result<()> {
        self.take_words(&["IF", "NOT", "EXISTS"]);
        let start = self.place();
        let place = self.text.place(start);
        let name = self.name("the view's name")?;
        refuse_twice(script, &name, &place)?;
        let columns = if self.take(&Token::LParen) { self.names_in_parens()? } else { Vec::new() };
        self.expect_word("AS")?;
        if let Some(place) = self.emission()?.place {
            let message = format!("a view has no emission of its own; write EMIT in the INSERT that reads \"{name}\"");
            return Err(self.text.error(place, message).into());
        }
        if !columns.is_empty() {
            self.expect_query()?;
            self.wrap(&name, &columns, start);
        }
        let (query, tokens) = self.query(script)?;
        script.views.push(View { name, query, tokens });
        Ok(())
    }

    /// Gives the columns of the query that follows other names: `SELECT * FROM (query) AS name (columns)`.
    fn wrap(&mut self, name: &str, columns: &[(String, Location)], place: Location) {
        let made = |token: Token, place: Location| TokenWithSpan { token, span: Span { start: place, end: place } };
        let quoted = |name: &str| Token::make_word(name, Some('"'));
        let before = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM"), Token::LParen];
        let mut after = vec![made(Token::RParen, place), made(Token::make_keyword("AS"), place)];
        after.push(made(quoted(name), place));
        after.push(made(Token::LParen, place));
        for (at, (column, place)) in columns.iter().enumerate() {
            after.extend((at > 0).then(|| made(Token::Comma, *place)));
            after.push(made(quoted(column), *place));
        }
        after.push(made(Token::RParen, place));
        let at = self.at;
        self.tokens.splice(at..at, before.map(|token| made(token, place)));
        self.tokens.extend(after);
    }

    /// `EXECUTE STATEMENT SET BEGIN`, of which the first statement goes on, and what else stands around a set of statements in Flink; all
    /// statements of a file are one set here.
    fn is_bracket_of_set(&mut self) -> Result<bool> {
        if self.take_words(&["BEGIN", "STATEMENT", "SET"]) || self.take_words(&["END"]) {
            self.end()?;
            return Ok(true);
        }
        if self.take_words(&["EXECUTE", "STATEMENT", "SET"]) && !self.take_words(&["BEGIN"]) {
            return Err(self.error(format!("expected BEGIN, found {}", self.found())).into());
        }
        Ok(self.at > 0 && self.at == self.tokens.len())
    }

    fn expect_query(&self) -> Result<()> {
        if self.is_word("SELECT") || self.is_word("WITH") {
            return Ok(());
        }
        let found = self.found();
        Err(self
            .error(format!("expected SELECT, found {found}; rows come from a query, as in INSERT INTO … SELECT"))
            .into())
    }

    /// What cannot be read, and what is written instead of the statements that others have.
    fn not_a_statement(&mut self) -> SqlError {
        let known = "statements are CREATE TABLE, CREATE VIEW, CREATE DATABASE, INSERT INTO … SELECT, and SELECT";
        let hints: [(&[&str], &str); 10] = [
            (
                &["CREATE", "MATERIALIZED", "VIEW"],
                "a result is a table that is filled: CREATE TABLE name WITH (…) AS SELECT …, or CREATE VIEW for a query with a name",
            ),
            (
                &["CREATE", "SOURCE"],
                "what is read is a table: CREATE TABLE name (columns, WATERMARK FOR …) WITH ('connector' = …, 'format' = …)",
            ),
            (
                &["CREATE", "SINK"],
                "what is filled is a table: CREATE TABLE name WITH ('connector' = …), and INSERT INTO name SELECT …",
            ),
            (
                &["CREATE", "STREAM"],
                "a stream is a table: CREATE TABLE name (columns, WATERMARK FOR …) WITH ('connector' = …, 'format' = …)",
            ),
            (&["CREATE", "FUNCTION"], "functions of one's own are not supported; write the expression itself"),
            (
                &["SET"],
                "options of tables stand in their WITH (…), those of a job on the command line: highwater run --help",
            ),
            (&["EXPLAIN"], "highwater explain FILE explains the queries of a file"),
            (&["DROP"], "a file says all that there is, so there is nothing to drop; leave it out"),
            (&["ALTER"], "change the CREATE statement itself"),
            (&["USE"], "names have no catalog and no database; leave it out"),
        ];
        for (words, hint) in hints {
            if self.take_words(words) {
                self.at -= words.len();
                return self.error(format!("{} is not a statement here; {hint}", words.join(" ")));
            }
        }
        self.error(format!("cannot read {} here; {known}", self.found()))
    }

    /// The rest of the statement as a query. Unquoted names are put in the case in which they were defined.
    fn query(&mut self, script: &Script) -> Result<(Box<SqlQuery>, Vec<TokenWithSpan>)> {
        self.system_time(script)?;
        let rewritten = super::dialect::window_words::rewrite(&self.tokens[self.at..]);
        self.tokens.splice(self.at.., rewritten);
        let names = Names::of(script);
        for token in &mut self.tokens[self.at..] {
            if let Token::Word(Word { value, quote_style: None, .. }) = &mut token.token
                && let Some(defined) = names.resolve(value)
            {
                *value = defined;
            }
        }
        let tokens = self.tokens[self.at..].to_vec();
        let mut query = self.parse(|parser| parser.parse_query())?;
        super::dialect::unnest::rewrite(&mut query).map_err(|(place, message)| self.text.error(place, message))?;
        super::dialect::standard::rewrite(&mut query);
        super::dialect::other_names::rewrite(&mut query).map_err(|(place, message)| self.text.error(place, message))?;
        super::dialect::group_keys::rewrite(&mut query, script)
            .map_err(|(place, message)| self.text.error(place, message))?;
        super::dialect::group_windows::rewrite(&mut query)
            .map_err(|(place, message)| self.text.error(place, message))?;
        super::dialect::spark::rewrite(&mut query).map_err(|(place, message)| self.text.error(place, message))?;
        self.end()?;
        Ok((query, tokens))
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
