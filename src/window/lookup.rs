//! Joins of a stream's rows with a small table, which is in memory as a whole: each row with the rows that the table has for it now.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::physical_expr::PhysicalExpr;

use super::stage::{Rows, evaluate};
use crate::error::{Error, Result};

/// The most rows that come of one batch. Of a batch that has more, its halves are tried; one row may have any number.
const MOST: usize = 1 << 22;

/// A join with a small table.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The table.
    pub table: Arc<SmallRows>,
    /// What is looked up, of each row.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// What becomes of rows with and without others.
    pub kind: LookupKind,
    /// Whether the small table's columns come first.
    pub small_first: bool,
    /// What the rows of both sides must say beside the keys, over [`Self::joined`].
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The columns of both sides.
    pub joined: SchemaRef,
    /// The columns of the result.
    pub schema: SchemaRef,
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupKind {
    /// It comes with each row of the table that it meets.
    Inner,
    /// The same, and with NULL when it meets none.
    Outer,
    /// It comes once, if it meets one.
    Semi,
    /// It comes when it meets none. `null_aware` as `NOT IN` has it: NULL is not known to be another value.
    Anti {
        /// Whether NULL has a say.
        null_aware: bool,
    },
}

/// The rows of a small table as one join sees them. They may be replaced while they are joined with: a batch sees the one or the other.
#[derive(Debug)]
pub struct SmallRows {
    /// The table's name.
    pub name: String,
    /// The columns.
    pub schema: SchemaRef,
    /// By what a row is found.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Whether NULL is equal to NULL.
    nulls_meet: bool,
    current: RwLock<Arc<Indexed>>,
}

/// Rows with what finds them.
#[derive(Debug, Default)]
struct Indexed {
    rows: Option<RecordBatch>,
    converter: Option<RowConverter>,
    /// Where in `order` the rows of each key are.
    by_key: HashMap<Box<[u8]>, (u32, u32)>,
    /// The rows, those of one key together, in the order in which the table has them.
    order: Vec<u32>,
    has_null_key: bool,
}

impl SmallRows {
    /// A table without rows yet, which are found by `keys`.
    pub fn new(name: String, schema: SchemaRef, keys: Vec<Arc<dyn PhysicalExpr>>, nulls_meet: bool) -> Self {
        Self { name, schema, keys, nulls_meet, current: RwLock::default() }
    }

    /// Puts these rows in the place of what was there.
    pub fn replace(&self, rows: RecordBatch) -> Result<()> {
        let indexed = Arc::new(self.index(rows)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = indexed;
        Ok(())
    }

    /// The rows that are there now.
    pub fn rows(&self) -> RecordBatch {
        self.current().rows.clone().unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.schema)))
    }

    fn current(&self) -> Arc<Indexed> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn index(&self, rows: RecordBatch) -> Result<Indexed> {
        if self.keys.is_empty() {
            return Ok(Indexed { rows: Some(rows), ..Indexed::default() });
        }
        let keys = self.keys.iter().map(|key| evaluate(key, &rows)).collect::<Result<Vec<_>>>()?;
        let converter = RowConverter::new(keys.iter().map(|key| SortField::new(key.data_type().clone())).collect())?;
        let found = converter.convert_columns(&keys)?;
        let nulls = nulls_of(&keys);
        let is_found = |row: &u32| self.nulls_meet || !is_null(&nulls, *row as usize);
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).filter(is_found).collect();
        order.sort_by(|a, b| found.row(*a as usize).cmp(&found.row(*b as usize)));
        let mut by_key = HashMap::new();
        let mut from = 0;
        for same in order.chunk_by(|a, b| found.row(*a as usize) == found.row(*b as usize)) {
            let to = from + same.len();
            by_key.insert(found.row(same[0] as usize).as_ref().into(), (from as u32, to as u32));
            from = to;
        }
        let has_null_key = nulls.is_some_and(|nulls| nulls.null_count() > 0);
        Ok(Indexed { rows: Some(rows), converter: Some(converter), by_key, order, has_null_key })
    }
}

/// Rows of the stream, each with a row of the table.
#[derive(Default)]
struct Pairs {
    stream: Vec<u32>,
    small: Vec<u32>,
}

impl Lookup {
    /// The rows joined with what the table has now, in their order.
    pub fn join(&self, rows: &Rows) -> Result<Rows> {
        let table = self.table.current();
        let small = table.rows.clone().unwrap_or_else(|| self.table.rows());
        let keys = self.keys.iter().map(|key| evaluate(key, &rows.batch)).collect::<Result<Vec<_>>>()?;
        let nulls = nulls_of(&keys);
        let pairs = self.pairs(&table, &keys, nulls.as_ref(), rows.len())?;
        let pairs = self.filtered(pairs, rows, &small)?;
        let met = |row: u32| pairs.stream.binary_search(&row).is_ok();
        let all = 0..rows.len() as u32;
        let (stream, found): (Vec<u32>, Option<UInt32Array>) = match self.kind {
            LookupKind::Inner => (pairs.stream, Some(pairs.small.into())),
            LookupKind::Outer => {
                let (stream, small) = with_missing(&pairs, rows.len());
                (stream, Some(small))
            }
            LookupKind::Semi => {
                let mut stream = pairs.stream;
                stream.dedup();
                (stream, None)
            }
            LookupKind::Anti { null_aware: false } => (all.filter(|row| !met(*row)).collect(), None),
            LookupKind::Anti { null_aware: true } if small.num_rows() == 0 => (all.collect(), None),
            LookupKind::Anti { null_aware: true } if table.has_null_key => (Vec::new(), None),
            LookupKind::Anti { null_aware: true } => {
                (all.filter(|row| !met(*row) && !is_null(&nulls, *row as usize)).collect(), None)
            }
        };
        let index = stream.iter().map(|&row| rows.source_row(row as usize) as u32).collect::<Vec<_>>();
        let stream = UInt32Array::from(stream);
        let found = found.map(|found| (&small, found));
        let batch = self.columns(&rows.batch, &stream, found.as_ref().map(|(rows, at)| (*rows, at)), &self.schema)?;
        Ok(Rows { batch, index: Some(index.into()) })
    }

    /// The rows whose keys are equal, in the order of the stream, then of the table.
    fn pairs(&self, table: &Indexed, keys: &[ArrayRef], nulls: Option<&NullBuffer>, length: usize) -> Result<Pairs> {
        let mut pairs = Pairs::default();
        let Some(converter) = &table.converter else { return Ok(pairs) };
        let looked_up = converter.convert_columns(keys)?;
        for row in 0..length {
            if !self.table.nulls_meet && nulls.is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let Some(&(from, to)) = table.by_key.get(looked_up.row(row).as_ref()) else { continue };
            let found = &table.order[from as usize..to as usize];
            if pairs.stream.len() + found.len() > MOST && length > 1 {
                return Err(Error::Expression(format!("the rows have too many others in \"{}\"", self.table.name)));
            }
            pairs.stream.extend(std::iter::repeat_n(row as u32, found.len()));
            pairs.small.extend(found);
        }
        Ok(pairs)
    }

    /// Those that say what they must beside the keys.
    fn filtered(&self, pairs: Pairs, rows: &Rows, small: &RecordBatch) -> Result<Pairs> {
        let Some(filter) = self.filter.as_ref().filter(|_| !pairs.stream.is_empty()) else { return Ok(pairs) };
        let (stream, found) = (UInt32Array::from(pairs.stream), UInt32Array::from(pairs.small));
        let joined = self.columns(&rows.batch, &stream, Some((small, &found)), &self.joined)?;
        let mask = evaluate(filter, &joined)?;
        let mask = mask.as_boolean();
        let is_kept = |pair: &usize| mask.is_valid(*pair) && mask.value(*pair);
        let kept: Vec<usize> = (0..mask.len()).filter(is_kept).collect();
        let of = |side: &UInt32Array| kept.iter().map(|&pair| side.value(pair)).collect();
        Ok(Pairs { stream: of(&stream), small: of(&found) })
    }

    /// The columns of some rows, with those of the table where it is asked for.
    fn columns(
        &self,
        stream: &RecordBatch,
        rows: &UInt32Array,
        small: Option<(&RecordBatch, &UInt32Array)>,
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let taken = |batch: &RecordBatch, rows: &UInt32Array| {
            batch.columns().iter().map(|column| Ok(take(column, rows, None)?)).collect::<Result<Vec<_>>>()
        };
        let mut columns = taken(stream, rows)?;
        if let Some((small, found)) = small {
            let found = taken(small, found)?;
            columns = if self.small_first { [found, columns].concat() } else { [columns, found].concat() };
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}

/// All rows of the stream; those that have no other with none.
fn with_missing(pairs: &Pairs, length: usize) -> (Vec<u32>, UInt32Array) {
    let (mut stream, mut small) = (Vec::with_capacity(length), Vec::with_capacity(length));
    let mut at = 0;
    for row in 0..length as u32 {
        let from = at;
        while pairs.stream.get(at) == Some(&row) {
            stream.push(row);
            small.push(Some(pairs.small[at]));
            at += 1;
        }
        if at == from {
            stream.push(row);
            small.push(None);
        }
    }
    (stream, small.into())
}

/// Where some key is NULL.
fn nulls_of(keys: &[ArrayRef]) -> Option<NullBuffer> {
    keys.iter().fold(None, |nulls, key| NullBuffer::union(nulls.as_ref(), key.logical_nulls().as_ref()))
}

fn is_null(nulls: &Option<NullBuffer>, row: usize) -> bool {
    nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{BinaryExpr, Column};

    use super::*;

    fn column(name: &str, at: usize) -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(name, at))
    }

    fn batch(id: &[Option<i64>], text: &[&str]) -> RecordBatch {
        let fields = vec![Field::new("id", DataType::Int64, true), Field::new("text", DataType::Utf8, true)];
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(id.to_vec())), Arc::new(StringArray::from(text.to_vec()))];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn lookup(kind: LookupKind, filter: bool, nulls_meet: bool) -> Lookup {
        let small = batch(&[], &[]);
        let table = Arc::new(SmallRows::new("small".into(), small.schema(), vec![column("id", 0)], nulls_meet));
        let fields = [small.schema(), small.schema()].map(|schema| schema.fields().to_vec()).concat();
        let joined = Arc::new(Schema::new(fields));
        let only = matches!(kind, LookupKind::Semi | LookupKind::Anti { .. });
        let filter: Option<Arc<dyn PhysicalExpr>> =
            filter.then(|| Arc::new(BinaryExpr::new(column("text", 1), Operator::Lt, column("text", 3))) as _);
        let schema = if only { small.schema() } else { Arc::clone(&joined) };
        Lookup { table, keys: vec![column("id", 0)], kind, small_first: false, filter, joined, schema }
    }

    /// The rows in short: those of the stream, with those that they have met.
    fn shown(lookup: &Lookup, rows: &Rows) -> Vec<String> {
        let joined = lookup.join(rows).unwrap();
        let text = |column: usize, row: usize| {
            let column = joined.batch.columns().get(column)?.as_string::<i32>();
            Some(if column.is_null(row) { "-".to_owned() } else { column.value(row).to_owned() })
        };
        let line =
            |row| format!("{}{}{}", joined.source_row(row), text(1, row).unwrap(), text(3, row).unwrap_or_default());
        (0..joined.len()).map(line).collect()
    }

    #[test]
    fn rows_meet_all_that_have_their_key_and_null_meets_none() {
        let stream = Rows::all(batch(&[Some(2), None, Some(1), Some(3)], &["a", "b", "c", "d"]));
        let small = batch(&[Some(1), Some(2), Some(1), None], &["x", "b", "a", "n"]);
        let expect = |kind, filter, expected: &[&str]| {
            let lookup = lookup(kind, filter, false);
            lookup.table.replace(small.clone()).unwrap();
            assert_eq!(shown(&lookup, &stream), expected, "{kind:?} {filter}");
        };
        expect(LookupKind::Inner, false, &["0ab", "2cx", "2ca"]);
        expect(LookupKind::Inner, true, &["0ab", "2cx"]);
        expect(LookupKind::Outer, false, &["0ab", "1b-", "2cx", "2ca", "3d-"]);
        expect(LookupKind::Outer, true, &["0ab", "1b-", "2cx", "3d-"]);
        expect(LookupKind::Semi, false, &["0a", "2c"]);
        expect(LookupKind::Anti { null_aware: false }, false, &["1b", "3d"]);
        expect(LookupKind::Anti { null_aware: true }, false, &[]);
        let lookup = lookup(LookupKind::Inner, false, true);
        lookup.table.replace(small).unwrap();
        assert_eq!(shown(&lookup, &stream), ["0ab", "1bn", "2cx", "2ca"]);
    }

    #[test]
    fn rows_can_be_replaced_and_there_may_be_none() {
        let stream = Rows::all(batch(&[Some(2), None], &["a", "b"])).slice(0, 2);
        let lookup = lookup(LookupKind::Outer, false, false);
        assert_eq!(shown(&lookup, &stream), ["0a-", "1b-"], "nothing has been loaded");
        lookup.table.replace(batch(&[Some(2)], &["x"])).unwrap();
        assert_eq!(shown(&lookup, &stream), ["0ax", "1b-"]);
        lookup.table.replace(batch(&[], &[])).unwrap();
        assert_eq!(shown(&lookup, &stream), ["0a-", "1b-"]);
        let not_in = Lookup { kind: LookupKind::Anti { null_aware: true }, schema: stream.batch.schema(), ..lookup };
        assert_eq!(shown(&not_in, &stream), ["0a", "1b"], "nothing is in nothing, NULL neither");
        not_in.table.replace(batch(&[Some(1)], &["x"])).unwrap();
        assert_eq!(shown(&not_in, &stream), ["0a"]);
    }
}
