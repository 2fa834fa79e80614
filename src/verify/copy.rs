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

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.name)
    }
}

impl Copy {
    /// Looks a table up: `database.table`, or `table` in `default`.
    pub async fn look_up(client: &ClickHouseClient, name: &str) -> Result<Self> {
        let (database, table) = name.split_once('.').unwrap_or(("default", name));
        let condition = format!("database = {} AND table = {}", quote_string(database), quote_string(table));
        let sql = format!("SELECT name, type FROM system.columns WHERE {condition} ORDER BY position");
        let rows = client.query_rows(&sql).await?;
        if rows.is_empty() {
            return Err(Error::config(format!(
                "there is no table {name} in ClickHouse at {}; write --mirror DATABASE.TABLE, or run the query that fills it first",
                client.place()
            )));
        }
        let engine = format!(
            "SELECT engine FROM system.tables WHERE database = {} AND name = {}",
            quote_string(database),
            quote_string(table)
        );
        let engine = client.query_tsv(&engine).await?;
        let mut columns: Vec<CopyColumn> = rows
            .into_iter()
            .map(|row| {
                let mut row = row.into_iter().map(Option::unwrap_or_default);
                CopyColumn { name: row.next().unwrap_or_default(), type_name: row.next().unwrap_or_default() }
            })
            .collect();
        let has = |name: &str| columns.iter().any(|column| column.name == name);
        let form = if engine.trim().ends_with("ReplacingMergeTree") {
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
