//! `CREATE DATABASE … AS DATABASE …`: one statement that mirrors every table of a database.
//!
//! A source database is a pattern of topics, each of them a table. Its mirror stands for a pair of `CREATE TABLE`s and an
//! `INSERT` per topic, which are made when the topic's columns are known.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use datafusion::sql::sqlparser::tokenizer::Location;
use regex::Regex;

use super::catalog::Script;
use crate::connector::known_options;
use crate::error::{Error, Place, Result, suggestion};
use crate::format::infer::RowSchema;
use crate::options::Options;
use crate::sql::tokens::StatementReader;
use crate::type_name::sql_name_of;

/// `CREATE DATABASE name WITH (…)`: topics that match a pattern, each of them a table.
#[derive(Debug, Clone)]
pub struct SourceDatabase {
    /// Its name.
    pub name: String,
    /// The options of each of its tables, with `topic-pattern` in place of `topic`.
    pub options: Options,
    /// Where its name stands.
    pub place: Place,
}

/// `CREATE DATABASE name WITH (…) AS DATABASE source INCLUDING …`.
#[derive(Debug, Clone)]
pub struct DatabaseMirror {
    /// Its name.
    pub name: String,
    /// The options of each of its tables.
    pub options: Options,
    /// The database that it mirrors.
    pub source: String,
    /// Whether each change event is kept, not the current rows.
    pub changes: bool,
    /// Which tables are mirrored, by the whole name of their topic or its last part; `None` for all.
    pub including: Option<Regex>,
    /// Which are not, all the same.
    pub excluding: Option<Regex>,
    /// Where its name stands.
    pub place: Place,
}

const USAGE: &str =
    "CREATE DATABASE mirror WITH ('connector' = 'clickhouse', …) AS DATABASE source INCLUDING ALL TABLES";

impl StatementReader<'_> {
    /// After `CREATE DATABASE`.
    pub(in crate::sql) fn database(&mut self, script: &mut Script) -> Result<()> {
        self.take_words(&["IF", "NOT", "EXISTS"]);
        let place = self.text.place(self.place());
        let name = self.name("the database's name")?;
        self.expect_word("WITH")?;
        let (mut options, places) = self.options(&name)?;
        let is_taken = script.databases.contains_key(&name) || script.mirrors.iter().any(|it| it.name == name);
        if is_taken {
            return Err(place
                .error(format!("database \"{name}\" is defined twice; give one of them another name"))
                .into());
        }
        let at = |option: &str| places.get(option).unwrap_or(&place).clone();
        check_names(&options, &at)?;
        if !self.take_words(&["AS", "DATABASE"]) {
            self.end()?;
            if options.get("connector") != Some("kafka") || options.get("topic-pattern").is_none() {
                let message = format!(
                    "a database that is read needs 'connector' = 'kafka' and 'topic-pattern'; one that is written goes on with \
                     AS DATABASE: {USAGE}"
                );
                return Err(at("connector").error(message).into());
            }
            // One consumer for all of its tables, which so have a group in common.
            options = with_default(&options, "properties.group.id", format!("highwater-{name}"));
            options = with_default(&options, "scan.startup.mode", "earliest-offset".to_owned());
            script.databases.insert(name.clone(), SourceDatabase { name, options, place });
            return Ok(());
        }
        let changes = self.take_words(&["CHANGES"]);
        if changes {
            self.expect(&datafusion::sql::sqlparser::tokenizer::Token::LParen)?;
        }
        let source_place = self.place();
        let source = self.name("the name of a database that is read")?;
        if changes {
            self.expect(&datafusion::sql::sqlparser::tokenizer::Token::RParen)?;
        }
        if !script.databases.contains_key(&source) {
            let hint = suggestion(&source, script.databases.keys().map(String::as_str));
            let message = format!(
                "database \"{source}\" is not defined{hint}; define it first: CREATE DATABASE {source} WITH \
                 ('connector' = 'kafka', 'topic-pattern' = '…', 'format' = 'debezium-json', …)"
            );
            return Err(self.text.error(source_place, message).into());
        }
        let mut including = None;
        if self.take_words(&["INCLUDING"]) && !self.take_words(&["ALL", "TABLES"]) {
            self.expect_table_word()?;
            including = Some(self.pattern()?);
        }
        let mut excluding = None;
        if self.take_words(&["EXCLUDING"]) {
            self.expect_table_word()?;
            excluding = Some(self.pattern()?);
        }
        self.end()?;
        script.mirrors.push(DatabaseMirror { name, options, source, changes, including, excluding, place });
        Ok(())
    }

    fn expect_table_word(&mut self) -> Result<()> {
        if self.take_words(&["TABLES"]) || self.take_words(&["TABLE"]) {
            return Ok(());
        }
        Err(self.error(format!("expected ALL TABLES or TABLES 'pattern', found {}", self.found())).into())
    }

    fn pattern(&mut self) -> Result<Regex> {
        let place: Location = self.place();
        let text = self.string("a regular expression for the names of tables, in single quotes")?;
        Regex::new(&format!("^(?:{text})$")).map_err(|error| {
            let reason = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
            self.text.error(place, format!("'{text}' is no regular expression ({reason})")).into()
        })
    }
}

fn check_names(options: &Options, place: &impl Fn(&str) -> Place) -> Result<()> {
    let connector = options.get("connector").unwrap_or_default();
    let Some(known) = known_options(connector) else {
        return Err(place("connector")
            .error("a database needs the option 'connector': 'kafka' or 'clickhouse'")
            .into());
    };
    let fits =
        |name: &str| known.iter().any(|it| *it == name || it.strip_suffix('*').is_some_and(|it| name.starts_with(it)));
    match options.names().find(|name| !fits(name)) {
        None => Ok(()),
        Some(unknown) => {
            let hint = suggestion(unknown, known.iter().copied());
            Err(place(unknown)
                .error(format!("option '{unknown}' is not known to connector '{connector}'{hint}"))
                .into())
        }
    }
}

fn with_default(options: &Options, name: &str, value: String) -> Options {
    let mut values = options.all().clone();
    values.entry(name.to_owned()).or_insert(value);
    Options::new(options.table(), values)
}

impl DatabaseMirror {
    /// Whether a topic is mirrored.
    pub fn takes(&self, topic: &str) -> bool {
        let matches = |pattern: &Regex| pattern.is_match(topic) || pattern.is_match(table_of(topic));
        self.including.as_ref().is_none_or(matches) && !self.excluding.as_ref().is_some_and(matches)
    }

    /// The statements that it stands for, a text per topic, each with a name for messages.
    pub fn statements<'a>(
        &self,
        source: &SourceDatabase,
        tables: impl Iterator<Item = (&'a String, &'a RowSchema)>,
    ) -> Result<Vec<(String, String)>> {
        let mut topics: BTreeMap<String, &str> = BTreeMap::new();
        let mut statements = Vec::new();
        for (topic, rows) in tables.filter(|(topic, _)| self.takes(topic)) {
            let target = self.target(topic);
            if let Some(other) = topics.insert(target.clone(), topic) {
                return Err(Error::from(self.place.error(format!(
                    "the topics {other} and {topic} would both be mirrored as {target}; tell them apart with \
                     'table' = '{{schema}}_{{table}}', or leave one out with EXCLUDING TABLES '…'"
                ))));
            }
            statements.push((format!("{} (topic {topic})", self.place.file), self.text(source, topic, &target, rows)));
        }
        Ok(statements)
    }

    /// The name of a topic's table in the mirror: the option `table` with its parts filled in.
    fn target(&self, topic: &str) -> String {
        let parts: Vec<&str> = topic.split('.').collect();
        let schema = parts.len().checked_sub(2).map_or("", |at| parts[at]);
        let template = self.options.get("table").unwrap_or("{table}");
        template.replace("{topic}", topic).replace("{schema}", schema).replace("{table}", table_of(topic))
    }

    fn text(&self, source: &SourceDatabase, topic: &str, target: &str, rows: &RowSchema) -> String {
        let mut values = source.options.all().clone();
        values.remove("topic-pattern");
        values.insert("topic".to_owned(), topic.to_owned());
        let from = quoted(&format!("{}.{topic}", source.name));
        let mut text = create_table(&from, rows, &values);
        let mut values = self.options.all().clone();
        values.insert("table".to_owned(), target.to_owned());
        let to = quoted(&format!("{}.{topic}", self.name));
        let _ = write!(text, "\nCREATE TABLE {to} WITH (\n{}\n);\n", options_text(&values));
        // A table without a key has no current rows: its events are kept.
        let reads = if self.changes || rows.primary_key.is_empty() { format!("CHANGES({from})") } else { from };
        let _ = writeln!(text, "INSERT INTO {to} SELECT * FROM {reads};");
        text
    }
}

fn table_of(topic: &str) -> &str {
    topic.rsplit('.').next().unwrap_or(topic)
}

/// A `CREATE TABLE` with these columns.
pub fn create_table(quoted_name: &str, rows: &RowSchema, options: &BTreeMap<String, String>) -> String {
    let mut lines = Vec::new();
    for field in rows.columns.fields() {
        let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
        lines.push(format!("  {} {}{not_null}", quoted(field.name()), sql_name_of(field)));
    }
    if !rows.primary_key.is_empty() {
        let key: Vec<_> = rows.primary_key.iter().map(|name| quoted(name)).collect();
        lines.push(format!("  PRIMARY KEY ({}) NOT ENFORCED", key.join(", ")));
    }
    format!("CREATE TABLE {quoted_name} (\n{}\n) WITH (\n{}\n);\n", lines.join(",\n"), options_text(options))
}

fn options_text(options: &BTreeMap<String, String>) -> String {
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let lines: Vec<_> = options.iter().map(|(name, value)| format!("  {} = {}", text(name), text(value))).collect();
    lines.join(",\n")
}

/// A name in double quotes.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
