//! The files of cases.
//!
//! ```text
//! What the case shows.
//!
//! === query ../registrations_per_store.sql
//! === set WINDOW = 1 MINUTE
//! === input customer
//! {"op": "c", "after": {…}}
//! -- late
//! {"op": "c", "after": {…}}
//! === expected registrations_per_store
//! window_start        | store_id | registrations
//! 2026-03-01T10:00:00 | 1        | 2
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cells::{Table, parse_table};
use super::record::{Input, Mark, read_inputs};
use crate::error::{Error, Place, Result, suggestion};

/// What every section begins with.
pub const HEADING: &str = "=== ";
const SECTIONS: [&str; 7] = ["query", "set", "format", "input", "expected", "unchecked", "open"];

/// A case.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// The file, as it was given.
    pub file: String,
    /// Its lines.
    pub lines: Vec<String>,
    /// The query's texts, each with the name that messages use for it.
    pub query: Vec<(String, String)>,
    /// Values for the variables of the query.
    pub variables: BTreeMap<String, String>,
    /// Tables whose records are in another format than the query says: table, format, line.
    pub formats: Vec<(String, String, usize)>,
    /// The records, in the order in which they are written.
    pub inputs: Vec<Input>,
    /// What happens between them: after so many records.
    pub marks: Vec<(usize, Mark)>,
    /// The rows that must come, per table.
    pub expected: Vec<Expected>,
    /// Tables that may hold anything.
    pub unchecked: Vec<String>,
    /// Whether windows stay open at the end that the watermark has not reached.
    pub open: bool,
}

/// An `=== expected` section.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The table; empty for the only one that is filled.
    pub table: String,
    /// Whether the order of the rows counts.
    pub in_order: bool,
    /// The rows; `None` when there is not even a heading: no rows then.
    pub rows: Option<Table>,
    /// Where the heading is: its line, from 1.
    pub line: usize,
    /// The lines of the section after its heading, from 1.
    pub body: std::ops::Range<usize>,
}

/// The cases in files and folders, sorted. A folder has those in `*.test` files, at any depth.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        find_in(path, true, &mut found)?;
        if found.len() == before {
            return Err(Error::config(format!("{} has no cases; they are files that end in .test", path.display())));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn find_in(path: &Path, named: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |cause| Error::permanent(format!("cannot read {}", path.display()), cause);
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            find_in(&entry.map_err(failed)?.path(), false, found)?;
        }
    } else if path.extension().is_some_and(|it| it == "test") {
        found.push(path.to_owned());
    } else if named {
        std::fs::metadata(path).map_err(failed)?;
        return Err(Error::config(format!("{} is no case; cases are files that end in .test", path.display())));
    }
    Ok(())
}

impl Case {
    /// Reads the case in a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| Error::permanent(format!("cannot read {}", path.display()), cause))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a case from its text. Other files that it names are looked for beside `file`.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let mut case =
            Self { file: file.to_owned(), lines: text.lines().map(str::to_owned).collect(), ..Self::default() };
        let lines = case.lines.clone();
        let headings: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].starts_with(HEADING.trim_end())).collect();
        for (number, &at) in headings.iter().enumerate() {
            let end = headings.get(number + 1).copied().unwrap_or(lines.len());
            case.section(at + 1, &lines[at], at + 1..end, &lines)?;
        }
        if case.query.is_empty() {
            return Err(
                case.error(1, "the case has no query; write \"=== query FILE\", or \"=== query\" and SQL below it")
            );
        }
        Ok(case)
    }

    /// What it shows: its first line, when that is text.
    pub fn title(&self) -> &str {
        self.lines
            .first()
            .filter(|line| !line.starts_with(HEADING))
            .map_or("", |line| line.trim_start_matches('#').trim())
    }

    /// A mistake at a line of the file.
    pub fn error(&self, line: usize, message: impl Into<String>) -> Error {
        Place { file: self.file.clone(), line: line as u64, column: 1 }.error(message).into()
    }

    fn section(&mut self, line: usize, heading: &str, body: std::ops::Range<usize>, lines: &[String]) -> Result<()> {
        let words = heading.strip_prefix(HEADING).unwrap_or_default().trim();
        let (kind, rest) =
            words.split_once(char::is_whitespace).map_or((words, ""), |(kind, rest)| (kind, rest.trim()));
        let needs = |what: &str| match rest {
            "" => Err(self.error(line, format!("\"=== {kind}\" needs {what}"))),
            rest => Ok(rest),
        };
        match kind {
            "query" if rest.is_empty() => {
                // The places of errors are those in this file.
                let text = "\n".repeat(body.start) + &lines[body].join("\n");
                self.query.push((self.file.clone(), text));
                return Ok(());
            }
            "query" => {
                let path = self.beside(rest);
                let read = std::fs::read_to_string(&path)
                    .map_err(|cause| self.error(line, format!("cannot read {}: {cause}", path.display())))?;
                self.query.push((path.display().to_string(), read));
            }
            "set" => {
                let set = needs("NAME = VALUE")?;
                let Some((name, value)) = set.split_once('=') else {
                    return Err(self.error(line, format!("\"{set}\" is not NAME = VALUE")));
                };
                self.variables.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            "format" => {
                let words = needs("a table and a format, such as \"=== format customer debezium-json\"")?;
                let Some((table, format)) = words.split_once(char::is_whitespace) else {
                    return Err(self.error(line, format!("\"{words}\" is not TABLE FORMAT")));
                };
                self.formats.push((table.to_owned(), format.trim().to_owned(), line));
            }
            "input" => {
                needs("the name of a table that the query reads")?;
                return match rest.split_once(" from ") {
                    None => {
                        let (file, text) = (self.file.clone(), lines[body.clone()].to_vec());
                        read_inputs(self, &file, rest, &text, body.start + 1)
                    }
                    Some((table, from)) => {
                        self.nothing_below(line, kind, body, lines)?;
                        let path = self.beside(from.trim());
                        let read = std::fs::read_to_string(&path)
                            .map_err(|cause| self.error(line, format!("cannot read {}: {cause}", path.display())))?;
                        let text: Vec<String> = read.lines().map(str::to_owned).collect();
                        read_inputs(self, &path.display().to_string(), table.trim(), &text, 1)
                    }
                };
            }
            "expected" => {
                let (table, in_order) = match rest.strip_suffix("in order") {
                    Some(table) => (table.trim(), true),
                    None => (rest, false),
                };
                if self.expected.iter().any(|it| it.table == table) {
                    return Err(self.error(
                        line,
                        format!("the rows of \"{table}\" are expected twice; put them into one section"),
                    ));
                }
                let rows = parse_table(&lines[body.clone()])
                    .map_err(|(at, message)| self.error(body.start + at + 1, message))?;
                let body = body.start + 1..body.end + 1;
                self.expected.push(Expected { table: table.to_owned(), in_order, rows, line, body });
                return Ok(());
            }
            "unchecked" => {
                let table = needs("the name of a table that the query fills")?.to_owned();
                self.unchecked.push(table);
            }
            "open" => self.open = true,
            other => {
                let hint = suggestion(other, SECTIONS);
                let known = format!("sections are {}", SECTIONS.join(", "));
                return Err(self.error(line, format!("there is no section \"{other}\"; {known}{hint}")));
            }
        }
        self.nothing_below(line, kind, body, lines)
    }

    fn nothing_below(&self, line: usize, kind: &str, body: std::ops::Range<usize>, lines: &[String]) -> Result<()> {
        let is_text = |at: &usize| !lines[*at].trim().is_empty() && !lines[*at].starts_with('#');
        match body.clone().find(is_text) {
            Some(at) => Err(self.error(at + 1, format!("\"=== {kind} …\" in line {line} has nothing below it"))),
            None => Ok(()),
        }
    }

    fn beside(&self, path: &str) -> PathBuf {
        Path::new(&self.file).parent().unwrap_or(Path::new("")).join(path)
    }
}
