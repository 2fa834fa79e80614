//! The text of a query file with its variables filled in, and the way back to the places in the file.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::Location;

use crate::error::{Place, Result, SqlError};

/// Values for `${NAME}`: given by `--set` first, then the environment.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    given: BTreeMap<String, String>,
    use_environment: bool,
    /// How else one is set, `NAME` standing for its name.
    advice: Option<&'static str>,
}

impl Variables {
    /// The given values; what they lack comes from the environment.
    pub fn new(given: BTreeMap<String, String>) -> Self {
        Self { given, use_environment: true, advice: None }
    }

    /// The given values and nothing else, so that a query is the same wherever it is compiled. `advice` says how one is given.
    pub fn only(given: BTreeMap<String, String>, advice: &'static str) -> Self {
        Self { given, use_environment: false, advice: Some(advice) }
    }

    /// None at all.
    pub fn none() -> Self {
        Self::default()
    }

    fn get(&self, name: &str) -> Option<String> {
        let environment = || self.use_environment.then(|| std::env::var(name).ok()).flatten();
        self.given.get(name).cloned().or_else(environment)
    }
}

/// A query file after `${NAME}` and `${NAME:-default}` have been replaced.
#[derive(Debug, Clone)]
pub struct Text {
    /// The path as it was given, for messages.
    pub file: String,
    /// The text to parse.
    pub content: String,
    replacements: Vec<Replacement>,
}

/// On one line of `content`: `shown` characters from `column` on stand for `written` characters in the file.
#[derive(Debug, Clone)]
struct Replacement {
    line: u64,
    column: u64,
    shown: u64,
    written: u64,
}

impl Text {
    /// Fills in the variables. Comments are left alone.
    pub fn new(file: impl Into<String>, source: &str, variables: &Variables) -> Result<Self> {
        let mut text =
            Self { file: file.into(), content: String::with_capacity(source.len()), replacements: Vec::new() };
        let (mut rest, mut line, mut column, mut shown_column) = (source, 1, 1, 1);
        let mut in_comment = false;
        while let Some(character) = rest.chars().next() {
            in_comment |= rest.starts_with("--");
            if !in_comment && rest.starts_with("${") {
                let place = SqlError { file: text.file.clone(), line, column, message: String::new() };
                let (length, value) = variable(rest, variables, place)?;
                let (shown, written) = (value.chars().count() as u64, rest[..length].chars().count() as u64);
                text.replacements.push(Replacement { line, column: shown_column, shown, written });
                text.content.push_str(&value);
                (column, shown_column) = (column + written, shown_column + shown);
                rest = &rest[length..];
                continue;
            }
            text.content.push(character);
            rest = &rest[character.len_utf8()..];
            if character == '\n' {
                (line, column, shown_column, in_comment) = (line + 1, 1, 1, false);
            } else {
                (column, shown_column) = (column + 1, shown_column + 1);
            }
        }
        Ok(text)
    }

    /// An error at a place in `content`, given in terms of the file.
    pub fn error(&self, at: Location, message: impl Into<String>) -> SqlError {
        self.place(at).error(message)
    }

    /// The place in the file of a place in `content`.
    pub fn place(&self, at: Location) -> Place {
        let (mut hidden, mut shown_by_variables, mut inside) = (0, 0, 0);
        for replacement in self.replacements.iter().filter(|it| it.line == at.line && it.column < at.column) {
            let beyond = at.column - replacement.column;
            if beyond < replacement.shown {
                inside = beyond;
            } else {
                shown_by_variables += replacement.shown;
                hidden += replacement.written;
            }
        }
        let column = (at.column - inside).max(1) + hidden - shown_by_variables;
        Place { file: self.file.clone(), line: at.line.max(1), column }
    }
}

/// The length of the `${…}` at the start of `rest`, and its value.
fn variable(rest: &str, variables: &Variables, place: SqlError) -> Result<(usize, String)> {
    let fail = |message: String| SqlError { message, ..place };
    let Some(end) = rest.find('}') else {
        return Err(fail("\"${\" without \"}\"; write ${NAME} or ${NAME:-default}".into()).into());
    };
    let inside = &rest[2..end];
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    match variables.get(name).or_else(|| default.map(str::to_owned)) {
        Some(value) => Ok((end + 1, value)),
        None => {
            let advice = match variables.advice {
                Some(advice) => advice.replace("NAME", name),
                None => format!("export it, pass --set {name}=VALUE"),
            };
            let advice = format!("{advice}, or write ${{{name}:-default}}");
            Err(fail(format!("variable {name} is not set; {advice}")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        let given = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Variables { given, ..Variables::default() }
    }

    #[test]
    fn variables_are_filled_in_and_places_stay_those_of_the_file() {
        let source = "a\n'${LONG}' '${X:-de}' here -- ${not} this";
        let text = Text::new("q.sql", source, &variables(&[("LONG", "0123456789")])).unwrap();
        assert_eq!(text.content, "a\n'0123456789' 'de' here -- ${not} this");
        let here = |text: &str| text.lines().nth(1).unwrap().find("here").unwrap() as u64 + 1;
        let error = text.error(Location { line: 2, column: here(&text.content) }, "m");
        assert_eq!((error.line, error.column), (2, here(source)));
        assert_eq!(text.error(Location { line: 2, column: 5 }, "m").column, 2, "inside a value: where its variable is");
    }

    #[test]
    fn a_missing_variable_says_what_to_do() {
        let error = Text::new("q.sql", "x\n  ${NOPE}", &variables(&[])).unwrap_err().to_string();
        let expected =
            "q.sql:2:3: variable NOPE is not set; export it, pass --set NOPE=VALUE, or write ${NOPE:-default}";
        assert_eq!(error, expected);
    }
}
