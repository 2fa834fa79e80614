//! How each database says things.

use crate::sink::clickhouse::{quote_identifier, quote_string};

/// A database's way of writing SQL. MariaDB speaks MySQL's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// MySQL and MariaDB, in a session whose time zone is UTC.
    MySql,
    /// PostgreSQL, in a session whose time zone is UTC.
    Postgres,
    /// ClickHouse.
    ClickHouse,
}

impl Dialect {
    /// A name, whatever is in it.
    pub fn name(self, name: &str) -> String {
        match self {
            Self::MySql => format!("`{}`", name.replace('`', "``")),
            Self::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::ClickHouse => quote_identifier(name),
        }
    }

    /// A text. In MySQL by its bytes: how a backslash is read depends on the server's `sql_mode`. It takes the collation of
    /// the column that it is compared with.
    pub fn text(self, text: &str) -> String {
        match self {
            Self::MySql => format!("_utf8mb4 X'{}'", hex(text.as_bytes())),
            // An E string means the same whatever standard_conforming_strings is.
            Self::Postgres => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
            Self::ClickHouse => quote_string(text),
        }
    }

    /// Bytes, given in hexadecimal digits.
    pub fn bytes(self, hex: &str) -> String {
        let hex: String = hex.chars().filter(char::is_ascii_hexdigit).collect();
        match self {
            Self::MySql => format!("X'{hex}'"),
            Self::Postgres => format!("decode('{hex}', 'hex')"),
            Self::ClickHouse => format!("unhex('{hex}')"),
        }
    }

    /// The SHA-256 of a text as 64 lower-case hexadecimal digits. (Newer MySQL servers have MD5 as a component only.)
    pub fn sha256(self, text: &str) -> String {
        match self {
            Self::MySql => format!("SHA2({text}, 256)"),
            // Of the bytes in UTF-8, whatever the database's encoding is.
            Self::Postgres => format!("encode(sha256(convert_to({text}, 'UTF8')), 'hex')"),
            Self::ClickHouse => format!("lower(hex(SHA256({text})))"),
        }
    }

    /// The exclusive or, over all rows, of the first 64 bits of a hash in hexadecimal digits; as decimal text, which
    /// PostgreSQL gives a sign.
    pub fn xor(self, hash: &str) -> String {
        match self {
            Self::MySql => format!("CAST(BIT_XOR(CAST(CONV(SUBSTRING({hash}, 1, 16), 16, 10) AS UNSIGNED)) AS CHAR)"),
            Self::Postgres => {
                format!("coalesce(bit_xor(('x' || substr({hash}, 1, 16))::bit(64)::bigint), 0)::text")
            }
            Self::ClickHouse => {
                format!("toString(groupBitXor(reinterpretAsUInt64(reverse(unhex(substring({hash}, 1, 16))))))")
            }
        }
    }

    /// The number of rows, as text.
    pub fn count(self) -> &'static str {
        match self {
            Self::MySql => "CAST(COUNT(*) AS CHAR)",
            Self::Postgres => "count(*)::text",
            Self::ClickHouse => "toString(count())",
        }
    }

    /// Texts in a row.
    pub fn concat(self, texts: &[String]) -> String {
        match (self, texts) {
            (_, [text]) => text.clone(),
            (Self::Postgres, texts) => format!("({})", texts.join(" || ")),
            (_, texts) => format!("concat({})", texts.join(", ")),
        }
    }

    /// A text with its length before it, so that texts in a row cannot be mistaken for others; NULL is not like ''.
    pub fn marked(self, text: &str) -> String {
        match self {
            Self::MySql => format!("IFNULL(CONCAT(LENGTH({text}), ':', {text}), 'n')"),
            Self::Postgres => format!("coalesce(octet_length(convert_to({text}, 'UTF8'))::text || ':' || {text}, 'n')"),
            Self::ClickHouse => format!("ifNull(concat(toString(length({text})), ':', {text}), 'n')"),
        }
    }
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_break_out() {
        assert_eq!(Dialect::MySql.name("a`; DROP"), "`a``; DROP`");
        assert_eq!(Dialect::Postgres.name("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(Dialect::ClickHouse.name("a`; DROP"), "`a\\`; DROP`");
        assert_eq!(Dialect::MySql.text("it's \\"), "_utf8mb4 X'69742773205C'");
        assert_eq!(Dialect::Postgres.text("it's \\"), "E'it''s \\\\'");
        assert_eq!(Dialect::ClickHouse.text("it's \\"), "'it\\'s \\\\'");
        assert_eq!(Dialect::Postgres.bytes("00'; DROP TABLE x"), "decode('00DABE', 'hex')");
    }
}
