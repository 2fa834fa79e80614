//! Changes of which every image is known that can be.

use std::cell::OnceCell;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use datafusion::arrow::compute::interleave;

use crate::change::{Before, ChangeBatch, Op};
use crate::error::Result;

/// What was there before a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Was {
    /// The row was kept, and was another one.
    Kept,
    /// The row was kept, and is the same still.
    Same,
    /// Nothing was kept; `before`, or of a delete the row, is what the event says.
    Event,
    /// Nothing is known to have been there.
    Nothing,
}

/// Changes of which every image is known that can be.
#[derive(Debug)]
pub struct Whole {
    /// The changes in order: values that an event left out are there; rows of deletes and `before` are what the events say. A truncate
    /// is a delete of every row of its partition, all at the truncate's offset.
    pub changes: ChangeBatch,
    /// The rows that were there: one of each change where there was [`Was::Kept`], in their order.
    pub kept: RecordBatch,
    /// The place of each among the changes that were taken in.
    pub places: Vec<u32>,
    /// What was there before each.
    pub was: Vec<Was>,
    pairs: OnceCell<ChangeBatch>,
}

impl Whole {
    /// These changes.
    pub fn new(changes: ChangeBatch, kept: RecordBatch, places: Vec<u32>, was: Vec<Was>) -> Self {
        Self { changes, kept, places, was, pairs: OnceCell::new() }
    }

    /// Changes as they came, of which nothing is kept.
    pub fn told(changes: ChangeBatch, places: Vec<u32>) -> Self {
        let kept = RecordBatch::new_empty(changes.rows.schema());
        let was = vec![Was::Event; places.len()];
        Self::new(changes, kept, places, was)
    }

    /// The changes with the rows that were there as their `before`, also of inserts and snapshot reads that met one; rows of deletes are
    /// full.
    pub fn paired(&self) -> Result<&ChangeBatch> {
        if let Some(pairs) = self.pairs.get() {
            return Ok(pairs);
        }
        let changes = &self.changes;
        let has_told = |row: usize| self.was[row] == Was::Event && changes.ops[row] != Op::Delete;
        let is_known = |row: usize| matches!(self.was[row], Was::Kept | Was::Same) || has_told(row);
        let present: Vec<bool> = (0..changes.len()).map(is_known).collect();
        if !present.contains(&true) {
            // Rows that nobody knew, which is most of a topic.
            return Ok(match changes.before {
                None => changes,
                Some(_) => self.pairs.get_or_init(|| ChangeBatch { before: None, ..changes.clone() }),
            });
        }
        let (mut before, mut after) = (Vec::with_capacity(changes.len()), Vec::with_capacity(changes.len()));
        let mut kept = 0..;
        for (row, was) in self.was.iter().enumerate() {
            let from = match was {
                Was::Kept => (2, kept.next().unwrap_or_default()),
                Was::Same => (0, row),
                Was::Event if has_told(row) => (3, row),
                Was::Event | Was::Nothing => (1, 0),
            };
            before.push(from);
            after.push(if changes.ops[row] == Op::Delete && from.0 == 2 { from } else { (0, row) });
        }
        let told = changes.before.as_ref();
        let pick = |indices: &[(usize, usize)]| {
            let column = |(place, own): (usize, &ArrayRef)| {
                let nothing = new_null_array(own.data_type(), 1);
                let mut sources: Vec<&dyn Array> = vec![own, &nothing, self.kept.column(place)];
                sources.extend(told.map(|it| it.rows.column(place) as &dyn Array));
                interleave(&sources, indices)
            };
            let columns =
                changes.rows.columns().iter().enumerate().map(column).collect::<std::result::Result<_, _>>()?;
            Ok::<_, crate::error::Error>(RecordBatch::try_new(Arc::clone(changes.rows.schema_ref()), columns)?)
        };
        let (rows, before) = (pick(&after)?, Some(Before { rows: pick(&before)?, present }));
        Ok(self.pairs.get_or_init(|| ChangeBatch { rows, before, ..changes.clone() }))
    }
}
