//! What the tokenizer and the parser say, in our words.

use datafusion::sql::sqlparser::parser::ParserError;

use super::diagnose::lower_first;

/// The parser's message.
pub(super) fn parser_message(error: &ParserError) -> String {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "the query is nested too deeply",
    };
    // The parser ends its messages in a place of its own, which ours replaces.
    let end = text.rfind(" at Line:").unwrap_or(text.len());
    let text = &text[..end];
    match text.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")) {
        Some((expected, found)) => {
            let thing = |text: &str| match text {
                "EOF" => "the end of the statement".to_owned(),
                text if text.contains(' ') && !text.starts_with('\'') => text.to_owned(),
                text => format!("`{text}`"),
            };
            let hint = if is_sql_word(found) {
                format!("; a name that is a word of SQL is quoted: \"{found}\"")
            } else {
                String::new()
            };
            format!("expected {}, found {}{hint}", thing(expected), thing(found))
        }
        None => lower_first(text),
    }
}

/// Words that people like to give to columns and that SQL keeps for itself.
pub(super) fn is_sql_word(word: &str) -> bool {
    [
        "order", "group", "table", "from", "to", "user", "end", "start", "limit", "offset", "values", "set", "case",
        "select",
    ]
    .iter()
    .any(|it| it.eq_ignore_ascii_case(word) && word.chars().all(|letter| letter.is_ascii_lowercase()))
}

/// The tokenizer's message.
pub(super) fn tokenizer_message(message: &str) -> String {
    match message {
        "Unterminated string literal" => "a string has no end; close it with '".into(),
        message if message.starts_with("Expected close delimiter") => {
            let quote = message.split('\'').nth(1).unwrap_or("\"");
            format!("a quoted name has no end; close it with {quote}")
        }
        message => lower_first(message.trim_end_matches('.')),
    }
}
