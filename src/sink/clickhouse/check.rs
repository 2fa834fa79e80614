//! Checks a table that exists: which of our columns it takes, and, where it does not fit, both sides and the way out.

use super::client::{ClickHouseClient, quote_identifier, quote_string};
use super::ddl::{Extra, TableName, columns, extras, written_at};
use super::split::Parting;
use super::types::{ChType, fits, holds_null};
use crate::error::{Error, Result};
use crate::sink::{COUNT, IS_DELETED, IS_FINAL, OutputTable, POSITION, REVISION, TableForm, VERSION};

/// A table as the server knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Existing {
    pub(super) engine: String,
    create_query: String,
    partition_key: String,
    sorting_key: String,
    columns: Vec<ExistingColumn>,
}

#[derive(Debug, Clone)]
struct ExistingColumn {
    name: String,
    ch_type: ChType,
    /// `DEFAULT`, `MATERIALIZED`, `ALIAS`, `EPHEMERAL` or nothing.
    default_kind: String,
}

/// Where the values of a written column come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The column at this index of the block.
    Block(usize),
    /// The sink itself.
    Extra(Extra),
    /// The time at which the block was made.
    MadeAt,
}

/// A column that is written.
#[derive(Debug, Clone)]
pub(super) struct WrittenColumn {
    pub(super) name: String,
    pub(super) from: From,
    pub(super) ch_type: ChType,
}

impl Existing {
    /// Asks the server for a table; `None` when there is none.
    pub(super) async fn look_up(client: &ClickHouseClient, name: &TableName) -> Result<Option<Self>> {
        let (database, table) = (quote_string(&name.database), quote_string(&name.table));
        let tables = client
            .query_rows(&format!(
                "SELECT engine, create_table_query, partition_key, sorting_key FROM system.tables \
                 WHERE database = {database} AND name = {table}"
            ))
            .await?;
        let Some(mut row) = tables.into_iter().next() else { return Ok(None) };
        let mut next = || if row.is_empty() { String::new() } else { row.remove(0).unwrap_or_default() };
        let mut existing = Self {
            engine: next(),
            create_query: next(),
            partition_key: next(),
            sorting_key: next(),
            columns: Vec::new(),
        };
        let rows = client
            .query_rows(&format!(
                "SELECT name, type, default_kind FROM system.columns \
                 WHERE database = {database} AND table = {table} ORDER BY position"
            ))
            .await?;
        for row in rows {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            existing.columns.push(ExistingColumn {
                name: row.next().unwrap_or_default(),
                ch_type: ChType::parse(&row.next().unwrap_or_default()),
                default_kind: row.next().unwrap_or_default(),
            });
        }
        Ok(Some(existing))
    }

    fn column(&self, name: &str) -> Option<&ExistingColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The type of a column, if there is such a column.
    pub(super) fn type_of(&self, name: &str) -> Option<&ChType> {
        self.column(name).map(|column| &column.ch_type)
    }

    /// Whether a mirror can be written into it directly.
    pub(super) fn keeps_versions(&self) -> bool {
        self.engine.ends_with("ReplacingMergeTree")
            && self.column(VERSION).is_some()
            && self.column(IS_DELETED).is_some()
    }

    /// Whether a multiset can be written into it.
    pub(super) fn keeps_counts(&self) -> bool {
        self.engine.ends_with("MergeTree") && self.column(COUNT).is_some()
    }

    /// Whether it is a view that reads this table.
    pub(super) fn is_view_over(&self, table: &TableName) -> bool {
        self.engine == "View" && self.create_query.contains(table.table.as_str())
    }

    /// Whether the server may answer from a replica that has not seen everything.
    pub(super) fn is_replicated(&self) -> bool {
        self.engine.starts_with("Replicated") || self.engine.starts_with("Shared")
    }

    /// A `MergeTree` of any kind.
    pub(super) fn is_merge_tree(&self) -> bool {
        self.engine.ends_with("MergeTree")
    }

    /// A `MergeTree` of any kind on one server, which forgets tokens unless it is told to keep them.
    pub(super) fn is_plain_merge_tree(&self) -> bool {
        self.is_merge_tree() && !self.is_replicated()
    }

    /// The table's own `non_replicated_deduplication_window`, if it sets one.
    pub(super) fn deduplication_window(&self) -> Option<u64> {
        let (_, value) = self.create_query.split_once("non_replicated_deduplication_window = ")?;
        value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// How the table is parted, in terms of the written columns. `server_utc`: whether the server's time zone is UTC.
    pub(super) fn parting(&self, written: &[WrittenColumn], server_utc: bool) -> Parting {
        if !self.is_merge_tree() {
            return Parting::Other;
        }
        let key = self.partition_key.trim();
        if key.is_empty() || key == "tuple()" {
            return Parting::Whole;
        }
        let Some((function, column)) = key.strip_suffix(')').and_then(|key| key.split_once('(')) else {
            return Parting::Other;
        };
        let column = unquoted(column);
        let Some(at) = written.iter().position(|known| known.name == column) else { return Parting::Other };
        let is_utc = match written[at].ch_type.parts() {
            Some(("Date32", _)) => true,
            Some(("DateTime" | "DateTime64", arguments)) => match arguments.last() {
                Some(zone) if zone.starts_with('\'') => matches!(zone.trim_matches('\''), "UTC" | "Etc/UTC"),
                _ => server_utc,
            },
            _ => false,
        };
        match function {
            "toYYYYMM" if is_utc => Parting::Month(at),
            "toYYYYMMDD" | "toDate" | "toStartOfDay" if is_utc => Parting::Day(at),
            _ => Parting::Other,
        }
    }
}

/// A name as `partition_key` shows it: in backticks if it needs them.
fn unquoted(name: &str) -> String {
    match name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
        Some(name) => name.replace("\\`", "`").replace("\\\\", "\\"),
        None => name.to_owned(),
    }
}

/// One line of the report.
struct Mismatch {
    column: String,
    sent: String,
    has: String,
    trouble: &'static str,
    remedy: Option<String>,
}

/// The columns to write, or one error that shows every column that does not fit.
pub(super) fn check(
    output: &OutputTable,
    name: &TableName,
    place: &str,
    existing: &Existing,
) -> Result<Vec<WrittenColumn>> {
    let time64 = existing.columns.iter().any(|column| matches!(column.ch_type.parts(), Some(("Time64", _))));
    let created = columns(output, time64)?;
    let (mut written, mut mismatches) = (Vec::new(), Vec::new());
    for (index, field) in output.schema.fields().iter().enumerate() {
        let wanted =
            created.iter().find(|column| column.name == *field.name()).map(|column| column.ch_type.to_string());
        let sent = wanted.unwrap_or_else(|| field.data_type().to_string());
        let add = |verb: &str| Some(format!("{verb} COLUMN {} {sent}", quote_identifier(field.name())));
        let Some(column) = existing.column(field.name()) else {
            if was_added_later(output, field.name()) {
                tracing::warn!(
                    "the ClickHouse table {name} at {place} has no column {}, which is left out; to keep it, run ALTER TABLE {} ADD COLUMN {} {sent}",
                    field.name(),
                    name.quoted(),
                    quote_identifier(field.name())
                );
            } else if !is_optional(output, index) {
                mismatches.push(Mismatch {
                    column: field.name().clone(),
                    remedy: add("ADD"),
                    sent,
                    has: "-".to_owned(),
                    trouble: "no such column",
                });
            }
            continue;
        };
        let trouble = if !matches!(column.default_kind.as_str(), "" | "DEFAULT" | "EPHEMERAL") {
            Some("computed by the table, cannot be written")
        } else if !fits(field.data_type(), field.is_nullable(), &column.ch_type) {
            Some("holds other values")
        } else if field.is_nullable() && !holds_null(&column.ch_type) && column.default_kind != "DEFAULT" {
            Some("cannot hold NULL and has no DEFAULT")
        } else {
            None
        };
        match trouble {
            None => written.push(WrittenColumn {
                name: field.name().clone(),
                from: From::Block(index),
                ch_type: column.ch_type.clone(),
            }),
            Some(trouble) => {
                let is_key = existing.sorting_key.split([',', '(', ')', ' ']).any(|key| unquoted(key) == *field.name());
                let computed = !matches!(column.default_kind.as_str(), "" | "DEFAULT" | "EPHEMERAL");
                mismatches.push(Mismatch {
                    column: field.name().clone(),
                    remedy: if is_key || computed { None } else { add("MODIFY") },
                    sent,
                    has: format!("{} {}", column.ch_type, column.default_kind).trim_end().to_owned(),
                    trouble,
                });
            }
        }
    }
    if !mismatches.is_empty() {
        return Err(report(name, place, &mismatches));
    }
    for extra in extras(output) {
        if let Some(column) = existing.column(extra.name())
            && matches!(column.default_kind.as_str(), "" | "DEFAULT" | "EPHEMERAL")
            && fits(&extra.data_type(), false, &column.ch_type)
        {
            written.push(WrittenColumn {
                name: extra.name().to_owned(),
                from: From::Extra(extra),
                ch_type: column.ch_type.clone(),
            });
        }
    }
    if let Some(name) = written_at(output) {
        let column = existing.column(name).filter(|column| matches!(column.default_kind.as_str(), "" | "DEFAULT"));
        match column.filter(|column| matches!(column.ch_type.parts(), Some(("DateTime" | "DateTime64", _)))) {
            Some(column) => written.push(WrittenColumn {
                name: name.to_owned(),
                from: From::MadeAt,
                ch_type: column.ch_type.clone(),
            }),
            None => {
                return Err(output.options.invalid(
                    "clickhouse.written-at",
                    name,
                    "a column of type DateTime or DateTime64 that can be written; the table has none of this name",
                ));
            }
        }
    }
    Ok(written)
}

/// Positions are ours, not the query's: a table that a user made need not have them.
fn is_optional(output: &OutputTable, index: usize) -> bool {
    let name = output.schema.field(index).name().as_str();
    if output.form == TableForm::Revised {
        return index >= output.visible && [IS_FINAL, REVISION].contains(&name);
    }
    POSITION.contains(&name)
        && match output.form {
            TableForm::Mirror | TableForm::Multiset | TableForm::Revised => false,
            TableForm::Late | TableForm::DeadLetters => true,
            TableForm::Log | TableForm::Results => index >= output.visible,
        }
}

/// Columns that `*` of a changelog did not always have: a table that was made before goes on without them.
fn was_added_later(output: &OutputTable, column: &str) -> bool {
    output.form == TableForm::Log && matches!(column, "_transaction_id" | "_before")
}

/// Both sides as a small table, and what to do.
fn report(name: &TableName, place: &str, mismatches: &[Mismatch]) -> Error {
    let width = |cell: fn(&Mismatch) -> &str, title: &str| {
        mismatches.iter().map(|mismatch| cell(mismatch).chars().count()).fold(title.len(), usize::max)
    };
    let column = width(|mismatch| &mismatch.column, "column");
    let sent = width(|mismatch| &mismatch.sent, "the query gives");
    let has = width(|mismatch| &mismatch.has, "the table has");
    let mut text = format!("the ClickHouse table {name} at {place} does not fit the query\n");
    text.push_str(&format!("  {:column$}  {:sent$}  {:has$}\n", "column", "the query gives", "the table has"));
    for mismatch in mismatches {
        let Mismatch { column: name, sent: query, has: table, trouble, .. } = mismatch;
        text.push_str(&format!("  {name:column$}  {query:sent$}  {table:has$}  {trouble}\n"));
    }
    let remedies: Vec<&str> = mismatches.iter().filter_map(|mismatch| mismatch.remedy.as_deref()).collect();
    if remedies.len() == mismatches.len() {
        text.push_str(&format!(
            "run ALTER TABLE {} {}\nor give the option 'table' another name, which Highwater then creates",
            name.quoted(),
            remedies.join(", ")
        ));
    } else {
        text.push_str(
            "computed columns and columns of the sorting key cannot be altered: change the query, \
             or give the option 'table' another name, which Highwater then creates",
        );
    }
    Error::config(text)
}

#[cfg(test)]
pub(super) fn existing_of(
    engine: &str,
    partition_key: &str,
    sorting_key: &str,
    columns: &[(&str, &str, &str)],
) -> Existing {
    Existing {
        engine: engine.to_owned(),
        create_query: String::new(),
        partition_key: partition_key.to_owned(),
        sorting_key: sorting_key.to_owned(),
        columns: columns
            .iter()
            .map(|(name, ch_type, default_kind)| ExistingColumn {
                name: (*name).to_owned(),
                ch_type: ChType::parse(ch_type),
                default_kind: (*default_kind).to_owned(),
            })
            .collect(),
    }
}
