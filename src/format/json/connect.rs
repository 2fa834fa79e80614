//! Kafka Connect's `{"schema":…,"payload":…}` around a value.

use super::super::fault::Step;
use super::cursor::Cursor;
use super::keys::{Key, Keys};

/// Finds the payload of values that may have an envelope or not.
#[derive(Debug)]
pub(crate) struct ConnectEnvelope {
    keys: Keys,
    /// Whether the table's own columns rule an envelope out.
    never: bool,
}

impl ConnectEnvelope {
    /// For rows with these columns.
    pub(crate) fn new<'a>(mut columns: impl Iterator<Item = &'a str>) -> Self {
        let never = columns.any(|name| matches!(name, "schema" | "payload"));
        Self { keys: Keys::new(["schema", "payload"]), never }
    }

    /// Goes to the payload of an envelope, which has the keys `schema` and `payload`, in this order, both objects (or null, both).
    #[inline]
    pub(crate) fn enter(&mut self, cursor: &mut Cursor<'_>) -> bool {
        const START: &[u8] = b"schema\"";
        if self.never {
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
        if self.keys.next(cursor, &mut place)? != Key::Field(0) {
            return Ok(false);
        }
        cursor.skip_space();
        let schema = cursor.peek();
        if !matches!(schema, b'{' | b'n') {
            return Ok(false);
        }
        cursor.skip_value()?;
        if self.keys.next(cursor, &mut place)? != Key::Field(1) {
            return Ok(false);
        }
        cursor.skip_space();
        Ok(matches!((schema, cursor.peek()), (b'{', b'{') | (_, b'n')))
    }

    /// Over the end of an envelope and of the record.
    #[inline]
    pub(crate) fn leave(cursor: &mut Cursor<'_>) -> Step<()> {
        cursor.skip_space();
        cursor.expect(b'}', "expected the envelope's end")?;
        cursor.end()
    }
}
