//! `'debezium-json.unwrapped'`: what Debezium's transform ExtractNewRecordState leaves of a change: the row after it, flat, with some
//! fields of the envelope among the columns (`__op`, `__deleted`, …) or among the headers, or nowhere.
//!
//! A record without an op is an upsert, and its letter is `u`: the row is this now, and whether there was one before nobody
//! knows. A null value, or the four bytes `null`, is the delete of the row that the record's key names.

use crate::change::{ChangeBatch, DeadReason, Op};
use crate::source::{Header, RawBatch, RawRecord};

use super::super::Decoder;
use super::super::assembly::Assembly;
use super::super::fault::{Fault, Step};
use super::added::{Found, NOTHING, Use, added_names, used};
use super::block::Isa;
use super::connect::ConnectEnvelope;
use super::cursor::Cursor;
use super::foreign::{begins_like_no_change, key_of_no_change};
use super::keys::{Key, Keys};
use super::read_row;

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
            self.read_headers(&headers(), &mut found)?;
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
    fn read_headers(&mut self, headers: &[(String, Option<Vec<u8>>)], found: &mut Found) -> Step<()> {
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
        self.read_headers(&headers(), &mut found)?;
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
                    DeadReason::NullValue => {
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
