use datafusion::arrow::datatypes::{DataType, TimeUnit};

use super::super::tests::{convert, lines, of_format, options, spec, values};
use super::super::{DecodeSpec, decoder};

fn table() -> DecodeSpec {
    spec(&[("id", DataType::Int32), ("name", DataType::Utf8), ("at", DataType::Timestamp(TimeUnit::Millisecond, None))])
}

#[test]
fn fields_quotes_and_nulls() {
    let batch = of_format("csv", &table()).decode(&values(&[
        "1,plain,2024-06-20 16:13:20.5\r\n",
        "2,\"a \"\"b\"\", c\",1718900000000",
        "3,\"\",",
        "4,,2024-06-20,more,\"and more\"",
        "5,null,",
    ]));
    assert_eq!(batch.dead_letters, []);
    assert_eq!(
        lines(&batch),
        [
            "c|1|plain|2024-06-20T16:13:20.500",
            "c|2|a \"b\", c|2024-06-20T16:13:20",
            "c|3||null",
            "c|4|null|2024-06-20T00:00:00",
            "c|5|null|null",
        ]
    );
}

#[test]
fn only_the_needed_fields_by_their_place() {
    let needed = DecodeSpec {
        positions: vec![2, 0],
        ..spec(&[("at", DataType::Timestamp(TimeUnit::Second, None)), ("id", DataType::Int32)])
    };
    let batch = of_format("csv", &needed).decode(&values(&["7,x,2024-06-20T16:13:20Z", "8,x"]));
    assert_eq!(lines(&batch), ["c|2024-06-20T16:13:20|7"]);
    assert_eq!(batch.dead_letters[0].message, "the line ends before the columns that are needed at byte 3");
    let batch = of_format("csv", &spec(&[])).decode(&values(&["anything", ""]));
    assert_eq!(batch.len(), 2);
}

#[test]
fn delimiter_and_null_literal() {
    let list = [("format", "csv"), ("csv.field-delimiter", "\\t"), ("csv.null-literal", "\\N")];
    let batch =
        decoder(&options(&list), &table()).unwrap().decode(&values(&["1\ta,b\t\\N", "\\N\t\t\\N", "2\t\"\\N\"\t\\N"]));
    assert_eq!(lines(&batch), ["c|1|a,b|null", "c|null||null", "c|2|\\N|null"]);
}

#[test]
fn bad_lines_are_dead_letters() {
    let cases: [(&[u8], &str); 6] = [
        (b"x,b,", "wrong_type: column \"id\": expected INT, found x at byte 0"),
        (b"1,a\"b,", "malformed: a quote inside a field that does not start with one at byte 3"),
        (b"1,\"a\"b,", "malformed: something follows a field's closing quote at byte 5"),
        (b"1,\"a,", "malformed: a quote is not closed at byte 5"),
        (b"1,\xff,", "malformed: not UTF-8 at byte 2"),
        (b"1,a,never", "wrong_type: column \"at\": expected TIMESTAMP(3), found never at byte 4"),
    ];
    let batch = of_format("csv", &table()).decode(&values(&cases.map(|(line, _)| line)));
    assert!(batch.is_empty());
    for (letter, (_, expected)) in batch.dead_letters.iter().zip(cases) {
        assert_eq!(format!("{}: {}", letter.reason.as_str(), letter.message), expected);
    }
}

#[test]
fn texts_of_other_types() {
    for (data_type, text, expected) in [
        (DataType::Boolean, "true", "true"),
        (DataType::Float64, "1.5e3", "1500.0"),
        (DataType::Decimal128(10, 2), "12.5", "12.50"),
        (DataType::Date32, "2024-02-29", "2024-02-29"),
        (DataType::UInt64, "18446744073709551615", "18446744073709551615"),
    ] {
        assert_eq!(convert("csv", &data_type, text), expected);
    }
}
