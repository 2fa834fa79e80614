//! The rows of a mirror: each change as the row's newest version, or as a tombstone.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, UInt8Array, UInt32Array, UInt64Array, make_array, new_null_array,
};
use datafusion::arrow::compute::kernels::cmp::distinct;
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{Field, SchemaRef};

use super::rows::conform;
use super::scan::Scan;
use crate::change::{ChangeBatch, Op};
use crate::error::{Error, Result};
use crate::sink::EMPTIED;
use crate::window::stage::{Rows, Stage, run, run_projections};

/// What makes mirror rows of changes.
#[derive(Debug, Clone, Copy)]
pub struct Mirror<'a> {
    /// Filters and projections.
    pub stages: &'a [Stage],
    /// Where the primary key's columns are in the output.
    pub key: &'a [usize],
    /// What the stages read.
    pub scan: &'a Scan,
    /// The columns of the output: version and tombstone mark at the end.
    pub schema: &'a SchemaRef,
    /// The generation of the partition's versions.
    pub generation: u64,
    /// Whether `before` is all that there was: a change without it met no row.
    pub knows_before: bool,
}

/// The mirror's version of a row: the order of its key's partition, never a clock.
pub fn version(generation: u64, offset: i64) -> u64 {
    generation << 48 | offset as u64
}

/// The record's offset that a version was made of.
pub fn offset_of(version: u64) -> i64 {
    (version & ((1 << 48) - 1)) as i64
}

impl Mirror<'_> {
    /// The rows of some changes, in their order. Changes on which an expression fails are refused alone, by their offsets.
    pub fn rows_or_refuse(&self, changes: &ChangeBatch, refuse: &mut dyn FnMut(i64, &str)) -> Result<Vec<RecordBatch>> {
        let length = changes.len() as u32;
        if let Some(at) = changes.ops.iter().position(|op| *op == Op::Truncate) {
            let at = at as u32;
            let part = |rows: std::ops::Range<u32>| changes.take(&UInt32Array::from_iter_values(rows));
            let mut done = self.rows_or_refuse(&part(0..at)?, refuse)?;
            done.push(self.truncate(changes.offsets[at as usize])?);
            done.extend(self.rows_or_refuse(&part(at + 1..length)?, refuse)?);
            return Ok(done);
        }
        match self.rows(changes) {
            Ok(rows) => Ok(rows.into_iter().collect()),
            Err(Error::Expression(message)) if length == 1 => {
                refuse(changes.offsets[0], &message);
                Ok(Vec::new())
            }
            Err(Error::Expression(_)) => {
                let mut done = Vec::new();
                for part in [0..length / 2, length / 2..length] {
                    let part = changes.take(&UInt32Array::from_iter_values(part))?;
                    done.extend(self.rows_or_refuse(&part, refuse)?);
                }
                Ok(done)
            }
            Err(error) => Err(error),
        }
    }

    /// The row as it is now for each change, a tombstone for a delete, for a row that leaves the query's filter, and for
    /// the old key of an update that changes it.
    fn rows(&self, changes: &ChangeBatch) -> Result<Option<RecordBatch>> {
        if changes.is_empty() {
            return Ok(None);
        }
        let all = Rows::all(self.scan.rows(changes)?);
        let is = |wanted: fn(&Op) -> bool| BooleanArray::from(changes.ops.iter().map(wanted).collect::<Vec<_>>());
        let kept = run(self.stages, all.clone().filter(&is(|op| matches!(op, Op::Read | Op::Create | Op::Update)))?)?;

        let mut gone: Vec<bool> = (0..changes.len()).map(|row| self.may_take_away(changes, row)).collect();
        (0..kept.len()).for_each(|row| gone[kept.source_row(row)] = false);
        let gone = self.gone(changes, &all, gone)?;

        let mut parts = Parts { mirror: self, changes, rows: Vec::new(), order: Vec::new() };
        if let Some(moved) = self.moved_keys(changes, &all)? {
            parts.add(&moved, true)?;
        }
        for rows in &gone {
            parts.add(rows, true)?;
        }
        parts.add(&kept, false)?;
        parts.in_order()
    }

    /// A truncate whose rows nobody knows here, as one row: the sink takes away what is older.
    fn truncate(&self, offset: i64) -> Result<RecordBatch> {
        let fields = self.schema.fields();
        let empty = |field: &Arc<Field>| {
            let null = new_null_array(field.data_type(), 1);
            match field.is_nullable() {
                true => Ok(null),
                false => Ok(make_array(null.to_data().into_builder().nulls(None).build()?)),
            }
        };
        let mut columns: Vec<ArrayRef> = fields[..fields.len() - 2].iter().map(empty).collect::<Result<_>>()?;
        columns.push(Arc::new(UInt64Array::from_value(version(self.generation, offset), 1)));
        columns.push(Arc::new(UInt8Array::from_value(EMPTIED, 1)));
        conform(&columns, self.schema)
    }

    /// Whether a change may find a row in the mirror that it has to take away, if it brings none itself.
    fn may_take_away(&self, changes: &ChangeBatch, row: usize) -> bool {
        let had_row = || changes.before.as_ref().is_some_and(|before| before.present[row]);
        match changes.ops[row] {
            Op::Delete => true,
            Op::Read | Op::Create | Op::Update if self.knows_before => had_row(),
            // A snapshot that is taken again may find the row changed, so that the filter does not keep it any more.
            Op::Read | Op::Update => true,
            Op::Create | Op::Truncate => false,
        }
    }

    /// The rows that go, as they were before where that is known.
    fn gone(&self, changes: &ChangeBatch, all: &Rows, gone: Vec<bool>) -> Result<Vec<Rows>> {
        if !gone.contains(&true) {
            return Ok(Vec::new());
        }
        let with_before: Vec<u32> = match &changes.before {
            Some(before) => {
                let is_update = |row: &usize| changes.ops[*row] != Op::Delete && before.present[*row] && gone[*row];
                (0..changes.len()).filter(is_update).map(|row| row as u32).collect()
            }
            None => Vec::new(),
        };
        let mut rest = gone;
        with_before.iter().for_each(|&row| rest[row as usize] = false);
        let mut rows = vec![run_projections(self.stages, all.clone().filter(&BooleanArray::from(rest))?)?];
        if let (Some(before), false) = (&changes.before, with_before.is_empty()) {
            let picked = UInt32Array::from(with_before);
            let old = self.scan.rows(&changes.pick(&picked, &before.rows)?)?;
            rows.push(run_projections(self.stages, Rows { batch: old, index: Some(picked) })?);
        }
        Ok(rows)
    }

    /// The old rows of updates that changed the primary key.
    fn moved_keys(&self, changes: &ChangeBatch, all: &Rows) -> Result<Option<Rows>> {
        let Some(before) = &changes.before else { return Ok(None) };
        let updates = (0..changes.len()).filter(|&row| before.present[row] && changes.ops[row] == Op::Update);
        let updates = UInt32Array::from_iter_values(updates.map(|row| row as u32));
        if updates.is_empty() {
            return Ok(None);
        }
        let old = changes.pick(&updates, &before.rows)?;
        let old = run_projections(self.stages, Rows { batch: self.scan.rows(&old)?, index: Some(updates.clone()) })?;
        let new = Rows { batch: take_record_batch(&all.batch, &updates)?, index: Some(updates) };
        let new = run_projections(self.stages, new)?;
        let mut moved = vec![false; old.len()];
        for &column in self.key {
            let differ = distinct(old.batch.column(column), new.batch.column(column))?;
            moved.iter_mut().enumerate().for_each(|(row, moved)| *moved |= differ.value(row));
        }
        Ok(Some(old.filter(&BooleanArray::from(moved))?))
    }
}

/// Rows of several kinds on their way into one batch.
struct Parts<'a> {
    mirror: &'a Mirror<'a>,
    changes: &'a ChangeBatch,
    rows: Vec<RecordBatch>,
    order: Vec<usize>,
}

impl Parts<'_> {
    fn add(&mut self, rows: &Rows, deleted: bool) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let sources: Vec<usize> = (0..rows.len()).map(|row| rows.source_row(row)).collect();
        let versions = sources.iter().map(|&row| version(self.mirror.generation, self.changes.offsets[row]));
        let mut columns = rows.batch.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from_iter_values(versions)));
        columns.push(Arc::new(UInt8Array::from_value(u8::from(deleted), rows.len())));
        self.rows.push(conform(&columns, self.mirror.schema)?);
        self.order.extend(sources);
        Ok(())
    }

    fn in_order(self) -> Result<Option<RecordBatch>> {
        if self.order.is_empty() {
            return Ok(None);
        }
        let rows = concat_batches(self.mirror.schema, &self.rows)?;
        if self.rows.len() == 1 {
            return Ok(Some(rows));
        }
        let mut places: Vec<u32> = (0..self.order.len() as u32).collect();
        places.sort_by_key(|&place| self.order[place as usize]);
        Ok(Some(take_record_batch(&rows, &UInt32Array::from(places))?))
    }
}
