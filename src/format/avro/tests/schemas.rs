//! Kafka Connect's schemas of Avro's, and asking the registry for a topic's.

use super::super::super::connect::{ConnectSchema, Kind};
use super::super::topic_schemas;
use super::*;
use crate::avro::schema::Schema;

fn connect(json: &Value) -> ConnectSchema {
    let schema = Schema::parse(&json.to_string(), &[]).unwrap();
    ConnectSchema::from_avro(&schema, schema.root)
}

#[test]
fn the_registry_says_what_a_topic_has() {
    let server = Server::start();
    let all = schemas();
    let schema = |id: u32| {
        let (_, schema) = all.iter().find(|(it, _)| *it == id).unwrap();
        json!({ "schema": schema.to_string() }).to_string()
    };
    server.answers("/subjects/shop.t-value/versions/latest", 200, &schema(66));
    server.answers("/subjects/shop.t-key/versions/latest", 200, &schema(67));
    server.answers("/subjects/other/versions/latest", 200, &schema(67));
    let format = "debezium-avro-confluent";
    let ask = |more: &[(&str, &str)], format: &str| {
        let url = format!("{format}.url");
        let mut list = vec![("format", format), (url.as_str(), server.url.as_str())];
        list.extend(more);
        topic_schemas(&options(&list), &[])
    };
    let found = ask(&[("topic", "shop.t")], format).unwrap().unwrap();
    assert_eq!(found.primary_key, ["a", "b"]);
    let row = &found.rows[0];
    let field = |name: &str| row.field(name).unwrap().clone();
    assert_eq!((field("id").kind, field("id").optional), (Kind::Int32, false));
    assert_eq!((field("ti").kind, field("ti").optional), (Kind::Int16, true));
    let decimal = field("d3810");
    assert_eq!(
        (decimal.parameters["scale"].as_str(), decimal.parameters["connect.decimal.precision"].as_str()),
        ("10", "38")
    );
    assert_eq!(field("ts3").semantic.as_deref(), Some("io.debezium.time.ZonedTimestamp"));
    assert_eq!(field("e").parameters["allowed"], "small,big");

    assert!(ask(&[("topic", "nowhere")], format).unwrap().unwrap().rows.is_empty());
    // Not the schema of an envelope.
    assert!(ask(&[("debezium-avro-confluent.subject", "other")], format).unwrap().unwrap().rows.is_empty());
    let found = ask(&[("avro-confluent.subject", "other")], "avro-confluent").unwrap().unwrap();
    let Kind::Struct(fields) = &found.rows[0].kind else { panic!("{found:?}") };
    assert_eq!(fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(found.primary_key, Vec::<String>::new());
    assert!(ask(&[], "json").unwrap().is_none());
}

#[tokio::test]
async fn it_may_be_asked_within_a_runtime() {
    let options =
        options(&[("format", "avro-confluent"), ("avro-confluent.url", "http://127.0.0.1:1"), ("topic", "x")]);
    assert!(topic_schemas(&options, &[]).unwrap_err().is_transient());
}

#[test]
fn logical_types_have_names_in_connect_too() {
    let of = |json: Value| connect(&json);
    assert_eq!(of(json!({"type": "int", "logicalType": "date"})).column("x").data_type(), &DataType::Date32);
    assert_eq!(
        of(json!({"type": "long", "logicalType": "timestamp-micros"})).column("x").data_type(),
        &DataType::Timestamp(TimeUnit::Microsecond, None)
    );
    let decimal = json!({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 4});
    assert_eq!(of(decimal).column("x").data_type(), &DataType::Decimal128(12, 4));
    let list = of(json!([{"type": "array", "items": "long"}, "null"])).column("x");
    assert_eq!((list.data_type().to_string().as_str(), list.is_nullable()), ("List(Int64)", true));
    assert_eq!(of(json!(["int", "string"])).kind, Kind::String);
    let tree = json!({"type": "record", "name": "t", "fields": [{"name": "left", "type": ["null", "t"]}]});
    let tree = of(tree);
    let left = tree.field("left").unwrap();
    assert_eq!((&left.kind, left.optional), (&Kind::String, true));
}
