//! Values that have no canonical text are compared as what they are.

use serde_json::Value;

use super::canon::Kind;

/// Whether two texts, as their databases wrote them, are the same value.
pub fn same(kind: Kind, source: Option<&str>, copy: Option<&str>) -> bool {
    let (source, copy) = match (source, copy) {
        // ClickHouse's arrays are never NULL: a NULL is written as an empty one.
        (None, Some("[]")) if kind == Kind::Array => return true,
        (None, None) => return true,
        (Some(source), Some(copy)) => (source, copy),
        _ => return false,
    };
    if source == copy {
        return true;
    }
    match kind {
        Kind::Float => {
            numbers(source, copy).is_some_and(|(one, other)| same_f64(f64::from(one as f32), f64::from(other as f32)))
        }
        Kind::Double => numbers(source, copy).is_some_and(|(one, other)| same_f64(one, other)),
        Kind::Json | Kind::Array => {
            let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
            parsed(source).zip(parsed(copy)).is_some_and(|(one, other)| same_json(kind, &one, &other))
        }
        _ => false,
    }
}

fn numbers(one: &str, other: &str) -> Option<(f64, f64)> {
    let number = |text: &str| match text {
        "Infinity" | "inf" | "+inf" => Some(f64::INFINITY),
        "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
        "NaN" | "nan" | "-nan" => Some(f64::NAN),
        text => text.parse().ok(),
    };
    Some((number(one)?, number(other)?))
}

fn same_f64(one: f64, other: f64) -> bool {
    one == other || one.is_nan() && other.is_nan()
}

/// Documents are the same whatever the order of their members and however their numbers are written.
fn same_json(kind: Kind, one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|it| same_json(kind, value, it)))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_json(kind, one, other))
        }
        (Value::Number(one), Value::Number(other)) => match (one.as_i128(), other.as_i128()) {
            (Some(one), Some(other)) => one == other,
            _ => one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| same_f64(one, other)),
        },
        // An array's elements have types in ClickHouse: a decimal or a large number may be a text there.
        (Value::Number(one), Value::String(other)) | (Value::String(other), Value::Number(one))
            if kind == Kind::Array =>
        {
            numbers(&one.to_string(), other).is_some_and(|(one, other)| same_f64(one, other))
        }
        (Value::Bool(one), Value::Number(other)) | (Value::Number(other), Value::Bool(one)) if kind == Kind::Array => {
            other.as_i64() == Some(i64::from(*one))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_not_texts() {
        for (kind, one, other) in [
            (Kind::Double, "1e20", "100000000000000000000"),
            (Kind::Float, "0.10000000149011612", "0.1"),
            (Kind::Double, "NaN", "nan"),
            (Kind::Double, "-Infinity", "-inf"),
            (Kind::Json, r#"{"a": 1, "b": [1.0, null]}"#, r#"{"b":[1,null],"a":1}"#),
            (Kind::Array, "[1,2]", r#"["1","2"]"#),
            (Kind::Array, "[true]", "[1]"),
        ] {
            assert!(same(kind, Some(one), Some(other)), "{one} {other}");
        }
        for (kind, one, other) in [
            (Kind::Double, "0.1", "0.10000000149011612"),
            (Kind::Json, "1", r#""1""#),
            (Kind::Json, r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            (Kind::Json, "9007199254740993", "9007199254740992"),
            (Kind::Array, "[1,2]", "[2,1]"),
            (Kind::Text, "a", "a "),
        ] {
            assert!(!same(kind, Some(one), Some(other)), "{one} {other}");
        }
        assert!(same(Kind::Array, None, Some("[]")) && !same(Kind::Text, None, Some("")));
    }
}
