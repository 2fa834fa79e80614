//! Envelopes, rows without, and what a record says of its schema.

use super::*;
use crate::format::tests::lines;

/// A registry of the test's own.
struct World {
    server: Server,
    ids: Vec<(u32, Value)>,
}

impl World {
    fn new(schemas: &[(u32, Value)]) -> Self {
        let server = Server::start();
        schemas.iter().for_each(|(id, schema)| server.has(*id, &schema.to_string()));
        Self { server, ids: schemas.to_vec() }
    }

    fn decoder(&self, format: &str, spec: &DecodeSpec, more: &[(&str, &str)]) -> Box<dyn Decoder> {
        let url = format!("{format}.url");
        let mut list = vec![("format", format), (&url, self.server.url.as_str())];
        list.extend(more);
        decoder(&options(&list), spec).unwrap()
    }

    /// A datum of a value that is written like its JSON, with the id of its schema before it.
    fn datum(&self, id: u32, value: &Value) -> Vec<u8> {
        let (_, schema) = self.ids.iter().find(|(it, _)| *it == id).unwrap();
        let parsed = apache_avro::Schema::parse(schema).unwrap();
        let value = avro_of(value).resolve(&parsed).unwrap();
        let mut bytes = vec![0];
        bytes.extend(id.to_be_bytes());
        bytes.extend(datum_of(&parsed, value));
        bytes
    }

    fn record(&self, id: u32, value: &Value) -> Record {
        (Some(b"k".to_vec()), Some(self.datum(id, value)))
    }
}

fn avro_of(json: &Value) -> apache_avro::types::Value {
    use apache_avro::types::Value as Avro;
    match json {
        Value::Null => Avro::Null,
        Value::Bool(value) => Avro::Boolean(*value),
        Value::Number(number) => Avro::Long(number.as_i64().unwrap()),
        Value::String(text) => Avro::String(text.clone()),
        Value::Array(items) => Avro::Array(items.iter().map(avro_of).collect()),
        Value::Object(fields) => {
            Avro::Record(fields.iter().map(|(name, value)| (name.clone(), avro_of(value))).collect())
        }
    }
}

fn row(name: &str, fields: &Value) -> Value {
    json!({"type": "record", "name": name, "fields": fields})
}

fn envelope(fields: &Value) -> Value {
    json!({"type": "record", "name": "Envelope", "namespace": "shop.t", "fields": [
        {"name": "op", "type": "string"},
        {"name": "after", "type": [row("Value", fields), "null"]},
        {"name": "source", "type": ["null", {"type": "record", "name": "Source", "fields": [
            {"name": "lsn", "type": ["null", "long"]}, {"name": "ts_ms", "type": "long"}]}]},
        {"name": "before", "type": ["null", "Value"]},
        {"name": "transaction", "type": ["null", {"type": "record", "name": "block", "fields": [{"name": "id", "type": "string"}]}]},
        {"name": "ts_ms", "type": ["null", "long"]},
    ]})
}

fn change(op: &str, before: &Value, after: &Value) -> Value {
    json!({"op": op, "before": before, "after": after, "source": {"lsn": 5, "ts_ms": 77}, "transaction": {"id": "tx"}, "ts_ms": 99})
}

fn ids() -> Value {
    json!([{"name": "id", "type": "int"}, {"name": "a_b", "type": ["null", "string"]}])
}

#[test]
fn envelopes_in_any_order_of_fields() {
    let world = World::new(&[(1, envelope(&ids()))]);
    let row = |id: i32| json!({"id": id, "a_b": format!("t{id}")});
    let null = Value::Null;
    let of = spec(&[("id", DataType::Int32), ("a-b", DataType::Utf8)]);
    let paths = ["source.lsn", "ts_ms", "transaction.id", "transaction", "source.nothing", "op"];
    let paths: Vec<_> = paths.iter().map(|path| Field::new(*path, DataType::Utf8, true)).collect();
    let of = DecodeSpec { before: true, source_time: true, envelope: ArrowSchema::new(paths).into(), ..of };
    let mut decoder = world.decoder("debezium-avro-confluent", &of, &[]);
    let records = [
        world.record(1, &change("c", &null, &row(1))),
        world.record(1, &change("u", &row(1), &row(2))),
        world.record(1, &change("u", &null, &row(3))),
        world.record(1, &change("d", &row(3), &null)),
        (Some(b"k".to_vec()), None),
        world.record(1, &change("t", &null, &null)),
        world.record(1, &change("m", &null, &null)),
        world.record(1, &change("d", &null, &null)),
        world.record(1, &change("c", &row(1), &null)),
        world.record(1, &change("x", &row(1), &null)),
        world.record(1, &json!({"op": "r", "before": null, "after": {"id": 4, "a_b": null}, "source": null, "transaction": null, "ts_ms": null})),
    ];
    let batch = decode(&mut *decoder, records.to_vec());
    assert_eq!(lines(&batch), ["c|1|t1", "u|2|t2", "u|3|t3", "d|3|t3", "t|null|null", "r|4|null"]);
    let before = batch.before.as_ref().unwrap();
    assert_eq!(before.present, [false, true, false, false, false, false]);
    assert_eq!(rows(&before.rows)[1], "1|t1");
    assert_eq!(batch.source_times[..2], [77, 77]);
    assert_eq!(batch.source_times[5], crate::change::NO_TIME);
    let around = rows(batch.envelope.as_ref().unwrap());
    assert_eq!(around[0], r#"5|99|tx|{"id":"tx"}|null|c"#);
    assert_eq!(around[5], "null|null|null|null|null|r");
    let letters: Vec<_> = batch.dead_letters.iter().map(|it| (it.offset, it.message.as_str())).collect();
    assert_eq!(letters[0], (7, "\"before\" is missing from a delete; in PostgreSQL, set REPLICA IDENTITY FULL"));
    assert_eq!(letters[1], (8, "\"after\" is missing from a change that needs it"));
    assert!(letters[2].1.starts_with("\"op\" is none of c, r, u, d, t, m"), "{letters:?}");
}

#[test]
fn records_that_are_not_the_wire_format_say_so() {
    let world = World::new(&[(1, json!("int"))]);
    let mut decoder = world.decoder("avro-confluent", &spec(&[("id", DataType::Int32)]), &[]);
    let values: Vec<&[u8]> = vec![b"{\"id\":1}", b"\x01abc", b"\0\0", b"", b"\0\0\0\0\x01\x02"];
    let batch = decode(&mut *decoder, values.iter().map(|it| (None, Some(it.to_vec()))).collect());
    let messages: Vec<_> = batch.dead_letters.iter().map(|it| (it.reason.as_str(), it.message.as_str())).collect();
    assert_eq!(
        messages,
        [
            ("malformed", "not Confluent's wire format but JSON, it seems: no zero byte at byte 0"),
            ("malformed", "not Confluent's wire format: no zero byte at byte 0"),
            ("malformed", "not Confluent's wire format: shorter than the 5 bytes before the value, at byte 0"),
            ("malformed", "not Confluent's wire format: no zero byte at byte 0"),
            ("malformed", "its schema is no record with fields"),
        ]
    );
}

#[test]
fn an_unknown_id_is_waited_for_and_then_given_up() {
    let world = World::new(&[(1, row("r", &ids()))]);
    let mut decoder = world.decoder("avro-confluent", &spec(&[("id", DataType::Int32)]), &[]);
    let records = raw(vec![(None, Some(vec![0, 0, 0, 0, 9, 2])), world.record(1, &json!({"id": 5, "a_b": null}))]);
    let mut tries = 0;
    while let Err(error) = decoder.prepare(&records) {
        assert!(error.is_transient(), "{error}");
        tries += 1;
        assert!(tries < 10);
    }
    assert_eq!(tries, 4);
    let batch = decoder.decode(&records);
    assert_eq!(lines(&batch), ["c|5"]);
    assert_eq!(batch.dead_letters[0].message, format!("the registry {}/ has no schema with id 9", world.server.url));
}

#[test]
fn what_debezium_writes_beside_changes_is_passed_over_and_strangers_are_not() {
    let aside = |name: &str| json!({"type": "record", "name": name, "namespace": "io.debezium.connector.common", "fields": [{"name": "ts_ms", "type": "long"}]});
    let world = World::new(&[
        (1, aside("Heartbeat")),
        (2, aside("TransactionMetadataValue")),
        (3, row("shop.stranger", &ids())),
    ]);
    let mut decoder = world.decoder("debezium-avro-confluent", &spec(&[("id", DataType::Int32)]), &[]);
    let batch = decode(
        &mut *decoder,
        vec![
            world.record(1, &json!({"ts_ms": 1})),
            world.record(2, &json!({"ts_ms": 1})),
            world.record(3, &json!({"id": 1, "a_b": null})),
        ],
    );
    assert!(batch.is_empty());
    let letter = &batch.dead_letters[0];
    assert_eq!((batch.dead_letters.len(), letter.offset), (1, 2));
    assert!(letter.message.starts_with("its schema shop.stranger is no envelope of Debezium's"), "{}", letter.message);
    assert!(letter.message.ends_with("set 'debezium-avro-confluent.unwrapped' = 'true'"), "{}", letter.message);
}

#[test]
fn rows_without_their_envelope() {
    let nullable = |name: &str, of: &str| json!({"name": name, "type": ["null", of]});
    let fields = json!([
        {"name": "id", "type": "int"}, nullable("a_b", "string"), nullable("__op", "string"),
        nullable("__deleted", "string"), nullable("__source_ts_ms", "long"), nullable("__lsn", "long"),
    ]);
    let key = row("Key", &json!([{"name": "id", "type": "int"}]));
    let world = World::new(&[(1, row("Value", &fields)), (2, row("Value", &ids())), (3, key)]);
    let of = DecodeSpec {
        source_time: true,
        envelope: ArrowSchema::new(vec![Field::new("source.lsn", DataType::Int64, true)]).into(),
        ..spec(&[("id", DataType::Int32), ("a_b", DataType::Utf8), ("__op", DataType::Utf8)])
    };
    let mut decoder = world.decoder("debezium-avro-confluent", &of, &[("debezium-avro-confluent.unwrapped", "true")]);
    let full = |id: i32, op: Value, deleted: &str| {
        world.record(
            1,
            &json!({"id": id, "a_b": "x", "__op": op, "__deleted": deleted, "__source_ts_ms": 7, "__lsn": 8}),
        )
    };
    let tombstone = (Some(world.datum(3, &json!({"id": 6}))), None);
    let batch = decode(
        &mut *decoder,
        vec![
            full(1, json!("u"), "false"),
            full(2, json!("d"), "true"),
            full(3, Value::Null, "true"),
            full(4, Value::Null, "false"),
            world.record(2, &json!({"id": 5, "a_b": null})),
            tombstone,
            (Some(b"?".to_vec()), None),
        ],
    );
    assert_eq!(lines(&batch), ["u|1|x|u", "d|2|x|d", "d|3|x|null", "u|4|x|null", "u|5|null|null", "d|6|null|null"]);
    assert_eq!(batch.source_times[..1], [7]);
    assert_eq!(rows(batch.envelope.as_ref().unwrap()), ["8", "8", "8", "8", "null", "null"]);
    assert!(
        batch.dead_letters[0]
            .message
            .starts_with("a delete without a value, whose key cannot be read: not Confluent's")
    );
}

#[test]
fn not_null_is_kept() {
    let world = World::new(&[(1, row("r", &ids()))]);
    let of = |names: [&str; 2]| {
        let fields: Vec<_> = names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
        spec_of(ArrowSchema::new(fields))
    };
    let record = || world.record(1, &json!({"id": 1, "a_b": null}));
    let batch = decode(&mut *world.decoder("avro-confluent", &of(["id", "a_b"]), &[]), vec![record()]);
    let letter = &batch.dead_letters[0];
    assert_eq!(
        (letter.reason.as_str(), letter.message.as_str()),
        ("missing_field", "column \"a_b\" is NOT NULL, but null")
    );
    let batch = decode(&mut *world.decoder("avro-confluent", &of(["id", "z"]), &[]), vec![record()]);
    assert_eq!(batch.dead_letters[0].message, "column \"z\" is NOT NULL, but absent");
}

#[test]
fn names_as_avro_has_them() {
    use super::super::plan::matching;
    for (column, fields, found) in [
        ("a-b", &["a_b", "a-b"][..], Some("a-b")),
        ("a-b", &["a_b"], Some("a_b")),
        ("1st", &["_1st"], Some("_1st")),
        ("1st", &["_st"], Some("_st")),
        ("größe", &["gr__e"], Some("gr__e")),
        ("A", &["a"], None),
    ] {
        assert_eq!(matching(column, fields), found, "{column}");
    }
}
