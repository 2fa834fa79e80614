//! The records of Maxwell and Canal, the records of connectors that change no row, and what is around the row.

use super::*;

fn of_file(name: &str) -> RawBatch {
    let path = format!("{}/tests/data/other/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    values(&std::fs::read_to_string(&path).unwrap().lines().collect::<Vec<_>>())
}

fn products(paths: &[(&str, DataType)]) -> DecodeSpec {
    let columns = spec(&[
        ("id", DataType::Int32),
        ("name", DataType::Utf8),
        ("description", DataType::Utf8),
        ("weight", DataType::Decimal128(10, 2)),
    ]);
    DecodeSpec { before: true, source_time: true, envelope: spec(paths).columns, ..columns }
}

/// Each change: its offset, op, row, time, envelope, and the image before where there is one.
fn told(batch: &ChangeBatch) -> Vec<String> {
    let before = batch.before.as_ref().unwrap();
    let (images, envelope) = (rows(&before.rows), rows(batch.envelope.as_ref().unwrap()));
    let line = |(row, line): (usize, String)| {
        let image = if before.present[row] { format!(" was {}", images[row]) } else { String::new() };
        format!("{} {line} at {} of {}{image}", batch.offsets[row], batch.source_times[row], envelope[row])
    };
    lines(batch).into_iter().enumerate().map(line).collect()
}

#[test]
fn records_of_maxwell() {
    let texts = DataType::List(Field::new_list_field(DataType::Utf8, true).into());
    let spec =
        products(&[("table", DataType::Utf8), ("transaction.id", DataType::Utf8), ("primary_key_columns", texts)]);
    let batch = of_format("maxwell-json", &spec).decode(&of_file("maxwell"));
    assert_sound(&batch, 9);
    assert_eq!(letters(&batch), [""; 0]);
    assert_eq!(
        told(&batch),
        [
            "1 r|100|old stock|null|0.50 at 1596684881000 of products|null|null",
            "3 c|111|scooter|Big 2-wheel scooter |5.15 at 1596684883000 of products|7125|[id]",
            "4 c|112|café ☃|null|null at 1596684883000 of products|7125|[id]",
            "5 u|111|scooter|Big 2-wheel scooter |5.18 at 1596684893000 of products|7152|[id] was 111|scooter|Big 2-wheel scooter |5.15",
            "6 u|112|cup|x|1.00 at 1596684894000 of products|7153|[id] was 112|café ☃|null|null",
            "8 d|111|scooter|Big 2-wheel scooter |5.18 at 1596684903000 of products|7322|[id]",
        ]
    );
    let batch = of_format("maxwell-json", &products(&[])).decode(&values(&[
        r#"{"type":"insert","ts":1}"#,
        r#"{"data":{"id":1}}"#,
        r#"{"type":"upsert","data":{"id":1}}"#,
        r#"{"type":"insert","data":[{"id":1}]}"#,
        r#"{"type":"insert","data":{"id":"x"}}"#,
        r#"{"type":"update","data":{"id":1},"old":{"id":"x"}}"#,
        r#"{"type":"insert","data":{"id":1}"#,
    ]));
    assert_eq!(
        letters(&batch),
        [
            "0 missing_field: \"data\" is missing from a change that needs it",
            "1 missing_field: \"type\" is missing: this is no record of Maxwell",
            "2 malformed: \"type\" is none of Maxwell's (insert, update, delete, bootstrap-insert, …) at byte 8",
            "3 malformed: expected an object or null at byte 24",
            "4 wrong_type: column \"id\": expected INT, found \"x\" at byte 30",
            "5 wrong_type: column \"id\": expected INT, found \"x\" at byte 45",
            "6 malformed: the record is cut off at byte 32",
        ]
    );
}

#[test]
fn messages_of_canal_have_several_rows() {
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let spec = products(&[("database", DataType::Utf8), ("ts", millis)]);
    let batch = of_format("canal-json", &spec).decode(&of_file("canal"));
    assert_eq!(letters(&batch), [""; 0]);
    assert_eq!(
        told(&batch),
        [
            "0 c|101|scooter|Small 2-wheel scooter|3.14 at 1589373515000 of inventory|2020-05-13T12:38:35.477Z",
            "0 c|102|car battery|12V car battery|8.10 at 1589373515000 of inventory|2020-05-13T12:38:35.477Z",
            "0 c|103|null|null|null at 1589373515000 of inventory|2020-05-13T12:38:35.477Z",
            "1 u|101|scooter|Small 2-wheel scooter|5.17 at 1589373560000 of inventory|2020-05-13T12:39:20.798Z was 101|scooter|Small 2-wheel scooter|3.14",
            "1 u|102|battery|null|5.17 at 1589373560000 of inventory|2020-05-13T12:39:20.798Z was 102|car battery|12V car battery|8.10",
            "3 d|102|battery|null|5.17 at 1589374013000 of inventory|2020-05-13T12:46:53.680Z",
            "4 t|null|null|null|null at 1589374020000 of inventory|2020-05-13T12:47:00.111Z",
        ]
    );
    let batch = of_format("canal-json", &products(&[("database", DataType::Utf8)])).decode(&values(&[
        r#"{"type":"INSERT","data":[{"id":"1"},{"id":"x"}],"database":"a"}"#,
        r#"{"type":"INSERT","data":[{"id":"1"} {"id":"2"}]}"#,
        r#"{"type":"INSERT","data":null}"#,
        r#"{"type":"INSERT","data":{}}"#,
        r#"{"type":"UPSERT","data":[{"id":"1"}]}"#,
        r#"{"data":[{"id":"1"}]}"#,
        r#"{"type":"UPDATE","data":[{"id":"5"},{"id":"6"}],"old":[null],"database":"b"}"#,
        r#"{"type":"INSERT","data":[],"isDdl":false}"#,
    ]));
    assert_eq!(lines(&batch), ["u|5|null|null|null", "u|6|null|null|null"]);
    assert_eq!(rows(batch.envelope.as_ref().unwrap()), ["b", "b"]);
    assert_eq!(
        letters(&batch),
        [
            "0 wrong_type: column \"id\": expected INT, found \"x\" at byte 42",
            "1 malformed: expected ',' or ']' at byte 36",
            "2 missing_field: \"data\" is missing from a change that needs it",
            "3 malformed: expected an array or null at byte 24",
            "4 malformed: \"type\" is none of Canal's (INSERT, UPDATE, DELETE, …) at byte 0",
            "5 missing_field: \"type\" is missing: this is no message of Canal",
        ]
    );
}

#[test]
fn records_that_change_no_row_are_passed_over() {
    let topics = [
        "__debezium-heartbeat.mysql_json",
        "__debezium-heartbeat.mariadb_json",
        "__debezium-heartbeat.postgres_json",
        "mysql_json.transaction",
        "mariadb_json.transaction",
        "postgres_json.transaction",
        "mariadb_json.schema_changes",
        "mysql_jsonschema.schema_changes",
        "postgres_json.message",
        "postgres_jsonschema.message",
        "postgres_unwrap.message",
    ];
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let envelope =
        spec(&[("ts_ms", millis), ("transaction.id", DataType::Utf8), ("source.file", DataType::Utf8)]).columns;
    let spec = DecodeSpec { before: true, source_time: true, envelope, ..spec(&[("id", DataType::Int32)]) };
    for topic in topics {
        for unwrapped in ["false", "true"] {
            let list = [("format", "debezium-json"), ("debezium-json.unwrapped", unwrapped)];
            let records = sample(topic);
            assert!(!records.is_empty(), "{topic}");
            let batch = decoder(&options(&list), &spec).unwrap().decode(&raw(records));
            assert_eq!((batch.len(), letters(&batch)), (0, Vec::new()), "{topic} {unwrapped}");
        }
    }
}

#[test]
fn what_is_around_the_row_is_read_by_its_path() {
    let paths = [
        ("source", DataType::Utf8),
        ("source.pos", DataType::Int64),
        ("source.ts_us", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("source.gtid", DataType::Utf8),
        ("transaction.id", DataType::Utf8),
        ("transaction.total_order", DataType::Int64),
        ("nothing.here", DataType::Utf8),
    ];
    for variant in VARIANTS {
        let mut columns = full("mariadb", "customer");
        columns.envelope = spec(&paths).columns;
        let batch = decode(&columns, sample(&format!("mariadb_{variant}.sakila.customer")));
        let without = decode(&full("mariadb", "customer"), sample(&format!("mariadb_{variant}.sakila.customer")));
        assert_eq!(lines(&batch), lines(&without));
        assert_eq!(batch.source_times, without.source_times);
        let envelope = batch.envelope.as_ref().unwrap();
        let sources = shown(envelope.column(0));
        for (row, source) in sources.iter().enumerate() {
            let source: Value = serde_json::from_str(source).unwrap();
            assert_eq!(source["pos"].as_i64().unwrap().to_string(), shown(envelope.column(1))[row]);
            assert_eq!(source["ts_ms"].as_i64().unwrap(), batch.source_times[row]);
            assert_eq!(source["gtid"].as_str().unwrap_or("null"), shown(envelope.column(3))[row]);
        }
        let some = |column: usize| shown(envelope.column(column)).iter().filter(|text| *text != "null").count();
        // Only these connectors provide the transaction.
        assert_eq!((some(6), some(4) > 0), (0, variant == "json"), "{variant}");
        assert_eq!(some(4), some(5));
    }
}

/// A value and its headers.
type Sent = (&'static str, &'static [(&'static str, Option<&'static str>)]);

#[test]
fn a_record_says_its_key_and_headers() {
    let entries = DataType::Struct(
        vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)].into(),
    );
    let map = DataType::Map(Field::new("entries", entries, false).into(), false);
    let paths = [
        ("@headers", DataType::Utf8),
        ("@key", DataType::Utf8),
        ("ts_ms", DataType::Int64),
        ("@timestamp-type", DataType::Utf8),
        ("@leader-epoch", DataType::Int32),
    ];
    let wanted = DecodeSpec { envelope: spec(&paths).columns, ..spec(&[("id", DataType::Int32)]) };
    let record = |(number, (value, headers)): (usize, Sent)| {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.map(str::to_owned)));
        ((Some(format!("k{number}").into_bytes()), Some(value.as_bytes().to_vec())), headers.collect())
    };
    let records: [Sent; 3] = [
        (r#"{"op":"x"}"#, &[("lost", Some("1"))]),
        (r#"{"op":"c","after":{"id":1},"ts_ms":5}"#, &[("a", Some("x")), ("b", None)]),
        (r#"{"op":"c","after":{"id":2}}"#, &[]),
    ];
    let records = Headed(records.into_iter().enumerate().map(record).collect()).batch();
    let batch = of_format("debezium-json", &wanted).decode(&records);
    assert_eq!(
        rows(batch.envelope.as_ref().unwrap()),
        [r#"{"a":"x","b":null}|k1|5|null|null"#, "{}|k2|null|null|null"]
    );
    let wanted = DecodeSpec { envelope: spec(&[("@headers", map)]).columns, ..spec(&[]) };
    let batch = of_format("json", &wanted).decode(&records);
    assert_eq!(rows(batch.envelope.as_ref().unwrap()), ["{lost: 1}", "{a: x, b: }", "{}"]);
}
