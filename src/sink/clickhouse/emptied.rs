//! Truncates of a mirror whose rows the job does not know: the server finds them.

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{UInt8Type, UInt64Type};

use super::client::{ClickHouseClient, quote_identifier};
use super::insert::Plan;
use crate::error::Result;
use crate::sink::{Block, EMPTIED, IS_DELETED, VERSION};

/// The block without its truncates, unless it has none, and their versions.
pub(super) fn take_out(block: &Block) -> Result<(Option<Block>, Vec<u64>)> {
    let mut versions = Vec::new();
    let mut rows = Vec::with_capacity(block.rows.len());
    for batch in &block.rows {
        rows.push(without(batch, &mut versions)?);
    }
    Ok(match versions.is_empty() {
        true => (None, versions),
        false => (Some(Block { rows, ..block.clone() }), versions),
    })
}

fn without(batch: &RecordBatch, versions: &mut Vec<u64>) -> Result<RecordBatch> {
    let column = |name: &str| batch.column_by_name(name);
    let marks = column(IS_DELETED).and_then(|marks| marks.as_primitive_opt::<UInt8Type>());
    let version = column(VERSION).and_then(|version| version.as_primitive_opt::<UInt64Type>());
    let (Some(marks), Some(version)) = (marks, version) else { return Ok(batch.clone()) };
    if !marks.values().contains(&EMPTIED) {
        return Ok(batch.clone());
    }
    let is_truncate = |row: &usize| marks.value(*row) == EMPTIED;
    versions.extend((0..marks.len()).filter(is_truncate).map(|row| version.value(row)));
    let rest: BooleanArray = marks.values().iter().map(|mark| Some(*mark != EMPTIED)).collect();
    Ok(filter_record_batch(batch, &rest)?)
}

impl Plan {
    /// Writes a tombstone for every current row with a lesser version. What is newer stays, so it may be repeated at any
    /// time.
    pub(super) async fn empty(&self, client: &ClickHouseClient, version: u64) -> Result<()> {
        let names = self.columns.iter().map(|column| column.name.as_str());
        let (columns, values): (Vec<String>, Vec<String>) = names
            .map(|name| {
                let quoted = quote_identifier(name);
                let value = match name {
                    VERSION => format!("toUInt64({version})"),
                    IS_DELETED => "toUInt8(1)".to_owned(),
                    _ => quoted.clone(),
                };
                (quoted, value)
            })
            .unzip();
        let table = self.name.quoted();
        let [own_version, mark] = [VERSION, IS_DELETED].map(quote_identifier);
        let sql = format!(
            "INSERT INTO {table} ({}) SELECT {} FROM {table} AS old FINAL WHERE old.{mark} = 0 AND old.{own_version} < {version}",
            columns.join(", "),
            values.join(", ")
        );
        // The same tombstones twice are wanted twice: between the two the rows may have come again.
        let settings: Vec<(&str, &str)> =
            [("insert_deduplicate", "0"), ("deduplicate_insert", "disable"), ("async_insert", "0")]
                .into_iter()
                .filter(|(name, _)| self.settings.iter().any(|(known, _)| known == name))
                .chain([("wait_end_of_query", "1")])
                .collect();
        client.query_with(&sql, &settings).await.map(drop)
    }
}
