//! The rows of an epoch on their way into blocks.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::RecordBatch;

use crate::change::{OffsetRange, TopicPartition};
use crate::checkpoint::{Checkpoint, Intent};
use crate::sink::{Block, OutputTable, TableForm};

/// What an epoch has gathered so far, per output and partition, in offset order.
#[derive(Debug, Default)]
pub struct EpochRows {
    outputs: BTreeMap<usize, BTreeMap<TopicPartition, Vec<RecordBatch>>>,
    /// Rows of all outputs.
    pub rows: usize,
    /// Their memory, in bytes.
    pub bytes: usize,
}

impl EpochRows {
    /// Adds rows of one partition, which come in offset order.
    pub fn add(&mut self, output: usize, source: TopicPartition, rows: RecordBatch) {
        self.rows += rows.num_rows();
        self.bytes += rows.get_array_memory_size();
        self.outputs.entry(output).or_default().entry(source).or_default().push(rows);
    }

    /// Drops the rows of outputs that are not wanted.
    pub fn retain_outputs(&mut self, wanted: impl Fn(usize) -> bool) {
        self.outputs.retain(|output, _| wanted(*output));
    }

    /// Whether nothing has come.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// The cut that ends an epoch, as blocks need it.
#[derive(Debug)]
pub struct Cut<'a> {
    /// The job's name.
    pub job: &'a str,
    /// When the job was started afresh.
    pub started_at: i64,
    /// With which claim it last went back, or 0.
    pub went_back: u64,
    /// The epoch's number.
    pub epoch: u64,
    /// When it was made.
    pub made_at: i64,
    /// What the epoch read of each partition.
    pub ranges: &'a BTreeMap<TopicPartition, OffsetRange>,
}

/// The blocks of an epoch: one per output that has rows, partitions in order. The same cut gives the same blocks.
pub fn blocks(
    cut: &Cut<'_>,
    outputs: &[OutputTable],
    rows: EpochRows,
    results: BTreeMap<usize, Vec<RecordBatch>>,
) -> Vec<(usize, Block)> {
    let mut blocks = Vec::new();
    for (output, partitions) in rows.outputs {
        let read = |source: &TopicPartition| cut.ranges.get(source).map(|range| (source.clone(), *range));
        let ranges: Vec<_> = partitions.keys().filter_map(read).collect();
        let mut described: Vec<_> =
            ranges.iter().map(|(source, range)| format!("{source}:{}-{}", range.from, range.to)).collect();
        if ranges.len() < partitions.len() {
            // Rows that come from no partition: results that could not be computed.
            described.push(format!("epoch-{}", cut.epoch));
        }
        let token = token(cut, &outputs[output], &described.join(","));
        let rows = partitions.into_values().flatten().collect();
        blocks.push((output, Block { rows, token, ranges, epoch: cut.epoch, made_at: cut.made_at }));
    }
    for (output, rows) in results {
        let token = token(cut, &outputs[output], &format!("epoch-{}", cut.epoch));
        blocks.push((output, Block { rows, token, ranges: Vec::new(), epoch: cut.epoch, made_at: cut.made_at }));
    }
    blocks
}

/// A function of job, table and ranges or epoch. A job that was started afresh is another one, whatever its name: it may cut
/// its epochs elsewhere. Many partitions make it long: then the ranges are there as a checksum.
fn token(cut: &Cut<'_>, table: &OutputTable, what: &str) -> String {
    let table = table.name();
    let job = match (cut.started_at, cut.went_back) {
        // Of a checkpoint that did not note it.
        (0, 0) => cut.job.to_owned(),
        (started_at, 0) => format!("{}@{started_at}", cut.job),
        (started_at, went_back) => format!("{}@{started_at}.{went_back}", cut.job),
    };
    match what.len() {
        ..=200 => format!("{job}/{table}/{what}"),
        length => {
            format!("{job}/{table}/{length}-{:08x}-{:08x}", crc32fast::hash(what.as_bytes()), reversed_hash(what))
        }
    }
}

/// A second checksum, so that two long lists of ranges do not meet by chance.
fn reversed_hash(text: &str) -> u32 {
    let reversed: Vec<u8> = text.bytes().rev().collect();
    crc32fast::hash(&reversed)
}

/// Whether a checkpoint carries the rows of a block of this form: those that cannot be read again from the epoch's
/// ranges alone, because windows had a say in them.
pub fn is_inline(form: &TableForm) -> bool {
    match form {
        TableForm::Log | TableForm::Mirror | TableForm::Multiset => false,
        TableForm::Results | TableForm::Revised | TableForm::Late | TableForm::DeadLetters => true,
    }
}

/// The intents of blocks, with the rows of those that carry theirs: by their form, or because they are among the `kept`.
pub fn intents(
    blocks: &[(usize, Block)],
    outputs: &[OutputTable],
    kept: &BTreeSet<usize>,
) -> (Vec<Intent>, Vec<Vec<RecordBatch>>) {
    let mut inline_rows = Vec::new();
    let intents = blocks.iter().map(|(output, block)| {
        let inline = is_inline(&outputs[*output].form) || kept.contains(output);
        if inline {
            inline_rows.push(block.rows.clone());
        }
        Intent { output: *output, token: block.token.clone(), made_at: block.made_at, rows: block.row_count(), inline }
    });
    (intents.collect(), inline_rows)
}

/// The blocks whose rows a checkpoint carries.
pub fn inline_blocks(checkpoint: &Checkpoint) -> Vec<(usize, Block)> {
    let carried = checkpoint.manifest.intents.iter().filter(|intent| intent.inline).zip(&checkpoint.rows);
    carried
        .map(|(intent, rows)| {
            let block = Block {
                rows: rows.clone(),
                token: intent.token.clone(),
                // The rows say themselves where they come from.
                ranges: Vec::new(),
                epoch: checkpoint.manifest.epoch,
                made_at: intent.made_at,
            };
            (intent.output, block)
        })
        .collect()
}
