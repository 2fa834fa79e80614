//! Text in memory as records: a line each.

use std::ops::Range;
use std::sync::Arc;

use super::{RawBatch, RawRecord, RawRecords};
use crate::change::{NO_TIME, OffsetRange, TopicPartition};

/// How many lines a batch has.
const LINES: usize = 8_192;

struct TextLines {
    text: Arc<String>,
    /// The offset of the first line.
    first: i64,
    lines: Vec<Range<usize>>,
}

impl RawRecords for TextLines {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let value = Some(&self.text.as_bytes()[self.lines[index].clone()]);
        RawRecord { offset: self.first + index as i64, timestamp: NO_TIME, key: None, value }
    }
}

/// The lines of a text as records of partition 0 of a topic.
pub fn batches(topic: &str, text: String) -> Vec<RawBatch> {
    let source = TopicPartition { topic: topic.into(), partition: 0 };
    let text = Arc::new(text);
    let mut from = 0;
    let mut lines = Vec::new();
    for end in memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]) {
        if end > from {
            lines.push(from..end);
        }
        from = end + 1;
    }
    let batch = |(number, lines): (usize, &[Range<usize>])| {
        let (first, len) = ((number * LINES) as i64, lines.len());
        let range = OffsetRange { from: first, to: first + len as i64 };
        let records = TextLines { text: Arc::clone(&text), first, lines: lines.to_vec() };
        RawBatch::new(source.clone(), range, Arc::new(records), len)
    };
    lines.chunks(LINES).enumerate().map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_record() {
        let read = |text: &str| -> Vec<(i64, String)> {
            let value = |record: RawRecord<'_>| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            let all = batches("t", text.to_owned());
            all.iter().flat_map(RawBatch::iter).map(|record| (record.offset, value(record))).collect()
        };
        assert_eq!(read("a\nbc\n"), [(0, "a".to_owned()), (1, "bc".to_owned())]);
        assert_eq!(read(""), []);
        let long = (0..LINES + 1).map(|line| format!("{line}\n")).collect::<String>();
        let lines = read(&long);
        assert_eq!(lines.len(), LINES + 1);
        assert_eq!(lines[LINES], (LINES as i64, LINES.to_string()));
    }
}
