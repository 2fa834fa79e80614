//! Tokens → statements: our DDL by hand, queries by DataFusion's own parser.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Query as SqlQuery;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::catalog::{Insert, Script, View};
use super::names::Names;
use super::syntax::tokenizer_message;
use super::text::Text;
use super::tokens::StatementReader;
use crate::error::{Place, Result};

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
        let place = self.place();
        if self.take_words(&["CREATE", "TABLE"]) {
            let table = self.table()?;
            refuse_twice(script, &table.name, &table.place)?;
            script.tables.insert(table.name.clone(), Arc::new(table));
        } else if self.take_words(&["CREATE", "DATABASE"]) {
            self.database(script)?;
        } else if self.take_words(&["CREATE", "VIEW"]) {
            let place = self.text.place(self.place());
            let name = self.name("the view's name")?;
            refuse_twice(script, &name, &place)?;
            self.expect_word("AS")?;
            if let Some(place) = self.emission()?.place {
                let message =
                    format!("a view has no emission of its own; write EMIT in the INSERT that reads \"{name}\"");
                return Err(self.text.error(place, message).into());
            }
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
            let emit = self.emission()?;
            let (query, tokens) = self.query(script)?;
            let columns = columns.into_iter().map(|(name, place)| (name, self.text.place(place))).collect();
            script.inserts.push(Insert { target, columns, query, place, tokens, emit });
        } else if self.is_word("SELECT") || self.is_word("WITH") {
            let emit = self.emission()?;
            let (query, tokens) = self.query(script)?;
            script.inserts.push(Insert { target: None, columns: Vec::new(), query, place, tokens, emit });
        } else {
            let known = "statements are CREATE TABLE, CREATE VIEW, CREATE DATABASE, INSERT INTO … SELECT, and SELECT";
            return Err(self.error(format!("cannot read {} here; {known}", self.found())).into());
        }
        Ok(())
    }

    /// The rest of the statement as a query. Unquoted names are put in the case in which they were defined.
    fn query(&mut self, script: &Script) -> Result<(Box<SqlQuery>, Vec<TokenWithSpan>)> {
        self.system_time(script)?;
        let rewritten = super::window_words::rewrite(&self.tokens[self.at..]);
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
        super::other_names::rewrite(&mut query).map_err(|(place, message)| self.text.error(place, message))?;
        super::group_windows::rewrite(&mut query).map_err(|(place, message)| self.text.error(place, message))?;
        super::spark::rewrite(&mut query).map_err(|(place, message)| self.text.error(place, message))?;
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
