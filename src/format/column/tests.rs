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

#[test]
fn dates_and_times() {
    use DataType::*;
    let beyond = |declared: &str, found: &str| {
        format!("wrong_type: column \"x\": expected {declared}, found {found} (not a time of day) at byte 23")
    };
    check(&[
        (Date32, "19782", "2024-02-29"),
        (Date32, "-1", "1969-12-31"),
        (Date32, "\"2024-02-29\"", "2024-02-29"),
        (Date32, "\"1000-01-01\"", "1000-01-01"),
        (Date32, "\"2023-02-29\"", &refused("DATE", "\"2023-02-29\"")),
        (Date32, "\"2023-13-01\"", &refused("DATE", "\"2023-13-01\"")),
        (Date32, "\"20240229\"", &refused("DATE", "\"20240229\"")),
        (Time32(TimeUnit::Millisecond), "86399123", "23:59:59.123"),
        (Time32(TimeUnit::Second), "86399123", "23:59:59"),
        (Time64(TimeUnit::Microsecond), "86399123456", "23:59:59.123456"),
        (Time64(TimeUnit::Microsecond), "\"10:34:56.123456Z\"", "10:34:56.123456"),
        (Time64(TimeUnit::Microsecond), "-45296123456", &beyond("TIME(6)", "-45296123456")),
        (Time64(TimeUnit::Microsecond), "86400000000", &beyond("TIME(6)", "86400000000")),
        (Time64(TimeUnit::Nanosecond), "\"25:00:00\"", &refused("TIME(9)", "\"25:00:00\"")),
    ]);
}

#[test]
fn timestamps() {
    use TimeUnit::*;
    let of = |unit| DataType::Timestamp(unit, None);
    check(&[
        (of(Second), "1718900000000", "2024-06-20T16:13:20"),
        (of(Millisecond), "1718900000123", "2024-06-20T16:13:20.123"),
        (of(Microsecond), "1718900000123456", "2024-06-20T16:13:20.123456"),
        (of(Nanosecond), "1718900000123456789", "2024-06-20T16:13:20.123456789"),
        (of(Second), "-1", "1969-12-31T23:59:59"),
        (of(Second), "\"2024-06-20T16:13:20Z\"", "2024-06-20T16:13:20"),
        (of(Millisecond), "\"2024-06-20 16:13:20.123\"", "2024-06-20T16:13:20.123"),
        (of(Millisecond), "\"2024-06-20T16:13:20.123987Z\"", "2024-06-20T16:13:20.123"),
        (of(Millisecond), "\"1969-12-31T23:59:59.9999Z\"", "1969-12-31T23:59:59.999"),
        (of(Microsecond), "\"2024-06-20T14:13:20.123456+02:00\"", "2024-06-20T12:13:20.123456"),
        (of(Microsecond), "\"2024-06-20 14:13:20.5-0530\"", "2024-06-20T19:43:20.500"),
        (of(Microsecond), "\"2024-06-20 14:13:20+02\"", "2024-06-20T12:13:20"),
        (of(Nanosecond), "\"2024-06-20T16:13:20.123456789Z\"", "2024-06-20T16:13:20.123456789"),
        (of(Millisecond), "\"2024-06-20T16:13Z\"", "2024-06-20T16:13:00"),
        (of(Millisecond), "\"2024-06-20 16:13\"", "2024-06-20T16:13:00"),
        (of(Millisecond), "\"2024-06-20\"", "2024-06-20T00:00:00"),
        (of(Millisecond), "\"2016-12-31T23:59:60Z\"", "2016-12-31T23:59:59.999"),
        (of(Millisecond), "\"1000-01-01T00:00:00Z\"", "1000-01-01T00:00:00"),
        (of(Millisecond), "\"9999-12-31T23:59:59.999Z\"", "9999-12-31T23:59:59.999"),
        (of(Millisecond), "\"2024-02-30T00:00:00Z\"", &refused("TIMESTAMP(3)", "\"2024-02-30T00:00:00Z\"")),
        (of(Millisecond), "\"026-11-21T07:17:29Z\"", &refused("TIMESTAMP(3)", "\"026-11-21T07:17:29Z\"")),
        (of(Millisecond), "\"+10000-01-01T00:00:00Z\"", "+10000-01-01T00:00:00"),
        (of(Millisecond), "\"infinity\"", &refused("TIMESTAMP(3)", "\"infinity\"")),
        (of(Millisecond), "\"20240620161320\"", &refused("TIMESTAMP(3)", "\"20240620161320\"")),
        (of(Nanosecond), "\"9999-12-31T23:59:59Z\"", &refused("TIMESTAMP(9)", "\"9999-12-31T23:59:59Z\"")),
        (of(Millisecond), "1.5", &refused("TIMESTAMP(3)", "1.5")),
        (DataType::Timestamp(Millisecond, Some("UTC".into())), "\"2024-06-20T18:13:20+02:00\"", "2024-06-20T16:13:20Z"),
    ]);
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
        assert_eq!(super::time::parse_timestamp(&instant, TimeUnit::Microsecond), Some(expected), "{instant}");
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
