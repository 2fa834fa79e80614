//! The lines of `=== input` sections: records, and marks between them.
//!
//! A line is the value of a record, as it is. What else a record has stands before it: `@partition=1 @key=7 {"id": 7}`; a bare `@`
//! ends that, before a value that begins with one.

use chrono::{DateTime, NaiveDateTime};

use super::case::Case;
use crate::error::{Error, Place, Result, suggestion};
use crate::options::parse_duration;

/// A record of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The table that reads it.
    pub table: String,
    /// Its topic, when that is not the table's first.
    pub topic: Option<String>,
    /// Its partition.
    pub partition: i32,
    /// Its offset, when that is not the next.
    pub offset: Option<i64>,
    /// Its broker timestamp, milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Whether it is marked as late.
    pub late: bool,
    /// Whether it is marked as a dead letter, and with which reason.
    pub dead: Option<Option<String>>,
    /// The file that it is in.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
}

/// What happens between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The job is stopped and goes on from its checkpoint.
    Restart,
    /// Time passes in which nothing comes, milliseconds.
    Advance(i64),
}

impl Input {
    /// An error at its line.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Place { file: self.file.clone(), line: self.line as u64, column: 1 }.error(message).into()
    }
}

/// What a mark says of the record below it.
#[derive(Default)]
struct Verdict {
    late: bool,
    dead: Option<Option<String>>,
}

/// Adds the records and marks of a section; its first line is number `first` of `file`.
pub(super) fn read_inputs(case: &mut Case, file: &str, table: &str, lines: &[String], first: usize) -> Result<()> {
    let error = |line: usize, message: String| -> Error {
        Place { file: file.to_owned(), line: line as u64, column: 1 }.error(message).into()
    };
    let (table, partition) = match table.strip_suffix(']').and_then(|it| it.split_once('[')) {
        Some((table, number)) => match number.parse() {
            Ok(number) => (table, number),
            Err(_) => return Err(error(first - 1, format!("\"{number}\" is not the number of a partition"))),
        },
        None => (table, 0),
    };
    let mut verdict = Verdict::default();
    for (line, text) in (first..).zip(lines) {
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(mark) = text.strip_prefix("-- ") {
            match read_mark(mark.trim()).map_err(|message| error(line, message))? {
                Read::Between(mark) => case.marks.push((case.inputs.len(), mark)),
                Read::Late => verdict.late = true,
                Read::Dead(reason) => verdict.dead = Some(reason),
            }
            continue;
        }
        let Verdict { late, dead } = std::mem::take(&mut verdict);
        let mut input = Input {
            table: table.to_owned(),
            topic: None,
            partition,
            offset: None,
            timestamp: None,
            key: None,
            value: None,
            late,
            dead,
            file: file.to_owned(),
            line,
        };
        read_record(text, &mut input).map_err(|message| error(line, message))?;
        case.inputs.push(input);
    }
    if verdict.late || verdict.dead.is_some() {
        return Err(error(first + lines.len() - 1, "the last mark of the section has no record below it".into()));
    }
    Ok(())
}

enum Read {
    Between(Mark),
    Late,
    Dead(Option<String>),
}

fn read_mark(mark: &str) -> Result<Read, String> {
    let (word, rest) = mark.split_once(' ').map_or((mark, ""), |(word, rest)| (word, rest.trim()));
    match (word, rest) {
        ("late", "") => Ok(Read::Late),
        ("restart", "") => Ok(Read::Between(Mark::Restart)),
        ("advance", time) => match parse_duration(time) {
            Some(time) => Ok(Read::Between(Mark::Advance(time.as_millis() as i64))),
            None => Err(format!("\"{time}\" is not a duration; write -- advance 5m, 30s, 2h")),
        },
        ("dead", reason) => Ok(Read::Dead((!reason.is_empty()).then(|| reason.to_owned()))),
        _ => {
            let hint = suggestion(word, ["late", "restart", "advance", "dead"]);
            Err(format!(
                "\"-- {mark}\" is no mark{hint}; marks are -- late, -- dead REASON, -- restart and -- advance TIME; comments begin with #"
            ))
        }
    }
}

fn read_record(text: &str, input: &mut Input) -> Result<(), String> {
    let mut rest = text;
    while let Some(after) = rest.strip_prefix('@') {
        let (word, after) = after.split_once(' ').unwrap_or((after, ""));
        rest = after;
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse::<i64>().map_err(|_| format!("@{name}={value}: expected a whole number"));
        match name {
            "" => break,
            "null" => return if rest.is_empty() { Ok(()) } else { Err("a record with @null has no value".into()) },
            "hex" => {
                input.value = Some(read_hex(value)?);
                return Ok(());
            }
            "partition" => {
                input.partition = i32::try_from(number()?).map_err(|_| format!("@partition={value} is too large"))?;
            }
            "offset" => input.offset = Some(number()?),
            "topic" => input.topic = Some(value.to_owned()),
            "key" => input.key = Some(value.as_bytes().to_vec()),
            "timestamp" => input.timestamp = Some(read_time(value)?),
            _ => {
                let known = ["partition", "timestamp", "offset", "key", "topic", "null", "hex"];
                return Err(format!(
                    "a record has no @{name}{}; there are @{}; a value that begins with @ has another and a blank before it: @ @…",
                    suggestion(name, known),
                    known.join(", @")
                ));
            }
        }
    }
    input.value = Some(rest.as_bytes().to_vec());
    Ok(())
}

/// Milliseconds since the epoch: a number, or a date and time in UTC.
fn read_time(text: &str) -> Result<i64, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
    let naive =
        || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|it| it.and_utc().timestamp_millis());
    zoned.or_else(|_| naive()).map_err(|_| format!("@timestamp={text}: expected a time such as 2026-03-01T10:00:00Z"))
}

fn read_hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("@hex={text}: expected two digits a byte");
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).map(|it| it as u8)).collect::<Option<_>>().ok_or_else(wrong)?;
    let bytes = digits.chunks(2).map(|pair| if let [high, low] = pair { Some(high << 4 | low) } else { None });
    bytes.collect::<Option<_>>().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Case> {
        Case::parse("c.test", &format!("=== query\nSELECT 1;\n{text}"))
    }

    #[test]
    fn a_line_is_a_value_and_what_it_has_beside_stands_before_it() {
        let case = parse(
            "=== input t[2]\n# a comment\n{\"a\": 1}\n-- late\n@partition=0 @timestamp=1970-01-01T00:00:01Z @key=k @offset=7 x, y\n@null\n\
             -- restart\n=== input u\n@ @home\n@hex=ff0A\n-- advance 5m\n-- dead wrong_type\n\n#\n@topic=other {}\n",
        )
        .unwrap();
        let seen: Vec<_> = case
            .inputs
            .iter()
            .map(|it| (it.table.as_str(), it.partition, it.value.as_deref(), it.late, it.line))
            .collect();
        assert_eq!(
            seen,
            [
                ("t", 2, Some(&b"{\"a\": 1}"[..]), false, 5),
                ("t", 0, Some(b"x, y"), true, 7),
                ("t", 2, None, false, 8),
                ("u", 0, Some(b"@home"), false, 11),
                ("u", 0, Some(&[0xff, 0x0a]), false, 12),
                ("u", 0, Some(b"{}"), false, 17),
            ]
        );
        let second = &case.inputs[1];
        assert_eq!((second.timestamp, second.offset, second.key.as_deref()), (Some(1_000), Some(7), Some(&b"k"[..])));
        assert_eq!(case.inputs[5].dead, Some(Some("wrong_type".into())));
        assert_eq!(case.inputs[5].topic.as_deref(), Some("other"));
        assert_eq!(case.marks, [(3, Mark::Restart), (5, Mark::Advance(300_000))]);
    }

    #[test]
    fn mistakes_have_a_place_and_a_way_out() {
        for (text, expected) in [
            (
                "=== input t\n{}\n-- lat\n{}",
                "c.test:5:1: \"-- lat\" is no mark; did you mean \"late\"?; marks are -- late, -- dead REASON, -- restart and -- advance TIME; comments begin with #",
            ),
            ("=== input t\n-- late", "c.test:4:1: the last mark of the section has no record below it"),
            (
                "=== input t\n@partiton=1 {}",
                "c.test:4:1: a record has no @partiton; did you mean \"partition\"?; there are @partition, @timestamp, @offset, @key, @topic, @null, @hex; a value that begins with @ has another and a blank before it: @ @…",
            ),
            ("=== input t\n-- advance soon", "c.test:4:1: \"soon\" is not a duration; write -- advance 5m, 30s, 2h"),
            (
                "=== inputs t",
                "c.test:3:1: there is no section \"inputs\"; sections are query, set, format, input, expected, unchecked, open; did you mean \"input\"?",
            ),
            ("=== set A\n", "c.test:3:1: \"A\" is not NAME = VALUE"),
            ("=== open\nx\n", "c.test:4:1: \"=== open …\" in line 3 has nothing below it"),
            ("=== expected t\na | b\n1\n", "c.test:5:1: the row has 1 columns, the heading 2"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }
}
