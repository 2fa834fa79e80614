//! Records that connectors write beside the changes of rows, and that are no mistake: known by their keys.

use serde_json::{Map, Value};

/// Whether a record is one of Debezium's that changes no row: a heartbeat, a change of the schema, the bounds of a
/// transaction, a message of `pg_logical_emit_message`. Slow: for records that are nothing else.
#[cold]
pub(crate) fn is_no_change(value: &[u8]) -> bool {
    let Ok(Value::Object(record)) = serde_json::from_slice(value) else { return false };
    match record.get("payload") {
        Some(Value::Object(payload)) if record.contains_key("schema") => is_known(payload),
        _ => is_known(&record),
    }
}

fn is_known(record: &Map<String, Value>) -> bool {
    let has = |key: &str| record.contains_key(key);
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let is_heartbeat = record.len() == 1 && record.get("ts_ms").is_some_and(Value::is_i64);
    let is_schema_change = has("ddl") && has("databaseName") && record.get("source").is_some_and(Value::is_object);
    let is_transaction = matches!(text("status"), Some("BEGIN" | "END")) && has("id") && has("event_count");
    let is_message = text("op") == Some("m") && has("message") && has("source");
    is_heartbeat || is_schema_change || is_transaction || is_message
}

/// Whether a record begins as one of them may: a glance that spares the others the full look.
#[inline]
pub(crate) fn begins_like_no_change(object: &[u8]) -> bool {
    let first = object.iter().take(16).position(|&byte| byte == b'"').map_or(0, |quote| quote + 1);
    let key = object.get(first..).unwrap_or_default();
    [&b"ts_ms\""[..], b"source\"", b"status\"", b"op\""].iter().any(|begin| key.starts_with(begin))
}
