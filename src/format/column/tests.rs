use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};

use super::super::tests::convert;

fn check(cases: &[(DataType, &str, &str)]) {
    for (data_type, value, expected) in cases {
        assert_eq!(convert("debezium-json", data_type, value), *expected, "{value} as {data_type}");
    }
}

/// The message that a value of a wrong type gets; the value is at byte 23 of `convert`'s record.
fn refused(declared: &str, found: &str) -> String {
    format!("wrong_type: column \"x\": expected {declared}, found {found} at byte 23")
}

#[test]
fn integers() {
    use DataType::*;
    check(&[
        (Int8, "-128", "-128"),
        (Int8, "128", &refused("TINYINT", "128")),
        (Int16, "\"abc\"", &refused("SMALLINT", "\"abc\"")),
        (Int16, "\"-12\"", "-12"),
        (Int32, "1.5", &refused("INT", "1.5")),
        (Int32, "1e3", &refused("INT", "1e3")),
        (Int32, "true", &refused("INT", "true")),
        (Int32, "{\"a\":1}", &refused("INT", "{\"a\":1}}}")),
        (Int32, "01", "malformed: column \"x\": a number with a leading zero at byte 23"),
        (Int32, "nix", "malformed: column \"x\": expected a JSON value at byte 23"),
        (Int64, "-9223372036854775808", "-9223372036854775808"),
        (Int64, "9223372036854775807", "9223372036854775807"),
        (Int64, "9223372036854775808", &refused("BIGINT", "9223372036854775808")),
        (Int64, "-9223372036854775809", &refused("BIGINT", "-9223372036854775809")),
        (Int64, "99999999999999999999999999", &refused("BIGINT", "99999999999999999999999999")),
        (Int64, "-0", "0"),
        (UInt8, "-1", &refused("TINYINT UNSIGNED", "-1")),
        (UInt16, "65535", "65535"),
        (UInt32, "4294967296", &refused("INT UNSIGNED", "4294967296")),
        (UInt64, "-1", "18446744073709551615"),
        (UInt64, "18446744073709551615", "18446744073709551615"),
        (UInt64, "18446744073709551616", &refused("BIGINT UNSIGNED", "18446744073709551616")),
    ]);
}

#[test]
fn booleans_and_floats() {
    use DataType::*;
    check(&[
        (Boolean, "true", "true"),
        (Boolean, "0", "false"),
        (Boolean, "1", "true"),
        (Boolean, "2", &refused("BOOLEAN", "2")),
        (Boolean, "\"true\"", "true"),
        (Float64, "-2.25E10", "-22500000000.0"),
        (Float64, "7", "7.0"),
        (Float64, "\"NaN\"", "NaN"),
        (Float64, "\"NAN\"", "NaN"),
        (Float64, "\"-Infinity\"", "-inf"),
        (Float32, "\"Infinity\"", "inf"),
        (Float32, "0.1", "0.1"),
        (Float64, "1e999", "wrong_type: column \"x\": expected DOUBLE, found 1e999 (out of range) at byte 23"),
        (Float32, "1.", "malformed: column \"x\": expected a digit at byte 25"),
    ]);
}

#[test]
fn decimals() {
    use DataType::*;
    let no_fit = |declared: &str, found: &str| {
        let remark = "(it does not fit without rounding)";
        format!("wrong_type: column \"x\": expected {declared}, found {found} {remark} at byte 23")
    };
    check(&[
        (Decimal128(10, 2), "12.5", "12.50"),
        (Decimal128(10, 2), "\"-12345678.90\"", "-12345678.90"),
        (Decimal128(10, 2), "\"tmn9Lg==\"", "-12345678.90"),
        (Decimal128(10, 2), "12.500", "12.50"),
        (Decimal128(10, 2), "12.505", &no_fit("DECIMAL(10, 2)", "12.505")),
        (Decimal128(4, 2), "100", &no_fit("DECIMAL(4, 2)", "100")),
        (Decimal128(4, 2), "99.99", "99.99"),
        (Decimal128(4, 2), "1e1", "10.00"),
        (Decimal128(4, 2), "1234E-2", "12.34"),
        (Decimal128(4, 2), "1e-999999", &no_fit("DECIMAL(4, 2)", "1e-999999")),
        (Decimal128(4, 2), "1e999999", &no_fit("DECIMAL(4, 2)", "1e999999")),
        (Decimal128(4, 2), "0e999999", "0.00"),
        (Decimal128(10, 2), "\"ANw=\"", "2.20"),
        (Decimal128(38, 10), "\"CUmw9vACMxPESZBOzGdFFQ==\"", "1234567890123456789012345678.0123456789"),
        (Decimal128(38, 10), "1234567890123456789012345678.0123456789", "1234567890123456789012345678.0123456789"),
        (Decimal128(30, 9), "{\"scale\":9,\"value\":\"J+QbMka+ybFuOYEV\"}", "12345678901234567890.123456789"),
        (
            Decimal128(30, 8),
            "{\"scale\":9,\"value\":\"J+QbMka+ybFuOYEV\"}",
            &no_fit("DECIMAL(30, 8)", "{\"scale\":9,\"value\":\"J+QbMka+ybFuOYEV\"}}}"),
        ),
        (Decimal256(76, 0), &"9".repeat(76), &"9".repeat(76)),
        (Decimal256(76, 76), &format!("-0.{}", "9".repeat(76)), &format!("-0.{}", "9".repeat(76))),
        (
            Decimal256(76, 0),
            &format!("1{}", "0".repeat(76)),
            &no_fit("DECIMAL(76, 0)", &format!("1{}…", "0".repeat(59))),
        ),
        (Decimal128(18, 0), "\"999999999999999999\"", "999999999999999999"),
        (
            Decimal128(18, 0),
            "\"1234\"",
            "wrong_type: column \"x\": expected DECIMAL(18, 0), found \"1234\" \
            (both a number and base64: set 'debezium-json.decimal.handling.mode' to 'precise' or 'string') at byte 23",
        ),
        (Decimal128(18, 0), "\"-1234\"", "-1234"),
        (Decimal128(10, 2), "\"x\"", &refused("DECIMAL(10, 2)", "\"x\"")),
        (Decimal128(10, 2), "\"\"", &refused("DECIMAL(10, 2)", "\"\"")),
        (Decimal128(10, 2), "[]", &refused("DECIMAL(10, 2)", "[]}}")),
    ]);
    // In plain JSON, a string is a number.
    assert_eq!(convert("json", &Decimal128(18, 2), "\"1234\""), "1234.00");
}

#[test]
fn texts_and_bytes() {
    use DataType::*;
    check(&[
        (Utf8, r#""a\n\"\\\/\u00e4\ud83d\ude00""#, "a\n\"\\/ä😀"),
        (Utf8, r#""naïve ☃ 漢字 and some more of it""#, "naïve ☃ 漢字 and some more of it"),
        (Utf8, "-1.50", "-1.50"),
        (Utf8, "true", "true"),
        (Utf8, r#"{"a": [1, "}"]}"#, r#"{"a": [1, "}"]}"#),
        (Utf8, "{\"a\":}", "malformed: column \"x\": not JSON at byte 23"),
        (Utf8, r#""\ud83d""#, "malformed: column \"x\": an escape that JSON does not have at byte 24"),
        (Utf8, r#""ab\x""#, "malformed: column \"x\": an escape that JSON does not have at byte 26"),
        (Utf8, "\"a\nb\"", "malformed: column \"x\": a control character or a lone backslash in a string at byte 25"),
        (Binary, "\"3q2+7w==\"", "deadbeef"),
        (Binary, "\"3q2+7w=\"", "wrong_type: column \"x\": expected BYTES, found \"3q2+7w=\" (not base64) at byte 23"),
        (Binary, "1", &refused("BYTES", "1")),
    ]);
}

const MORE: &str = "more digits of a second than the column has";

/// A duration rather than a time of day, as MySQL's TIME is: the numbers stay as they are.
#[test]
fn times_beyond_a_day() {
    use datafusion::arrow::array::AsArray;
    let micros = |value: &str| {
        let spec = super::super::tests::spec(&[("x", DataType::Time64(TimeUnit::Microsecond))]);
        let record = format!("{{\"op\":\"c\",\"after\":{{\"x\":{value}}}}}");
        let records = super::super::tests::values(&[record]);
        let batch = super::super::tests::of_format("debezium-json", &spec).decode(&records);
        batch.rows.column(0).as_primitive::<datafusion::arrow::datatypes::Time64MicrosecondType>().value(0)
    };
    for (value, expected) in [
        ("-45296123456", -45_296_123_456),
        ("86400000000", 86_400_000_000),
        ("3020399000000", 3_020_399_000_000),
        ("-3020399000001", -3_020_399_000_001),
        ("\"838:59:59\"", 3_020_399_000_000),
        ("\"-838:59:59.000001\"", -3_020_399_000_001),
        ("\"-00:00:00.5\"", -500_000),
        ("\"999:59:59.999999\"", 3_599_999_999_999),
    ] {
        assert_eq!(micros(value), expected, "{value}");
    }
}

#[test]
fn dates_and_times() {
    use DataType::*;
    let remarked = |declared: &str, found: &str, remark: &str| {
        format!("wrong_type: column \"x\": expected {declared}, found {found} ({remark}) at byte 23")
    };
    let beyond = |declared: &str, found: &str| remarked(declared, found, "beyond 999:59:59");
    let more = |declared: &str, found: &str| remarked(declared, found, MORE);
    check(&[
        (Date32, "19782", "2024-02-29"),
        (Date32, "-1", "1969-12-31"),
        (Date32, "\"2024-02-29\"", "2024-02-29"),
        (Date32, "\"1000-01-01\"", "1000-01-01"),
        (Date32, "\"2023-02-29\"", &refused("DATE", "\"2023-02-29\"")),
        (Date32, "\"2023-13-01\"", &refused("DATE", "\"2023-13-01\"")),
        (Date32, "\"20240229\"", &refused("DATE", "\"20240229\"")),
        (Date32, "\"2024-02-29Z\"", "2024-02-29"),
        (Time32(TimeUnit::Millisecond), "86399123", "23:59:59.123"),
        (Time32(TimeUnit::Second), "86399000", "23:59:59"),
        (Time32(TimeUnit::Second), "86399123", &more("TIME(0)", "86399123")),
        (Time64(TimeUnit::Microsecond), "86399123456", "23:59:59.123456"),
        (Time64(TimeUnit::Microsecond), "\"10:34:56.123456Z\"", "10:34:56.123456"),
        (Time64(TimeUnit::Microsecond), "\"10:34:56.1234567Z\"", &more("TIME(6)", "\"10:34:56.1234567Z\"")),
        (Time64(TimeUnit::Microsecond), "3600000000000", &beyond("TIME(6)", "3600000000000")),
        (Time64(TimeUnit::Microsecond), "-3600000000000", &beyond("TIME(6)", "-3600000000000")),
        (Time64(TimeUnit::Microsecond), "\"1000:00:00\"", &refused("TIME(6)", "\"1000:00:00\"")),
        (Time64(TimeUnit::Microsecond), "\"1:00:00\"", &refused("TIME(6)", "\"1:00:00\"")),
        (Time64(TimeUnit::Microsecond), "\"10:60:00\"", &refused("TIME(6)", "\"10:60:00\"")),
        (Time64(TimeUnit::Microsecond), "\"10:00\"", &refused("TIME(6)", "\"10:00\"")),
    ]);
}

#[test]
fn timestamps() {
    use TimeUnit::*;
    let of = |unit| DataType::Timestamp(unit, None);
    let more = |declared: &str, found: &str| {
        format!("wrong_type: column \"x\": expected {declared}, found {found} ({MORE}) at byte 23")
    };
    check(&[
        (of(Second), "1718900000000", "2024-06-20T16:13:20"),
        (of(Millisecond), "1718900000123", "2024-06-20T16:13:20.123"),
        (of(Microsecond), "1718900000123456", "2024-06-20T16:13:20.123456"),
        (of(Nanosecond), "1718900000123456789", "2024-06-20T16:13:20.123456789"),
        (of(Second), "-1000", "1969-12-31T23:59:59"),
        (of(Second), "-1", &more("TIMESTAMP(0)", "-1")),
        (of(Second), "\"2024-06-20T16:13:20.000Z\"", "2024-06-20T16:13:20"),
        (of(Second), "\"2024-06-20T16:13:20.5Z\"", &more("TIMESTAMP(0)", "\"2024-06-20T16:13:20.5Z\"")),
        (of(Second), "\"2024-06-20T16:13:20Z\"", "2024-06-20T16:13:20"),
        (of(Millisecond), "\"2024-06-20 16:13:20.123\"", "2024-06-20T16:13:20.123"),
        (of(Millisecond), "\"2024-06-20T16:13:20.123987Z\"", &more("TIMESTAMP(3)", "\"2024-06-20T16:13:20.123987Z\"")),
        (of(Millisecond), "\"1969-12-31T23:59:59.999Z\"", "1969-12-31T23:59:59.999"),
        (of(Microsecond), "\"2024-06-20T14:13:20.123456+02:00\"", "2024-06-20T12:13:20.123456"),
        (of(Microsecond), "\"2024-06-20 14:13:20.5-0530\"", "2024-06-20T19:43:20.500"),
        (of(Microsecond), "\"2024-06-20 14:13:20+02\"", "2024-06-20T12:13:20"),
        (of(Nanosecond), "\"2024-06-20T16:13:20.123456789Z\"", "2024-06-20T16:13:20.123456789"),
        (of(Millisecond), "\"2024-06-20T16:13Z\"", "2024-06-20T16:13:00"),
        (of(Millisecond), "\"2024-06-20 16:13\"", "2024-06-20T16:13:00"),
        (of(Millisecond), "\"2024-06-20\"", "2024-06-20T00:00:00"),
        (of(Millisecond), "\"2016-12-31T23:59:60Z\"", &refused("TIMESTAMP(3)", "\"2016-12-31T23:59:60Z\"")),
        (of(Millisecond), "\"1000-01-01T00:00:00Z\"", "1000-01-01T00:00:00"),
        (of(Millisecond), "\"9999-12-31T23:59:59.999Z\"", "9999-12-31T23:59:59.999"),
        (of(Millisecond), "\"2024-02-30T00:00:00Z\"", &refused("TIMESTAMP(3)", "\"2024-02-30T00:00:00Z\"")),
        (of(Millisecond), "\"026-11-21T07:17:29Z\"", &refused("TIMESTAMP(3)", "\"026-11-21T07:17:29Z\"")),
        (of(Millisecond), "\"+10000-01-01T00:00:00Z\"", "+10000-01-01T00:00:00"),
        (
            of(Millisecond),
            "\"-infinity\"",
            &refused("TIMESTAMP(3)", "\"-infinity\"").replace(" at", " (declare it as STRING) at"),
        ),
        (of(Millisecond), "\"20240620161320\"", &refused("TIMESTAMP(3)", "\"20240620161320\"")),
        (of(Nanosecond), "\"9999-12-31T23:59:59Z\"", &refused("TIMESTAMP(9)", "\"9999-12-31T23:59:59Z\"")),
        (of(Millisecond), "1.5", &refused("TIMESTAMP(3)", "1.5")),
        (DataType::Timestamp(Millisecond, Some("UTC".into())), "\"2024-06-20T18:13:20+02:00\"", "2024-06-20T16:13:20Z"),
    ]);
}

/// What one value becomes in a column that is declared with these words, read with these options.
fn declared(declared: &str, value: &str, list: &[(&str, &str)]) -> String {
    use super::super::tests::{options, shown, spec_of, values};
    let field = match crate::sql::define::types::parse_column("x", declared) {
        Ok(field) => field,
        Err(error) => return error,
    };
    let spec = spec_of(datafusion::arrow::datatypes::Schema::new(vec![field]));
    let list: Vec<_> = list.iter().copied().chain([("format", "debezium-json")]).collect();
    let mut decoder = match super::super::decoder(&options(&list), &spec) {
        Ok(decoder) => decoder,
        Err(error) => return error.to_string(),
    };
    let batch = decoder.decode(&values(&[format!("{{\"op\":\"c\",\"after\":{{\"x\":{value}}}}}")]));
    match &batch.dead_letters[..] {
        [] if batch.unavailable == [(0, 0)] => format!("unavailable: {}", shown(batch.rows.column(0)).remove(0)),
        [] => shown(batch.rows.column(0)).remove(0),
        letters => letters[0].message.clone(),
    }
}

#[test]
fn the_units_of_every_time_precision_mode() {
    const MODE: &str = "debezium-json.time.precision.mode";
    let at = "2024-06-20T16:13:20";
    for (mode, type_name, value, expected) in [
        ("adaptive", "TIMESTAMP(0)", "1718900000000", at),
        ("adaptive", "TIMESTAMP(6)", "1718900000000000", at),
        ("adaptive", "TIME(3)", "3600001", "01:00:00.001"),
        ("adaptive", "TIME(6)", "3600001000", "01:00:00.001"),
        ("adaptive", "TIME(9)", "3600001000000", "01:00:00.001"),
        ("adaptive_time_microseconds", "TIMESTAMP(3)", "1718900000000", at),
        ("adaptive_time_microseconds", "TIME(0)", "3600000000", "01:00:00"),
        ("adaptive_time_microseconds", "TIME(3)", "3600001000", "01:00:00.001"),
        ("connect", "TIMESTAMP(6)", "1718900000123", "2024-06-20T16:13:20.123"),
        ("connect", "TIMESTAMP(9)", "1718900000123", "2024-06-20T16:13:20.123"),
        ("connect", "TIME(6)", "3600001", "01:00:00.001"),
        ("connect", "DATE", "19782", "2024-02-29"),
        ("microseconds", "TIMESTAMP(3)", "1718900000123000", "2024-06-20T16:13:20.123"),
        ("microseconds", "TIME(0)", "3600000000", "01:00:00"),
        ("nanoseconds", "TIMESTAMP(6)", "1718900000123456000", "2024-06-20T16:13:20.123456"),
        ("nanoseconds", "TIME(9)", "3600000000001", "01:00:00.000000001"),
        ("isostring", "TIMESTAMP(6)", "\"2024-06-20T16:13:20.5Z\"", "2024-06-20T16:13:20.500"),
        ("isostring", "TIME(6)", "\"16:13:20.5Z\"", "16:13:20.500"),
        ("isostring", "DATE", "\"2024-06-20Z\"", "2024-06-20"),
    ] {
        assert_eq!(declared(type_name, value, &[(MODE, mode)]), expected, "{mode} {type_name} {value}");
    }
    let wrong = declared("TIMESTAMP(3)", "1718900000123456", &[(MODE, "microseconds")]);
    assert!(wrong.contains(MORE), "{wrong}");
    let wrong = declared("TIMESTAMP(9)", "9223372036854775807", &[(MODE, "connect")]);
    assert!(wrong.contains("out of range"), "{wrong}");
    assert_eq!(declared("TIME", "3600000000", &[]), "01:00:00");
    let unsaid = declared("TIME(3)", "3600001", &[]);
    assert!(
        unsaid.starts_with("table \"t\": column \"x\": integers for TIME(3) are milliseconds from PostgreSQL"),
        "{unsaid}"
    );
    assert!(declared("DATE", "1", &[(MODE, "adaptve")]).contains("expected what the connector has: 'adaptive', "));
}

#[test]
fn the_ways_to_write_bytes_and_bits() {
    const MODE: &str = "debezium-json.binary.handling.mode";
    for (mode, value, expected) in [
        ("bytes", "\"3q2+7w==\"", "deadbeef"),
        ("base64", "\"3q2+7w==\"", "deadbeef"),
        ("base64-url-safe", "\"3q2-7w==\"", "deadbeef"),
        ("hex", "\"DEADbeef\"", "deadbeef"),
    ] {
        assert_eq!(declared("BYTES", value, &[(MODE, mode)]), expected, "{mode}");
    }
    assert!(declared("BYTES", "\"3q2+7w==\"", &[(MODE, "hex")]).contains("not hexadecimal"));
    for (type_name, value, expected) in [
        ("BIT(1)", "true", "true"),
        ("BIT", "false", "false"),
        ("BIT(8)", "\"qg==\"", "170"),
        ("BIT(8)", "\"\"", "0"),
        ("BIT(16)", "\"AAE=\"", "256"),
        ("BIT VARYING(16)", "\"BQ==\"", "5"),
        ("BIT(64)", "\"//////////8=\"", "18446744073709551615"),
        ("BIT(64)", "7", "7"),
        ("BIT(72)", "\"//////////8A\"", "ffffffffffffffff00"),
        ("BIGINT UNSIGNED", "-1", "18446744073709551615"),
        ("BIGINT UNSIGNED", "\"AP//////////\"", "18446744073709551615"),
        ("BIGINT UNSIGNED", "\"AIAAAAAAAAAA\"", "9223372036854775808"),
        ("BIGINT UNSIGNED", "\"AA==\"", "0"),
        ("BIGINT UNSIGNED", "\"1234\"", "1234"),
        ("DECIMAL(20, 0)", "\"AP//////////\"", "18446744073709551615"),
    ] {
        assert_eq!(declared(type_name, value, &[]), expected, "{type_name} {value}");
    }
    assert!(declared("BIGINT UNSIGNED", "\"/w==\"", &[]).starts_with("column \"x\": expected BIGINT UNSIGNED"));
}

#[test]
fn numbers_with_a_scale_of_their_own_and_none_at_all() {
    let of_1e40 = "{\"scale\":-40,\"value\":\"AQ==\"}";
    for (type_name, value, expected) in [
        ("STRING", "{\"scale\":9,\"value\":\"J+QbMka+ybFuOYEV\"}", "12345678901234567890.123456789"),
        ("STRING", "{\"value\":\"+w==\",\"scale\":1}", "-0.5"),
        ("STRING", "{\"scale\":0,\"value\":\"AA==\"}", "0"),
        ("STRING", "{\"scale\":2,\"value\":\"/w==\"}", "-0.01"),
        ("STRING", of_1e40, "10000000000000000000000000000000000000000"),
        ("STRING", "{\"scale\":9,\"value\":\"J+Q\"}", "{\"scale\":9,\"value\":\"J+Q\"}"),
        ("STRING", "{\"scale\":9,\"value\":\"AQ==\",\"x\":1}", "{\"scale\":9,\"value\":\"AQ==\",\"x\":1}"),
        ("STRING", "\"NAN\"", "NAN"),
        ("DECIMAL(76, 0)", of_1e40, "10000000000000000000000000000000000000000"),
        ("DOUBLE", "\"NAN\"", "NaN"),
        ("FLOAT", "\"-Infinity\"", "-inf"),
        ("STRING", "{\"x\":1.5,\"y\":2.0,\"srid\":null}", "{\"x\":1.5,\"y\":2.0,\"srid\":null}"),
    ] {
        assert_eq!(declared(type_name, value, &[]), expected, "{type_name} {value}");
    }
    let nan = declared("DECIMAL(10, 2)", "\"NAN\"", &[]);
    assert!(nan.contains("declare it as STRING or DOUBLE"), "{nan}");
    // As many digits as PostgreSQL has.
    let (sign, long) = ("-", "7".repeat(20_000));
    let bytes = {
        use num_bytes::twos_complement;
        twos_complement(&long)
    };
    assert_eq!(super::decimal::plain_text(&bytes, 3), format!("{sign}{}.777", &long[3..]));
}

/// A big number's bytes, by long division: slow, and different from the code under test.
mod num_bytes {
    /// The two's complement of minus the number.
    pub(super) fn twos_complement(digits: &str) -> Vec<u8> {
        let mut number: Vec<u8> = digits.bytes().map(|digit| digit - b'0').collect();
        let mut bytes = Vec::new();
        while !number.is_empty() {
            let mut rest = 0u32;
            for digit in &mut number {
                let value = rest * 10 + u32::from(*digit);
                (*digit, rest) = ((value / 256) as u8, value % 256);
            }
            bytes.push(rest as u8);
            let zeros = number.iter().take_while(|&&digit| digit == 0).count();
            number.drain(..zeros);
        }
        bytes.push(0);
        let mut carry = 1u16;
        for byte in &mut bytes {
            let sum = u16::from(!*byte) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        bytes.reverse();
        bytes
    }
}

#[test]
fn values_that_did_not_change() {
    let text = "\"__debezium_unavailable_value\"";
    let bytes: Vec<String> = b"__debezium_unavailable_value".iter().map(u8::to_string).collect();
    let bytes = format!("[{}]", bytes.join(","));
    for (type_name, value) in [
        ("STRING", text),
        ("JSON", text),
        ("BYTES", text),
        ("BYTES", "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\""),
        ("BYTES", "\"5f5f646562657a69756d5f756e617661696c61626c655f76616c7565\""),
        ("DECIMAL(10, 2)", text),
        ("DECIMAL(10, 2)", "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\""),
        ("TIMESTAMP(6)", text),
        ("ARRAY<STRING>", "[\"__debezium_unavailable_value\"]"),
        ("ARRAY<BYTES>", "[\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"]"),
        ("ARRAY<INT>", &bytes),
        ("ARRAY<BIGINT>", &bytes),
        ("STRING", "{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}"),
        ("JSON", r#""{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}""#),
    ] {
        let list = [("debezium-json.binary.handling.mode", if value.starts_with("\"5f") { "hex" } else { "bytes" })];
        assert_eq!(declared(type_name, value, &list), "unavailable: null", "{type_name} {value}");
    }
    assert_eq!(declared("STRING", "\"__debezium_unavailable_valuE\"", &[]), "__debezium_unavailable_valuE");
    assert_eq!(declared("ARRAY<STRING>", "[\"a\",null]", &[]), "[a, ]");
}

/// Rows that are given up take their marks with them; those of images before changes are not kept.
#[test]
fn marks_of_unchanged_values_go_with_their_rows() {
    use super::super::tests::{options, spec, values};
    let una = "\"__debezium_unavailable_value\"";
    let row =
        |a: &str, b: &str| format!("{{\"op\":\"u\",\"before\":{{\"a\":{una}}},\"after\":{{\"a\":{a},\"b\":{b}}}}}");
    let mut spec = spec(&[("a", DataType::Utf8), ("b", DataType::Int32)]);
    spec.before = true;
    let mut decoder = super::super::decoder(&options(&[("format", "debezium-json")]), &spec).unwrap();
    for _ in 0..2 {
        let records = [row(una, "1"), row(una, "\"x\""), row("\"y\"", "2"), row(una, una)];
        let batch = decoder.decode(&values(&records));
        assert_eq!(batch.offsets, [0, 2, 3]);
        assert_eq!(batch.unavailable, [(0, 0), (2, 0), (2, 1)]);
        // The later of two values counts.
        let batch = decoder.decode(&values(&[format!("{{\"op\":\"c\",\"after\":{{\"a\":{una},\"a\":\"z\"}}}}")]));
        assert_eq!(batch.unavailable, []);
    }
}

#[test]
fn every_day_and_every_usual_form_agrees_with_chrono() {
    use chrono::{DateTime, Days, NaiveDate};
    let mut day = NaiveDate::from_ymd_opt(1890, 1, 1).unwrap();
    for number in 0..80_000u64 {
        let text = day.to_string();
        let days = day.signed_duration_since(NaiveDate::default()).num_days();
        assert_eq!(super::time::parse_date(&text).map(i64::from), Some(days), "{text}");
        let instant =
            format!("{text}T{:02}:{:02}:{:02}.{:06}Z", number % 24, number % 60, number % 59, number * 13 % 1_000_000);
        let expected = DateTime::parse_from_rfc3339(&instant).unwrap().timestamp_micros();
        assert_eq!(super::time::parse_timestamp(&instant, TimeUnit::Microsecond), Ok(expected), "{instant}");
        day = day + Days::new(1);
    }
}

#[test]
fn arrays_of_simple_types() {
    let list = |item| DataType::List(Field::new("item", item, true).into());
    check(&[
        (list(DataType::Int32), "[1, 2,null ]", "[1, 2, ]"),
        (list(DataType::Utf8), "[\"x\",\"y z\",null]", "[x, y z, ]"),
        (list(DataType::Decimal128(10, 2)), "[\"bg==\",\"ANw=\"]", "[1.10, 2.20]"),
        (list(DataType::Int32), "[]", "[]"),
        (list(DataType::Int32), "null", "null"),
        (list(DataType::Int32), "[1,\"x\"]", &refused("ARRAY<INT>", "\"x\"").replace("23", "26")),
        (list(DataType::Int32), "[1", "malformed: column \"x\": expected ',' or ']' at byte 25"),
    ]);
}
