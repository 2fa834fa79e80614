//! Parts of a table that are the same rows on both sides: ranges of keys, or, where the sides sort keys differently (texts,
//! by collation), keys whose hashes begin alike.

use super::dialect::Dialect;
use super::pairing::Pair;

/// A part of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slice {
    /// Keys after `after` up to and including `until`; open ends are ends of the table.
    Range {
        /// Values of the leading ordered columns of the key.
        after: Option<Vec<String>>,
        /// The same.
        until: Option<Vec<String>>,
    },
    /// Keys whose hash begins with these hexadecimal digits.
    Bucket(String),
}

/// The side whose names a condition uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The source's.
    Source,
    /// The copy's.
    Copy,
}

impl Pair {
    /// The column's name on a side.
    pub fn name(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.source,
            Side::Copy => &self.copy,
        }
    }
}

/// The SHA-256 of a key, an SQL expression.
pub fn key_hash(side: Side, dialect: Dialect, keys: &[Pair]) -> String {
    let texts: Vec<_> = keys.iter().map(|key| dialect.marked(&key.kind.text(dialect, key.name(side)))).collect();
    dialect.sha256(&dialect.concat(&texts))
}

impl Slice {
    /// The whole table.
    pub fn whole() -> Self {
        Self::Range { after: None, until: None }
    }

    /// The condition that a row is in it.
    pub fn condition(&self, side: Side, dialect: Dialect, keys: &[Pair]) -> String {
        match self {
            Self::Range { after, until } => {
                let bound = |values: &Option<Vec<String>>, sign: &str, last: &str| {
                    values.as_ref().map(|values| bound(side, dialect, keys, values, sign, last))
                };
                let parts: Vec<_> = [bound(after, ">", ">"), bound(until, "<", "<=")].into_iter().flatten().collect();
                if parts.is_empty() { "1 = 1".to_owned() } else { parts.join(" AND ") }
            }
            Self::Bucket(digits) if digits.is_empty() => "1 = 1".to_owned(),
            Self::Bucket(digits) => {
                let (function, hash) = (substring(dialect), key_hash(side, dialect, keys));
                format!("{function}({hash}, 1, {}) = '{digits}'", digits.len())
            }
        }
    }
}

/// The function that cuts a text.
pub fn substring(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "substr",
        _ => "SUBSTRING",
    }
}

/// The condition that a key is before or after another: `a >= 1 AND (a > 1 OR a = 1 AND b > 2)`. The first part lets an index be used, which some databases do not see in
/// the second.
pub fn bound(side: Side, dialect: Dialect, keys: &[Pair], values: &[String], sign: &str, last: &str) -> String {
    let columns: Vec<(String, String)> = keys
        .iter()
        .zip(values)
        .map(|(key, value)| (dialect.name(key.name(side)), key.kind.literal(dialect, value)))
        .collect();
    let mut condition = String::new();
    for (at, (name, value)) in columns.iter().enumerate().rev() {
        condition = if at + 1 == columns.len() {
            format!("{name} {last} {value}")
        } else {
            format!("({name} {sign} {value} OR {name} = {value} AND {condition})")
        };
    }
    match columns.as_slice() {
        [(name, value), _, ..] => format!("{name} {sign}= {value} AND {condition}"),
        _ => condition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::canon::Kind;

    fn key(name: &str, kind: Kind) -> Pair {
        Pair { source: name.to_owned(), copy: format!("{name}_copy"), kind }
    }

    #[test]
    fn ranges() {
        let keys = [key("a", Kind::Integer), key("b", Kind::Date), key("c", Kind::Integer)];
        let values = |values: &[&str]| Some(values.iter().map(|it| (*it).to_owned()).collect());
        let slice = Slice::Range { after: values(&["1"]), until: values(&["9"]) };
        assert_eq!(slice.condition(Side::Source, Dialect::MySql, &keys), "`a` > 1 AND `a` <= 9");
        assert_eq!(slice.condition(Side::Copy, Dialect::ClickHouse, &keys), "`a_copy` > 1 AND `a_copy` <= 9");
        let slice = Slice::Range { after: values(&["1", "2026-01-02"]), until: None };
        assert_eq!(
            slice.condition(Side::Source, Dialect::Postgres, &keys),
            "\"a\" >= 1 AND (\"a\" > 1 OR \"a\" = 1 AND \"b\" > CAST(E'2026-01-02' AS date))"
        );
        let slice = Slice::Range { after: None, until: values(&["1", "2026-01-02", "3"]) };
        assert_eq!(
            slice.condition(Side::Source, Dialect::ClickHouse, &keys),
            "`a` <= 1 AND (`a` < 1 OR `a` = 1 AND (`b` < toDate32('2026-01-02') OR `b` = toDate32('2026-01-02') AND `c` <= 3))"
        );
        assert_eq!(Slice::whole().condition(Side::Source, Dialect::MySql, &keys), "1 = 1");
    }

    #[test]
    fn buckets() {
        let keys = [key("a", Kind::Text)];
        let condition = Slice::Bucket("0f".into()).condition(Side::Source, Dialect::MySql, &keys);
        let text = "CONVERT(`a` USING utf8mb4)";
        assert_eq!(
            condition,
            format!("SUBSTRING(SHA2(IFNULL(CONCAT(LENGTH({text}), ':', {text}), 'n'), 256), 1, 2) = '0f'")
        );
    }
}
