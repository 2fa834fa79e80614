//! Records that connectors write beside the changes of rows, and that are no mistake: known by their keys.

use serde_json::{Map, Value};

/// Whether a record is one of Debezium's that changes no row. Slow: for records that are nothing else.
#[cold]
pub(crate) fn is_no_change(value: &[u8]) -> bool {
    key_of_no_change(value).is_some()
}

/// The name that the key of such a record has in it: a heartbeat, a change of the schema, the bounds of a transaction, a message
/// of `pg_logical_emit_message`. `None` for all other records.
#[cold]
pub(crate) fn key_of_no_change(value: &[u8]) -> Option<&'static str> {
    let Ok(Value::Object(record)) = serde_json::from_slice(value) else { return None };
    match record.get("payload") {
        Some(Value::Object(payload)) if record.contains_key("schema") => kind(payload),
        _ => kind(&record),
    }
}

fn kind(record: &Map<String, Value>) -> Option<&'static str> {
    let has = |key: &str| record.contains_key(key);
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    if record.len() == 1 && record.get("ts_ms").is_some_and(Value::is_i64) {
        Some("serverName")
    } else if has("ddl") && has("databaseName") && record.get("source").is_some_and(Value::is_object) {
        Some("databaseName")
    } else if matches!(text("status"), Some("BEGIN" | "END")) && has("id") && has("event_count") {
        Some("id")
    } else if text("op") == Some("m") && has("message") && has("source") {
        Some("prefix")
    } else {
        None
    }
}

/// Whether a record begins as one of them may: a glance that spares the others the full look.
#[inline]
pub(crate) fn begins_like_no_change(object: &[u8]) -> bool {
    let first = object.iter().take(16).position(|&byte| byte == b'"').map_or(0, |quote| quote + 1);
    let key = object.get(first..).unwrap_or_default();
    [&b"ts_ms\""[..], b"source\"", b"status\"", b"op\""].iter().any(|begin| key.starts_with(begin))
}
