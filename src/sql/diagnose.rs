//! DataFusion's errors → ours: what is wrong, where it stands, what to write instead.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::compile::Refusal;
use super::text::Text;
use crate::error::{SqlError, suggestion};

/// The place and words of a refusal, found by looking for what it names among the statement's tokens.
pub fn diagnose(text: &Text, tokens: &[TokenWithSpan], refusal: &Refusal) -> SqlError {
    let (name, message) = match refusal {
        Refusal::Query(message) => (quoted(message), message.clone()),
        Refusal::Plan(error) => explain(error.find_root()),
    };
    let start = tokens.first().map_or(Location { line: 1, column: 1 }, |token| token.span.start);
    let place = name.as_deref().and_then(|name| find(tokens, name)).unwrap_or(start);
    text.error(place, message)
}

fn explain(error: &DataFusionError) -> (Option<String>, String) {
    if let DataFusionError::SchemaError(error, _) = error {
        return match error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let known: Vec<_> = valid_fields.iter().map(|column| column.name.as_str()).collect();
                let mut tables: Vec<_> =
                    valid_fields.iter().filter_map(|it| it.relation.as_ref()).map(|it| it.table()).collect();
                tables.dedup();
                let place = match (field.relation.as_ref().map(|it| it.table()), tables.as_slice()) {
                    (Some(table), _) => format!(" in table \"{table}\""),
                    (None, [table]) => format!(" in table \"{table}\""),
                    _ => String::new(),
                };
                let hint = suggestion(&field.name, known.iter().copied());
                let hint = if hint.is_empty() && known.len() <= 30 && !known.is_empty() {
                    format!("; there are {}", known.join(", "))
                } else {
                    hint
                };
                (Some(field.name.clone()), format!("column \"{}\" not found{place}{hint}", field.name))
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
    let message = match message.strip_prefix("table '").and_then(|rest| rest.split_once("' not found")) {
        Some((table, _)) => format!(
            "table \"{}\" not found; define it with CREATE TABLE before this statement",
            table.rsplit('.').next().unwrap_or(table)
        ),
        None => message,
    };
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
    let is_name =
        |token: &&TokenWithSpan| matches!(&token.token, Token::Word(word) if word.value.eq_ignore_ascii_case(name));
    tokens.iter().find(is_name).map(|token| token.span.start)
}
