//! Functions of Flink and Spark that DataFusion has nothing like.

use std::sync::Arc;

use chrono::{DateTime, Months, NaiveDateTime};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMillisecondType};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionImplementation, Volatility, create_udf};
use datafusion::prelude::SessionContext;
use serde_json::Value;

/// The type of the times that [`register`]ed functions take and give.
pub(super) const TIME: &str = "Timestamp(Millisecond, None)";

type Function = fn(&[ArrayRef]) -> Result<ArrayRef>;

/// Adds them to a session.
pub(in crate::sql) fn register(context: &SessionContext) {
    let time = || DataType::Timestamp(TimeUnit::Millisecond, None);
    let (text, number) = (|| DataType::Utf8, || DataType::Int64);
    let all: [(&str, Vec<DataType>, DataType, Function); 6] = [
        ("timestampdiff", vec![text(), time(), time()], number(), difference),
        ("timestampadd", vec![text(), number(), time()], time(), sum),
        ("json_value", vec![text(), text()], text(), |arguments| json(arguments, scalar_text)),
        ("json_query", vec![text(), text()], text(), |arguments| json(arguments, nested_text)),
        ("get_json_object", vec![text(), text()], text(), |arguments| json(arguments, any_text)),
        ("json_get", vec![text(), text()], text(), |arguments| json(arguments, |value| Some(value.to_string()))),
    ];
    for (name, arguments, result, function) in all {
        context.register_udf(create_udf(name, arguments, result, Volatility::Immutable, columnar(function)));
    }
    context.register_udf(create_udf(
        "json_exists",
        vec![text(), text()],
        DataType::Boolean,
        Volatility::Immutable,
        columnar(exists),
    ));
}

fn columnar(function: Function) -> ScalarFunctionImplementation {
    Arc::new(move |arguments| {
        let is_scalar = arguments.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let result = function(&ColumnarValue::values_to_arrays(arguments)?)?;
        Ok(match is_scalar && result.len() == 1 {
            true => ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&result, 0)?),
            false => ColumnarValue::Array(result),
        })
    })
}

/// A unit of time: of so many months, or else of so many milliseconds.
enum Unit {
    Months(i64),
    Millis(i64),
}

fn unit(name: &str) -> Result<Unit> {
    let name = name.to_ascii_uppercase();
    Ok(match name.strip_prefix("SQL_TSI_").unwrap_or(&name).trim_end_matches('S') {
        "MILLISECOND" => Unit::Millis(1),
        "SECOND" => Unit::Millis(1_000),
        "MINUTE" => Unit::Millis(60_000),
        "HOUR" => Unit::Millis(3_600_000),
        "DAY" => Unit::Millis(86_400_000),
        "WEEK" => Unit::Millis(7 * 86_400_000),
        "MONTH" => Unit::Months(1),
        "QUARTER" => Unit::Months(3),
        "YEAR" => Unit::Months(12),
        other => {
            return plan_err!(
                "\"{other}\" is no unit of time; there are MILLISECOND, SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER, YEAR"
            );
        }
    })
}

fn moment(millis: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_millis(millis).map(|time| time.naive_utc())
}

/// How many whole units lie between two times, cut off towards zero.
fn difference(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let units = arguments[0].as_string::<i32>();
    let from = arguments[1].as_primitive::<TimestampMillisecondType>();
    let to = arguments[2].as_primitive::<TimestampMillisecondType>();
    let mut result = Vec::with_capacity(from.len());
    for row in 0..from.len() {
        if units.is_null(row) || from.is_null(row) || to.is_null(row) {
            result.push(None);
            continue;
        }
        let (from, to) = (from.value(row), to.value(row));
        result.push(match unit(units.value(row))? {
            Unit::Millis(unit) => to.checked_sub(from).map(|between| between / unit),
            Unit::Months(unit) => months_between(from, to).map(|months| months / unit),
        });
    }
    Ok(Arc::new(Int64Array::from(result)))
}

fn months_between(from: i64, to: i64) -> Option<i64> {
    use chrono::Datelike;
    if to < from {
        return months_between(to, from).map(|months| -months);
    }
    let (from, to) = (moment(from)?, moment(to)?);
    let months = i64::from(to.year() - from.year()) * 12 + i64::from(to.month()) - i64::from(from.month());
    // The last one is not whole before its day and time.
    let is_whole = (to.day(), to.time()) >= (from.day(), from.time());
    Some(if is_whole { months } else { months - 1 })
}

/// A time so many units later.
fn sum(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let units = arguments[0].as_string::<i32>();
    let amounts = arguments[1].as_primitive::<Int64Type>();
    let times = arguments[2].as_primitive::<TimestampMillisecondType>();
    let mut result = Vec::with_capacity(times.len());
    for row in 0..times.len() {
        if units.is_null(row) || amounts.is_null(row) || times.is_null(row) {
            result.push(None);
            continue;
        }
        let (amount, time) = (amounts.value(row), times.value(row));
        let later = match unit(units.value(row))? {
            Unit::Millis(unit) => amount.checked_mul(unit).and_then(|millis| time.checked_add(millis)),
            Unit::Months(unit) => amount.checked_mul(unit).and_then(|months| months_later(time, months)),
        };
        let Some(later) = later else { return plan_err!("{amount} {} later is out of range", units.value(row)) };
        result.push(Some(later));
    }
    Ok(Arc::new(TimestampMillisecondArray::from(result)))
}

fn months_later(time: i64, months: i64) -> Option<i64> {
    let time = moment(time)?;
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let later = if months < 0 { time.checked_sub_months(count) } else { time.checked_add_months(count) };
    later.map(|time| time.and_utc().timestamp_millis())
}

/// What of each text a path leads to. Null where it is no JSON, or the path leads nowhere.
fn json(arguments: &[ArrayRef], text: fn(&Value) -> Option<String>) -> Result<ArrayRef> {
    let found = at_path(arguments, |value| value.and_then(text))?;
    Ok(Arc::new(StringArray::from(found)))
}

fn exists(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let found = at_path(arguments, |value| Some(value.is_some()))?;
    Ok(Arc::new(BooleanArray::from(found)))
}

fn at_path<T>(arguments: &[ArrayRef], found: impl Fn(Option<&Value>) -> Option<T>) -> Result<Vec<Option<T>>> {
    let (texts, paths) = (arguments[0].as_string::<i32>(), arguments[1].as_string::<i32>());
    let mut known: Option<(String, Vec<Step>)> = None;
    let mut result = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        if texts.is_null(row) || paths.is_null(row) {
            result.push(None);
            continue;
        }
        if known.as_ref().is_none_or(|(path, _)| path != paths.value(row)) {
            known = Some((paths.value(row).to_owned(), steps(paths.value(row))?));
        }
        let steps = known.as_ref().map_or(&[][..], |(_, steps)| steps);
        let value: Option<Value> = serde_json::from_str(texts.value(row)).ok();
        let end = steps.iter().try_fold(value.as_ref(), |value, step| value.map(|value| step.of(value)));
        result.push(found(end.flatten()));
    }
    Ok(result)
}

/// A step of a path.
enum Step {
    Field(String),
    Item(usize),
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Field(name) => value.get(name.as_str()),
            Self::Item(place) => value.get(*place),
        }
    }
}

/// `$.a.b[0]['c']`, also with `lax` or `strict` before.
fn steps(path: &str) -> Result<Vec<Step>> {
    let wrong = || plan_err!("`{path}` is no path that is supported; write '$.field.other[0]'");
    let bare = path.trim();
    let bare = bare.strip_prefix("lax ").or_else(|| bare.strip_prefix("strict ")).unwrap_or(bare).trim();
    let Some(mut rest) = bare.strip_prefix('$') else { return wrong() };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return wrong();
            }
            steps.push(Step::Field(after[..end].trim_matches('"').to_owned()));
            rest = &after[end..];
        } else if let Some((inside, after)) = rest.strip_prefix('[').and_then(|after| after.split_once(']')) {
            let inside = inside.trim();
            let name = inside.trim_matches(['\'', '"']);
            match inside.parse() {
                Ok(place) => steps.push(Step::Item(place)),
                Err(_) if name.len() + 2 == inside.len() => steps.push(Step::Field(name.to_owned())),
                Err(_) => return wrong(),
            }
            rest = after;
        } else {
            return wrong();
        }
    }
    Ok(steps)
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        other => any_text(other),
    }
}

fn nested_text(value: &Value) -> Option<String> {
    matches!(value, Value::Array(_) | Value::Object(_)).then(|| value.to_string())
}

fn any_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_months() {
        let time =
            |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc().timestamp_millis();
        let between = |from: &str, to: &str| months_between(time(from), time(to));
        assert_eq!(between("2026-01-31 00:00", "2026-02-28 23:59"), Some(0));
        assert_eq!(between("2026-01-15 10:00", "2026-03-15 09:59"), Some(1));
        assert_eq!(between("2026-01-15 10:00", "2026-03-15 10:00"), Some(2));
        assert_eq!(between("2026-03-15 10:00", "2026-01-15 10:00"), Some(-2));
        assert_eq!(months_later(time("2026-01-31 10:00"), 1), Some(time("2026-02-28 10:00")));
        assert_eq!(months_later(time("2026-03-31 10:00"), -13), Some(time("2025-02-28 10:00")));
    }

    #[test]
    fn paths_of_json() {
        let text = r#"{"a": {"b": [1, {"c": "x"}]}, "n": null, "f": 1.50}"#;
        let at = |path: &str, what: Function| {
            let columns: Vec<ArrayRef> =
                vec![Arc::new(StringArray::from(vec![text])), Arc::new(StringArray::from(vec![path]))];
            let found = what(&columns)?;
            let found = found.as_string::<i32>();
            Ok::<_, datafusion::error::DataFusionError>(found.is_valid(0).then(|| found.value(0).to_owned()))
        };
        let value: Function = |columns| json(columns, scalar_text);
        let query: Function = |columns| json(columns, nested_text);
        assert_eq!(at("$.a.b[1].c", value).unwrap().as_deref(), Some("x"));
        assert_eq!(at("lax $['a'].b[0]", value).unwrap().as_deref(), Some("1"));
        assert_eq!(at("$.a", value).unwrap(), None);
        assert_eq!(at("$.a.b", query).unwrap().as_deref(), Some(r#"[1,{"c":"x"}]"#));
        assert_eq!(at("$.n", value).unwrap(), None);
        assert_eq!(at("$.no.where", value).unwrap(), None);
        assert!(at("a.b", value).is_err());
        assert!(at("$..b", value).is_err());
    }
}
