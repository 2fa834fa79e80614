//! A value of a datum into a column, by what the schema says that it is.

use super::super::column::{Column, Measure};
use super::super::fault::{Fault, Step};
use super::text::{Text, write_meaning};
use crate::avro::datum::{Broken, Datum};
use crate::avro::schema::{Meaning, NodeId, Schema, Shape};

impl From<Broken> for Fault {
    #[cold]
    fn from(broken: Broken) -> Self {
        Self::malformed(broken.at, broken.words)
    }
}

/// What an integer of this meaning counts.
pub(super) fn measure(meaning: Meaning) -> Measure {
    match meaning {
        Meaning::Date => Measure::Days,
        Meaning::TimeOfDay(unit) => Measure::TimeOfDay(unit),
        Meaning::Instant(unit) => Measure::Instant(unit),
        _ => Measure::Plain,
    }
}

/// Appends the value to the column. A fault's place is where the value starts, or where it breaks off.
#[inline]
pub(super) fn read(schema: &Schema, node: NodeId, datum: &mut Datum<'_>, column: &mut Column) -> Step<()> {
    let at = datum.pos;
    let node = datum.resolve(schema, node)?;
    let of = schema.node(node);
    match &of.shape {
        Shape::Null => column.push_null(at, "null"),
        Shape::Int => column.push_integer(i64::from(datum.int()?), measure(of.meaning), at),
        Shape::Long => column.push_integer(datum.long()?, measure(of.meaning), at),
        Shape::String => column.push_string(datum.string()?, at),
        Shape::Boolean => column.push_boolean(datum.boolean()?, at),
        Shape::Float => column.push_float(f64::from(datum.float()?), true, at),
        Shape::Double => column.push_float(datum.double()?, false, at),
        Shape::Bytes => read_bytes(datum.bytes()?, of.meaning, column, at),
        Shape::Fixed(size) => read_bytes(datum.take(*size)?, of.meaning, column, at),
        Shape::Enum(symbols) => column.push_string(&symbols[datum.index(symbols.len())?], at),
        Shape::Record(_) if of.meaning == Meaning::VariableScaleDecimal => {
            let (scale, unscaled) = (datum.int()?, datum.bytes()?);
            datum.spend_zeros(scale, at)?;
            column.push_decimal(unscaled, scale, at)
        }
        Shape::Array(items) if !column.is_text() => read_list(schema, *items, datum, column, at),
        Shape::Array(_) | Shape::Map(_) | Shape::Record(_) | Shape::Union(_) => {
            let Some(out) = column.text() else {
                datum.skip(schema, node)?;
                return Err(Fault::wrong_type(at, "declare it as STRING to get its JSON"));
            };
            Text { schema }.write(node, datum, out)?;
            column.end_text(at)
        }
    }
}

fn read_bytes(bytes: &[u8], meaning: Meaning, column: &mut Column, at: usize) -> Step<()> {
    if matches!(meaning, Meaning::Uuid | Meaning::Duration)
        && let Some(out) = column.text()
    {
        write_meaning(out, bytes, meaning);
        return column.end_text(at);
    }
    match meaning {
        Meaning::Decimal(scale) => column.push_decimal(bytes, scale, at),
        Meaning::Bits if column.is_integer() => match little_endian(bytes) {
            // BIT(64) has all bits of an unsigned number.
            Some(bits) => column.push_bits(bits, at),
            None => Err(Fault::wrong_type(at, "out of range")),
        },
        _ => column.push_bytes(bytes, at),
    }
}

fn little_endian(bytes: &[u8]) -> Option<u64> {
    let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    (used <= 8).then(|| bytes[..used].iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte)))
}

fn read_list(schema: &Schema, items: NodeId, datum: &mut Datum<'_>, column: &mut Column, at: usize) -> Step<()> {
    datum.enter()?;
    loop {
        let count = datum.block()?;
        let Some(list) = column.items() else {
            return Err(Fault::wrong_type(at, "an array; declare it as STRING to get its JSON"));
        };
        for _ in 0..count {
            read(schema, items, datum, list)?;
        }
        if count == 0 {
            break;
        }
    }
    datum.leave();
    column.end_list(at)
}
