//! The row-wise steps of a query, in order: filters and projections as DataFusion physical expressions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, cast::AsArray,
};
use datafusion::arrow::compute::{FilterBuilder, filter_record_batch, prep_null_mask_filter};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use super::lookup::Lookup;
use super::row_windows::RowWindows;
use super::unnest::Unnest;
use crate::error::{Error, Result};

/// One row-wise step.
#[derive(Debug, Clone)]
pub enum Stage {
    /// Keeps the rows for which the expression is true (not null).
    Filter(Arc<dyn PhysicalExpr>),
    /// Computes new columns from the old ones.
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// Adds the bounds of its windows to each row, once for each of them.
    Windows(RowWindows),
    /// Joins each row with those of a small table.
    Lookup(Arc<Lookup>),
    /// Puts the items of arrays into rows of their own.
    Unnest(Unnest),
}

/// Rows on their way through the stages, each with its place in the batch that it came from.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The columns as they are now.
    pub batch: RecordBatch,
    /// The row's index in the source batch; `None` when no row has been dropped yet.
    pub index: Option<UInt32Array>,
}

impl Rows {
    /// All rows of a batch.
    pub fn all(batch: RecordBatch) -> Self {
        Self { batch, index: None }
    }

    /// A stretch of them.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        let index = match &self.index {
            Some(index) => index.slice(offset, length),
            None => (offset as u32..(offset + length) as u32).collect::<Vec<_>>().into(),
        };
        Self { batch: self.batch.slice(offset, length), index: Some(index) }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The place of row `row` in the source batch.
    pub fn source_row(&self, row: usize) -> usize {
        self.index.as_ref().map_or(row, |index| index.value(row) as usize)
    }

    /// Keeps the rows for which `mask` is true.
    pub fn filter(self, mask: &BooleanArray) -> Result<Self> {
        if mask.true_count() == mask.len() {
            return Ok(self);
        }
        let batch = filter_record_batch(&self.batch, mask)?;
        let index = match self.index {
            Some(index) => FilterBuilder::new(mask).build().filter(&index)?.as_primitive().clone(),
            None => mask.values().set_indices_u32().collect::<Vec<_>>().into(),
        };
        Ok(Self { batch, index: Some(index) })
    }
}

/// Puts rows through the stages. An error is an expression that failed on some row (a cast, a division by zero).
pub fn run(stages: &[Stage], mut rows: Rows) -> Result<Rows> {
    for stage in stages {
        rows = match stage {
            Stage::Filter(predicate) => {
                let mask = evaluate(predicate, &rows.batch)?;
                let mask = mask.as_boolean();
                if mask.null_count() == 0 { rows.filter(mask)? } else { rows.filter(&prep_null_mask_filter(mask))? }
            }
            Stage::Project(..) | Stage::Windows(_) | Stage::Lookup(_) | Stage::Unnest(_) => project(stage, rows)?,
        };
        if rows.is_empty() {
            break;
        }
    }
    Ok(rows)
}

/// Puts rows through everything but the filters: a row keeps its place whether or not they would have it.
pub fn run_projections(stages: &[Stage], rows: Rows) -> Result<Rows> {
    stages.iter().filter(|stage| !matches!(stage, Stage::Filter(_))).try_fold(rows, |rows, stage| project(stage, rows))
}

/// The schema after the stages, given the one before.
pub fn output_schema(stages: &[Stage], input: &SchemaRef) -> SchemaRef {
    let last = stages.iter().rev().find_map(|stage| match stage {
        Stage::Project(_, schema)
        | Stage::Windows(RowWindows { schema, .. })
        | Stage::Unnest(Unnest { schema, .. }) => Some(schema),
        Stage::Lookup(lookup) => Some(&lookup.schema),
        Stage::Filter(_) => None,
    });
    Arc::clone(last.unwrap_or(input))
}

fn project(stage: &Stage, rows: Rows) -> Result<Rows> {
    let (expressions, schema) = match stage {
        Stage::Project(expressions, schema) => (expressions, schema),
        Stage::Windows(windows) => return windows.add(rows),
        Stage::Lookup(lookup) => return lookup.join(&rows),
        Stage::Unnest(unnest) => return unnest.expand(&rows),
        Stage::Filter(_) => return Ok(rows),
    };
    let columns = expressions.iter().map(|expression| evaluate(expression, &rows.batch)).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(Rows { batch: RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?, index: rows.index })
}

/// The values of an expression over a batch, one a row. Some functions panic on absurd arguments (`lpad(s, 9e18)`):
/// that is an error of the value too, not the end of the job.
pub fn evaluate(expression: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    let evaluate = || expression.evaluate(batch).and_then(|values| values.into_array(batch.num_rows()));
    match catch_unwind(AssertUnwindSafe(evaluate)) {
        Ok(values) => values.map_err(Error::expression),
        Err(_) => Err(Error::Expression(format!("{expression} panicked"))),
    }
}
