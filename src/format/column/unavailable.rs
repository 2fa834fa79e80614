//! What an event does not carry because it did not change: PostgreSQL keeps long values apart (TOAST), and Debezium
//! writes a placeholder for those that an update has not touched. And other forms that only Debezium has.

use super::super::fault::Step;
use super::super::json::cursor::Cursor;
use super::value::{end_value, read_json_text};
use super::{Column, Values, decimal};

/// Debezium's `unavailable.value.placeholder`, where it is not set.
const PLACEHOLDER: &[u8] = b"__debezium_unavailable_value";
/// The same as bytes are written.
const IN_BASE64: &[u8] = b"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";
const IN_HEX: &[u8] = b"5f5f646562657a69756d5f756e617661696c61626c655f76616c7565";
/// The same as the one key and value of an hstore.
const IN_MAP: [&[u8]; 3] = [b"{\"", b"\":\"", b"\"}"];

/// Whether a text stands for a value that did not change.
#[inline]
pub(super) fn is_unavailable(text: &[u8]) -> bool {
    // Few texts are of one of these lengths.
    match text.len() {
        28 => text == PLACEHOLDER,
        40 => text == IN_BASE64,
        56 => text.eq_ignore_ascii_case(IN_HEX),
        63 | 64 => is_in_map(text),
        _ => false,
    }
}

#[cold]
fn is_in_map(text: &[u8]) -> bool {
    let [open, between, close] = IN_MAP;
    let without_space: Vec<u8> = text.iter().copied().filter(|byte| *byte != b' ').collect();
    without_space == [open, PLACEHOLDER, between, PLACEHOLDER, close].concat()
}

impl Column {
    /// A row whose value did not change: null, or empty where null may not be.
    #[cold]
    pub(super) fn push_unavailable(&mut self) {
        self.unavailable.push(self.len as u32);
        self.push_filler();
    }

    /// The rows whose values did not change, ascending.
    pub(super) fn unavailable(&self) -> &[u32] {
        &self.unavailable
    }

    /// Whether the items from `start` on are a placeholder: itself as the only one, or as integers its bytes.
    #[inline]
    pub(super) fn holds_unavailable(&self, start: usize) -> bool {
        match self.len - start {
            1 => self.unavailable.last().is_some_and(|&row| row as usize >= start),
            28 => match &self.values {
                Values::Int16(items) => items[start..].iter().map(|&item| i64::from(item)).eq(placeholder_bytes()),
                Values::Int32(items) => items[start..].iter().map(|&item| i64::from(item)).eq(placeholder_bytes()),
                Values::Int64(items) => items[start..].iter().copied().eq(placeholder_bytes()),
                _ => false,
            },
            _ => false,
        }
    }

    /// An object where text is wanted: its JSON; of a decimal with its scale beside it, the number.
    #[cold]
    pub(super) fn read_object(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.pos;
        let number = decimal::with_scale(cursor).ok().map(|(bytes, scale)| decimal::plain_text(&bytes, scale));
        let Values::Text(ends, out) = &mut self.values else {
            return Err(super::Fault::wrong_type(start, ""));
        };
        let before = out.len();
        match number {
            Some(number) => out.extend_from_slice(number.as_bytes()),
            None => {
                cursor.pos = start;
                read_json_text(cursor, out)?;
                if is_unavailable(&out[before..]) {
                    out.truncate(before);
                    self.push_unavailable();
                    return Ok(());
                }
            }
        }
        end_value(ends, out.len(), start)?;
        self.len += 1;
        Ok(())
    }
}

fn placeholder_bytes() -> impl Iterator<Item = i64> {
    PLACEHOLDER.iter().map(|&byte| i64::from(byte))
}
