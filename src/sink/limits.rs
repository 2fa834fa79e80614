//! What the columns of an output can hold, where that is less than their Arrow types can say: known once the output is
//! prepared, so that a value without a place is found before its row is on its way.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit};
use datafusion::arrow::util::display::array_value_to_string;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// The limits of an output's columns; those that hold everything have none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits(pub Vec<Limit>);

/// The limit of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Its place among the output's columns.
    pub column: usize,
    /// What it holds.
    pub holds: Holds,
    /// Its type where it is, for messages.
    pub target: String,
    /// What to do about a value that it does not hold.
    pub remedy: &'static str,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Holds {
    /// Days, or ticks of the array's unit.
    Between(RangeInclusive<i64>),
    /// Texts and bytes of this length.
    Bytes(usize),
    /// These words.
    Words(BTreeSet<String>),
    /// UUIDs in their usual form.
    Uuid,
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// JSON objects that the target keeps as they are: no key twice, no number that it would round.
    Json,
    /// Arrays of such.
    Items(Box<Holds>),
    /// Structs, some fields of which are limited.
    Fields(Vec<(usize, Holds)>),
}

impl Limits {
    /// For each limited column, the rows whose values have no place in it, ascending. Mostly nothing.
    pub fn refused<'a>(&'a self, rows: &'a RecordBatch) -> impl Iterator<Item = (&'a Limit, Vec<usize>)> {
        self.0.iter().filter_map(|limit| {
            let refused = limit.holds.refused(rows.column(limit.column));
            (!refused.is_empty()).then_some((limit, refused))
        })
    }
}

impl Limit {
    /// Why a row is refused, in words.
    pub fn message(&self, rows: &RecordBatch, row: usize) -> String {
        let column = rows.column(self.column);
        let shown = shown(column, row);
        let name = rows.schema_ref().field(self.column).name().clone();
        format!("column \"{name}\": {shown} has no place in {} ({})", self.target, self.remedy)
    }
}

/// A value, cut to what a line can hold. Arrow has no words for times far away.
fn shown(column: &ArrayRef, row: usize) -> String {
    let words = |array: &ArrayRef| array_value_to_string(array, row).ok().filter(|text| !text.starts_with("ERROR"));
    let number = || cast(column, &DataType::Int64).ok().as_ref().and_then(words);
    let value = words(column).or_else(number).unwrap_or_else(|| "a value".to_owned());
    match value.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value,
    }
}

impl Holds {
    /// The rows whose values have no place, ascending.
    fn refused(&self, array: &ArrayRef) -> Vec<usize> {
        match self {
            Self::Between(range) => outside(array, range),
            Self::Bytes(length) => match array.data_type() {
                DataType::Binary => rows_that(array.as_binary::<i32>().iter(), |value| value.len() != *length),
                _ => texts(array, |text| text.len() != *length),
            },
            Self::Words(words) => texts(array, |text| !words.contains(text)),
            Self::Uuid => texts(array, |text| !is_uuid(text)),
            Self::Ipv4 => texts(array, |text| text.parse::<Ipv4Addr>().is_err()),
            Self::Ipv6 => texts(array, |text| text.parse::<Ipv6Addr>().is_err()),
            Self::Json => texts(array, |text| !is_exact_object(text)),
            Self::Items(holds) => {
                let Some(list) = array.as_list_opt::<i32>() else { return Vec::new() };
                let refused = holds.refused(list.values());
                let is_touched = |row: &usize| {
                    let ends = &list.value_offsets()[*row..row + 2];
                    let first = refused.partition_point(|&item| item < ends[0] as usize);
                    list.is_valid(*row) && refused.get(first).is_some_and(|&item| item < ends[1] as usize)
                };
                if refused.is_empty() { Vec::new() } else { (0..list.len()).filter(is_touched).collect() }
            }
            Self::Fields(fields) => {
                let Some(structs) = array.as_struct_opt() else { return Vec::new() };
                let of_field = |(field, holds): &(usize, Holds)| holds.refused(structs.column(*field));
                let rows: BTreeSet<usize> = fields.iter().flat_map(of_field).collect();
                rows.into_iter().filter(|&row| structs.is_valid(row)).collect()
            }
        }
    }
}

/// Rows with values outside of a range. A look at all values without a branch comes first: mostly there are none.
fn outside(array: &ArrayRef, range: &RangeInclusive<i64>) -> Vec<usize> {
    macro_rules! of_type {
        ($native:ty, $values:expr) => {{
            let values: &[$native] = $values;
            let (least, greatest) = (*range.start(), *range.end());
            let is_outside = |value: $native| (i64::from(value) < least) | (i64::from(value) > greatest);
            if !values.iter().fold(false, |any, &value| any | is_outside(value)) {
                return Vec::new();
            }
            (0..values.len()).filter(|&row| array.is_valid(row) && is_outside(values[row])).collect()
        }};
    }
    use datafusion::arrow::datatypes::{
        Date32Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    };
    match array.data_type() {
        DataType::Int32 => of_type!(i32, array.as_primitive::<Int32Type>().values()),
        DataType::Int64 => of_type!(i64, array.as_primitive::<Int64Type>().values()),
        DataType::Date32 => of_type!(i32, array.as_primitive::<Date32Type>().values()),
        DataType::Time32(TimeUnit::Second) => of_type!(i32, array.as_primitive::<Time32SecondType>().values()),
        DataType::Time32(_) => of_type!(i32, array.as_primitive::<Time32MillisecondType>().values()),
        DataType::Time64(TimeUnit::Nanosecond) => {
            of_type!(i64, array.as_primitive::<Time64NanosecondType>().values())
        }
        DataType::Time64(_) => of_type!(i64, array.as_primitive::<Time64MicrosecondType>().values()),
        DataType::Timestamp(TimeUnit::Second, _) => {
            of_type!(i64, array.as_primitive::<TimestampSecondType>().values())
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            of_type!(i64, array.as_primitive::<TimestampMillisecondType>().values())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            of_type!(i64, array.as_primitive::<TimestampMicrosecondType>().values())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            of_type!(i64, array.as_primitive::<TimestampNanosecondType>().values())
        }
        _ => Vec::new(),
    }
}

/// Rows whose text is refused.
fn texts(array: &ArrayRef, refuse: impl Fn(&str) -> bool) -> Vec<usize> {
    match array.data_type() {
        DataType::Utf8 => rows_that(array.as_string::<i32>().iter(), refuse),
        DataType::LargeUtf8 => rows_that(array.as_string::<i64>().iter(), refuse),
        DataType::Utf8View => rows_that(array.as_string_view().iter(), refuse),
        // Dictionaries and the like: by way of their values.
        _ => match cast(array, &DataType::Utf8) {
            Ok(array) => rows_that(array.as_string::<i32>().iter(), refuse),
            Err(_) => Vec::new(),
        },
    }
}

fn rows_that<T>(values: impl Iterator<Item = Option<T>>, refuse: impl Fn(T) -> bool) -> Vec<usize> {
    values.enumerate().filter(|(_, value)| value.is_some()).fold(Vec::new(), |mut rows, (row, value)| {
        if value.is_some_and(&refuse) {
            rows.push(row);
        }
        rows
    })
}

fn is_uuid(text: &str) -> bool {
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| if is_dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

/// Whether ClickHouse's type `JSON` keeps all that a text says, but for the order of keys and for nulls, which it has no
/// place for: a path that is there twice, it would refuse; numbers beyond 64 bits, it would refuse or round.
fn is_exact_object(text: &str) -> bool {
    let mut paths = BTreeSet::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    text.trim_start().starts_with('{')
        && (Node { path: String::new(), paths: &mut paths }).read(&mut deserializer).is_ok()
        && deserializer.end().is_ok()
        && numbers_are_exact(text)
}

/// A value within a JSON document, and the paths seen so far.
struct Node<'a> {
    path: String,
    paths: &'a mut BTreeSet<String>,
}

impl Node<'_> {
    fn read<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.read(deserializer)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut is_empty = true;
        while let Some(key) = map.next_key::<String>()? {
            is_empty = false;
            let path = format!("{}.{key}", self.path);
            map.next_value_seed(Node { path, paths: &mut *self.paths })?;
        }
        if is_empty { self.leaf() } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        loop {
            let mut inner = BTreeSet::new();
            if items.next_element_seed(Node { path: String::new(), paths: &mut inner })?.is_none() {
                return self.leaf();
            }
        }
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.leaf()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.leaf()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.leaf()
    }
}

impl Node<'_> {
    /// Notes a value at its path. A path that another one goes through is the same to ClickHouse's reader as one that is
    /// there twice.
    fn leaf<E: serde::de::Error>(self) -> Result<(), E> {
        let is_through =
            self.paths.iter().any(|path| path.strip_prefix(&self.path).is_some_and(|it| it.starts_with('.')));
        let goes_through = self.path.match_indices('.').any(|(at, _)| at > 0 && self.paths.contains(&self.path[..at]));
        match (is_through || goes_through, self.paths.insert(self.path)) {
            (false, true) => Ok(()),
            _ => Err(E::custom("a path that is there twice")),
        }
    }
}

/// Whether 64-bit integers and doubles hold all numbers of a valid JSON text.
fn numbers_are_exact(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (mut at, mut in_string) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let length =
                    bytes[at..].iter().take_while(|it| matches!(it, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
                let length = length.count();
                if !is_exact_number(&text[at..at + length]) {
                    return false;
                }
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    true
}

fn is_exact_number(text: &str) -> bool {
    if !text.contains(['.', 'e', 'E']) {
        return text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    }
    // The shortest text of the double has the same digits at the same place, or it was rounded.
    text.parse::<f64>()
        .is_ok_and(|number| number.is_finite() && significant(text) == significant(&format!("{number:e}")))
}

/// The digits of a number without zeros around them, and the exponent of the first.
fn significant(text: &str) -> (String, i64) {
    let text = text.trim_start_matches('-').to_ascii_lowercase();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let zeros = digits.bytes().take_while(|&byte| byte == b'0').count();
    let significant = digits.trim_matches('0').to_owned();
    if significant.is_empty() {
        return (significant, 0);
    }
    (significant, exponent.parse::<i64>().unwrap_or(i64::MAX).saturating_add(whole.len() as i64 - zeros as i64))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        BinaryArray, Date32Array, ListArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    };

    use super::*;

    fn refused(holds: Holds, array: impl Array + 'static) -> Vec<usize> {
        holds.refused(&(Arc::new(array) as ArrayRef))
    }

    #[test]
    fn numbers_in_a_range() {
        let days = Date32Array::from(vec![Some(0), None, Some(65_535), Some(65_536), Some(-1)]);
        assert_eq!(refused(Holds::Between(0..=65_535), days), [3, 4]);
        let times = TimestampMicrosecondArray::from(vec![Some(-5), None, Some(7)]);
        assert_eq!(refused(Holds::Between(-5..=6), times), [2]);
        let times = Time64MicrosecondArray::from(vec![i64::MIN, 0, i64::MAX]);
        assert_eq!(refused(Holds::Between(-1..=1), times), [0, 2]);
        let items = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1)]),
            None,
            Some(vec![]),
            Some(vec![Some(1), None, Some(300)]),
        ]);
        assert_eq!(refused(Holds::Items(Box::new(Holds::Between(0..=255))), items), [3]);
    }

    #[test]
    fn texts_of_a_form() {
        let of = |holds: Holds, text: &str| refused(holds, StringArray::from(vec![None, Some(text)])).is_empty();
        assert!(of(Holds::Uuid, "c0ffee00-1111-4222-8333-ABCDEFabcdef"));
        for text in [
            "",
            "c0ffee00111142228333abcdefabcdef",
            "c0ffee00-1111-4222-8333-abcdefabcdeg",
            "c0ffee00-1111-4222-8333-abcdefabcdef ",
        ] {
            assert!(!of(Holds::Uuid, text), "{text}");
        }
        assert!(of(Holds::Ipv4, "10.0.0.1") && !of(Holds::Ipv4, "10.0.0.1/8") && !of(Holds::Ipv4, "::1"));
        assert!(of(Holds::Ipv6, "2001:db8::1") && !of(Holds::Ipv6, "10.0.0.1"));
        let words = || Holds::Words(["a".to_owned(), "b".to_owned()].into());
        assert!(of(words(), "b") && !of(words(), "c") && !of(words(), ""));
        assert!(of(Holds::Bytes(2), "ä") && !of(Holds::Bytes(2), "a"));
        assert_eq!(refused(Holds::Bytes(2), BinaryArray::from(vec![&b"ab"[..], b"abc"])), [1]);
    }

    #[test]
    fn documents_that_json_columns_keep() {
        for text in [
            "{}",
            " {\"a\":[1,2,{\"b\":null}]}",
            "{\"a\":-9223372036854775808,\"b\":18446744073709551615}",
            "{\"a\":0.1,\"b\":1.50e2,\"c\":\"1e400 \\\" 99999999999999999999999\",\"d\":[{\"x\":1},{\"x\":2}],\"e\":0.0}",
            "{\"ab\":1,\"a\":{\"b\":2}}",
        ] {
            assert!(is_exact_object(text), "{text}");
        }
        for text in [
            "[]",
            "1",
            "",
            "{",
            "{\"a\":1,\"a\":2}",
            "{\"a.b\":1,\"a\":{\"b\":2}}",
            "{\"a\":1,\"a\":{\"b\":1}}",
            "{\"a\":{\"b\":1},\"a\":1}",
            "{\"a\":[{\"b\":1,\"b\":2}]}",
            "{\"a\":1e400}",
            "{\"a\":123456789012345678901234567890}",
            "{\"a\":0.1234567890123456789}",
            "{\"a\":NaN}",
            "{\"a\":\"\\ud800\"}",
        ] {
            assert!(!is_exact_object(text), "{text}");
        }
    }
}
