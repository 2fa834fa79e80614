//! Arrays of single rows, item by item: each row as often as its longest array has items.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::SchemaRef;

use super::stage::Rows;
use crate::error::{Error, Result};

/// Puts the items of arrays into rows of their own.
#[derive(Debug, Clone)]
pub struct Unnest {
    /// The columns of the rows that come are these of the rows that go.
    pub columns: Vec<usize>,
    /// Those of them that are arrays whose items are wanted.
    pub arrays: Vec<usize>,
    /// Whether a row without items comes once, with NULL.
    pub keeps_empty: bool,
    /// The columns of the result.
    pub schema: SchemaRef,
}

impl Unnest {
    /// The rows, each with one item of each array; arrays that are shorter than others of the row end in NULL.
    pub fn expand(&self, rows: &Rows) -> Result<Rows> {
        let lists: Vec<(usize, &ListArray)> =
            self.arrays.iter().map(|&at| Ok((at, list(&rows.batch, at)?))).collect::<Result<_>>()?;
        let count = |row: usize| {
            let longest = lists.iter().map(|(_, list)| length(list, row)).max().unwrap_or(0);
            if self.keeps_empty { longest.max(1) } else { longest }
        };
        let counts: Vec<usize> = (0..rows.len()).map(count).collect();
        let total: usize = counts.iter().sum();
        let mut picked: Vec<u32> = Vec::with_capacity(total);
        for (row, &count) in counts.iter().enumerate() {
            picked.extend(std::iter::repeat_n(row as u32, count));
        }
        let picked = UInt32Array::from(picked);
        let column = |&from: &usize| -> Result<ArrayRef> {
            match lists.iter().find(|(at, _)| *at == from) {
                Some((_, list)) => Ok(take(list.values(), &items(list, &counts, total), None)?),
                None => Ok(take(rows.batch.column(from), &picked, None)?),
            }
        };
        let columns = self.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(total));
        let batch = RecordBatch::try_new_with_options(SchemaRef::clone(&self.schema), columns, &options)?;
        let index: UInt32Array =
            picked.values().iter().map(|&row| Some(rows.source_row(row as usize) as u32)).collect();
        Ok(Rows { batch, index: Some(index) })
    }
}

fn list(batch: &RecordBatch, at: usize) -> Result<&ListArray> {
    batch.column(at).as_list_opt::<i32>().ok_or_else(|| Error::internal("items of a column that is no array"))
}

fn length(list: &ListArray, row: usize) -> usize {
    if list.is_null(row) { 0 } else { list.value_length(row) as usize }
}

/// Where the items stand among the array's values, for each row as many as it has rows.
fn items(list: &ListArray, counts: &[usize], total: usize) -> UInt32Array {
    let mut places: Vec<Option<u32>> = Vec::with_capacity(total);
    for (row, &count) in counts.iter().enumerate() {
        let (first, length) = (list.value_offsets()[row] as u32, length(list, row));
        places.extend((0..count).map(|item| (item < length).then(|| first + item as u32)));
    }
    UInt32Array::from(places)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::Int32Array;
    use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema};

    use super::*;

    #[test]
    fn each_item_is_a_row() {
        let long = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), Some(2), None]),
            None,
            Some(vec![]),
            Some(vec![Some(3)]),
        ]);
        let short =
            ListArray::from_iter_primitive::<Int32Type, _, _>([None, None, Some(vec![]), Some(vec![Some(9), Some(8)])]);
        let ids: ArrayRef = Arc::new(Int32Array::from(vec![10, 11, 12, 13]));
        let list_field = |name| Field::new(name, long.data_type().clone(), true);
        let schema = Schema::new(vec![Field::new("id", DataType::Int32, true), list_field("a"), list_field("b")]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![ids, Arc::new(long), Arc::new(short)]).unwrap();
        let number = |name| Field::new(name, DataType::Int32, true);
        let schema = Arc::new(Schema::new(vec![number("a"), number("id"), number("b")]));
        let mut unnest = Unnest { columns: vec![1, 0, 2], arrays: vec![1, 2], keeps_empty: false, schema };
        // The first row is not looked at.
        let rows = Rows::all(batch);
        let result = |rows: &Rows| {
            let column = |at: usize| rows.batch.column(at).as_primitive::<Int32Type>().iter().collect::<Vec<_>>();
            (0..3).map(column).collect::<Vec<_>>()
        };
        let expanded = unnest.expand(&rows.slice(1, 3)).unwrap();
        assert_eq!(result(&expanded), [[Some(3), None], [Some(13), Some(13)], [Some(9), Some(8)]]);
        assert_eq!(expanded.index.unwrap().values(), &[3, 3]);
        unnest.keeps_empty = true;
        let expanded = unnest.expand(&rows.slice(0, 3)).unwrap();
        let first = [Some(1), Some(2), None, None, None];
        let ids = [Some(10), Some(10), Some(10), Some(11), Some(12)];
        assert_eq!(result(&expanded), [first, ids, [None; 5]]);
    }
}
