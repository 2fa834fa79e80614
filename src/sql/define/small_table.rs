//! Small tables: which there are, how they are kept, and Flink's words for a join with one.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::catalog::{Script, Table};
use crate::error::{Error, Result};
use crate::sql::tokens::{StatementReader, is_unquoted};
use crate::window::lookup::SmallRows;
use crate::window::stage::Stage;

/// The option that makes a table a small one, as Flink calls it, and its value.
pub const CACHE: &str = "lookup.cache";
const FULL: &str = "FULL";
/// How often a small table is read again, as Flink calls it.
pub const RELOAD: &str = "lookup.full-cache.periodic-reload.interval";
/// The options of small tables.
pub const OPTIONS: [&str; 2] = [CACHE, RELOAD];

/// How often a table of ClickHouse is read again.
const CLICKHOUSE_RELOAD: Duration = Duration::from_secs(600);
/// How often what has come to a topic is taken in.
const TOPIC_RELOAD: Duration = Duration::from_secs(1);

/// What a join needs of a small table.
#[derive(Debug)]
pub struct SmallTable {
    /// The table.
    pub table: Arc<Table>,
    /// The columns of it that are used.
    pub scan: SchemaRef,
    /// What is done to its rows before they are joined with.
    pub stages: Vec<Stage>,
    /// Where the rows go.
    pub rows: Arc<SmallRows>,
}

impl Table {
    /// Whether it is a small table, which is read as a whole for joins with it.
    pub fn is_small(&self) -> bool {
        let option = |name: &str| self.options.get(name).unwrap_or_default();
        option("connector") == "clickhouse" || option(CACHE).eq_ignore_ascii_case(FULL)
    }

    /// How often it is read again, if it is.
    pub fn reload_interval(&self) -> Result<Option<Duration>> {
        let default = match self.options.get("connector") {
            Some("clickhouse") => CLICKHOUSE_RELOAD,
            Some("kafka") => TOPIC_RELOAD,
            _ => Duration::ZERO,
        };
        let interval = self.options.duration(RELOAD, default)?;
        Ok((!interval.is_zero()).then_some(interval))
    }

    /// Whether of the rows with one primary key the last counts.
    pub fn keeps_latest(&self) -> bool {
        !self.primary_key.is_empty() && self.options.get("connector") != Some("clickhouse")
    }

    /// Checks what is said of it as a small table.
    pub(super) fn check_small(&self) -> Result<()> {
        match self.options.get(CACHE) {
            None => {}
            Some(cache) if ["FULL", "NONE"].iter().any(|known| known.eq_ignore_ascii_case(cache)) => {}
            Some(other) => {
                return Err(self.options.invalid(CACHE, other, "'FULL' (the table is in memory as a whole) or 'NONE'"));
            }
        }
        self.reload_interval()?;
        if self.is_small() && self.has_changes() && self.primary_key.is_empty() {
            return Err(Error::config(format!(
                "table \"{}\": option '{CACHE}' keeps the latest row of each key, and the table declares none; add \
                 PRIMARY KEY (…) NOT ENFORCED",
                self.name
            )));
        }
        Ok(())
    }
}

impl StatementReader<'_> {
    /// Takes out Flink's `FOR SYSTEM_TIME AS OF o.proctime`, which says that a small table is joined with as it is now: no other
    /// join with one is known here.
    pub(in crate::sql) fn system_time(&mut self, script: &Script) -> Result<()> {
        let is = |tokens: &[_], at: usize, word: &str| {
            tokens.get(at).is_some_and(|it: &TokenWithSpan| is_unquoted(&it.token, word))
        };
        let mut at = self.at;
        while at < self.tokens.len() {
            let tokens = &self.tokens;
            let words = ["FOR", "SYSTEM_TIME", "AS", "OF"];
            if !words.iter().enumerate().all(|(ahead, word)| is(tokens, at + ahead, word)) {
                at += 1;
                continue;
            }
            let named = at.checked_sub(1).map(|before| &tokens[before].token);
            let name = match named {
                Some(Token::Word(word)) => word.value.clone(),
                _ => String::new(),
            };
            let small = |(known, table): (&String, &Arc<Table>)| known.eq_ignore_ascii_case(&name) && table.is_small();
            let is_view = script.views.iter().any(|view| view.name.eq_ignore_ascii_case(&name));
            if !is_view && !script.tables.iter().any(small) {
                let message = format!(
                    "FOR SYSTEM_TIME AS OF is for small tables, which are joined with as they are now, and \"{name}\" is none; give it \
                     '{CACHE}' = '{FULL}', or leave this out"
                );
                return Err(self.text.error(tokens[at].span.start, message).into());
            }
            let is_time =
                |token: &Token| matches!(token, Token::Word(_) | Token::Period | Token::LParen | Token::RParen);
            let mut end = at + words.len();
            // `o.proctime` or `PROCTIME()`: a name after a name is the table's alias.
            while let Some(token) = tokens.get(end).map(|it| &it.token).filter(|token| is_time(token)) {
                let follows_name = matches!(tokens[end - 1].token, Token::Word(_) | Token::RParen);
                if end > at + words.len() && follows_name && matches!(token, Token::Word(_) | Token::RParen) {
                    break;
                }
                end += 1;
            }
            self.tokens.drain(at..end);
        }
        Ok(())
    }
}

/// The columns of a scan, all of which may be null: what a record lacks shows when it is read.
pub fn nullable(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}
