//! A small table and blocks of it, for the tests of sinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};

use super::{Block, OutputTable, TableForm};
use crate::options::Options;

fn rows() -> RecordBatch {
    let at = [1_718_900_000_000, 1_718_900_000_125];
    let columns: [(&str, ArrayRef, bool); 4] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2])), false),
        ("at", Arc::new(TimestampMillisecondArray::from(at.to_vec())), false),
        ("name", Arc::new(StringArray::from(vec![Some("ann"), None])), true),
        ("_offset", Arc::new(Int64Array::from(vec![7, 8])), false),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Table `t` with columns id, at, name and the added column `_offset`.
pub(super) fn table(connector: &str, options: &[(&str, &str)]) -> OutputTable {
    let base = [("connector", connector)];
    let values = base.iter().chain(options).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    OutputTable {
        options: Options::new("t", values),
        form: TableForm::Log,
        schema: rows().schema(),
        visible: 3,
        key: Vec::new(),
        event_time: None,
        comments: BTreeMap::new(),
        comment: String::new(),
        evolves: false,
        job: "job".to_owned(),
    }
}

/// Two rows.
pub(super) fn block(token: &str, epoch: u64) -> Block {
    Block { rows: vec![rows()], token: token.to_owned(), ranges: Vec::new(), epoch, made_at: 0 }
}
