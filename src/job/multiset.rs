//! The rows of a mirror without a key: each change as rows that came and rows that went.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int8Array, RecordBatch, UInt32Array, UInt64Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::{RowConverter, SortField};

use super::letters::Letters;
use super::rows::{conform, positions, run_or_refuse};
use super::scan::Scan;
use crate::change::{ChangeBatch, DeadReason, Op};
use crate::error::Result;
use crate::stable_hash::stable_hash;
use crate::window::stage::{Rows, Stage, run};

/// Why a truncate is not applied.
const KEYLESS: &str =
    "without a key nobody can tell which came before; fill a new table, or set 'truncate' = 'ignore' or 'stop'";

/// The rows of some changes, in their order, a row that went before the one that came in its place.
pub fn rows(
    stages: &[Stage],
    scan: &Scan,
    changes: &ChangeBatch,
    schema: &SchemaRef,
    letters: &mut Letters<'_>,
) -> Result<Vec<RecordBatch>> {
    let without;
    let changes = match changes.ops.contains(&Op::Truncate) {
        true => {
            without = letters.refuse_truncates(changes, KEYLESS)?;
            &without
        }
        false => changes,
    };
    let has_before = |row: usize| changes.before.as_ref().is_some_and(|before| before.present[row]);
    let (mut came, mut went, mut updated) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..changes.len() {
        match changes.ops[row] {
            Op::Read | Op::Create => came.push(row as u32),
            Op::Delete => went.push(row as u32),
            Op::Update if has_before(row) => {
                came.push(row as u32);
                updated.push(row as u32);
            }
            Op::Update => letters.add_offset(
                changes.offsets[row],
                DeadReason::MissingBeforeImage,
                "the update does not say what the row was before, which a mirror without a key must know; \
                 in PostgreSQL, set REPLICA IDENTITY FULL; in MySQL, binlog_row_image = FULL",
            ),
            Op::Truncate => {}
        }
    }
    let mut parts = Parts { schema, changes, rows: Vec::new(), order: Vec::new() };
    let pick = |picked: Vec<u32>, images: &RecordBatch| -> Result<Rows> {
        let picked = UInt32Array::from(picked);
        let batch = scan.rows(&changes.pick(&picked, images)?)?;
        Ok(Rows { batch, index: Some(picked) })
    };
    for (picked, images, count) in [
        (went, Some(&changes.rows), -1),
        (updated, changes.before.as_ref().map(|before| &before.rows), -1),
        (came, Some(&changes.rows), 1),
    ] {
        let (Some(images), false) = (images, picked.is_empty()) else { continue };
        let rows = pick(picked, images)?;
        let done = match count {
            1 => run_or_refuse(stages, &rows, letters),
            // A row that cannot be computed has never come.
            _ => run_or_skip(stages, &rows),
        };
        for rows in done {
            parts.add(&rows, count)?;
        }
    }
    parts.in_order()
}

fn run_or_skip(stages: &[Stage], rows: &Rows) -> Vec<Rows> {
    let length = rows.len();
    match run(stages, rows.clone()) {
        Ok(done) if done.is_empty() => Vec::new(),
        Ok(done) => vec![done],
        Err(_) if length == 1 => Vec::new(),
        Err(_) => {
            let mut done = run_or_skip(stages, &rows.slice(0, length / 2));
            done.extend(run_or_skip(stages, &rows.slice(length / 2, length - length / 2)));
            done
        }
    }
}

struct Parts<'a> {
    schema: &'a SchemaRef,
    changes: &'a ChangeBatch,
    rows: Vec<RecordBatch>,
    /// The change that each row is of, and whether the row came.
    order: Vec<(usize, bool)>,
}

impl Parts<'_> {
    fn add(&mut self, rows: &Rows, count: i8) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut columns = rows.batch.columns().to_vec();
        columns.push(Arc::new(hashes(&columns)?));
        columns.push(Arc::new(Int8Array::from_value(count, rows.len())));
        columns.extend(positions(rows, self.changes, &self.schema.fields()[columns.len()..]));
        self.rows.push(conform(&columns, self.schema)?);
        self.order.extend((0..rows.len()).map(|row| (rows.source_row(row), count > 0)));
        Ok(())
    }

    fn in_order(self) -> Result<Vec<RecordBatch>> {
        if self.rows.len() <= 1 {
            return Ok(self.rows);
        }
        let rows = concat_batches(self.schema, &self.rows)?;
        let mut places: Vec<u32> = (0..self.order.len() as u32).collect();
        places.sort_by_key(|&place| self.order[place as usize]);
        Ok(vec![take_record_batch(&rows, &UInt32Array::from(places))?])
    }
}

/// Equal rows have equal hashes, so that they lie together. Nothing else rests on them.
fn hashes(columns: &[ArrayRef]) -> Result<UInt64Array> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(columns)?;
    Ok(UInt64Array::from_iter_values(rows.iter().map(|row| stable_hash(row.data()))))
}
