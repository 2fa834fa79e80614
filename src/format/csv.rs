//! `csv`: every record is one line of RFC 4180, its fields in the order of the table's columns.

use crate::change::{ChangeBatch, NO_TIME, Op};
use crate::source::{RawBatch, RawRecord};

use super::Decoder;
use super::assembly::Assembly;
use super::fault::{Fault, Step};

#[cfg(test)]
mod tests;

/// Decodes comma-separated lines.
///
/// An empty field without quotes is null, one with quotes is the empty string, as in PostgreSQL's COPY. With
/// `'csv.null-literal'`, that text without quotes is null instead, and an empty field is empty.
#[derive(Debug)]
pub(crate) struct Csv {
    delimiter: u8,
    null: String,
    /// For each field of a line, the column that it goes to; up to the last that is needed.
    columns: Vec<Option<usize>>,
    assembly: Assembly,
    unquoted: Vec<u8>,
}

impl Csv {
    /// Decodes into `assembly`; `positions` are the needed columns' places in a line.
    pub(crate) fn new(assembly: Assembly, positions: &[usize], delimiter: u8, null: &str) -> Self {
        let fields = positions.iter().max().map_or(0, |last| last + 1);
        let mut columns = vec![None; fields];
        for (column, &position) in positions.iter().enumerate() {
            columns[position] = Some(column);
        }
        Self { delimiter, null: null.to_string(), columns, assembly, unquoted: Vec::new() }
    }

    fn record(&mut self, record: &RawRecord<'_>, value: &[u8]) -> Step<()> {
        let line = value.strip_suffix(b"\n").unwrap_or(value);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = match simdutf8::compat::from_utf8(line) {
            Ok(text) => text,
            Err(error) => return Err(Fault::malformed(error.valid_up_to(), "not UTF-8")),
        };
        let mut rest = Some(0);
        for column in &self.columns {
            let Some(start) = rest else {
                return Err(Fault::malformed(line.len(), "the line ends before the columns that are needed"));
            };
            rest = field(text, start, self.delimiter, &mut self.unquoted, |field, quoted| match column {
                None => Ok(()),
                Some(column) if !quoted && field == self.null => self.assembly.rows.set_null(*column, start),
                Some(column) => self.assembly.rows.read_text(*column, field, start),
            })?;
        }
        // The rest of the line is checked too.
        while let Some(start) = rest {
            rest = field(text, start, self.delimiter, &mut self.unquoted, |_, _| Ok(()))?;
        }
        self.assembly.complete(record, Op::Create, NO_TIME, false)
    }
}

/// Hands the field that starts at `start` to `take`, quotes resolved, with whether it had any; returns where the next
/// field starts.
fn field(
    text: &str,
    start: usize,
    delimiter: u8,
    unquoted: &mut Vec<u8>,
    take: impl FnOnce(&str, bool) -> Step<()>,
) -> Step<Option<usize>> {
    let bytes = text.as_bytes();
    if bytes.get(start) != Some(&b'"') {
        let end = memchr::memchr2(delimiter, b'"', &bytes[start..]).map_or(bytes.len(), |length| start + length);
        if bytes.get(end) == Some(&b'"') {
            return Err(Fault::malformed(end, "a quote inside a field that does not start with one"));
        }
        // The delimiter is ASCII, so the field's ends are between characters.
        take(text.get(start..end).unwrap_or_default(), false)?;
        return Ok((end < bytes.len()).then_some(end + 1));
    }
    unquoted.clear();
    let mut pos = start + 1;
    loop {
        let Some(length) = memchr::memchr(b'"', &bytes[pos..]) else {
            return Err(Fault::malformed(bytes.len(), "a quote is not closed"));
        };
        unquoted.extend_from_slice(&bytes[pos..pos + length]);
        pos += length + 1;
        match bytes.get(pos) {
            Some(b'"') => unquoted.push(b'"'),
            Some(&byte) if byte != delimiter => {
                return Err(Fault::malformed(pos, "something follows a field's closing quote"));
            }
            next => {
                let field = std::str::from_utf8(unquoted).map_err(|_| Fault::malformed(start, "not UTF-8"))?;
                take(field, true)?;
                return Ok(next.map(|_| pos + 1));
            }
        }
        pos += 1;
    }
}

impl Decoder for Csv {
    fn decode(&mut self, records: &RawBatch) -> ChangeBatch {
        for record in records.iter() {
            // In CSV, the four bytes `null` are text.
            let value = if record.value == Some(b"null") { record.value } else { self.assembly.value(&record, false) };
            if let Some(value) = value
                && let Err(fault) = self.record(&record, value)
            {
                self.assembly.reject(&record, &fault);
            }
        }
        self.assembly.finish(records)
    }
}
