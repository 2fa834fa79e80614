//! New columns of the source, and wider ones, in tables that exist already.

use super::check::Existing;
use super::client::quote_identifier;
use super::ddl::{TableName, columns};
use super::types::{ChType, fits};
use crate::error::Result;
use crate::sink::OutputTable;

/// The statement that gives an existing table the columns of the output, if it lacks some of them or has them narrower.
/// Whatever does not fit all the same is the check's to say.
pub(super) fn alteration(
    output: &OutputTable,
    name: &TableName,
    existing: &Existing,
    time64: bool,
) -> Result<Option<String>> {
    let mut parts = Vec::new();
    for (column, field) in columns(output, time64)?.iter().zip(output.schema.fields()) {
        match existing.type_of(&column.name) {
            None => parts.push(format!("ADD COLUMN IF NOT EXISTS {}", column.text())),
            Some(known) if !fits(field.data_type(), field.is_nullable(), known) && is_wider(&column.ch_type, known) => {
                let name = quote_identifier(&column.name);
                parts.push(format!("MODIFY COLUMN {name} {}", nullable_as(known, &column.ch_type)));
            }
            Some(_) => {}
        }
    }
    Ok((!parts.is_empty()).then(|| format!("ALTER TABLE {} {}", name.quoted(), parts.join(", "))))
}

/// Whether every value of the type that the table has is one of the new type, too.
fn is_wider(new: &ChType, old: &ChType) -> bool {
    if new == old {
        return true;
    }
    match (new.bare(), old.bare()) {
        (ChType::Tuple(new), ChType::Tuple(old)) => old.iter().all(|(name, old)| {
            // Elements that are new are NULL in the rows that are there.
            let element = new.iter().find(|(other, _)| name.is_some() && other == name);
            element.is_some_and(|(_, new)| is_wider(new, old))
        }),
        (ChType::Array(new), ChType::Array(old)) => is_wider(new, old),
        _ => matches!((new.parts(), old.parts()), (Some(new), Some(old)) if is_wider_plain(new, old)),
    }
}

fn is_wider_plain((new, new_arguments): (&str, &[String]), (old, old_arguments): (&str, &[String])) -> bool {
    let bits = |name: &str| {
        let (signed, rest) = name.strip_prefix('U').map_or((true, name), |rest| (false, rest));
        rest.strip_prefix("Int").and_then(|bits| bits.parse::<u16>().ok()).map(|bits| (signed, bits))
    };
    let number = |arguments: &[String], at: usize| arguments.get(at).and_then(|text| text.parse::<i32>().ok());
    match (old, new) {
        ("Float32", "Float64") => true,
        // Numbers of JSON without a schema, some of which had no fraction: they were never more exact than this.
        ("Int64" | "UInt64", "Float64") => true,
        // Every value has a text.
        (_, "String") => true,
        ("Date" | "Date32" | "DateTime", "DateTime64") => true,
        ("DateTime64", "DateTime64") | ("Time64", "Time64") => number(new_arguments, 0) >= number(old_arguments, 0),
        ("Decimal", "Decimal") => {
            let whole = |arguments: &[String]| Some(number(arguments, 0)? - number(arguments, 1)?);
            number(new_arguments, 1) >= number(old_arguments, 1) && whole(new_arguments) >= whole(old_arguments)
        }
        (_, "Decimal") if bits(old).is_some() => true,
        _ if new == old => new_arguments == old_arguments,
        _ => match (bits(old), bits(new)) {
            (Some((true, old)), Some((true, new))) | (Some((false, old)), Some((false, new))) => new >= old,
            (Some((false, old)), Some((true, new))) => new > old,
            _ => false,
        },
    }
}

/// A column that holds NULLs goes on doing so.
fn nullable_as(known: &ChType, wanted: &ChType) -> ChType {
    if known.is_nullable() && !wanted.is_nullable() {
        ChType::Nullable(Box::new(wanted.clone()))
    } else {
        wanted.clone()
    }
}
