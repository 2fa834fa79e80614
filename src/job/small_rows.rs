//! The rows of a small table as records tell them: all, or the latest of each key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use datafusion::arrow::compute::{concat_batches, interleave};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::{RowConverter, SortField};

use super::derived::{Derived, TableDecoder};
use super::input::{Decoded, spec_of};
use super::scan::Scan;
use crate::change::{ChangeBatch, Op};
use crate::error::{Error, Result};
use crate::format::{self, DecodeSpec};
use crate::options::Options;
use crate::sql::define::catalog::Table;
use crate::sql::define::small_table::{SmallTable, nullable};

/// How the records of a small table are decoded.
pub(super) struct Decoding {
    options: Options,
    /// What there is when a record has been decoded.
    pub(super) spec: DecodeSpec,
    /// What of that the records have.
    pub(super) of_records: DecodeSpec,
    derived: Option<Arc<Derived>>,
}

impl Decoding {
    pub(super) fn new(small: &SmallTable) -> Result<Self> {
        let table: &Table = &small.table;
        let mut names: BTreeSet<&str> = small.scan.fields().iter().map(|field| field.name().as_str()).collect();
        if table.keeps_latest() {
            names.extend(table.primary_key.iter().map(String::as_str));
        }
        let Decoded { spec, of_records, derived } = spec_of(table, &names, &BTreeSet::new(), false)?;
        let mut options = table.options.clone();
        if table.options.get("connector") == Some("clickhouse") {
            options.set("format", "json");
        }
        Ok(Self { options, spec, of_records, derived })
    }

    pub(super) fn decoder(&self) -> Result<TableDecoder> {
        Ok(TableDecoder::new(format::decoder(&self.options, &self.of_records)?, self.derived.clone()))
    }
}

/// The rows of a small table as they are now.
pub(super) struct Contents {
    scan: Scan,
    schema: SchemaRef,
    /// Which of the decoded columns are the key; empty where all rows are kept.
    key: Vec<usize>,
    converter: Option<RowConverter>,
    /// Rows as they came.
    batches: Vec<RecordBatch>,
    /// The place of the latest row of each key.
    latest: BTreeMap<Box<[u8]>, (usize, usize)>,
    /// Whether something has come since they were looked at.
    pub(super) has_changed: bool,
}

impl Contents {
    pub(super) fn new(small: &SmallTable, decoding: &Decoding) -> Result<Self> {
        let columns = &decoding.spec.columns;
        let mut key = Vec::new();
        if small.table.keeps_latest() {
            for name in &small.table.primary_key {
                key.push(columns.index_of(name).map_err(Error::internal)?);
            }
        }
        let fields = key.iter().map(|&at| SortField::new(columns.field(at).data_type().clone())).collect::<Vec<_>>();
        let converter = (!key.is_empty()).then(|| RowConverter::new(fields)).transpose()?;
        let scan = Scan::new(nullable(&small.scan), &small.table, &decoding.spec)?;
        let schema = nullable(&small.scan);
        let (batches, latest) = (Vec::new(), BTreeMap::new());
        Ok(Self { scan, schema, key, converter, batches, latest, has_changed: false })
    }

    /// Takes in what has changed.
    pub(super) fn apply(&mut self, changes: &ChangeBatch) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.has_changed = true;
        let rows = self.scan.rows(changes)?;
        let Some(converter) = &self.converter else {
            self.batches.push(rows);
            return Ok(());
        };
        let columns: Vec<ArrayRef> = self.key.iter().map(|&at| Arc::clone(changes.rows.column(at))).collect();
        let keys = converter.convert_columns(&columns)?;
        let batch = self.batches.len();
        self.batches.push(rows);
        for row in 0..changes.len() {
            let has_key = columns.iter().all(|column| column.is_valid(row));
            match changes.ops[row] {
                Op::Truncate => self.latest.clear(),
                _ if !has_key => {}
                Op::Delete => drop(self.latest.remove(keys.row(row).as_ref())),
                Op::Read | Op::Create | Op::Update => {
                    let place = self.filled(changes, (batch, row), keys.row(row).as_ref())?;
                    self.latest.insert(keys.row(row).as_ref().into(), place);
                }
            }
        }
        Ok(())
    }

    /// The place of a row in which what its event left out is as it was before.
    fn filled(&mut self, changes: &ChangeBatch, place: (usize, usize), key: &[u8]) -> Result<(usize, usize)> {
        let is_of = |(row, _): &&(u32, u32)| *row as usize == place.1;
        let missing: Vec<u32> = changes.unavailable.iter().filter(is_of).map(|(_, column)| *column).collect();
        let (Some(&(batch, row)), false) = (self.latest.get(key), missing.is_empty()) else { return Ok(place) };
        let (new, old) = (self.batches[place.0].slice(place.1, 1), self.batches[batch].slice(row, 1));
        let is_missing =
            |name: &str| missing.iter().any(|&column| changes.rows.schema_ref().field(column as usize).name() == name);
        let columns = self
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(at, field)| Arc::clone(if is_missing(field.name()) { old.column(at) } else { new.column(at) }));
        self.batches.push(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())?);
        Ok((self.batches.len() - 1, 0))
    }

    /// All rows; what they have replaced is forgotten.
    pub(super) fn current(&mut self) -> Result<RecordBatch> {
        self.has_changed = false;
        let rows = match self.converter.is_some() {
            false => concat_batches(&self.schema, &self.batches)?,
            true => {
                let places: Vec<(usize, usize)> = self.latest.values().copied().collect();
                let column = |at: usize| -> Result<ArrayRef> {
                    let of: Vec<&dyn Array> = self.batches.iter().map(|batch| batch.column(at).as_ref()).collect();
                    match of.is_empty() {
                        true => Ok(new_empty_array(self.schema.field(at).data_type())),
                        false => Ok(interleave(&of, &places)?),
                    }
                };
                let columns = (0..self.schema.fields().len()).map(column).collect::<Result<Vec<_>>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
                RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?
            }
        };
        (0..).zip(self.latest.values_mut()).for_each(|(row, place)| *place = (0, row));
        self.batches = vec![rows.clone()];
        Ok(rows)
    }
}
