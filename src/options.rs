//! The options of a table's `WITH (…)`, as a connector or a format reads them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};

/// Options by name, lower case as written, values unquoted.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    table: String,
    values: BTreeMap<String, String>,
}

/// Secrets stay out of logs.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.table)?;
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Options {
    /// The options of `table`, whose name is for error messages only.
    pub fn new(table: impl Into<String>, values: BTreeMap<String, String>) -> Self {
        Self { table: table.into(), values }
    }

    /// Gives an option a value.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.insert(name.into(), value.into());
    }

    /// The name of the table that these are the options of.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The value of an option, if given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of an option, or an error that says which table lacks it.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| Error::config(format!("table \"{}\" needs the option '{name}'", self.table)))
    }

    /// All options whose name starts with `prefix`, with the prefix taken off, in the order of their names.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.values.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// All values by name.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// All values by name, with `***` for those that may be secret.
    pub fn shown(&self) -> BTreeMap<String, String> {
        let is_secret = |name: &str| {
            ["password", "secret", "jaas", "key", "token", "user-info"].iter().any(|word| name.contains(word))
        };
        // A URL may have user and password in it.
        let host =
            |value: &str| value.split_once("://").and_then(|(_, rest)| rest.split('/').next().map(str::to_owned));
        let holds_secret = |value: &str| host(value).is_some_and(|host| host.contains('@'));
        let shown = |(name, value): (&String, &String)| {
            (name.clone(), if is_secret(name) || holds_secret(value) { "***".to_owned() } else { value.clone() })
        };
        self.values.iter().map(shown).collect()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// An option that parses, `default` when it is not given, or an error that names option, value and what was expected.
    pub fn parse<T: std::str::FromStr>(&self, name: &str, default: T, expected: &str) -> Result<T> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| self.invalid(name, text, expected)),
        }
    }

    /// A duration such as `5 s`, `500 ms`, `1 min`, `2h`, in Flink's units (ms, s, min/m, h, d).
    pub fn duration(&self, name: &str, default: Duration) -> Result<Duration> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => parse_duration(text).ok_or_else(|| self.invalid(name, text, "a duration such as '5 s'")),
        }
    }

    /// The error for an option whose value is not understood.
    pub fn invalid(&self, name: &str, value: &str, expected: &str) -> Error {
        Error::config(format!("table \"{}\": option '{name}' is '{value}', expected {expected}", self.table))
    }
}

/// A URL without user and password, for messages. Other texts stay as they are.
pub fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

/// A duration in words: a whole number and a unit (`ms`, `s`, `sec`, `min`, `m`, `h`, `d`), a space between them or not.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let amount: u64 = text[..digits].parse().ok()?;
    let milliseconds = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "ms" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    amount.checked_mul(milliseconds).map(Duration::from_millis)
}

/// A number of bytes in words: a whole number and a unit (`B`, `KiB`, `MiB`, `GiB`; `KB`, `MB`, `GB` are the same).
pub fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let amount: usize = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kib" | "kb" | "k" => 10,
        "mib" | "mb" | "m" => 20,
        "gib" | "gb" | "g" => 30,
        _ => return None,
    };
    amount.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_without_users() {
        for (url, shown) in [
            ("s3://key:secret@bucket/a@b", "s3://bucket/a@b"),
            ("s3://bucket/a@b", "s3://bucket/a@b"),
            ("s3://a@b@bucket", "s3://bucket"),
            ("folder/a@b", "folder/a@b"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }

    #[test]
    fn durations_in_words() {
        for (text, milliseconds) in
            [("5 s", 5_000), ("500ms", 500), ("1 min", 60_000), (" 2h ", 7_200_000), ("1 d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "5 parsecs", "-5 s", "1.5 s", "99999999999999999999 s", "9999999999999999999 d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_in_words() {
        for (text, bytes) in [("512", 512), ("256 MiB", 256 << 20), ("1gb", 1 << 30), ("8 k", 8192), ("0", 0)] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "1.5 GiB", "-1", "9999999999999 GiB", "5 bits"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
