//! The columns of a batch, filled row by row; a row is in all of them or in none.

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

use crate::error::Result;

use super::super::dialect::Dialect;
use super::super::fault::{Fault, Step};
use super::super::json::cursor::Cursor;
use super::Column;

/// Rows under construction.
#[derive(Debug)]
pub(crate) struct Rows {
    schema: SchemaRef,
    columns: Vec<Column>,
    len: usize,
}

impl Rows {
    /// No rows yet, of these columns.
    pub(crate) fn new(schema: &SchemaRef, dialect: Dialect) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| Column::new(field, dialect)).collect::<Result<_>>()?;
        Ok(Self { schema: SchemaRef::clone(schema), columns, len: 0 })
    }

    /// No rows, of no columns.
    pub(crate) fn none() -> Self {
        Self { schema: SchemaRef::new(Schema::empty()), columns: Vec::new(), len: 0 }
    }

    /// The columns' names and types.
    pub(crate) fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// The names of the columns, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|field| field.name().as_str())
    }

    /// The columns, for messages.
    pub(crate) fn column(&self, index: usize) -> Option<&Column> {
        self.columns.get(index)
    }

    /// Reads the value at the cursor into a column of the row under way, over an earlier one if there was any.
    #[inline]
    pub(crate) fn read(&mut self, column: usize, cursor: &mut Cursor<'_>) -> Step<()> {
        self.open(column)?.read(cursor).map_err(|fault| fault.in_column(column))
    }

    /// Reads a text into a column of the row under way. `at` is its place in the record.
    pub(crate) fn read_text(&mut self, column: usize, text: &str, at: usize) -> Step<()> {
        let read = self.open(column)?.read_text(text);
        read.map_err(|words| Fault::wrong_type(at, words).in_column(column))
    }

    /// Sets a column of the row under way to null.
    pub(crate) fn set_null(&mut self, column: usize, at: usize) -> Step<()> {
        self.open(column)?.push_null(at, "null").map_err(|fault| fault.in_column(column))
    }

    /// A column, ready for its value in the row under way.
    #[inline]
    pub(crate) fn open(&mut self, column: usize) -> Step<&mut Column> {
        let len = self.len;
        let column = self.columns.get_mut(column).ok_or_else(|| Fault::malformed(0, "no such column"))?;
        if column.len() > len {
            column.truncate(len);
        }
        Ok(column)
    }

    /// Ends the row under way; columns without a value become null. A fault leaves it to be rolled back.
    #[inline]
    pub(crate) fn complete(&mut self) -> Step<()> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            if column.len() == self.len {
                column.push_null(0, "absent").map_err(|fault| fault.in_column(index))?;
            }
        }
        self.len += 1;
        Ok(())
    }

    /// Forgets the row under way.
    pub(crate) fn roll_back(&mut self) {
        for column in &mut self.columns {
            column.truncate(self.len);
        }
    }

    /// Takes back the last row that was ended.
    pub(crate) fn drop_last(&mut self) {
        self.len = self.len.saturating_sub(1);
        self.roll_back();
    }

    /// Adds a row without values: nulls, and zeros where null may not be. No row may be under way.
    pub(crate) fn push_filler(&mut self) {
        self.columns.iter_mut().for_each(Column::push_filler);
        self.len += 1;
    }

    /// The values of rows that the events do not carry because they did not change: row and column, by row.
    pub(crate) fn unavailable(&self) -> Vec<(u32, u32)> {
        let columns = self.columns.iter().enumerate();
        let of_column = |(index, column): (usize, &Column)| -> Vec<_> {
            let rows = column.unavailable().iter().filter(|&&row| (row as usize) < self.len);
            rows.map(|&row| (row, index as u32)).collect()
        };
        let mut unavailable: Vec<_> = columns.flat_map(of_column).collect();
        unavailable.sort_unstable();
        unavailable
    }

    /// The rows, after which there are none.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.roll_back();
        let len = std::mem::take(&mut self.len);
        let arrays = self.columns.iter_mut().map(Column::finish).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(len));
        RecordBatch::try_new_with_options(SchemaRef::clone(&self.schema), arrays, &options)
    }
}
