//! DataFusion's errors → ours: what is wrong, where it stands, what to write instead.

use std::collections::BTreeSet;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::define::catalog::{IMAGES, METADATA};
use super::refusal::Refusal;
use super::text::Text;
use crate::error::{SqlError, suggestion};

/// How many candidates a message lists when none is near.
const LISTED_NAMES_MAX: usize = 30;

/// What there is that a message may suggest.
#[derive(Debug, Default)]
pub struct Known {
    /// Tables and views.
    pub tables: Vec<String>,
    /// Scalar functions and aggregates.
    pub functions: Vec<String>,
}

/// The place and words of a refusal. Where DataFusion does not say the place, it is found by looking for what the
/// message names among the statement's tokens.
pub fn diagnose(text: &Text, tokens: &[TokenWithSpan], refusal: &Refusal, known: &Known) -> SqlError {
    let start = tokens.first().map_or(Location { line: 1, column: 1 }, |token| token.span.start);
    let (place, message) = match refusal {
        Refusal::Sql(error) => return error.clone(),
        Refusal::Place(place, message) => (Some(*place), message.clone()),
        Refusal::Word(words, message) => (words.iter().find_map(|words| find_words(tokens, words)), message.clone()),
        Refusal::Query(message) => (quoted(message).and_then(|name| find(tokens, &name)), message.clone()),
        Refusal::Plan(error) => {
            let Explained { named, message } = explain(error.find_root(), known);
            let span = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| span.start);
            let span =
                span.filter(|place| place.line > 0).map(|place| Location { line: place.line, column: place.column });
            let named = || match named {
                Named::First(name) => find(tokens, &name),
                Named::LastColumn(name) => find_last_column(tokens, &name),
                Named::Nothing => None,
            };
            (span.or_else(named), message)
        }
    };
    text.error(place.unwrap_or(start), message)
}

/// `column "x" not found in table "t"; did you mean "y"?`, or the columns that there are.
pub fn unknown_column<'a>(column: &str, table: Option<&str>, known: impl Iterator<Item = &'a str>) -> String {
    let mut seen = BTreeSet::new();
    let known: Vec<_> = known.filter(|name| seen.insert(*name)).collect();
    let place = table.map(|table| format!(" in table \"{table}\"")).unwrap_or_default();
    let hint = match table {
        Some(table) if METADATA.contains(&column) || IMAGES.contains(&column) => format!("; CHANGES({table}) has it"),
        _ => suggestion(column, known.iter().copied()),
    };
    let hint = match known.len() {
        _ if !hint.is_empty() => hint,
        0 => "; the query reads no table, add FROM".to_owned(),
        1..=LISTED_NAMES_MAX => format!("; there are {}", known.join(", ")),
        _ => String::new(),
    };
    format!("column \"{column}\" not found{place}{hint}")
}

/// An error of DataFusion in our words, and by what its place is found if it has none.
struct Explained {
    named: Named,
    message: String,
}

enum Named {
    Nothing,
    /// The first token that is this, whatever follows its `(`.
    First(String),
    /// The last of that name in the SELECT list.
    LastColumn(String),
}

fn explain(error: &DataFusionError, known: &Known) -> Explained {
    if let DataFusionError::SchemaError(error, _) = error {
        return explain_schema(error);
    }
    let message = error.strip_backtrace();
    let message = [
        "Internal error: ",
        "Error during planning: ",
        "Schema error: ",
        "This feature is not implemented: ",
        "SQL error: ",
    ]
    .iter()
    .fold(message.as_str(), |message, prefix| message.strip_prefix(prefix).unwrap_or(message));
    let name = quoted(message);
    let named = |message: String| match &name {
        Some(name) => Explained { named: Named::First(name.clone()), message },
        None => Explained { named: Named::Nothing, message },
    };
    let at = |word: &str, message: String| Explained { named: Named::First(word.to_owned()), message };
    if let Some((table, _)) = message.strip_prefix("table '").and_then(|rest| rest.split_once("' not found")) {
        let table = table.rsplit('.').next().unwrap_or(table);
        return at(table, unknown_table(table, known.tables.iter().map(String::as_str)));
    }
    if let Some(function) = message.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next()) {
        return at(function, unknown_function(function, known));
    }
    if let Some((_, types)) = message.split_once("given name and argument types '") {
        return named(wrong_arguments(types));
    }
    if message.contains("must appear in the GROUP BY clause") || message.contains("must be in GROUP BY") {
        let column = name.unwrap_or_default();
        let column = column.rsplit('.').next().unwrap_or(&column);
        return at(
            column,
            format!(
                "column \"{column}\" is neither in GROUP BY nor inside an aggregate; add it to GROUP BY, or write max({column})"
            ),
        );
    }
    if message.contains("unique expression names") {
        let name = name.unwrap_or_default();
        return named_twice(name.rsplit('.').next().unwrap_or(&name));
    }
    if let Some(operation) = message.strip_prefix("Cannot infer common argument type for comparison operation ") {
        let operator = operation.split(' ').nth(1).unwrap_or_default();
        return at(
            operator,
            format!("cannot compare {}; CAST one side to the type of the other", sql_words(operation)),
        );
    }
    if let Some((operation, _)) =
        message.strip_prefix("Cannot coerce arithmetic expression ").and_then(|rest| rest.split_once(" to valid"))
    {
        let operator = operation.split(' ').nth(1).unwrap_or_default();
        return at(operator, format!("cannot compute {}; CAST one side to a type that fits", sql_words(operation)));
    }
    if let Some((columns, names)) = message
        .strip_prefix("Source table contains ")
        .and_then(|rest| rest.strip_suffix(" names given as column alias")?.split_once(" columns but only "))
    {
        return named(format!(
            "the query gives {columns} columns, and {names} names are given for them; name each of them"
        ));
    }
    if message.starts_with("FETCH clause is not supported") {
        return at(
            "FETCH",
            "FETCH is FETCH FIRST n ROWS ONLY; those with equal values too are RANK() OVER (PARTITION BY window_start, window_end \
             ORDER BY …) and WHERE … <= n"
                .into(),
        );
    }
    if message.starts_with("Aggregate functions are not allowed in the WHERE clause") {
        return at("WHERE", "an aggregate is not known yet in WHERE, which looks at single rows; use HAVING".into());
    }
    if message.starts_with("Aggregate function calls cannot be nested") {
        return named(
            "an aggregate inside an aggregate; aggregate in a sub-query first, and then over its rows".into(),
        );
    }
    let message = message.split("\n\n").next().unwrap_or(message).replace('\n', " ");
    named(lower_first(message.trim_end_matches('.')))
}

fn explain_schema(error: &SchemaError) -> Explained {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let mut tables: Vec<_> =
                valid_fields.iter().filter_map(|it| it.relation.as_ref()).map(|it| it.table()).collect();
            tables.dedup();
            let table = match (field.relation.as_ref().map(|it| it.table()), tables.as_slice()) {
                (Some(table), _) => Some(table),
                (None, [table]) => Some(*table),
                _ => None,
            };
            let known = valid_fields.iter().map(|column| column.name.as_str());
            let message = unknown_column(&field.name, table, known);
            Explained { named: Named::First(field.name.clone()), message }
        }
        SchemaError::AmbiguousReference { field } if field.relation.is_some() => named_twice(&field.name),
        SchemaError::AmbiguousReference { field } => Explained {
            named: Named::First(field.name.clone()),
            message: format!("column \"{0}\" is in several tables; write table.{0}", field.name),
        },
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            named_twice(name)
        }
    }
}

fn named_twice(name: &str) -> Explained {
    let message = format!("two columns of the result are called \"{name}\"; give one another name with AS");
    Explained { named: Named::LastColumn(name.to_owned()), message }
}

/// `table "x" not found; did you mean "y"?`, or what to do.
pub fn unknown_table<'a>(table: &str, known: impl Iterator<Item = &'a str>) -> String {
    let hint = suggestion(table, known);
    let hint = if hint.is_empty() { "; define it with CREATE TABLE before this statement" } else { &hint };
    format!("table \"{table}\" not found{hint}")
}

fn unknown_function(function: &str, known: &Known) -> String {
    let windows = ["window", "session_window", "tumble", "hop", "session", "cumulate"];
    if windows.iter().any(|it| it.eq_ignore_ascii_case(function)) {
        return format!(
            "{function}(…) does not stand in an expression; write FROM TUMBLE(table, time_column, INTERVAL '5' MINUTE) … \
             GROUP BY window_start, window_end, or as in Spark GROUP BY window(time_column, '5 minutes')"
        );
    }
    if function.eq_ignore_ascii_case("proctime") {
        return "PROCTIME() is no expression of rows: it is the time of a window, FROM TUMBLE(table, PROCTIME(), …), or a column of a table \
                without WATERMARK, name AS PROCTIME()"
            .to_owned();
    }
    format!("function \"{function}\" is not known{}", suggestion(function, known.functions.iter().map(String::as_str)))
}

/// From `sum(Utf8)'. … Candidate functions: …`.
fn wrong_arguments(types: &str) -> String {
    let (call, rest) = types.split_once('\'').unwrap_or((types, ""));
    let candidates = rest.split_once("Candidate functions:").map_or("", |(_, candidates)| candidates);
    let candidates: Vec<_> = candidates.lines().map(str::trim).filter(|line| !line.is_empty()).map(sql_words).collect();
    let hint =
        if candidates.is_empty() { String::new() } else { format!("; it is called as {}", candidates.join(", ")) };
    format!("cannot call {}{hint}", sql_words(call))
}

/// Arrow's names of types → SQL's.
fn sql_words(text: &str) -> String {
    let names = [
        ("Utf8View", "STRING"),
        ("LargeUtf8", "STRING"),
        ("Utf8", "STRING"),
        ("String", "STRING"),
        ("Boolean", "BOOLEAN"),
        ("UInt64", "BIGINT UNSIGNED"),
        ("UInt32", "INT UNSIGNED"),
        ("UInt16", "SMALLINT UNSIGNED"),
        ("UInt8", "TINYINT UNSIGNED"),
        ("Int64", "BIGINT"),
        ("Int32", "INT"),
        ("Int16", "SMALLINT"),
        ("Int8", "TINYINT"),
        ("Float64", "DOUBLE"),
        ("Float32", "FLOAT"),
        ("Timestamp(s)", "TIMESTAMP(0)"),
        ("Timestamp(ms)", "TIMESTAMP(3)"),
        ("Timestamp(µs)", "TIMESTAMP(6)"),
        ("Timestamp(ns)", "TIMESTAMP(9)"),
        ("Binary", "BYTES"),
        ("Date32", "DATE"),
        ("Decimal", "DECIMAL"),
        ("Duration", "DURATION"),
        ("Interval", "INTERVAL"),
    ];
    names.iter().fold(text.to_owned(), |text, (arrow, sql)| text.replace(arrow, sql))
}

/// The same with a small first letter, unless the word is written in capitals.
pub fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// The first thing in quotes.
fn quoted(message: &str) -> Option<String> {
    let start = message.find(['"', '\'', '`'])?;
    let quote = message[start..].chars().next()?;
    let rest = &message[start + 1..];
    Some(rest[..rest.find(quote)?].to_owned())
}

fn find(tokens: &[TokenWithSpan], name: &str) -> Option<Location> {
    let name = name.split_once('(').map_or(name, |(function, _)| function);
    tokens.iter().find(|token| is_word(token, name)).map(|token| token.span.start)
}

/// The last word of that name between SELECT and FROM.
fn find_last_column(tokens: &[TokenWithSpan], name: &str) -> Option<Location> {
    let list = tokens.iter().position(|token| is_word(token, "FROM")).map_or(tokens, |end| &tokens[..end]);
    list.iter().rev().find(|token| is_word(token, name)).map(|token| token.span.start)
}

/// Where words stand one after the other.
fn find_words(tokens: &[TokenWithSpan], words: &str) -> Option<Location> {
    let words: Vec<_> = words.split(' ').collect();
    let here = |stretch: &&[TokenWithSpan]| stretch.iter().zip(&words).all(|(token, word)| is_word(token, word));
    tokens.windows(words.len()).find(here).map(|stretch| stretch[0].span.start)
}

fn is_word(token: &TokenWithSpan, name: &str) -> bool {
    match &token.token {
        Token::Word(word) => word.value.eq_ignore_ascii_case(name),
        Token::SingleQuotedString(_) => false,
        other => other.to_string() == name,
    }
}
