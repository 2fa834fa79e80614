use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::change::{NO_TIME, OffsetRange};
use crate::source::RawBatch;

fn source(path: &Path, extra: &[(&str, &str)]) -> FileSource {
    let path = path.to_str().unwrap();
    let base = [("path", path), ("source.monitor-interval", "10 ms")];
    let values = base.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    FileSource::new(&Options::new("t", values)).unwrap()
}

fn text(batch: &RawBatch) -> Vec<(i64, String)> {
    batch
        .iter()
        .map(|record| (record.offset, String::from_utf8(record.value.unwrap_or(b"<null>").to_vec()).unwrap()))
        .collect()
}

/// Reads a partition from an offset to its end, as a bounded run does.
fn read(source: &mut FileSource, partition: &TopicPartition, from: i64) -> (i64, Vec<(i64, String)>) {
    let end = source.end_offsets(std::slice::from_ref(partition)).unwrap()[partition];
    let lane = source.lanes.len();
    let mut reader = source.reader().unwrap();
    source.assign(lane, partition, from).unwrap();
    let (mut position, mut records, mut batches) = (from, Vec::new(), Vec::new());
    let give_up = Instant::now() + Duration::from_secs(10);
    while position < end {
        assert!(Instant::now() < give_up, "stuck at {position} of {end}");
        reader.poll(Duration::from_millis(50), &mut batches).unwrap();
        for batch in batches.drain(..) {
            assert_eq!(batch.range.from, position);
            position = batch.range.to;
            records.extend(text(&batch));
        }
    }
    reader.poll(Duration::ZERO, &mut batches).unwrap();
    assert!(batches.is_empty() && reader.at_end(partition));
    (position, records)
}

fn only(source: &mut FileSource) -> TopicPartition {
    let partitions = source.partitions().unwrap();
    assert_eq!(partitions.len(), 1, "{partitions:?}");
    partitions[0].clone()
}

#[test]
fn lines_are_numbered_empty_ones_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    fs::write(&path, "{\"a\":1}\n\n  \n{\"a\":2}\r\n{\"a\":3}\n\n").unwrap();
    let mut source = source(&path, &[]);
    let partition = only(&mut source);
    let all = vec![(0, "{\"a\":1}".to_owned()), (3, "{\"a\":2}".to_owned()), (4, "{\"a\":3}".to_owned())];
    assert_eq!(read(&mut source, &partition, 0), (6, all.clone()));
    assert_eq!(read(&mut source, &partition, 2), (6, all[1..].to_vec()));
    assert_eq!(read(&mut source, &partition, 5), (6, vec![]));
}

#[test]
fn a_last_line_without_a_line_break_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    fs::write(&path, "1\n2").unwrap();
    let mut source = source(&path, &[]);
    let partition = only(&mut source);
    assert_eq!(read(&mut source, &partition, 0), (2, vec![(0, "1".to_owned()), (1, "2".to_owned())]));
    assert_eq!(read(&mut source, &partition, 1), (2, vec![(1, "2".to_owned())]));
}

#[test]
fn a_csv_header_is_no_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    fs::write(&path, "x,y\n1,2\n").unwrap();
    let mut with = source(&path, &[("format", "csv")]);
    let partition = only(&mut with);
    assert_eq!(read(&mut with, &partition, 0), (2, vec![(1, "1,2".to_owned())]));
    assert_eq!(read(&mut with, &partition, 1), (2, vec![(1, "1,2".to_owned())]));
    let mut without = source(&path, &[("format", "csv"), ("csv.header", "false")]);
    assert_eq!(read(&mut without, &partition, 0).1.len(), 2);
}

#[test]
fn files_grow_and_appear() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    fs::write(&path, "1\n").unwrap();
    fs::write(directory.path().join(".hidden"), "x\n").unwrap();
    let mut source = source(directory.path(), &[]);
    let partition = only(&mut source);
    let mut reader = source.reader().unwrap();
    source.assign(0, &partition, 0).unwrap();
    let mut batches = Vec::new();
    reader.poll(Duration::from_secs(1), &mut batches).unwrap();
    assert_eq!(text(&batches.remove(0)), [(0, "1".to_owned())]);

    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"2\nhal").unwrap();
    reader.poll(Duration::from_secs(1), &mut batches).unwrap();
    assert_eq!(text(&batches.remove(0)), [(1, "2".to_owned())]);
    reader.poll(Duration::from_millis(50), &mut batches).unwrap();
    assert!(batches.is_empty(), "half a line is no record");
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        file.write_all(b"f\n").unwrap();
    });
    reader.poll(Duration::from_secs(1), &mut batches).unwrap();
    writer.join().unwrap();
    assert_eq!(text(&batches.remove(0)), [(2, "half".to_owned())]);

    let new = directory.path().join("b.json");
    fs::write(&new, "9\n").unwrap();
    let partitions = source.partitions().unwrap();
    assert_eq!(partitions.len(), 2);
    source.assign(0, &partitions[1], 0).unwrap();
    reader.poll(Duration::from_secs(1), &mut batches).unwrap();
    assert_eq!(text(&batches.remove(0)), [(0, "9".to_owned())]);

    fs::write(&path, "").unwrap();
    let error = reader.poll(Duration::ZERO, &mut batches).unwrap_err().to_string();
    assert!(error.contains("a.json"), "{error}");
}

#[test]
fn long_lines_and_many_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    let long = "x".repeat(9 << 20);
    let mut content = String::new();
    for number in 0..200_000 {
        content
            .push_str(&format!("{{\"number\":{number},\"padding\":\"0123456789012345678901234567890123456789\"}}\n"));
    }
    content.push_str(&long);
    content.push('\n');
    fs::write(&path, &content).unwrap();
    let mut source = source(&path, &[]);
    let partition = only(&mut source);
    let (end, records) = read(&mut source, &partition, 0);
    assert_eq!((end, records.len()), (200_001, 200_001));
    assert!(records[123_456].1.contains(":123456,"));
    assert_eq!(records[200_000].1.len(), long.len());
    assert_eq!(read(&mut source, &partition, 199_999).1.len(), 2);
}

#[test]
fn captured_records_keep_their_positions() {
    let directory = tempfile::tempdir().unwrap();
    let line = |partition: i32, offset: i64, value: &str| {
        format!(
            "{{\"topic\":\"t\",\"partition\":{partition},\"offset\":{offset},\"timestamp\":17,\"key\":\"k\",\"value\":{value},\"headers\":[]}}\n"
        )
    };
    let first = line(0, 5, "\"a\"") + &line(1, 0, "\"b\"") + &line(0, 7, "null");
    let binary = "{\"topic\":\"t\",\"partition\":1,\"offset\":1,\"value_base64\":\"aGk+\"}\n";
    fs::write(directory.path().join("1.jsonl"), first).unwrap();
    fs::write(directory.path().join("2.jsonl"), binary.to_owned() + &line(0, 8, "\"c\"")).unwrap();
    let mut source = source(directory.path(), &[("records", "kafka"), ("format", "debezium-json")]);
    let partitions = source.partitions().unwrap();
    assert_eq!(partitions.iter().map(ToString::to_string).collect::<Vec<_>>(), ["t[0]", "t[1]"]);
    let starts = source.start_offsets(&partitions).unwrap();
    assert_eq!(starts.values().copied().collect::<Vec<_>>(), [5, 0]);
    let (end, records) = read(&mut source, &partitions[0], 5);
    assert_eq!((end, records), (9, vec![(5, "a".to_owned()), (7, "<null>".to_owned()), (8, "c".to_owned())]));
    assert_eq!(read(&mut source, &partitions[1], 0), (2, vec![(0, "b".to_owned()), (1, "hi>".to_owned())]));

    let mut reader = source.reader().unwrap();
    source.assign(2, &partitions[1], 0).unwrap();
    let mut batches = Vec::new();
    while batches.iter().map(RawBatch::len).sum::<usize>() < 2 {
        reader.poll(Duration::from_millis(10), &mut batches).unwrap();
    }
    let times: Vec<_> =
        batches.iter().flat_map(RawBatch::iter).map(|record| (record.timestamp, record.key.is_some())).collect();
    assert_eq!(times, [(17, true), (NO_TIME, false)]);
    assert_eq!(batches[0].range, OffsetRange { from: 0, to: 1 });
}

#[test]
fn parquet_rows_are_json_lines() {
    use datafusion::arrow::array::{Int64Array, RecordBatch};
    use datafusion::parquet::arrow::ArrowWriter;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let rows = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from_iter_values(0..20_000)) as _)]).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(&path).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let mut source = source(&path, &[("format", "parquet")]);
    let partition = only(&mut source);
    let (end, records) = read(&mut source, &partition, 10_000);
    assert_eq!((end, records.len()), (20_000, 10_000));
    assert_eq!(records[0], (10_000, "{\"a\":10000}".to_owned()));
    assert_eq!(records[9_999], (19_999, "{\"a\":19999}".to_owned()));
}

#[test]
fn patterns_and_missing_paths() {
    for (pattern, name, fits) in [
        ("*.json", "a.json", true),
        ("*.json", "a.csv", false),
        ("a?c*", "abc", true),
        ("a?c", "ac", false),
        ("**", "", true),
    ] {
        assert_eq!(listing::matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
    }
    let directory = tempfile::tempdir().unwrap();
    for name in ["b.json", "a.json", "c.csv"] {
        fs::write(directory.path().join(name), "1\n").unwrap();
    }
    let names = |source: &mut FileSource| source.partitions().unwrap().len();
    assert_eq!(names(&mut source(&directory.path().join("*.json"), &[])), 2);
    assert_eq!(names(&mut source(directory.path(), &[])), 3);
    let error = source(Path::new("/no/such/file.json"), &[]).partitions().unwrap_err();
    assert!(error.to_string().contains("/no/such/file.json") && !error.is_transient(), "{error}");
}

/// Values of one int each, in blocks of ten.
fn container(count: i32) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str("\"int\"").unwrap();
    let mut writer = apache_avro::Writer::with_codec(&schema, Vec::new(), apache_avro::Codec::Snappy).unwrap();
    for value in 0..count {
        writer.append_value(apache_avro::types::Value::Int(value)).unwrap();
        if value % 10 == 9 {
            writer.flush().unwrap();
        }
    }
    writer.into_inner().unwrap()
}

#[test]
fn the_values_of_containers_are_records() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.avro");
    fs::write(&path, container(25)).unwrap();
    let mut source = source(&path, &[("format", "avro")]);
    let partition = only(&mut source);
    let value = |number: i64| (number, String::from_utf8(vec![number as u8 * 2]).unwrap());
    for from in [0, 7, 10, 24, 25] {
        assert_eq!(read(&mut source, &partition, from), (25, (from..25).map(value).collect()), "{from}");
    }
    fs::write(&path, &container(25)[..80]).unwrap();
    let error = source.end_offsets(&[partition]).unwrap_err().to_string();
    assert!(error.contains("a.avro: it ends within a block or its header"), "{error}");
}
