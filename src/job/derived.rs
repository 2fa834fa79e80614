//! Columns that records do not have: those that the table computes, and METADATA where it is kept with the row. They are added to what is decoded,
//! and are columns of the row for all that comes after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use datafusion::arrow::compute::{cast, concat, nullif};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use super::letters::Letters;
use super::scan::ScanColumn;
use crate::change::{Before, ChangeBatch, DeadReason, Op};
use crate::error::{Error, Result};
use crate::format::{DecodeSpec, Decoder};
use crate::source::RawBatch;
use crate::sql::define::catalog::Table;
use crate::window::stage::evaluate;

/// The columns that are added to those of a record.
#[derive(Debug)]
pub struct Derived {
    columns: Vec<Column>,
    /// The columns of a record, and these.
    schema: SchemaRef,
}

#[derive(Debug)]
struct Column {
    name: String,
    data_type: DataType,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// What stands beside the row.
    Metadata(ScanColumn),
    Computed {
        expression: Arc<dyn PhysicalExpr>,
        inputs: Vec<ScanColumn>,
        schema: SchemaRef,
        /// Which of the record's columns are inputs.
        of_row: Vec<usize>,
    },
}

impl Derived {
    /// These columns of a table, over what is decoded of its records; and what is there with them. `None` where there are none.
    pub(super) fn new(
        table: &Table,
        names: &BTreeSet<&str>,
        decoded: &DecodeSpec,
    ) -> Result<Option<(Self, DecodeSpec)>> {
        let mut columns = Vec::new();
        let mut fields: Vec<Arc<Field>> = decoded.columns.fields().iter().cloned().collect();
        for field in table.columns.fields().iter().filter(|field| names.contains(field.name().as_str())) {
            let value = match table.computed.get(field.name()) {
                Some(computed) => {
                    let inputs = computed.inputs.fields().iter();
                    Value::Computed {
                        expression: Arc::clone(&computed.expression),
                        inputs: inputs.clone().map(|it| ScanColumn::new(it, table, decoded)).collect::<Result<_>>()?,
                        schema: Arc::clone(&computed.inputs),
                        of_row: inputs.filter_map(|it| decoded.columns.index_of(it.name()).ok()).collect(),
                    }
                }
                None => Value::Metadata(ScanColumn::new(field, table, decoded)?),
            };
            columns.push(Column { name: field.name().clone(), data_type: field.data_type().clone(), value });
            fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
        }
        if columns.is_empty() {
            return Ok(None);
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let spec = DecodeSpec { columns: Arc::clone(&schema), ..decoded.clone() };
        Ok(Some((Self { columns, schema }, spec)))
    }

    /// Adds them. Records of which they cannot be computed are taken out, as dead letters.
    fn add(&self, raw: &RawBatch, changes: ChangeBatch) -> Result<ChangeBatch> {
        let mut failed: BTreeMap<usize, (DeadReason, String)> = BTreeMap::new();
        let mut unavailable = changes.unavailable.clone();
        let first = changes.rows.num_columns();
        let mut columns = changes.rows.columns().to_vec();
        for (number, column) in self.columns.iter().enumerate() {
            let left_out = column.left_out(&changes);
            let mut errors = BTreeMap::new();
            let array = column.values(&changes, &mut errors)?;
            // A value that the event leaves out has not changed, and so has not what is computed from it alone.
            unavailable
                .extend(left_out.iter().filter(|(_, alone)| **alone).map(|(&row, _)| (row, (first + number) as u32)));
            for (&row, _) in left_out.iter().filter(|(_, alone)| !**alone) {
                failed.entry(row as usize).or_insert_with(|| {
                    let message = format!(
                        "column \"{}\" is computed from several, of which the event leaves out one that did not change; set REPLICA IDENTITY FULL \
                         on the table",
                        column.name
                    );
                    (DeadReason::MissingBeforeImage, message)
                });
            }
            let absent = |row: u32| left_out.contains_key(&row);
            // A row that goes may be without the value, as may one that is all NULL.
            let exists = |row: usize| !matches!(changes.ops[row], Op::Delete | Op::Truncate) && !absent(row as u32);
            for (row, message) in errors.into_iter().filter(|(row, _)| exists(*row)) {
                let message = format!("column \"{}\" cannot be computed: {message}", column.name);
                failed.entry(row).or_insert((DeadReason::ExpressionFailed, message));
            }
            columns.push(match left_out.is_empty() {
                true => array,
                false => {
                    nullif(&array, &(0..changes.len() as u32).map(|row| Some(absent(row))).collect::<BooleanArray>())?
                }
            });
        }
        let with = |columns: Vec<ArrayRef>, rows: usize| {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
        };
        let before = match &changes.before {
            Some(before) => {
                let images = ChangeBatch { rows: before.rows.clone(), before: None, ..changes.clone() };
                let mut columns = before.rows.columns().to_vec();
                for column in &self.columns {
                    // What cannot be computed was no row of any query.
                    columns.push(column.values(&images, &mut BTreeMap::new())?);
                }
                Some(Before { rows: with(columns, changes.len())?, present: before.present.clone() })
            }
            None => None,
        };
        unavailable.sort_unstable();
        let rows = with(columns, changes.len())?;
        let mut changes = ChangeBatch { rows, before, unavailable, ..changes };
        if failed.is_empty() {
            return Ok(changes);
        }
        let mut letters = Letters::new(raw, &changes);
        for (&row, (reason, message)) in &failed {
            letters.add(row, *reason, message.clone());
        }
        // A record of several rows is used as a whole or not at all.
        let refused: BTreeSet<i64> = failed.keys().map(|&row| changes.offsets[row]).collect();
        let kept = (0..changes.len()).filter(|row| !refused.contains(&changes.offsets[*row])).map(|row| row as u32);
        let kept = changes.take(&UInt32Array::from_iter_values(kept))?;
        changes = ChangeBatch { dead_letters: letters.into_letters(), ..kept };
        Ok(changes)
    }
}

impl Column {
    /// The rows whose events leave out an input, and whether that is the only one.
    fn left_out(&self, changes: &ChangeBatch) -> BTreeMap<u32, bool> {
        let Value::Computed { of_row, inputs, .. } = &self.value else { return BTreeMap::new() };
        let is_input = |(_, column): &&(u32, u32)| of_row.contains(&(*column as usize));
        changes.unavailable.iter().filter(is_input).map(|&(row, _)| (row, inputs.len() == 1)).collect()
    }

    /// Its values; null where it cannot be computed, and why.
    fn values(&self, changes: &ChangeBatch, failed: &mut BTreeMap<usize, String>) -> Result<ArrayRef> {
        let (expression, inputs, schema) = match &self.value {
            Value::Metadata(column) => return column.of(changes),
            Value::Computed { expression, inputs, schema, .. } => (expression, inputs, schema),
        };
        let columns = inputs.iter().map(|column| column.of(changes)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(changes.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
        if batch.num_rows() == 0 {
            return Ok(new_null_array(&self.data_type, 0));
        }
        let mut pieces = Vec::new();
        self.compute(expression, &batch, 0, &mut pieces, failed)?;
        match pieces.as_slice() {
            [only] => Ok(Arc::clone(only)),
            pieces => Ok(concat(&pieces.iter().map(|piece| piece.as_ref()).collect::<Vec<&dyn Array>>())?),
        }
    }

    /// Computes all rows together, and where that fails, those of each half.
    fn compute(
        &self,
        expression: &Arc<dyn PhysicalExpr>,
        batch: &RecordBatch,
        from: usize,
        pieces: &mut Vec<ArrayRef>,
        failed: &mut BTreeMap<usize, String>,
    ) -> Result<()> {
        let length = batch.num_rows();
        match evaluate(expression, batch) {
            Ok(array) if *array.data_type() == self.data_type => pieces.push(array),
            Ok(array) => pieces.push(cast(&array, &self.data_type)?),
            Err(Error::Expression(message)) if length == 1 => {
                failed.insert(from, message);
                pieces.push(new_null_array(&self.data_type, 1));
            }
            Err(Error::Expression(_)) => {
                let half = length / 2;
                self.compute(expression, &batch.slice(0, half), from, pieces, failed)?;
                self.compute(expression, &batch.slice(half, length - half), from + half, pieces, failed)?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What decodes the records of a table.
pub struct TableDecoder {
    decoder: Box<dyn Decoder>,
    derived: Option<Arc<Derived>>,
}

impl TableDecoder {
    /// A decoder of records, and the columns that are added to them.
    pub(super) fn new(decoder: Box<dyn Decoder>, derived: Option<Arc<Derived>>) -> Self {
        Self { decoder, derived }
    }

    /// See [`Decoder::prepare`].
    pub fn prepare(&mut self, records: &RawBatch) -> Result<()> {
        self.decoder.prepare(records)
    }

    /// The rows of these records, in order; what cannot be used is among the dead letters.
    pub fn decode(&mut self, records: &RawBatch) -> Result<ChangeBatch> {
        let changes = self.decoder.decode(records);
        match &self.derived {
            Some(derived) => derived.add(records, changes),
            None => Ok(changes),
        }
    }
}
