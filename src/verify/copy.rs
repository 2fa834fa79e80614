//! The table in ClickHouse that is the copy: a mirror, or a changelog read as one.

use std::fmt;

use super::dialect::Dialect;
use super::rows::TextRow;
use crate::error::{Error, Result};
use crate::sink::clickhouse::{ClickHouseClient, quote_identifier, quote_string};
use crate::sink::{IS_DELETED, POSITION, VERSION};

/// A table in ClickHouse.
#[derive(Debug)]
pub struct Copy {
    client: ClickHouseClient,
    /// Its database.
    pub database: String,
    /// Its name there.
    pub name: String,
    /// Its columns with their types, without what Highwater adds.
    pub columns: Vec<CopyColumn>,
    /// How its current rows are read.
    pub form: CopyForm,
}

/// A column of the copy.
#[derive(Debug, Clone)]
pub struct CopyColumn {
    /// Its name.
    pub name: String,
    /// Its type, as ClickHouse writes it.
    pub type_name: String,
}

/// How the current rows of a copy are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyForm {
    /// As they are: a view that hides what is old, or any other table.
    Plain,
    /// With FINAL: a table that replaces rows when it merges.
    Final,
    /// The last change of each key, unless it is a delete: a changelog.
    Changelog,
}

/// A table as the server has it.
#[derive(Debug)]
pub struct There {
    /// Its engine.
    pub engine: String,
    /// By what its rows are sorted, in ClickHouse's SQL; empty for tables that are not.
    pub sorting_key: String,
    /// All of its columns.
    pub columns: Vec<CopyColumn>,
}

impl There {
    /// Looks a table up; none, when it is not there.
    pub async fn look_up(client: &ClickHouseClient, database: &str, table: &str) -> Result<Option<Self>> {
        let (database, table) = (quote_string(database), quote_string(table));
        let sql = format!(
            "SELECT name, type FROM system.columns WHERE database = {database} AND table = {table} ORDER BY position"
        );
        let column = |row: Vec<Option<String>>| {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            CopyColumn { name: row.next().unwrap_or_default(), type_name: row.next().unwrap_or_default() }
        };
        let columns: Vec<CopyColumn> = client.query_rows(&sql).await?.into_iter().map(column).collect();
        let sql =
            format!("SELECT engine, sorting_key FROM system.tables WHERE database = {database} AND name = {table}");
        let found = client.query_rows(&sql).await?.into_iter().next();
        let Some(mut found) = found.map(|row| row.into_iter().map(Option::unwrap_or_default)) else { return Ok(None) };
        let (engine, sorting_key) = (found.next().unwrap_or_default(), found.next().unwrap_or_default());
        Ok((!columns.is_empty()).then_some(Self { engine, sorting_key, columns }))
    }

    /// Whether it has all of these columns.
    pub fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.columns.iter().any(|column| column.name == *name))
    }
}

/// The database and the table that a name stands for.
pub fn parts_of(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or(("default", name))
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.name)
    }
}

impl Copy {
    /// Looks a table up: `database.table`, or `table` in `default`.
    pub async fn look_up(client: &ClickHouseClient, name: &str) -> Result<Self> {
        let (database, table) = parts_of(name);
        let Some(there) = There::look_up(client, database, table).await? else {
            return Err(Error::config(format!(
                "there is no table {name} in ClickHouse at {}; write --mirror DATABASE.TABLE, or run the query that fills it first",
                client.place()
            )));
        };
        let There { engine, mut columns, .. } = there;
        let has = |name: &str| columns.iter().any(|column| column.name == name);
        let form = if engine.ends_with("ReplacingMergeTree") {
            CopyForm::Final
        } else if has("_op") && POSITION[1..].iter().all(|name| has(name)) {
            CopyForm::Changelog
        } else {
            CopyForm::Plain
        };
        let own: &[&str] = match form {
            CopyForm::Changelog => &["_op", "_source_ts", "_timestamp", "_topic", "_partition", "_offset"],
            _ => &[VERSION, IS_DELETED],
        };
        columns.retain(|column| !own.contains(&column.name.as_str()));
        Ok(Self { client: client.clone(), database: database.to_owned(), name: table.to_owned(), columns, form })
    }

    /// What stands after FROM: the current rows for which the conditions hold. `of_key` is about nothing but the primary
    /// key, whose columns are `key`.
    pub fn from(&self, key: &[String], of_key: &str, of_rows: Option<&str>) -> String {
        let table = format!("{}.{}", quote_identifier(&self.database), quote_identifier(&self.name));
        let of_rows = of_rows.map(|condition| format!(" AND ({condition})")).unwrap_or_default();
        match self.form {
            CopyForm::Plain => format!("{table} WHERE ({of_key}){of_rows}"),
            CopyForm::Final => format!("{table} FINAL WHERE ({of_key}){of_rows}"),
            // A key's changes are in one partition, so its offsets are in the order of its changes. What is said of the key
            // goes inside, where it spares work; what is said of rows would let an older version stand for the row.
            CopyForm::Changelog => {
                let key: Vec<String> = key.iter().map(|name| quote_identifier(name)).collect();
                let key = key.join(", ");
                format!(
                    "(SELECT * FROM {table} WHERE ({of_key}) ORDER BY `_offset` DESC LIMIT 1 BY {key}) \
                     WHERE `_op` NOT IN ('d', 't'){of_rows}"
                )
            }
        }
    }

    /// The rows of a query whose columns are all texts.
    pub async fn rows(&self, sql: &str) -> Result<Vec<TextRow>> {
        self.client.query_rows(sql).await
    }

    /// The server's address, for messages.
    pub fn place(&self) -> &str {
        self.client.place()
    }

    /// How it says things.
    pub fn dialect(&self) -> Dialect {
        Dialect::ClickHouse
    }
}
