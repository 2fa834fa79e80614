//! DataFusion's errors → ours: what is wrong, where it stands, what to write instead.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::compile::Refusal;
use super::text::Text;
use crate::error::{SqlError, suggestion};

/// How many candidates a message lists when none is near.
const LISTED_NAMES_MAX: usize = 30;

/// The place and words of a refusal. Where DataFusion does not say the place, it is found by looking for what the
/// message names among the statement's tokens.
pub fn diagnose(text: &Text, tokens: &[TokenWithSpan], refusal: &Refusal) -> SqlError {
    let start = tokens.first().map_or(Location { line: 1, column: 1 }, |token| token.span.start);
    let (place, message) = match refusal {
        Refusal::Sql(error) => return error.clone(),
        Refusal::Place(place, message) => (Some(*place), message.clone()),
        Refusal::Word(words, message) => (words.iter().find_map(|words| find_words(tokens, words)), message.clone()),
        Refusal::Query(message) => (quoted(message).and_then(|name| find(tokens, &name)), message.clone()),
        Refusal::Plan(error) => {
            let (name, message) = explain(error.find_root());
            let span = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| span.start);
            let named = || name.and_then(|name| find(tokens, &name));
            (span.filter(|place| place.line > 0).map(|place| Location { line: place.line, column: place.column }).or_else(named), message)
        }
    };
    text.error(place.unwrap_or(start), message)
}

/// `column "x" not found in table "t"; did you mean "y"?`, or the columns that there are.
pub fn unknown_column<'a>(column: &str, table: Option<&str>, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    let place = table.map(|table| format!(" in table \"{table}\"")).unwrap_or_default();
    let hint = suggestion(column, known.iter().copied());
    let hint = match known.len() {
        _ if !hint.is_empty() => hint,
        1..=LISTED_NAMES_MAX => format!("; there are {}", known.join(", ")),
        _ => String::new(),
    };
    format!("column \"{column}\" not found{place}{hint}")
}

fn explain(error: &DataFusionError) -> (Option<String>, String) {
    if let DataFusionError::SchemaError(error, _) = error {
        return match error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let mut tables: Vec<_> = valid_fields.iter().filter_map(|it| it.relation.as_ref()).map(|it| it.table()).collect();
                tables.dedup();
                let table = match (field.relation.as_ref().map(|it| it.table()), tables.as_slice()) {
                    (Some(table), _) => Some(table),
                    (None, [table]) => Some(*table),
                    _ => None,
                };
                let known = valid_fields.iter().map(|column| column.name.as_str());
                (Some(field.name.clone()), unknown_column(&field.name, table, known))
            }
            other => {
                let message = other.to_string();
                (quoted(&message), message)
            }
        };
    }
    let message = error.strip_backtrace();
    let message = ["Error during planning: ", "Schema error: ", "This feature is not implemented: ", "SQL error: "]
        .iter()
        .fold(message.as_str(), |message, prefix| message.strip_prefix(prefix).unwrap_or(message));
    let message = message.split("\n\n").next().unwrap_or(message).replace('\n', " ");
    (quoted(&message), message)
}

/// The first thing in quotes.
fn quoted(message: &str) -> Option<String> {
    let start = message.find(['"', '\'', '`'])?;
    let quote = message[start..].chars().next()?;
    let rest = &message[start + 1..];
    Some(rest[..rest.find(quote)?].to_owned())
}

fn find(tokens: &[TokenWithSpan], name: &str) -> Option<Location> {
    tokens.iter().find(|token| is_word(token, name)).map(|token| token.span.start)
}

/// Where words stand one after the other.
fn find_words(tokens: &[TokenWithSpan], words: &str) -> Option<Location> {
    let words: Vec<_> = words.split(' ').collect();
    let here = |stretch: &&[TokenWithSpan]| stretch.iter().zip(&words).all(|(token, word)| is_word(token, word));
    tokens.windows(words.len()).find(here).map(|stretch| stretch[0].span.start)
}

fn is_word(token: &TokenWithSpan, name: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.value.eq_ignore_ascii_case(name))
}
