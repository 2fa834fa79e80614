//! One text per value, the same in all databases.
//!
//! | kind | text |
//! |---|---|
//! | integer, boolean | digits; `0`, `1` |
//! | decimal | without trailing zeros |
//! | date | `2026-11-21` |
//! | timestamp | `2026-11-21 09:14:26.690734`, in UTC, with as many digits as both sides keep |
//! | time of day | `09:14:26.690734`; or microseconds, where the copy has these |
//! | text, enum, UUID | itself |
//! | bytes | hexadecimal digits |
//!
//! Floating-point numbers, JSON and arrays have none: these are fetched as their databases write them, and compared as values.

use super::dialect::Dialect;

/// How the values of a column are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number of any width.
    Integer,
    /// True or false, however it is kept.
    Boolean,
    /// A number with digits after the point.
    Decimal,
    /// A day.
    Date,
    /// A point in time, with so many digits of a second.
    Timestamp(u8),
    /// A time of day, with so many digits of a second.
    Time(u8),
    /// A time of day that the copy keeps as microseconds.
    Micros,
    /// Text.
    Text,
    /// A text of 36 characters, with a type of its own in the source.
    Uuid,
    /// Bytes.
    Bytes,
    /// A floating-point number, compared in single precision.
    Float,
    /// A floating-point number.
    Double,
    /// A JSON document.
    Json,
    /// An array, fetched as JSON.
    Array,
}

impl Kind {
    /// Whether equal values have equal texts, so that hashes tell.
    pub fn is_hashed(self) -> bool {
        !matches!(self, Self::Float | Self::Double | Self::Json | Self::Array)
    }

    /// Whether both sides sort such values alike, so that ranges of them are the same rows.
    pub fn is_ordered(self) -> bool {
        matches!(self, Self::Integer | Self::Date)
    }

    /// The canonical text of a column: an SQL expression, NULL for NULL. Of kinds that are not hashed, a text that can
    /// be parsed.
    pub fn text(self, dialect: Dialect, column: &str) -> String {
        let name = dialect.name(column);
        match dialect {
            Dialect::MySql => self.mysql(&name),
            Dialect::Postgres => self.postgres(&name),
            Dialect::ClickHouse => self.clickhouse(&name),
        }
    }

    fn mysql(self, name: &str) -> String {
        match self {
            Self::Integer => format!("CAST({name} + 0 AS CHAR)"),
            Self::Boolean => format!("CAST({name} <> 0 AS CHAR)"),
            Self::Decimal => trimmed_decimal(&format!("CAST({name} AS CHAR)")),
            Self::Date => format!("DATE_FORMAT({name}, '%Y-%m-%d')"),
            Self::Timestamp(digits) => {
                cut(&format!("DATE_FORMAT({name}, '%Y-%m-%d %H:%i:%s.%f')"), 19, digits, "SUBSTRING")
            }
            Self::Time(digits) => cut(&format!("TIME_FORMAT({name}, '%H:%i:%s.%f')"), 8, digits, "SUBSTRING"),
            // MariaDB's TIME_TO_SEC has the fraction as well, MySQL's has not.
            Self::Micros => format!(
                "CAST(CAST(TRUNCATE(TIME_TO_SEC({name}), 0) AS SIGNED) * 1000000 + IF({name} < 0, -1, 1) * MICROSECOND({name}) AS CHAR)"
            ),
            Self::Text | Self::Uuid | Self::Json | Self::Array => format!("CONVERT({name} USING utf8mb4)"),
            Self::Bytes => format!("HEX({name})"),
            // As a FLOAT it would show six digits only.
            Self::Float | Self::Double => format!("CAST({name} + 0e0 AS CHAR)"),
        }
    }

    fn postgres(self, name: &str) -> String {
        match self {
            Self::Integer => format!("({name})::text"),
            Self::Boolean => format!("({name})::int::text"),
            Self::Decimal => format!("trim_scale(({name})::numeric)::text"),
            Self::Date => format!("to_char({name}, 'YYYY-MM-DD')"),
            // With a zone it is shown in the session's, UTC.
            Self::Timestamp(digits) => {
                cut(&format!("to_char({name}, 'YYYY-MM-DD HH24:MI:SS.US')"), 19, digits, "substr")
            }
            Self::Time(digits) => cut(&format!("to_char(({name})::time, 'HH24:MI:SS.US')"), 8, digits, "substr"),
            Self::Micros => format!("(extract(epoch FROM {name}) * 1000000)::bigint::text"),
            // A cast would take the blanks off a char(n), and put the mask on an address: concat writes as output does.
            Self::Text | Self::Uuid => format!("CASE WHEN {name} IS NOT NULL THEN concat({name}) END"),
            Self::Bytes => format!("upper(encode({name}, 'hex'))"),
            Self::Float | Self::Double => format!("({name})::float8::text"),
            Self::Json => format!("({name})::text"),
            Self::Array => format!("array_to_json({name})::text"),
        }
    }

    fn clickhouse(self, name: &str) -> String {
        match self {
            Self::Integer => format!("toString({name})"),
            Self::Boolean => format!("toString(toUInt8({name} != 0))"),
            // Of a text or a number alike; toString has the server's idea of trailing zeros.
            Self::Decimal => format!(
                "replaceRegexpOne(replaceRegexpOne(toString({name}), '(\\\\.\\\\d*?)0+$', '\\\\1'), '\\\\.$', '')"
            ),
            Self::Date => format!("toString(toDate32({name}))"),
            Self::Timestamp(digits) => {
                cut(&format!("toString(toDateTime64({name}, 6, 'UTC'))"), 19, digits, "substring")
            }
            Self::Time(digits) => {
                cut(&format!("toString(CAST({name} AS Nullable(Time64(6))))"), 8, digits, "substring")
            }
            Self::Micros => format!("toString({name})"),
            Self::Text | Self::Uuid => format!("toString({name})"),
            Self::Bytes => format!("hex({name})"),
            Self::Float | Self::Double => format!("toString({name})"),
            Self::Json => format!("toString({name})"),
            Self::Array => format!("toJSONString({name})"),
        }
    }

    /// A condition that a column has the value with this canonical text. It may hold of more rows than that (a collation
    /// that takes `A` for `a`), never of fewer, and lets the database use its index where there is a literal for the value.
    pub fn equals(self, dialect: Dialect, column: &str, text: &str) -> String {
        match self.has_literals() {
            true => format!("{} = {}", dialect.name(column), self.literal(dialect, text)),
            false => format!("{} = {}", self.text(dialect, column), dialect.text(text)),
        }
    }

    /// Whether [`Self::literal`] makes the value of its text.
    pub fn has_literals(self) -> bool {
        matches!(self, Self::Integer | Self::Date | Self::Text | Self::Uuid | Self::Bytes)
    }

    /// The value with this canonical text. An integer that is none, as only a damaged answer could have it, stays a text.
    pub fn literal(self, dialect: Dialect, text: &str) -> String {
        let is_number = text.parse::<i128>().is_ok();
        match (self, dialect) {
            (Self::Integer, _) if is_number => text.to_owned(),
            (Self::Date, Dialect::MySql) => format!("CAST({} AS DATE)", dialect.text(text)),
            (Self::Date, Dialect::Postgres) => format!("CAST({} AS date)", dialect.text(text)),
            (Self::Date, Dialect::ClickHouse) => format!("toDate32({})", dialect.text(text)),
            (Self::Uuid, Dialect::Postgres) => format!("CAST({} AS uuid)", dialect.text(text)),
            (Self::Bytes, _) => dialect.bytes(text),
            _ => dialect.text(text),
        }
    }
}

/// `1.50` → `1.5`, `1.00` → `1`, `100` stays.
fn trimmed_decimal(text: &str) -> String {
    format!("IF(LOCATE('.', {text}) = 0, {text}, TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {text})))")
}

/// The first `whole` characters of a time, and its point and digits if any are kept.
fn cut(text: &str, whole: u8, digits: u8, substring: &str) -> String {
    let length = if digits == 0 { whole } else { whole + 1 + digits };
    if digits >= 6 { text.to_owned() } else { format!("{substring}({text}, 1, {length})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (kind, dialect, expected) in [
            (Kind::Integer, Dialect::MySql, "CAST(`c` + 0 AS CHAR)"),
            (Kind::Timestamp(3), Dialect::Postgres, "substr(to_char(\"c\", 'YYYY-MM-DD HH24:MI:SS.US'), 1, 23)"),
            (Kind::Timestamp(0), Dialect::ClickHouse, "substring(toString(toDateTime64(`c`, 6, 'UTC')), 1, 19)"),
            (Kind::Timestamp(6), Dialect::ClickHouse, "toString(toDateTime64(`c`, 6, 'UTC'))"),
            (Kind::Text, Dialect::Postgres, "CASE WHEN \"c\" IS NOT NULL THEN concat(\"c\") END"),
            (Kind::Bytes, Dialect::ClickHouse, "hex(`c`)"),
        ] {
            assert_eq!(kind.text(dialect, "c"), expected);
        }
    }

    #[test]
    fn values_in_conditions_are_literals() {
        assert_eq!(Kind::Integer.equals(Dialect::MySql, "id", "-5"), "`id` = -5");
        assert_eq!(Kind::Integer.equals(Dialect::ClickHouse, "id", "1 OR 1"), "`id` = '1 OR 1'");
        assert_eq!(Kind::Date.equals(Dialect::Postgres, "d", "2026-01-02"), "\"d\" = CAST(E'2026-01-02' AS date)");
        assert_eq!(Kind::Bytes.equals(Dialect::MySql, "b", "00FF"), "`b` = X'00FF'");
    }
}
