//! Any value as text: a string's characters, a number's digits, a date in ISO 8601, and the JSON of what is nested.

use std::io::Write;

use super::super::column::{write_base64, write_decimal, write_float, write_measure};
use super::super::fault::Step;
use super::value::measure;
use crate::avro::datum::{Broken, Datum};
use crate::avro::schema::{Meaning, NodeId, Schema, Shape};

/// What is needed to write values of a schema.
pub(super) struct Text<'s> {
    pub(super) schema: &'s Schema,
}

impl Text<'_> {
    /// Appends a value's text; `false` and nothing for null.
    pub(super) fn write(&self, node: NodeId, datum: &mut Datum<'_>, out: &mut Vec<u8>) -> Step<bool> {
        let node = datum.resolve(self.schema, node)?;
        match &self.schema.node(node).shape {
            Shape::Null => return Ok(false),
            Shape::String => out.extend_from_slice(datum.string()?.as_bytes()),
            Shape::Enum(symbols) => out.extend_from_slice(symbols[datum.index(symbols.len())?].as_bytes()),
            _ => self.write_other(node, datum, out, false)?,
        }
        Ok(true)
    }

    /// Appends a value as JSON.
    fn write_json(&self, node: NodeId, datum: &mut Datum<'_>, out: &mut Vec<u8>) -> Step<()> {
        let node = datum.resolve(self.schema, node)?;
        match &self.schema.node(node).shape {
            Shape::Null => out.extend_from_slice(b"null"),
            Shape::String => write_string(out, datum.string()?),
            Shape::Enum(symbols) => write_string(out, &symbols[datum.index(symbols.len())?]),
            _ => self.write_other(node, datum, out, true)?,
        }
        Ok(())
    }

    /// All but null, strings and unions; with quotes around what is no number in JSON.
    fn write_other(&self, node: NodeId, datum: &mut Datum<'_>, out: &mut Vec<u8>, quoted: bool) -> Step<()> {
        let at = datum.pos;
        let of = self.schema.node(node);
        let quote = |out: &mut Vec<u8>| {
            if quoted {
                out.push(b'"');
            }
        };
        match (&of.shape, of.meaning) {
            (Shape::Boolean, _) => out.extend_from_slice(if datum.boolean()? { b"true" } else { b"false" }),
            (Shape::Int | Shape::Long, Meaning::Plain) => {
                let value = datum.long()?;
                write_measure(out, value, measure(Meaning::Plain));
            }
            (Shape::Int | Shape::Long, meaning) => {
                quote(out);
                write_measure(out, datum.long()?, measure(meaning));
                quote(out);
            }
            (Shape::Float | Shape::Double, _) => {
                let single = matches!(of.shape, Shape::Float);
                let value = if single { f64::from(datum.float()?) } else { datum.double()? };
                if value.is_finite() {
                    write_float(out, value, single);
                } else {
                    quote(out);
                    write_float(out, value, single);
                    quote(out);
                }
            }
            (Shape::Bytes, meaning) => write_bytes(datum.bytes()?, meaning, at, out, quote)?,
            (Shape::Fixed(size), meaning) => write_bytes(datum.take(*size)?, meaning, at, out, quote)?,
            (Shape::Record(_), Meaning::VariableScaleDecimal) => {
                let (scale, unscaled) = (datum.int()?, datum.bytes()?);
                datum.spend_zeros(scale, at)?;
                write_digits(out, unscaled, scale, at)?;
            }
            (Shape::Record(fields), _) => {
                datum.enter()?;
                out.push(b'{');
                for (index, (name, field)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(out, name);
                    out.push(b':');
                    self.write_json(*field, datum, out)?;
                }
                out.push(b'}');
                datum.leave();
            }
            (Shape::Array(items), _) => {
                self.write_items(datum, out, b"[]", |datum, out| self.write_json(*items, datum, out))?;
            }
            (Shape::Map(values), _) => self.write_items(datum, out, b"{}", |datum, out| {
                write_string(out, datum.string()?);
                out.push(b':');
                self.write_json(*values, datum, out)
            })?,
            (Shape::Null | Shape::String | Shape::Enum(_) | Shape::Union(_), _) => {}
        }
        Ok(())
    }

    fn write_items(
        &self,
        datum: &mut Datum<'_>,
        out: &mut Vec<u8>,
        brackets: &[u8; 2],
        item: impl Fn(&mut Datum<'_>, &mut Vec<u8>) -> Step<()>,
    ) -> Step<()> {
        datum.enter()?;
        out.push(brackets[0]);
        let mut is_first = true;
        loop {
            let count = datum.block()?;
            for _ in 0..count {
                if !std::mem::take(&mut is_first) {
                    out.push(b',');
                }
                item(datum, out)?;
            }
            if count == 0 {
                break;
            }
        }
        out.push(brackets[1]);
        datum.leave();
        Ok(())
    }
}

fn write_bytes(bytes: &[u8], meaning: Meaning, at: usize, out: &mut Vec<u8>, quote: impl Fn(&mut Vec<u8>)) -> Step<()> {
    if let Meaning::Decimal(scale) = meaning {
        return write_digits(out, bytes, scale, at);
    }
    quote(out);
    write_meaning(out, bytes, meaning);
    quote(out);
    Ok(())
}

/// Appends the text of bytes that are no decimal.
pub(super) fn write_meaning(out: &mut Vec<u8>, bytes: &[u8], meaning: Meaning) {
    match meaning {
        Meaning::Uuid => write_uuid(out, bytes),
        Meaning::Duration => write_duration(out, bytes),
        _ => write_base64(out, bytes),
    }
}

fn write_digits(out: &mut Vec<u8>, unscaled: &[u8], scale: i32, at: usize) -> Step<()> {
    write_decimal(out, unscaled, scale)
        .ok_or(Broken { at, words: "a decimal of more digits than any database has" })?;
    Ok(())
}

/// `123e4567-e89b-12d3-a456-426614174000`.
fn write_uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        let _ = write!(out, "{byte:02x}");
    }
}

/// ISO 8601's form: `P1M2DT3.456S`.
fn write_duration(out: &mut Vec<u8>, bytes: &[u8]) {
    let part = |index: usize| {
        let bytes = bytes.get(4 * index..).and_then(|rest| rest.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let (months, days, millis) = (part(0), part(1), part(2));
    let _ = write!(out, "P{months}M{days}DT{}.{:03}S", millis / 1_000, millis % 1_000);
}

/// A string in quotes.
fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}
