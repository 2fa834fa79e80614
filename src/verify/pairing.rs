//! Which columns of both sides are compared, and how.

use std::collections::BTreeMap;

use super::canon::Kind;
use super::copy::CopyColumn;
use super::source::{Described, SourceColumn, SourceTable};
use crate::error::{Error, Result};

/// A column that is compared.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Its name in the source.
    pub source: String,
    /// Its name in the copy.
    pub copy: String,
    /// How it is compared.
    pub kind: Kind,
}

/// A column that is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name.
    pub column: String,
    /// Whether it is the source's: then its values are not known to be in the copy.
    pub of_source: bool,
    /// Why.
    pub reason: String,
}

/// The columns of a table and of its copy, matched.
#[derive(Debug, Clone, Default)]
pub struct Pairing {
    /// The primary key's columns first, in its order, then the others in the source's.
    pub pairs: Vec<Pair>,
    /// How many of them are the key.
    pub key: usize,
    /// What is not compared.
    pub skipped: Vec<Skipped>,
    /// Things that a reader of the result should know.
    pub notes: Vec<String>,
}

/// How the columns of a copy came to be, where that is known: a column that the query computes has no counterpart.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// The source's column by the copy's; `None` for one that is computed.
    pub columns: BTreeMap<String, Option<String>>,
}

impl Pairing {
    /// Matches columns by name, or as the query says. `ignored`: columns that are not to be compared.
    pub fn new(
        table: &SourceTable,
        source: &Described,
        copy: &[CopyColumn],
        origins: &Origins,
        ignored: &[String],
    ) -> Result<Self> {
        if source.primary_key.is_empty() {
            return Err(Error::config(format!(
                "table {table} has no PRIMARY KEY, so its rows cannot be told apart; add one, or leave the table out"
            )));
        }
        let mut pairing = Self { key: source.primary_key.len(), ..Self::default() };
        let is_key = |column: &&SourceColumn| source.primary_key.contains(&column.name);
        let keys = source.primary_key.iter().filter_map(|name| source.columns.iter().find(|it| it.name == *name));
        let others = source.columns.iter().filter(|column| !is_key(column));
        for column in keys.chain(others) {
            let fixed = is_key(&column);
            let counterpart = copy.iter().find(|it| origin_of(origins, &it.name).is_some_and(|it| it == column.name));
            let outcome = match counterpart {
                _ if ignored.contains(&column.name) && !fixed => {
                    Err("it is to be ignored (--ignore-column)".to_owned())
                }
                None => Err("the copy has no such column".to_owned()),
                Some(found) => pair(column, found).map(|(kind, note)| {
                    pairing.notes.extend(note);
                    Pair { source: column.name.clone(), copy: found.name.clone(), kind }
                }),
            };
            match outcome {
                Ok(pair) => pairing.pairs.push(pair),
                Err(reason) if fixed => {
                    return Err(Error::config(format!(
                        "table {table}: column \"{}\" of its primary key cannot be compared: {reason}",
                        column.name
                    )));
                }
                Err(reason) => {
                    pairing.skipped.push(Skipped { column: column.name.clone(), of_source: true, reason });
                }
            }
        }
        let known = |name: &str| source.columns.iter().any(|column| origin_of(origins, name) == Some(&column.name));
        for column in copy.iter().filter(|column| !known(&column.name)) {
            let reason = match origins.columns.get(&column.name) {
                Some(None) => "the query computes it",
                _ => "the source has no such column",
            };
            pairing.skipped.push(Skipped { column: column.name.clone(), of_source: false, reason: reason.to_owned() });
        }
        Ok(pairing)
    }

    /// The key's columns.
    pub fn keys(&self) -> &[Pair] {
        &self.pairs[..self.key]
    }

    /// Columns whose hashes tell.
    pub fn hashed(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(|pair| pair.kind.is_hashed())
    }

    /// Columns that are fetched and compared as values.
    pub fn fetched(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(|pair| !pair.kind.is_hashed())
    }
}

/// The source's column that a column of the copy is.
fn origin_of<'a>(origins: &'a Origins, copy: &'a str) -> Option<&'a str> {
    match origins.columns.get(copy) {
        Some(origin) => origin.as_deref(),
        None => Some(copy),
    }
}

/// How a column and its counterpart are compared, with what a reader should know; or why they are not.
fn pair(source: &SourceColumn, copy: &CopyColumn) -> Result<(Kind, Option<String>), String> {
    let Some(kind) = source.kind else {
        return Err(format!("values of type {} have no text that both sides agree on", source.type_name));
    };
    let (bare, arguments) = bare_type(&copy.type_name);
    let is_integer = bare.strip_prefix('U').unwrap_or(bare).starts_with("Int");
    let is_float = matches!(bare, "Float32" | "Float64");
    let is_text = matches!(bare, "String" | "FixedString" | "Enum8" | "Enum16");
    let digits_of_copy = || match (bare, arguments.split(',').next().and_then(|digits| digits.trim().parse().ok())) {
        ("DateTime", _) => 0_u8,
        (_, digits) => digits.unwrap_or(3).min(6),
    };
    let with_digits = |digits: u8, kind: fn(u8) -> Kind| {
        let kept = digits.min(digits_of_copy());
        let note = format!(
            "column \"{}\" is compared with {kept} of its {digits} digits of a second: the copy has no more",
            source.name
        );
        (kind(kept), (kept < digits).then_some(note))
    };
    let found = match kind {
        Kind::Integer if is_integer || bare == "Decimal" || bare == "String" => (Kind::Integer, None),
        Kind::Integer if is_float => (Kind::Double, None),
        Kind::Integer | Kind::Boolean if bare == "Bool" => (Kind::Boolean, None),
        Kind::Boolean if is_integer => (Kind::Boolean, None),
        Kind::Decimal if is_float => (Kind::Double, None),
        Kind::Decimal if is_integer || bare == "Decimal" || bare == "String" => (Kind::Decimal, None),
        Kind::Float if is_float || bare == "Decimal" => (Kind::Float, None),
        Kind::Double if bare == "Float32" => (Kind::Float, Some(single(&source.name))),
        Kind::Double if is_float || bare == "Decimal" => (Kind::Double, None),
        Kind::Date if matches!(bare, "Date" | "Date32" | "DateTime" | "DateTime64") => (Kind::Date, None),
        Kind::Timestamp(digits) if matches!(bare, "DateTime" | "DateTime64") => with_digits(digits, Kind::Timestamp),
        Kind::Time(digits) if bare == "Time64" => with_digits(digits, Kind::Time),
        Kind::Time(_) if bare == "Int64" => (Kind::Micros, None),
        Kind::Text if is_text || bare == "UUID" => (Kind::Text, None),
        Kind::Uuid if is_text || bare == "UUID" => (Kind::Uuid, None),
        Kind::Bytes if matches!(bare, "String" | "FixedString") => (Kind::Bytes, None),
        Kind::Json if matches!(bare, "String" | "JSON") => (Kind::Json, None),
        Kind::Array if bare == "Array" => (Kind::Array, None),
        _ => {
            return Err(format!(
                "{} in the source and {} in the copy have no text that both sides agree on",
                source.type_name, copy.type_name
            ));
        }
    };
    Ok(found)
}

fn single(column: &str) -> String {
    format!("column \"{column}\" is compared in single precision: the copy has no more")
}

/// `LowCardinality(Nullable(DateTime64(3, 'UTC')))` → `DateTime64`, `3, 'UTC'`.
fn bare_type(text: &str) -> (&str, &str) {
    let (name, arguments) = text.strip_suffix(')').and_then(|text| text.split_once('(')).unwrap_or((text, ""));
    match name {
        "Nullable" | "LowCardinality" => bare_type(arguments),
        _ => (name, arguments),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn source(name: &str, type_name: &str, kind: Option<Kind>) -> SourceColumn {
        SourceColumn { name: name.to_owned(), type_name: type_name.to_owned(), kind }
    }

    fn copy(name: &str, type_name: &str) -> CopyColumn {
        CopyColumn { name: name.to_owned(), type_name: type_name.to_owned() }
    }

    #[test]
    fn types_that_agree() {
        for (kind, type_name, expected) in [
            (Kind::Integer, "Nullable(Int64)", Some(Kind::Integer)),
            (Kind::Integer, "Bool", Some(Kind::Boolean)),
            (Kind::Integer, "DateTime", None),
            (Kind::Decimal, "Nullable(Decimal(12, 2))", Some(Kind::Decimal)),
            (Kind::Decimal, "Float64", Some(Kind::Double)),
            (Kind::Timestamp(6), "DateTime64(3, 'UTC')", Some(Kind::Timestamp(3))),
            (Kind::Timestamp(0), "DateTime", Some(Kind::Timestamp(0))),
            (Kind::Timestamp(3), "LowCardinality(Nullable(DateTime64(9, 'UTC')))", Some(Kind::Timestamp(3))),
            (Kind::Time(6), "Int64", Some(Kind::Micros)),
            (Kind::Text, "Enum8('a' = 1)", Some(Kind::Text)),
            (Kind::Text, "Int32", None),
            (Kind::Array, "Array(Nullable(Int32))", Some(Kind::Array)),
            (Kind::Json, "String", Some(Kind::Json)),
        ] {
            let found = pair(&source("c", "t", Some(kind)), &copy("c", type_name));
            assert_eq!(found.ok().map(|(kind, _)| kind), expected, "{kind:?} {type_name}");
        }
    }

    #[test]
    fn what_is_not_compared_is_named() {
        let described = Described {
            columns: vec![
                source("note", "text", Some(Kind::Text)),
                source("id", "int", Some(Kind::Integer)),
                source("shape", "geometry", None),
                source("gone", "int", Some(Kind::Integer)),
                source("mail", "text", Some(Kind::Text)),
            ],
            primary_key: vec!["id".into()],
        };
        let columns = [
            copy("id", "Int32"),
            copy("remark", "String"),
            copy("shape", "String"),
            copy("mail", "String"),
            copy("own", "String"),
        ];
        let origins = Origins {
            columns: BTreeMap::from([("remark".to_owned(), Some("note".to_owned())), ("mail".to_owned(), None)]),
        };
        let table = SourceTable { schema: "s".into(), name: "t".into() };
        let pairing = Pairing::new(&table, &described, &columns, &origins, &[]).unwrap();
        let names: Vec<_> = pairing.pairs.iter().map(|pair| (pair.source.as_str(), pair.copy.as_str())).collect();
        assert_eq!(names, [("id", "id"), ("note", "remark")]);
        let skipped: Vec<_> = pairing.skipped.iter().map(|it| (it.column.as_str(), it.of_source)).collect();
        assert_eq!(skipped, [("shape", true), ("gone", true), ("mail", true), ("mail", false), ("own", false)]);
        let keyless = Described { primary_key: Vec::new(), ..described };
        let error = Pairing::new(&table, &keyless, &columns, &origins, &[]).unwrap_err().to_string();
        assert!(error.contains("no PRIMARY KEY"), "{error}");
    }
}
