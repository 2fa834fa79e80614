//! What is wrong with a record, as cheaply as the hot path needs it, and in words as its reader needs them.

use datafusion::arrow::datatypes::DataType;

use crate::change::DeadReason;

use crate::type_name::sql_name;

/// The trouble with one record. Small, because every step of a decoder returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The kind of trouble.
    pub(crate) reason: DeadReason,
    /// Where in the record's bytes.
    pub(crate) at: usize,
    /// The trouble in words, or a remark to it when the column says the rest.
    pub(crate) words: &'static str,
    /// The column that was being decoded, by its index in the spec; one of the envelope's has [`ENVELOPE_COLUMN`] added.
    pub(crate) column: Option<usize>,
}

/// A step of a decoder.
pub(crate) type Step<T> = Result<T, Fault>;

/// Tells a column of the envelope from one of the row.
pub(crate) const ENVELOPE_COLUMN: usize = 1 << 31;

/// The longest piece of a record that a message quotes, in bytes.
const EXCERPT_BYTES: usize = 60;

impl Fault {
    /// The bytes are not what the format says.
    #[cold]
    pub(crate) fn malformed(at: usize, words: &'static str) -> Self {
        Self { reason: DeadReason::Malformed, at, words, column: None }
    }

    /// A value does not fit its column; `remark` may be empty.
    #[cold]
    pub(crate) fn wrong_type(at: usize, remark: &'static str) -> Self {
        Self { reason: DeadReason::WrongType, at, words: remark, column: None }
    }

    /// Something that has to be there is not.
    #[cold]
    pub(crate) fn missing(at: usize, words: &'static str) -> Self {
        Self { reason: DeadReason::MissingField, at, words, column: None }
    }

    /// There is no value at all.
    #[cold]
    pub(crate) fn null_value() -> Self {
        Self { reason: DeadReason::NullValue, at: 0, words: "the record has no value", column: None }
    }

    /// The same trouble, known to be in a column (the innermost that says so stays).
    #[cold]
    pub(crate) fn in_column(mut self, column: usize) -> Self {
        self.column = self.column.or(Some(column));
        self
    }

    /// The same trouble, whose column is one of the envelope's.
    #[cold]
    pub(crate) fn in_envelope(mut self) -> Self {
        self.column = self.column.map(|column| column | ENVELOPE_COLUMN);
        self
    }

    /// The trouble in words. `column` is name and type of the column, where there is one.
    pub(crate) fn message(&self, record: &[u8], column: Option<(&str, &DataType)>) -> String {
        self.message_found(&excerpt(record, self.at), column)
    }

    /// The same, with the text of the value that was found.
    pub(crate) fn message_found(&self, found: &str, column: Option<(&str, &DataType)>) -> String {
        let Self { at, words, .. } = self;
        match (self.reason, column) {
            (DeadReason::WrongType, Some((name, data_type))) => {
                let expected = sql_name(data_type);
                let remark = if words.is_empty() { String::new() } else { format!(" ({words})") };
                format!("column \"{name}\": expected {expected}, found {found}{remark} at byte {at}")
            }
            (DeadReason::WrongType, None) => {
                format!("expected a whole number, found {found} at byte {at}")
            }
            (DeadReason::MissingField, Some((name, _))) => format!("column \"{name}\" is NOT NULL, but {words}"),
            (DeadReason::Malformed, Some((name, _))) => format!("column \"{name}\": {words} at byte {at}"),
            (DeadReason::Malformed, None) => format!("{words} at byte {at}"),
            _ => (*words).to_string(),
        }
    }
}

/// The value that starts at `at`, cut to what a line can hold.
fn excerpt(record: &[u8], at: usize) -> String {
    let rest = record.get(at..).unwrap_or_default();
    let end = match rest.first() {
        Some(b'"') => {
            let mut escaped = false;
            let close = rest.iter().skip(1).position(|&byte| {
                let closes = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                closes
            });
            close.map_or(rest.len(), |close| close + 2)
        }
        Some(b'{' | b'[') => rest.len(),
        _ => rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b'\n')).unwrap_or(rest.len()),
    };
    let cut = end.min(EXCERPT_BYTES);
    let mut text = String::from_utf8_lossy(&rest[..cut]).into_owned();
    if cut < end {
        text.push('…');
    }
    text
}
