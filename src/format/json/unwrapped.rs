//! `'debezium-json.unwrapped'`: what Debezium's transform ExtractNewRecordState leaves of a change: the row after it, flat, with some
//! fields of the envelope among the columns (`__op`, `__deleted`, …) or among the headers, or nowhere.
//!
//! A record without an op is an upsert, and its letter is `u`: the row is this now, and whether there was one before nobody
//! knows. A null value, or the four bytes `null`, is the delete of the row that the record's key names.

use datafusion::arrow::datatypes::DataType;

use crate::change::{ChangeBatch, NO_TIME, Op};
use crate::source::{Header, RawBatch, RawRecord};

use super::super::Decoder;
use super::super::assembly::Assembly;
use super::super::column::Rows;
use super::super::fault::{Fault, Step};
use super::block::Isa;
use super::connect::ConnectEnvelope;
use super::cursor::Cursor;
use super::foreign::{begins_like_no_change, key_of_no_change};
use super::keys::{Key, Keys};
use super::read_row;
use super::tree::millis;

/// What a key of the flat object is wanted for; a column of the table may have the name of a field that was added.
#[derive(Debug, Clone, Default)]
struct Use {
    column: Option<usize>,
    envelope: Option<usize>,
    is_op: bool,
    is_deleted: bool,
    is_time: bool,
}

impl Use {
    fn is_only_a_column(&self) -> bool {
        self.envelope.is_none() && !self.is_op && !self.is_deleted && !self.is_time
    }
}

/// Decodes unwrapped changes, with Kafka Connect's `{"schema":…,"payload":…}` around them or not.
#[derive(Debug)]
pub(crate) struct Unwrapped {
    keys: Keys,
    names: Vec<String>,
    uses: Vec<Use>,
    key_columns: Keys,
    connect: ConnectEnvelope,
    /// Whether a record without a value is a delete; else it follows one.
    tombstones_delete: bool,
    assembly: Assembly,
    isa: Isa,
}

/// What was found beside the row.
#[derive(Debug)]
struct Found {
    op: Option<Op>,
    deleted: Option<bool>,
    time: i64,
}

const NOTHING: Found = Found { op: None, deleted: None, time: NO_TIME };

impl Unwrapped {
    /// Decodes into `assembly`. `prefix` is before the names of the fields that were added.
    pub(crate) fn new(assembly: Assembly, prefix: &str, tombstones_delete: bool, isa: Isa) -> Self {
        let (mut names, mut uses): (Vec<String>, Vec<Use>) = (Vec::new(), Vec::new());
        let mut wanted = |name: String, wanted: &dyn Fn(&mut Use)| {
            let at = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                uses.push(Use::default());
                uses.len() - 1
            });
            wanted(&mut uses[at]);
        };
        for (column, name) in assembly.rows.names().enumerate() {
            wanted(name.to_owned(), &|it| it.column = Some(column));
        }
        wanted(format!("{prefix}op"), &|it| it.is_op = true);
        wanted(format!("{prefix}deleted"), &|it| it.is_deleted = true);
        if assembly.wants_source_time() {
            added_names(prefix, "source.ts_ms").into_iter().for_each(|name| wanted(name, &|it| it.is_time = true));
        }
        for (column, path) in assembly.envelope.rows.names().enumerate() {
            let names = added_names(prefix, path);
            names.into_iter().for_each(|name| wanted(name, &|it| it.envelope = Some(column)));
        }
        Self {
            keys: Keys::new(names.iter().map(String::as_str)),
            names,
            uses,
            key_columns: Keys::new(assembly.rows.names()),
            connect: ConnectEnvelope::new(assembly.rows.names()),
            tombstones_delete,
            assembly,
            isa,
        }
    }

    #[inline]
    fn record(&mut self, record: &RawRecord<'_>, value: &[u8], headers: &dyn Fn() -> Headers) -> Step<()> {
        let mut cursor = Cursor::new(value, self.isa);
        let in_envelope = self.connect.enter(&mut cursor);
        if in_envelope && cursor.peek() == b'n' {
            return Err(Fault::null_value());
        }
        let mut found = self.row(&mut cursor)?;
        if in_envelope {
            ConnectEnvelope::leave(&mut cursor)?;
        } else {
            cursor.end()?;
        }
        if found.op.is_none() && found.deleted.is_none() && self.is_no_change(record, value) {
            self.assembly.roll_back();
            return Ok(());
        }
        if found.op.is_none() {
            self.from_headers(&headers(), &mut found)?;
        }
        let op = match found {
            Found { deleted: Some(true), .. } => Op::Delete,
            Found { op: Some(op), .. } => op,
            _ => Op::Update,
        };
        self.assembly.complete(record, op, found.time, false)
    }

    /// A table may well have a row of one number called `ts_ms`; but a heartbeat has a key of its own.
    #[inline]
    fn is_no_change(&mut self, record: &RawRecord<'_>, value: &[u8]) -> bool {
        let mut cursor = Cursor::new(value, self.isa);
        self.connect.enter(&mut cursor);
        let has_key = |name: &str| {
            let quoted = format!("\"{name}\"");
            record.key.is_some_and(|key| memchr::memmem::find(key, quoted.as_bytes()).is_some())
        };
        begins_like_no_change(&value[cursor.pos..]) && key_of_no_change(value).is_some_and(has_key)
    }

    /// Reads the flat object at the cursor.
    #[inline]
    fn row(&mut self, cursor: &mut Cursor<'_>) -> Step<Found> {
        let mut found = NOTHING;
        let mut place = 0;
        Keys::open(cursor)?;
        loop {
            match self.keys.next(cursor, &mut place)? {
                Key::Field(field) => match &self.uses[field] {
                    Use { column: Some(column), .. } if self.uses[field].is_only_a_column() => {
                        self.assembly.rows.read(*column, cursor)?;
                    }
                    wanted => used(wanted, &mut self.assembly, cursor, &mut found)?,
                },
                Key::Other => cursor.skip_value()?,
                Key::End => return Ok(found),
            }
        }
    }

    /// The transform can add its fields to the headers instead.
    fn from_headers(&mut self, headers: &[(String, Option<Vec<u8>>)], found: &mut Found) -> Step<()> {
        for (name, value) in headers {
            let (Some(at), Some(value)) = (self.names.iter().position(|known| known == name), value) else { continue };
            let wanted = Use { column: None, ..self.uses[at].clone() };
            // A header is written as JSON or as the bare text.
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(value).is_ok();
            let quoted = serde_json::Value::from(String::from_utf8_lossy(value)).to_string();
            let text = if is_json { value.as_slice() } else { quoted.as_bytes() };
            let mut cursor = Cursor::new(text, self.isa);
            // A fault's place is in the header, and messages show the record's value.
            let misfit = |fault: Fault| Fault { column: fault.column, ..Fault::malformed(0, "a header does not fit") };
            used(&wanted, &mut self.assembly, &mut cursor, found).map_err(misfit)?;
        }
        Ok(())
    }

    /// A delete: the columns that the record's key has; the others are null.
    fn tombstone(&mut self, record: &RawRecord<'_>, key: &[u8], headers: &dyn Fn() -> Headers) -> Step<()> {
        let mut cursor = Cursor::new(key, self.isa);
        let in_envelope = self.connect.enter(&mut cursor);
        cursor.skip_space();
        if cursor.peek() != b'{' {
            return Err(Fault::malformed(cursor.pos, "expected an object with the primary key's columns"));
        }
        read_row(&mut self.key_columns, &mut self.assembly.rows, &mut cursor)?;
        if in_envelope {
            ConnectEnvelope::leave(&mut cursor)?;
        } else {
            cursor.end()?;
        }
        let mut found = NOTHING;
        self.from_headers(&headers(), &mut found)?;
        self.assembly.complete(record, Op::Delete, found.time, false)
    }

    #[cold]
    fn no_value(&mut self, record: &RawRecord<'_>, headers: &dyn Fn() -> Headers) {
        let Some(key) = record.key else { return self.assembly.bury_null(record) };
        if self.tombstones_delete
            && let Err(fault) = self.tombstone(record, key, headers)
        {
            self.assembly.reject_key(record, &fault);
        }
    }
}

/// A record's headers, out of the client's memory.
type Headers = Vec<(String, Option<Vec<u8>>)>;

fn owned(headers: Vec<Header<'_>>) -> Headers {
    headers.into_iter().map(|(name, value)| (name.into_owned(), value.map(<[u8]>::to_vec))).collect()
}

/// The names that the transform gives a field of the envelope: it leaves the source's fields without their struct unless
/// that was written, and parts the names with `_`.
fn added_names(prefix: &str, path: &str) -> Vec<String> {
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
fn used(wanted: &Use, assembly: &mut Assembly, cursor: &mut Cursor<'_>, found: &mut Found) -> Step<()> {
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

impl Decoder for Unwrapped {
    fn decode(&mut self, records: &RawBatch) -> ChangeBatch {
        for (index, record) in records.iter().enumerate() {
            let headers = || owned(records.headers(index));
            if matches!(record.value, None | Some(b"null")) {
                self.no_value(&record, &headers);
            } else if let Some(value) = self.assembly.value(&record, true)
                && let Err(fault) = self.record(&record, value, &headers)
            {
                match fault.reason {
                    crate::change::DeadReason::NullValue => {
                        self.assembly.roll_back();
                        self.no_value(&record, &headers);
                    }
                    _ if self.is_no_change(&record, value) => self.assembly.roll_back(),
                    _ => self.assembly.reject(&record, &fault),
                }
            }
        }
        self.assembly.finish(records)
    }
}
