//! The statements over a table and its copy.

use super::canon::Kind;
use super::copy::Copy;
use super::dialect::Dialect;
use super::pairing::{Pair, Pairing};
use super::rows::Key;
use super::slice::{Side, Slice, bound, key_hash, substring};
use super::source::{Described, SourceColumn, SourceTable};

/// A table, its copy, and what of them is compared.
#[derive(Debug)]
pub struct Subject {
    /// The table.
    pub table: SourceTable,
    /// The source's way of writing.
    pub dialect: Dialect,
    /// Its copy.
    pub copy: Copy,
    /// Their columns.
    pub pairing: Pairing,
    /// A condition on both sides' rows, in SQL that both understand.
    pub filter: Option<String>,
}

impl Subject {
    /// How many leading columns of the key can be parted into ranges; with none, keys are parted by their hashes.
    pub fn ordered(&self) -> usize {
        self.pairing.keys().iter().take_while(|key| key.kind.is_ordered()).count()
    }

    fn dialect_of(&self, side: Side) -> Dialect {
        match side {
            Side::Source => self.dialect,
            Side::Copy => self.copy.dialect(),
        }
    }

    /// What stands after FROM: the rows for which a condition on their keys holds.
    pub fn from(&self, side: Side, of_key: &str) -> String {
        match side {
            Side::Source => {
                let filter = self.filter.as_ref().map(|filter| format!(" AND ({filter})")).unwrap_or_default();
                format!("{} WHERE ({of_key}){filter}", self.table.quoted(self.dialect))
            }
            Side::Copy => {
                let key: Vec<String> = self.pairing.keys().iter().map(|key| key.copy.clone()).collect();
                self.copy.from(&key, of_key, self.filter.as_deref())
            }
        }
    }

    fn condition(&self, side: Side, slice: &Slice) -> String {
        slice.condition(side, self.dialect_of(side), self.pairing.keys())
    }

    /// The SHA-256 of the hashed columns of a row.
    pub fn row_hash(&self, side: Side) -> String {
        let dialect = self.dialect_of(side);
        let texts: Vec<_> =
            self.pairing.hashed().map(|pair| dialect.marked(&pair.kind.text(dialect, pair.name(side)))).collect();
        dialect.sha256(&dialect.concat(&texts))
    }

    fn digest_columns(&self, side: Side) -> String {
        let dialect = self.dialect_of(side);
        let keys = dialect.xor(&key_hash(side, dialect, self.pairing.keys()));
        format!("{}, {keys}, {}", dialect.count(), dialect.xor(&self.row_hash(side)))
    }

    /// Rows, hash of the keys, hash of the rows.
    pub fn digest(&self, side: Side, slice: &Slice) -> String {
        format!("SELECT {} FROM {}", self.digest_columns(side), self.from(side, &self.condition(side, slice)))
    }

    /// The same for each of the buckets, with `digits` digits, that a bucket has.
    pub fn digests_of_buckets(&self, side: Side, bucket: &Slice, digits: usize) -> String {
        let dialect = self.dialect_of(side);
        let (function, hash) = (substring(dialect), key_hash(side, dialect, self.pairing.keys()));
        let from = self.from(side, &self.condition(side, bucket));
        format!(
            "SELECT {function}({hash}, 1, {digits}), {} FROM {from} GROUP BY 1 ORDER BY 1",
            self.digest_columns(side)
        )
    }

    /// The key of the row `rows` after the beginning of a range, in the order of the ranges.
    pub fn cut(&self, side: Side, range: &Slice, rows: u64) -> String {
        let dialect = self.dialect_of(side);
        let keys = &self.pairing.keys()[..self.ordered()];
        let texts = named(keys, |key| key.kind.text(dialect, key.name(side)));
        let order = list(keys, |key| dialect.name(key.name(side)));
        let from = self.from(side, &self.condition(side, range));
        format!("SELECT {texts} FROM {from} ORDER BY {order} LIMIT 1 OFFSET {}", rows.saturating_sub(1))
    }

    /// The canonical texts of the columns of the rows of a slice, the key's first.
    pub fn rows(&self, side: Side, slice: &Slice) -> String {
        self.select(side, &self.pairing.pairs, &self.condition(side, slice))
    }

    /// The key and the columns that hashes do not tell of.
    pub fn fetched(&self, side: Side, slice: &Slice) -> String {
        let columns: Vec<Pair> = self.pairing.keys().iter().chain(self.pairing.fetched()).cloned().collect();
        self.select(side, &columns, &self.condition(side, slice))
    }

    /// The rows of these keys, and perhaps of others that the database takes for equal.
    pub fn lookup(&self, side: Side, keys: &[Key]) -> String {
        self.select(side, &self.pairing.pairs, &self.any_of(side, keys))
    }

    /// The condition that a row has one of these keys.
    pub fn any_of(&self, side: Side, keys: &[Key]) -> String {
        let dialect = self.dialect_of(side);
        let columns = self.pairing.keys();
        if let [column] = columns
            && column.kind.is_ordered()
        {
            let values: Vec<_> = keys.iter().flatten().map(|value| column.kind.literal(dialect, value)).collect();
            return format!("{} IN ({})", dialect.name(column.name(side)), values.join(", "));
        }
        let one = |key: &Key| {
            let parts = columns.iter().zip(key).map(|(it, value)| it.kind.equals(dialect, it.name(side), value));
            format!("({})", parts.collect::<Vec<_>>().join(" AND "))
        };
        keys.iter().map(one).collect::<Vec<_>>().join(" OR ")
    }

    /// The next rows of the source, in the order of its own keys, that were there before a time; with a last column that
    /// tells any change of them.
    pub fn old_rows(&self, old: &Old, after: Option<&Key>, rows: usize) -> String {
        let (dialect, keys) = (self.dialect, self.pairing.keys());
        let texts = named(&self.pairing.pairs, |pair| pair.kind.text(dialect, &pair.source));
        let order = list(keys, |key| dialect.name(&key.source));
        let after = after.map_or("1 = 1".to_owned(), |after| bound(Side::Source, dialect, keys, after, ">", ">"));
        let from = self.from(Side::Source, &format!("{} AND {after}", old.condition));
        format!("SELECT {texts}, {} FROM {from} ORDER BY {order} LIMIT {rows}", old.guard)
    }

    /// How many rows were there before a time.
    pub fn count_old(&self, old: &Old) -> String {
        format!("SELECT {} FROM {}", self.dialect.count(), self.from(Side::Source, &old.condition))
    }

    /// Deletes rows of the source, unless they have changed: `guards` are what the rows had when they were looked at.
    pub fn delete(&self, old: &Old, keys: &[Key], guards: &[String]) -> String {
        let guards: Vec<_> = guards.iter().map(|guard| format!("'{guard}'")).collect();
        let condition = format!(
            "{} AND ({}) AND {} IN ({})",
            old.condition,
            self.any_of(Side::Source, keys),
            old.guard,
            guards.join(", ")
        );
        format!("DELETE FROM {}", self.from(Side::Source, &condition))
    }

    fn select(&self, side: Side, columns: &[Pair], of_key: &str) -> String {
        let dialect = self.dialect_of(side);
        let texts = list(columns, |pair| pair.kind.text(dialect, pair.name(side)));
        format!("SELECT {texts} FROM {}", self.from(side, of_key))
    }
}

/// Old rows of the source.
#[derive(Debug, Clone)]
pub struct Old {
    /// The condition that a row is one.
    pub condition: String,
    /// The SHA-256 of a whole row, of every column that the source has.
    pub guard: String,
}

impl Old {
    /// Rows whose `column` is before a time, `2026-11-21 09:14:26.690734` in UTC.
    pub fn before(dialect: Dialect, source: &Described, column: &SourceColumn, time: &str) -> Self {
        let type_name = match (dialect, column.kind) {
            (_, Some(Kind::Date)) => "date",
            (Dialect::Postgres, _) if column.type_name.ends_with("with time zone") => "timestamptz",
            (Dialect::Postgres, _) => "timestamp",
            _ => "DATETIME(6)",
        };
        let time = dialect.text(time);
        let texts: Vec<_> = source
            .columns
            .iter()
            .map(|column| {
                let name = dialect.name(&column.name);
                let unknown = match dialect {
                    Dialect::MySql => format!("HEX({name})"),
                    _ => format!("({name})::text"),
                };
                dialect.marked(&column.kind.map_or(unknown, |kind| kind.text(dialect, &column.name)))
            })
            .collect();
        Self {
            condition: format!("{} < CAST({time} AS {type_name})", dialect.name(&column.name)),
            guard: dialect.sha256(&dialect.concat(&texts)),
        }
    }
}

/// Texts under names of their own: PostgreSQL calls the text of a column as the column, and would sort by it.
fn named(pairs: &[Pair], write: impl Fn(&Pair) -> String) -> String {
    let texts = pairs.iter().enumerate().map(|(at, pair)| format!("{} AS highwater_{at}", write(pair)));
    texts.collect::<Vec<_>>().join(", ")
}

fn list(pairs: &[Pair], write: impl Fn(&Pair) -> String) -> String {
    pairs.iter().map(write).collect::<Vec<_>>().join(", ")
}
