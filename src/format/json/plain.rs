//! `json`: every record is one object, and one row that was added.

use crate::change::{ChangeBatch, NO_TIME, Op};
use crate::source::{RawBatch, RawRecord};

use super::super::Decoder;
use super::super::assembly::Assembly;
use super::super::fault::Step;
use super::block::Isa;
use super::cursor::Cursor;
use super::keys::{Key, Keys};
use super::read_row;

/// Decodes plain JSON objects, with Kafka Connect's `{"schema":…,"payload":…}` around them or not.
#[derive(Debug)]
pub(crate) struct PlainJson {
    columns: Keys,
    envelope: Keys,
    /// Whether the table's own columns rule an envelope out.
    never_enveloped: bool,
    assembly: Assembly,
    isa: Isa,
}

impl PlainJson {
    /// Decodes into `assembly`, with what `isa` has.
    pub(crate) fn new(assembly: Assembly, isa: Isa) -> Self {
        let columns = Keys::new(assembly.rows.names());
        let never_enveloped = assembly.rows.names().any(|name| matches!(name, "schema" | "payload"));
        Self { columns, envelope: Keys::new(["schema", "payload"]), never_enveloped, assembly, isa }
    }

    #[inline]
    fn record(&mut self, record: &RawRecord<'_>, value: &[u8]) -> Step<()> {
        let mut cursor = Cursor::new(value, self.isa);
        if !self.enter_envelope(&mut cursor) {
            read_row(&mut self.columns, &mut self.assembly.rows, &mut cursor)?;
            cursor.end()?;
        } else {
            read_row(&mut self.columns, &mut self.assembly.rows, &mut cursor)?;
            cursor.skip_space();
            cursor.expect(b'}', "expected the envelope's end")?;
            cursor.end()?;
        }
        self.assembly.complete(record, Op::Create, NO_TIME, false)
    }

    /// Goes to the payload of an envelope, which has the keys `schema` and `payload`, in this order, both objects.
    #[inline]
    fn enter_envelope(&mut self, cursor: &mut Cursor<'_>) -> bool {
        const START: &[u8] = b"schema\"";
        if self.never_enveloped {
            return false;
        }
        // The first key is looked at where it is, as nearly no record has an envelope.
        let start = cursor.bytes.iter().take(16).position(|&byte| byte == b'"').map_or(0, |quote| quote + 1);
        if !cursor.bytes[start..].starts_with(START) {
            return false;
        }
        let mut inside = cursor.clone();
        if self.find_payload(&mut inside).unwrap_or(false) {
            *cursor = inside;
            return true;
        }
        false
    }

    #[cold]
    fn find_payload(&mut self, cursor: &mut Cursor<'_>) -> Step<bool> {
        let mut place = 0;
        Keys::open(cursor)?;
        if self.envelope.next(cursor, &mut place)? != Key::Field(0) {
            return Ok(false);
        }
        cursor.skip_space();
        if cursor.peek() != b'{' {
            return Ok(false);
        }
        cursor.skip_value()?;
        if self.envelope.next(cursor, &mut place)? != Key::Field(1) {
            return Ok(false);
        }
        cursor.skip_space();
        Ok(cursor.peek() == b'{')
    }
}

impl Decoder for PlainJson {
    fn decode(&mut self, records: &RawBatch) -> ChangeBatch {
        for record in records.iter() {
            if let Some(value) = self.assembly.value(&record, false)
                && let Err(fault) = self.record(&record, value)
            {
                self.assembly.reject(&record, &fault);
            }
        }
        self.assembly.finish(records)
    }
}
