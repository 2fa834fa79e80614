//! Sends blocks: Arrow columns as an Arrow IPC stream, compressed on the way, one insert a chunk.

use std::sync::Arc;

use clickhouse::Compression;
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMillisecondArray, TimestampSecondArray,
    UInt8Array, UInt32Array, UInt64Array,
};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};

use super::check::{From, WrittenColumn};
use super::client::{ClickHouseClient, quote_identifier};
use super::ddl::{Extra, TableName};
use super::encode::{Encoding, SendError};
use super::split::{CHUNK_PARTS, CHUNK_ROWS, Parting, Piece};
use super::wire::to_batch;
use crate::error::{Error, Result};
use crate::sink::{Block, IS_DELETED, TableForm};
use crate::stable_hash::stable_hash;

/// By what the rows of a block are found again in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// `_topic`, `_partition`, `_offset` at these indexes of the sent rows.
    Positions([usize; 3]),
    /// `_job` and `_epoch`, and the window's start at this index.
    Epoch(Option<usize>),
    /// Nothing needs to be found: a repeat folds into one by its version.
    Versions,
    /// The table has no columns to find them by.
    None,
}

/// How rows get into the table, decided once.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: TableName,
    pub(super) columns: Vec<WrittenColumn>,
    pub(super) parting: Parting,
    pub(super) identity: Identity,
    /// Whether to ask for an answer that has seen every insert, not only the asked replica's.
    pub(super) replicated: bool,
    pub(super) compression: Compression,
    /// Whether a mirror's tombstones are left out: an archive keeps what its source deletes.
    pub(super) keeps_deleted: bool,
    pub(super) form: TableForm,
    /// Settings of every insert that this server knows.
    pub(super) settings: Vec<(&'static str, String)>,
}

/// The settings of an insert, as far as the server knows them: rows are durable and deduplicated when it answers, and
/// a chunk is one block, so that it is there whole or not at all.
pub(super) fn insert_settings(known: &[String], parting: Parting) -> Vec<(&'static str, String)> {
    let block_rows = (4 * CHUNK_ROWS).to_string();
    let parts = CHUNK_PARTS.to_string();
    [
        ("async_insert", "0"),
        ("insert_deduplicate", "1"),
        ("deduplicate_insert", "enable"),
        ("max_partitions_per_insert_block", &parts),
        ("max_insert_block_size", &block_rows),
        ("max_insert_block_size_bytes", "0"),
        ("min_insert_block_size_rows", &block_rows),
        ("min_insert_block_size_bytes", "0"),
        ("max_insert_threads", "1"),
        ("input_format_null_as_default", "1"),
        // Into a `Distributed` table: rows are on their servers when it answers, or nobody would find them there.
        ("distributed_foreground_insert", "1"),
    ]
    .into_iter()
    .filter(|(name, _)| known.iter().any(|known| known == name))
    // Where we cannot cut by partitions, the limit that the user set stands.
    .filter(|(name, _)| *name != "max_partitions_per_insert_block" || parting != Parting::Other)
    .map(|(name, value)| (name, value.to_owned()))
    .collect()
}

impl Plan {
    /// The rows of a block with the columns that the table takes, in its order and types.
    pub(super) fn rows(&self, block: &Block, job: &str) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::with_capacity(block.rows.len());
        for batch in &block.rows {
            let kept = if self.keeps_deleted { without_tombstones(batch)? } else { batch.clone() };
            if kept.num_rows() > 0 {
                rows.push(self.batch(&kept, block, job)?);
            }
        }
        Ok(rows)
    }

    fn batch(&self, batch: &RecordBatch, block: &Block, job: &str) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let array: ArrayRef = match column.from {
                From::Block(index) => match batch.columns().get(index) {
                    Some(array) => Arc::clone(array),
                    None => {
                        return Err(Error::internal(format!("a block for {} lacks \"{}\"", self.name, column.name)));
                    }
                },
                From::Extra(Extra::IsFinal) => Arc::new(UInt8Array::from_value(1, rows)),
                From::Extra(Extra::Revision) => Arc::new(UInt32Array::from_value(0, rows)),
                From::Extra(Extra::UpdatedAt) => Arc::new(TimestampMillisecondArray::from_value(block.made_at, rows)),
                From::MadeAt if matches!(column.ch_type.parts(), Some(("DateTime", _))) => {
                    Arc::new(TimestampSecondArray::from_value(block.made_at.div_euclid(1000), rows))
                }
                From::MadeAt => Arc::new(TimestampMillisecondArray::from_value(block.made_at, rows)),
                From::Extra(Extra::Job) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(job, rows))),
                From::Extra(Extra::Epoch) => Arc::new(UInt64Array::from_value(block.epoch, rows)),
            };
            columns.push((column.name.as_str(), array, &column.ch_type));
        }
        to_batch(&columns)
    }

    /// The statement of every insert.
    pub(super) fn statement(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| quote_identifier(&column.name)).collect();
        format!("INSERT INTO {} ({}) FORMAT ArrowStream", self.name.quoted(), columns.join(", "))
    }

    /// Inserts the pieces of a chunk, or those that are missing, under the chunk's token, and returns when they are durable.
    ///
    /// They go as one record batch. ClickHouse 26.7 counts record batches into what it remembers of a token: the same
    /// rows under the same token as one batch and as two are there twice. As one, they are known again by partition,
    /// however the block was put together, and whatever other partitions come with them.
    pub(super) async fn send(&self, client: &ClickHouseClient, pieces: &[&Piece], token: &str) -> Result<()> {
        let batches: Vec<&RecordBatch> = pieces.iter().flat_map(|piece| &piece.rows).collect();
        let rows = match batches.as_slice() {
            [] => return Ok(()),
            [only] => RecordBatch::clone(only),
            [first, ..] => concat_batches(&first.schema(), batches.iter().copied())?,
        };
        let timeout = Some(client.timeout());
        let http = client.http().clone().with_compression(self.compression);
        let mut insert = http
            .insert_formatted_with(self.statement())
            .with_timeouts(timeout, timeout)
            .with_setting("insert_deduplication_token", token)
            .with_setting("query_id", query_id(token))
            .with_setting("wait_end_of_query", "1");
        for (name, value) in &self.settings {
            insert = insert.with_setting(*name, value);
        }
        let failed = |error| client.failed(&format!("cannot insert into the ClickHouse table {}", self.name), &error);
        Encoding::start(rows, self.compression).send(&mut insert).await.map_err(|error| match error {
            SendError::Insert(error) => failed(error),
            SendError::Encode(error) => error,
        })?;
        insert.end().await.map_err(failed)
    }
}

/// The rows of a mirror that are there.
fn without_tombstones(batch: &RecordBatch) -> Result<RecordBatch> {
    let Some(deleted) = batch.column_by_name(IS_DELETED).and_then(|it| it.as_any().downcast_ref::<UInt8Array>()) else {
        return Ok(batch.clone());
    };
    let there: BooleanArray = deleted.values().iter().map(|deleted| Some(*deleted == 0)).collect();
    Ok(filter_record_batch(batch, &there)?)
}

/// The query id of an insert: a function of its token, so that a successor finds it in `system.processes`, and the
/// server refuses to run it twice at a time. Ids of different tokens differ, whatever was cut off or replaced.
pub fn query_id(token: &str) -> String {
    format!("{}-{:016x}", readable(token), stable_hash(token.as_bytes()))
}

/// A regular expression for the query ids of all inserts of a job: its tokens say when it was started, too.
pub(super) fn query_ids_of(job: &str) -> String {
    format!("^{}[0-9.]+/", regex::escape(&readable(&format!("{job}@"))))
}

fn readable(token: &str) -> String {
    let readable: String = token
        .chars()
        .take(80)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '_') { c } else { '_' })
        .collect();
    format!("highwater-{readable}")
}
