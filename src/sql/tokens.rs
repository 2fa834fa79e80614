//! The tokens of one statement, taken one after the other.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Word};

use super::syntax::{is_sql_word, parser_message};
use super::text::Text;
use crate::error::{Result, SqlError};

/// A statement being read.
pub(super) struct StatementReader<'a> {
    /// The text that it is in.
    pub(super) text: &'a Text,
    /// Its tokens, without whitespace.
    pub(super) tokens: Vec<TokenWithSpan>,
    /// How many of them have been taken.
    pub(super) at: usize,
}

impl StatementReader<'_> {
    pub(super) fn parse<T>(&mut self, rule: impl FnOnce(&mut Parser) -> Result<T, ParserError>) -> Result<T> {
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

    pub(super) fn place(&self) -> Location {
        self.tokens.get(self.at).map_or_else(|| self.last_place(), |token| token.span.start)
    }

    pub(super) fn last_place(&self) -> Location {
        self.tokens.last().map_or(Span::empty().start, |token| token.span.end)
    }

    pub(super) fn found(&self) -> String {
        self.tokens.get(self.at).map_or_else(|| "the end of the statement".into(), |it| format!("`{}`", it.token))
    }

    pub(super) fn error(&self, message: impl Into<String>) -> SqlError {
        self.text.error(self.place(), message)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.tokens.get(self.at).is_some_and(|token| is_unquoted(&token.token, word))
    }

    pub(super) fn take_words(&mut self, words: &[&str]) -> bool {
        let found = words
            .iter()
            .enumerate()
            .all(|(ahead, word)| self.tokens.get(self.at + ahead).is_some_and(|token| is_unquoted(&token.token, word)));
        if found {
            self.at += words.len();
        }
        found
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.take_words(&[word]) {
            return Ok(());
        }
        Err(self.error(format!("expected {word}, found {}", self.found())).into())
    }

    pub(super) fn take(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|it| it.token == *token);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, token: &Token) -> Result<()> {
        if self.take(token) {
            return Ok(());
        }
        Err(self.error(format!("expected `{token}`, found {}", self.found())).into())
    }

    pub(super) fn end(&self) -> Result<()> {
        let Some(TokenWithSpan { token, .. }) = self.tokens.get(self.at) else { return Ok(()) };
        let hint = match token {
            Token::Word(word) if word.keyword == Keyword::GROUP || word.keyword == Keyword::ORDER => {
                return self.expect_by(&word.value);
            }
            Token::Word(word) if is_sql_word(&word.value) => {
                format!("; a name that is a word of SQL is quoted: \"{}\"", word.value)
            }
            Token::Word(_) => "; is a comma missing before it?".to_owned(),
            _ => String::new(),
        };
        Err(self.error(format!("expected the end of the statement, found {}{hint}", self.found())).into())
    }

    /// What the parser leaves of a GROUP or ORDER in a place where it could stand is one without BY.
    fn expect_by(&self, word: &str) -> Result<()> {
        let next = self.tokens.get(self.at + 1);
        let is_by = next.is_some_and(|token| is_unquoted(&token.token, "BY"));
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map(|it| &it.token);
        let is_name = matches!(before, Some(Token::Comma | Token::LParen));
        let (place, message) = match next {
            _ if is_name => (
                self.place(),
                format!(
                    "expected the end of the statement, found `{word}`; a name that is a word of SQL is quoted: \"{word}\""
                ),
            ),
            Some(_) if is_by => (
                self.place(),
                format!("{word} BY cannot stand here; the order is WHERE, GROUP BY, HAVING, ORDER BY, LIMIT"),
            ),
            Some(next) => (next.span.start, format!("expected BY after {word}, found `{}`", next.token)),
            None => (self.last_place(), format!("expected BY after {word}, found the end of the statement")),
        };
        Err(self.text.error(place, message).into())
    }

    pub(super) fn name(&mut self, what: &str) -> Result<String> {
        if let Some(TokenWithSpan { token: Token::Word(word), .. }) = self.tokens.get(self.at) {
            self.at += 1;
            return Ok(word.value.clone());
        }
        Err(self.error(format!("expected {what}, found {}", self.found())).into())
    }

    /// After `(`: the names and where they stand.
    pub(super) fn names_in_parens(&mut self) -> Result<Vec<(String, Location)>> {
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

    pub(super) fn string(&mut self, what: &str) -> Result<String> {
        if let Some(TokenWithSpan { token: Token::SingleQuotedString(text), .. }) = self.tokens.get(self.at) {
            self.at += 1;
            return Ok(text.clone());
        }
        Err(self.error(format!("expected {what}, found {}", self.found())).into())
    }

    /// The `)` of a list that could have gone on.
    pub(super) fn end_of_list(&mut self, more: &str) -> Result<()> {
        if self.take(&Token::RParen) {
            return Ok(());
        }
        Err(self.error(format!("expected `,` and {more}, or `)`, found {}", self.found())).into())
    }
}

/// Whether a token is this word, not in quotes.
pub(super) fn is_unquoted(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(word))
}
