//! The kept rows of a checkpoint, in an object beside it: what has changed since the checkpoint with state before it.
//!
//! ```text
//!  checkpoint  …  12      15      18      21      24
//!  rows           ██ all  ▪       ▪       ██ all  ▪
//!  needed by 18:  12      15      18
//! ```
//!
//! They have the number of their checkpoint and are written before it. Only who has written the number before can write it, so
//! nobody else writes these: rows without their checkpoint are of a process that died or was taken over, and nobody reads
//! them. They are forgotten when no checkpoint that is kept needs them.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::encoding::{Kind, assemble, decode_batches, encode_batches, open};
use super::store::{Beside, CheckpointStore};
use super::writer::Process;
use super::{FORMAT_VERSION, Manifest};
use crate::change::TopicPartition;
use crate::error::{Error, Result};
use crate::state::{Part, PartitionRows};

/// In the place where a checkpoint says whether it has state.
const KEPT_ROWS: u8 = 3;
/// How many are looked through at once when a job starts.
const CHECKED_AT_ONCE: usize = 4;

/// What people can read of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    version: u32,
    job: String,
    number: u64,
    writer: Process,
}

/// The kept rows of a checkpoint as bytes.
pub(super) fn encode_rows(job: &str, number: u64, writer: &Process, keyed: &[PartitionRows]) -> Result<Vec<u8>> {
    let head = serde_json::to_vec(&Head::new(job, number, writer)).map_err(Error::internal)?;
    let mut parts = Vec::new();
    for rows in keyed {
        parts.push((Kind::Keyed, encode_batches(&tagged(rows)?)?));
        if !rows.gone.is_empty() {
            parts.push((Kind::Gone, encode_batches(&rows.gone)?));
        }
    }
    Ok(assemble(&head, KEPT_ROWS, parts))
}

impl Head {
    pub(super) fn new(job: &str, number: u64, writer: &Process) -> Self {
        Self { version: FORMAT_VERSION, job: job.to_owned(), number, writer: writer.clone() }
    }
}

/// Whether these bytes are what is saved beside the checkpoint of this number.
pub(super) fn check(bytes: &[u8], number: u64, what: u8) -> Result<(), String> {
    let opened = open(bytes)?;
    let head = serde_json::from_slice::<Head>(opened.manifest);
    match head {
        Ok(head) if opened.what == what && head.number == number => Ok(()),
        _ => Err("it is something else".into()),
    }
}

pub(super) fn decode_rows(bytes: &[u8], number: u64) -> Result<Vec<PartitionRows>, String> {
    check(bytes, number, KEPT_ROWS)?;
    let mut parts = open(bytes)?.parts()?.into_iter().peekable();
    let mut keyed = Vec::new();
    while let Some((_, rows)) = parts.next() {
        let gone = match parts.next_if(|(kind, _)| matches!(kind, Kind::Gone)) {
            Some((_, gone)) => decode_batches(gone)?,
            None => Vec::new(),
        };
        keyed.push(unkeyed(&decode_batches(rows)?, gone)?);
    }
    Ok(keyed)
}

/// Where the rows are from is in the schema's metadata: all batches of a stream share it.
fn tagged(rows: &PartitionRows) -> Result<Vec<RecordBatch>> {
    let place = [
        ("table", rows.table.clone()),
        ("topic", rows.source.topic.to_string()),
        ("partition", rows.source.partition.to_string()),
        ("unmatched", rows.unmatched.to_string()),
        ("whole", rows.part.whole.to_string()),
    ];
    let place: HashMap<String, String> = place.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let tagged = |batch: &RecordBatch| {
        let schema = batch.schema().as_ref().clone().with_metadata(place.clone());
        Ok(RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec())?)
    };
    rows.rows.iter().map(tagged).collect()
}

pub(super) fn unkeyed(rows: &[RecordBatch], gone: Vec<RecordBatch>) -> Result<PartitionRows, String> {
    let schema = rows.first().map(RecordBatch::schema).ok_or("the rows of a partition are missing")?;
    let place = |name: &str| schema.metadata().get(name).cloned().ok_or("the rows of a partition have no place");
    let partition = place("partition")?.parse().map_err(|_| "the rows of a partition have no place")?;
    let source = TopicPartition { topic: place("topic")?.into(), partition };
    let plain = Arc::new(Schema::new(schema.fields().clone()));
    let rows = rows.iter().map(|batch| RecordBatch::try_new(Arc::clone(&plain), batch.columns().to_vec()));
    // Before version 5 every checkpoint had all of them.
    let whole = place("whole").map_or(true, |whole| whole == "true");
    Ok(PartitionRows {
        table: place("table")?,
        source,
        rows: rows.collect::<Result<_, _>>().map_err(|error| error.to_string())?,
        gone,
        part: Part { whole, since: None },
        // Checkpoints of before windows over tables have none.
        unmatched: place("unmatched").ok().and_then(|text| text.parse().ok()).unwrap_or(0),
    })
}

impl CheckpointStore {
    /// The kept rows under a number, which a checkpoint's [`Manifest::rows`] names.
    pub async fn kept_rows(&self, number: u64) -> Result<Vec<PartitionRows>> {
        let damaged = |damage: String| {
            Error::permanent(format!("cannot use the kept rows of checkpoint {number} in {}", self.place()), damage)
        };
        let bytes = self.load_beside(Beside::KeptRows, number).await?.map_err(damaged)?;
        decode_rows(&bytes, number).map_err(damaged)
    }

    /// Whether all rows are there that a checkpoint needs. They may be more than there is memory for: none is kept.
    pub(super) async fn check_rows(&self, manifest: &Manifest) -> Result<Result<(), String>> {
        let look = async |number: u64| -> Result<Option<String>> {
            let checked =
                self.load_beside(Beside::KeptRows, number).await?.and_then(|bytes| check(&bytes, number, KEPT_ROWS));
            Ok(checked
                .err()
                .map(|damage| format!("the kept rows of checkpoint {number}, which it builds on: {damage}")))
        };
        let looks = futures::stream::iter(manifest.rows.clone()).map(look).buffered(CHECKED_AT_ONCE);
        let mut damages = std::pin::pin!(looks.try_filter_map(async |damage| Ok(damage)));
        Ok(damages.try_next().await?.map_or(Ok(()), Err))
    }
}
