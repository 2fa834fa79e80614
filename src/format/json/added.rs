//! The fields of the envelope that ExtractNewRecordState adds to a flat row, or to its headers.

use datafusion::arrow::datatypes::DataType;

use crate::change::{NO_TIME, Op};

use super::super::assembly::Assembly;
use super::super::column::Rows;
use super::super::fault::{Fault, Step};
use super::cursor::Cursor;
use super::tree::millis;

/// What a key of the flat object is wanted for; a column of the table may have the name of a field that was added.
#[derive(Debug, Clone, Default)]
pub(super) struct Use {
    pub(super) column: Option<usize>,
    pub(super) envelope: Option<usize>,
    pub(super) is_op: bool,
    pub(super) is_deleted: bool,
    pub(super) is_time: bool,
}

impl Use {
    pub(super) fn is_only_a_column(&self) -> bool {
        self.envelope.is_none() && !self.is_op && !self.is_deleted && !self.is_time
    }
}

/// What was found beside the row.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) op: Option<Op>,
    pub(super) deleted: Option<bool>,
    pub(super) time: i64,
}

/// Nothing yet.
pub(super) const NOTHING: Found = Found { op: None, deleted: None, time: NO_TIME };

/// The names that the transform gives a field of the envelope: it leaves the source's fields without their struct unless
/// that was written, and parts the names with `_`.
pub(super) fn added_names(prefix: &str, path: &str) -> Vec<String> {
    let whole = format!("{prefix}{}", path.replace('.', "_"));
    let dotted = format!("{prefix}{path}");
    let mut names = vec![whole];
    if path.contains('.') {
        names.push(dotted);
    }
    match path.strip_prefix("source.") {
        // Without its struct, this is the connector's time.
        Some("ts_ms" | "ts_us" | "ts_ns") | None => {}
        Some(field) => names.push(format!("{prefix}{}", field.replace('.', "_"))),
    }
    names
}

/// Reads the value at the cursor into all that want it.
pub(super) fn used(wanted: &Use, assembly: &mut Assembly, cursor: &mut Cursor<'_>, found: &mut Found) -> Step<()> {
    cursor.skip_space();
    let start = cursor.pos;
    let mut end = None;
    if let Some(column) = wanted.column {
        assembly.rows.read(column, cursor)?;
        end = Some(cursor.pos);
    }
    if let Some(column) = wanted.envelope {
        cursor.pos = start;
        read_added(&mut assembly.envelope.rows, column, cursor)?;
        end = Some(cursor.pos);
    }
    if wanted.is_time {
        cursor.pos = start;
        found.time = if cursor.peek() == b'"' { quoted_millis(cursor)? } else { millis(cursor)? };
        end = Some(cursor.pos);
    }
    if wanted.is_op {
        cursor.pos = start;
        found.op = op(cursor)?;
        end = Some(cursor.pos);
    }
    if wanted.is_deleted {
        cursor.pos = start;
        found.deleted = deleted(cursor)?;
        end = Some(cursor.pos);
    }
    match end {
        Some(end) => {
            cursor.pos = end;
            Ok(())
        }
        None => cursor.skip_value(),
    }
}

/// An epoch number may be in quotes where it was a header's.
fn read_added(rows: &mut Rows, column: usize, cursor: &mut Cursor<'_>) -> Step<()> {
    let is_time = rows.column(column).is_some_and(|it| matches!(it.describe().1, DataType::Timestamp(..)));
    if is_time && cursor.peek() == b'"' {
        let mut inner = cursor.clone();
        let text = inner.string()?;
        if !text.raw.is_empty() && text.raw.iter().all(u8::is_ascii_digit) {
            cursor.pos += 1;
            rows.read(column, cursor).map_err(|fault| fault.in_envelope())?;
            cursor.pos = inner.pos;
            return Ok(());
        }
    }
    rows.read(column, cursor).map_err(|fault| fault.in_envelope())
}

fn quoted_millis(cursor: &mut Cursor<'_>) -> Step<i64> {
    let at = cursor.pos;
    let text = cursor.string()?;
    let number = std::str::from_utf8(text.raw).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Fault::wrong_type(at, ""))
}

fn op(cursor: &mut Cursor<'_>) -> Step<Option<Op>> {
    if cursor.peek() == b'n' {
        return cursor.literal("null").map(|()| None);
    }
    let at = cursor.pos;
    match cursor.string()?.raw {
        [letter] if Op::from_letter(*letter).is_some() => Ok(Op::from_letter(*letter)),
        _ => Err(Fault::malformed(at, "the op is none of c, r, u, d, t")),
    }
}

fn deleted(cursor: &mut Cursor<'_>) -> Step<Option<bool>> {
    let at = cursor.pos;
    match cursor.peek() {
        b'n' => cursor.literal("null").map(|()| None),
        b't' => cursor.literal("true").map(|()| Some(true)),
        b'f' => cursor.literal("false").map(|()| Some(false)),
        _ => match cursor.string()?.raw {
            b"true" => Ok(Some(true)),
            b"false" => Ok(Some(false)),
            _ => Err(Fault::malformed(at, "\"deleted\" is neither true nor false")),
        },
    }
}
