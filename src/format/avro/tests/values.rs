//! Value by value: what each type of Avro comes to in each type of column.

use apache_avro::types::Value as Avro;

use super::*;

const TEXT: DataType = DataType::Utf8;

fn timestamp(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, None)
}

fn logical(of: &str, name: &str) -> Value {
    json!({"type": of, "logicalType": name})
}

fn semantic(of: &str, name: &str) -> Value {
    json!({"type": of, "connect.name": name})
}

/// A value of a type that `apache-avro` does not know the attributes of: written as its plain type.
fn of_plain(of: &Value, value: Avro, data_type: &DataType) -> String {
    let schema = json!({"type": "record", "name": "r", "fields": [{"name": "x", "type": of}]});
    let plain = json!({"type": "record", "name": "r", "fields": [{"name": "x", "type": of["type"]}]});
    let parsed = apache_avro::Schema::parse(&plain).unwrap();
    let bytes = datum_of(&parsed, Avro::Record(vec![("x".into(), value)]));
    convert_bytes(&schema, bytes, data_type)
}

#[test]
fn times_go_from_unit_to_unit_exactly_or_not_at_all() {
    let millis = logical("long", "timestamp-millis");
    let micros = semantic("long", "io.debezium.time.MicroTimestamp");
    let long = |of: &Value, value: i64, to: &DataType| of_plain(of, Avro::Long(value), to);
    assert_eq!(long(&millis, 1_718_900_000_123, &timestamp(TimeUnit::Microsecond)), "2024-06-20T16:13:20.123");
    assert_eq!(long(&micros, 1_718_900_000_123_000, &timestamp(TimeUnit::Millisecond)), "2024-06-20T16:13:20.123");
    assert_eq!(
        long(&micros, 1_718_900_000_123_456, &timestamp(TimeUnit::Millisecond)),
        "wrong_type: column \"x\": expected TIMESTAMP(3), found 2024-06-20T16:13:20.123456 (more digits of a second than the column has) at byte 0"
    );
    assert_eq!(long(&micros, -1_000, &timestamp(TimeUnit::Millisecond)), "1969-12-31T23:59:59.999");
    assert_eq!(long(&millis, 1_000, &timestamp(TimeUnit::Second)), "1970-01-01T00:00:01");
    assert!(long(&millis, i64::MAX, &timestamp(TimeUnit::Nanosecond)).contains("out of range"));
    assert_eq!(long(&json!({"type": "long"}), 5, &timestamp(TimeUnit::Millisecond)), "1970-01-01T00:00:00.005");
    assert_eq!(long(&millis, 1_718_900_000_123, &TEXT), "2024-06-20T16:13:20.123");
    assert_eq!(long(&millis, 7, &DataType::Int64), "7");
    assert_eq!(
        long(&logical("long", "timestamp-nanos"), 1, &timestamp(TimeUnit::Nanosecond)),
        "1970-01-01T00:00:00.000000001"
    );

    let date = logical("int", "date");
    let int = |of: &Value, value: i32, to: &DataType| of_plain(of, Avro::Int(value), to);
    assert_eq!(int(&date, 19_782, &DataType::Date32), "2024-02-29");
    assert_eq!(int(&date, 19_782, &TEXT), "2024-02-29");
    assert_eq!(int(&date, -1, &timestamp(TimeUnit::Millisecond)), "1969-12-31T00:00:00");
    assert_eq!(long(&millis, 86_400_000, &DataType::Date32), "1970-01-02");
    assert!(long(&millis, 86_400_001, &DataType::Date32).contains("it is a point in time, not a day"));
    assert!(int(&date, 1, &DataType::Time64(TimeUnit::Microsecond)).contains("not a time of day"));

    let time = semantic("long", "io.debezium.time.MicroTime");
    let clock = DataType::Time64(TimeUnit::Microsecond);
    assert_eq!(long(&time, 86_399_123_456, &clock), "23:59:59.123456");
    assert_eq!(long(&time, -45_296_123_456, &TEXT), "-12:34:56.123456");
    assert_eq!(long(&time, 3_020_399_000_000, &TEXT), "838:59:59");
    assert!(long(&time, 4_000_000_000_000, &clock).contains("beyond 999:59:59"));
    assert_eq!(int(&logical("int", "time-millis"), 86_399_123, &clock), "23:59:59.123");
    // A logical type that does not go with the type means nothing.
    assert_eq!(of_plain(&logical("string", "date"), Avro::String("x".into()), &TEXT), "x");
}

#[test]
fn decimals_by_the_scale_of_the_schema() {
    let of = json!({"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2});
    let decimal = |bytes: &[u8], to: &DataType| of_plain(&of, Avro::Bytes(bytes.to_vec()), to);
    let (d128, d256) = (DataType::Decimal128, DataType::Decimal256);
    assert_eq!(decimal(&[0x04, 0xd2], &d128(10, 2)), "12.34");
    assert_eq!(decimal(&[0x04, 0xd2], &d128(10, 4)), "12.3400");
    assert_eq!(decimal(&[0x04, 0xd2], &d256(50, 3)), "12.340");
    assert_eq!(decimal(&[0xfb, 0x2e], &TEXT), "-12.34");
    assert_eq!(decimal(&[0xff], &TEXT), "-0.01");
    assert_eq!(decimal(&[], &TEXT), "0.00");
    assert_eq!(decimal(&[0x04, 0xd2], &DataType::Float64), "12.34");
    assert_eq!(decimal(&[0x01, 0x2c], &DataType::Int32), "3");
    assert_eq!(
        decimal(&[0x04, 0xd2], &DataType::Int32),
        "wrong_type: column \"x\": expected INT, found 12.34 (it does not fit without rounding) at byte 0"
    );
    assert!(decimal(&[0x04, 0xd2], &d128(10, 1)).contains("found 12.34 (it does not fit without rounding)"));
    assert!(decimal(&[0x04, 0xd2], &d128(3, 2)).contains("found 12.34 (it does not fit"));
    assert_eq!(decimal(&[0x7f; 40], &TEXT).len(), 98, "96 digits and two behind the point");
    assert!(decimal(&[0x7f; 40], &d256(76, 2)).starts_with("wrong_type: "));
    // More bytes than 128 bits have, for few digits.
    let mut long = vec![0; 30];
    long.extend([0x04, 0xd2]);
    assert_eq!(decimal(&long, &d128(10, 2)), "12.34");
    assert!(decimal(&[0xff; 33], &d256(10, 2)).contains("-0.01"));
    let connect = json!({"type": "bytes", "connect.name": "org.apache.kafka.connect.data.Decimal", "connect.parameters": {"scale": "-2"}});
    assert_eq!(of_plain(&connect, Avro::Bytes(vec![5]), &TEXT), "500");
    assert_eq!(of_plain(&connect, Avro::Bytes(vec![5]), &d128(5, 0)), "500");
    assert_eq!(of_plain(&connect, Avro::Bytes(vec![0]), &TEXT), "0");
    let variable = json!({"type": "record", "name": "VariableScaleDecimal", "namespace": "io.debezium.data",
        "connect.name": "io.debezium.data.VariableScaleDecimal",
        "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}]});
    let of = |scale: i32, bytes: &[u8], to: &DataType| {
        let record = vec![("scale".into(), Avro::Int(scale)), ("value".into(), Avro::Bytes(bytes.to_vec()))];
        convert(&variable, Avro::Record(record), to)
    };
    assert_eq!(of(3, &[0x04, 0xd2], &d128(10, 3)), "1.234");
    assert_eq!(of(3, &[0x04, 0xd2], &TEXT), "1.234");
    assert_eq!(of(-3, &[0x04], &TEXT), "4000");
    assert!(of(i32::MIN, &[0x04], &TEXT).starts_with("malformed: "));
    assert!(of(i32::MAX, &[0x04], &d128(10, 3)).starts_with("malformed: "));
}

#[test]
fn numbers_where_they_fit() {
    let long = |value: i64, to: DataType| convert(&json!("long"), Avro::Long(value), &to);
    assert_eq!(long(-1, DataType::UInt64), "18446744073709551615");
    assert_eq!(
        long(300, DataType::Int8),
        "wrong_type: column \"x\": expected TINYINT, found 300 (out of range) at byte 0"
    );
    assert!(long(-1, DataType::UInt32).contains("found -1 (out of range)"));
    assert_eq!(long(5, DataType::Decimal128(5, 2)), "5.00");
    assert!(long(5_000, DataType::Decimal128(5, 2)).contains("it does not fit without rounding"));
    assert_eq!(long(1, DataType::Boolean), "true");
    assert_eq!(long(7, DataType::Float32), "7.0");
    assert!(long(2, DataType::Boolean).starts_with("wrong_type: column \"x\": expected BOOLEAN, found 2"));
    let double = |value: f64, to: DataType| convert(&json!("double"), Avro::Double(value), &to);
    assert_eq!(double(f64::NAN, DataType::Float64), "NaN");
    assert_eq!(double(f64::NEG_INFINITY, TEXT), "-Infinity");
    assert_eq!(double(1e300, TEXT), "1e300");
    assert!(double(1e300, DataType::Float32).contains("out of range"));
    assert_eq!(double(12.34, DataType::Decimal128(10, 2)), "12.34");
    assert!(double(0.1 + 0.2, DataType::Decimal128(10, 2)).contains("without rounding"));
    assert!(double(1.5, DataType::Int32).contains("expected INT, found 1.5"));
    assert_eq!(convert(&json!("float"), Avro::Float(0.1), &DataType::Decimal128(10, 2)), "0.10");
    assert_eq!(convert(&json!("float"), Avro::Float(0.1), &TEXT), "0.1");
}

#[test]
fn texts_bytes_and_what_they_mean() {
    let text = |value: &str, to: DataType| convert(&json!("string"), Avro::String(value.into()), &to);
    assert_eq!(text("2024-06-20T16:13:20.123456Z", timestamp(TimeUnit::Microsecond)), "2024-06-20T16:13:20.123456");
    assert_eq!(text("12.5", DataType::Decimal128(4, 2)), "12.50");
    assert!(text("x", DataType::Int32).contains("expected INT, found x"));
    let of = json!({"type": "enum", "name": "e", "symbols": ["sad", "ok"]});
    assert_eq!(convert(&of, Avro::Enum(1, "ok".into()), &TEXT), "ok");
    let bytes = |value: &[u8], to: DataType| convert(&json!("bytes"), Avro::Bytes(value.to_vec()), &to);
    assert_eq!(bytes(&[0xde, 0xad, 0xbe, 0xef], TEXT), "3q2+7w==");
    assert_eq!(bytes(&[0xde, 0xad], DataType::Binary), "dead");
    assert!(bytes(&[5], DataType::Decimal128(5, 0)).contains("found BQ== (bytes)"));
    let bits = |value: &[u8], to: DataType| {
        of_plain(&semantic("bytes", "io.debezium.data.Bits"), Avro::Bytes(value.to_vec()), &to)
    };
    assert_eq!(bits(&[0xff; 8], DataType::UInt64), "18446744073709551615");
    assert_eq!(bits(&[0x01, 0x02, 0, 0], DataType::Int32), "513");
    assert!(bits(&[0xff; 8], DataType::Int64).contains("out of range"));
    assert_eq!(bits(&[1, 2], DataType::Binary), "0102");
    let fixed = |size: usize, logical: &str, bytes: &[u8], to: &DataType| {
        let schema = json!({"type": "record", "name": "r", "fields": [{"name": "x",
            "type": {"type": "fixed", "name": "f", "size": size, "logicalType": logical}}]});
        convert_bytes(&schema, bytes.to_vec(), to)
    };
    let id: Vec<u8> = (0..16).collect();
    assert_eq!(fixed(16, "uuid", &id, &TEXT), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    assert_eq!(fixed(16, "", &id, &DataType::Binary), "000102030405060708090a0b0c0d0e0f");
    assert_eq!(fixed(12, "duration", &[1, 0, 0, 0, 2, 0, 0, 0, 0xb0, 4, 0, 0], &TEXT), "P1M2DT1.200S");
}

#[test]
fn what_is_nested_is_json_or_a_list() {
    let array = json!({"type": "array", "items": ["null", "int"]});
    let value = || Avro::Array([Avro::Union(1, Box::new(Avro::Int(1))), Avro::Union(0, Box::new(Avro::Null))].into());
    assert_eq!(convert(&array, value(), &TEXT), "[1,null]");
    let list = DataType::List(Field::new("item", DataType::Int64, true).into());
    assert_eq!(convert(&array, value(), &list), "[1, ]");
    assert!(convert(&array, value(), &DataType::Int32).contains("declare it as STRING to get its JSON"));
    let small = DataType::List(Field::new("item", DataType::Int8, true).into());
    let large = Avro::Array(vec![Avro::Union(1, Box::new(Avro::Int(300)))]);
    assert!(convert(&array, large, &small).contains("found [300] (out of range)"));
    let map = json!({"type": "map", "values": "string"});
    let entries = Avro::Map([("a\"b".to_owned(), Avro::String("c\n".into()))].into());
    assert_eq!(convert(&map, entries, &TEXT), r#"{"a\"b":"c\n"}"#);
    let record = json!({"type": "record", "name": "p", "fields": [
        {"name": "x", "type": "double"},
        {"name": "when", "type": {"type": "int", "logicalType": "date"}},
        {"name": "wkb", "type": ["null", "bytes"]},
        {"name": "inf", "type": "float"},
    ]});
    let value = Avro::Record(vec![
        ("x".into(), Avro::Double(1.0)),
        ("when".into(), Avro::Date(0)),
        ("wkb".into(), Avro::Union(1, Box::new(Avro::Bytes(vec![1])))),
        ("inf".into(), Avro::Float(f32::INFINITY)),
    ]);
    assert_eq!(convert(&record, value, &TEXT), r#"{"x":1.0,"when":"1970-01-01","wkb":"AQ==","inf":"Infinity"}"#);
}

#[test]
fn null_wherever_it_is_in_a_union() {
    for (of, null, int) in
        [(json!(["null", "int"]), 0, 1), (json!(["int", "null"]), 1, 0), (json!(["string", "null", "int"]), 1, 2)]
    {
        assert_eq!(convert(&of, Avro::Union(null, Box::new(Avro::Null)), &DataType::Int32), "null");
        assert_eq!(convert(&of, Avro::Union(int, Box::new(Avro::Int(5))), &DataType::Int32), "5");
    }
    let schema = json!({"type": "record", "name": "r", "fields": [{"name": "x", "type": ["null", "int"]}]});
    assert!(convert_bytes(&schema, vec![4], &DataType::Int32).starts_with("malformed: "));
}
