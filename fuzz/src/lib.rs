//! What all targets do: arbitrary bytes through a decoder, and a look at what became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use highwater::change::{OffsetRange, TopicPartition};
use highwater::format::{DecodeSpec, decoder};
use highwater::options::Options;
use highwater::source::{Header, RawBatch, RawRecord, RawRecords};

/// Parts the records of one input; a record that begins with it has no value, and the rest is its key.
pub const BETWEEN: u8 = 0;

struct Records(Vec<Vec<u8>>);

impl RawRecords for Records {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let bytes = self.0[index].as_slice();
        let (key, value) = match bytes.strip_prefix(b"\x01") {
            Some(key) => (key, None),
            None => (bytes, Some(bytes)),
        };
        RawRecord { offset: index as i64, timestamp: 0, key: Some(key), value }
    }

    fn headers(&self, index: usize) -> Vec<Header<'_>> {
        vec![("__op".into(), self.0[index].get(..1)), ("__source_ts_ms".into(), None)]
    }
}

fn spec() -> DecodeSpec {
    let field = |(name, data_type): (&str, DataType)| Field::new(name, data_type, true);
    let columns = [
        ("customer_id", DataType::Int32),
        ("email", DataType::Utf8),
        ("create_date", DataType::Timestamp(TimeUnit::Millisecond, None)),
        ("val", DataType::Binary),
        ("id", DataType::UInt64),
        ("weight", DataType::Decimal128(10, 2)),
        ("active", DataType::Boolean),
        ("a", DataType::Float64),
        ("b", DataType::Utf8),
        ("day", DataType::Date32),
        ("list", DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))),
    ];
    let paths = [
        ("source", DataType::Utf8),
        ("source.lsn", DataType::Int64),
        ("transaction.id", DataType::Utf8),
        ("table", DataType::Utf8),
        ("@key", DataType::Binary),
        ("@headers", DataType::Utf8),
    ];
    DecodeSpec {
        positions: (0..columns.len()).collect(),
        columns: Arc::new(Schema::new(columns.map(field).to_vec())),
        before: true,
        source_time: true,
        envelope: Arc::new(Schema::new(paths.map(field).to_vec())),
    }
}

/// Decodes the records in `data` as a table with these options would; panics when the batch is not whole.
pub fn decode(options: &[(&str, &str)], data: &[u8]) {
    let mut spec = spec();
    if options.contains(&("format", "csv")) {
        // No lists in CSV.
        let columns: Vec<_> = spec.columns.fields().iter().filter(|it| !it.data_type().is_nested()).cloned().collect();
        spec.positions.truncate(columns.len());
        spec.columns = Arc::new(Schema::new(columns));
    }
    let values: BTreeMap<String, String> =
        options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let mut decoder = decoder(&Options::new("t", values), &spec).expect("the options are right");
    let records: Vec<Vec<u8>> = data.split(|&byte| byte == BETWEEN).map(<[u8]>::to_vec).collect();
    let len = records.len();
    let source = TopicPartition { topic: "t".into(), partition: 0 };
    let range = OffsetRange { from: 0, to: len as i64 };
    let batch = decoder.decode(&RawBatch::new(source, range, Arc::new(Records(records)), len));
    let rows = batch.ops.len();
    assert_eq!((batch.rows.num_rows(), batch.offsets.len(), batch.source_times.len()), (rows, rows, rows));
    assert!(batch.offsets.is_sorted() && batch.offsets.iter().all(|offset| (0..len as i64).contains(offset)));
    let with_rows: BTreeSet<i64> = batch.offsets.iter().copied().collect();
    let mut dead = BTreeSet::new();
    for letter in &batch.dead_letters {
        assert!(dead.insert(letter.offset) && !with_rows.contains(&letter.offset), "{letter:?}");
    }
    let before = batch.before.as_ref().expect("it was asked for");
    let envelope = batch.envelope.as_ref().expect("it was asked for");
    assert_eq!((before.rows.num_rows(), before.present.len(), envelope.num_rows()), (rows, rows, rows));
    for column in [&batch.rows, &before.rows, envelope].into_iter().flat_map(|rows| rows.columns()) {
        column.to_data().validate_full().expect("a column is what Arrow takes it for");
    }
}
