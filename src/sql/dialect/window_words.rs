//! The words of windowing table functions that the parser does not know, as arguments that it does:
//!
//! ```text
//!  TUMBLE(TABLE t, …)                            TUMBLE(t, …)
//!  SESSION(t PARTITION BY a, b, ts, …)           SESSION(t, partition_by => a, b, ts, …)
//!  TUMBLE(t, ts, …, TIME ZONE 'Europe/Berlin')   TUMBLE(t, ts, …, time_zone => 'Europe/Berlin')
//! ```

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::sql::plan::window_call::window_function;
use crate::sql::tokens::is_unquoted;

/// Rewrites them.
pub(in crate::sql) fn rewrite(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut rewritten: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // For each open parenthesis, whether it is a window's.
    let mut open: Vec<bool> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let is = |ahead: usize, word: &str| tokens.get(at + ahead).is_some_and(|it| is_unquoted(&it.token, word));
        let next = |ahead: usize| tokens.get(at + ahead).map(|it| &it.token);
        let before = rewritten.last().map(|it| &it.token);
        let follows_opening = matches!(before, Some(Token::LParen | Token::Comma | Token::RArrow));
        let in_window = open.last() == Some(&true);
        let named =
            |name: &str| [word(name), Token::RArrow].map(|made| TokenWithSpan { token: made, span: token.span });
        match &token.token {
            Token::LParen => {
                let function = before.is_some_and(
                    |it| matches!(it, Token::Word(Word { value, .. }) if window_function(value).is_some()),
                );
                open.push(function);
            }
            Token::RParen => drop(open.pop()),
            _ if is(0, "TABLE") && follows_opening && matches!(next(1), Some(Token::Word(_))) => {
                at += 1;
                continue;
            }
            _ if in_window && !follows_opening && is(0, "PARTITION") && is(1, "BY") => {
                rewritten.push(TokenWithSpan { token: Token::Comma, span: token.span });
                rewritten.extend(named("partition_by"));
                at += 2;
                continue;
            }
            _ if in_window && follows_opening && is(0, "TIME") && is(1, "ZONE") => {
                rewritten.extend(named("time_zone"));
                at += if next(2) == Some(&Token::RArrow) { 3 } else { 2 };
                continue;
            }
            _ => {}
        }
        rewritten.push(token.clone());
        at += 1;
    }
    rewritten
}

fn word(name: &str) -> Token {
    Token::Word(Word {
        value: name.to_owned(),
        quote_style: None,
        keyword: datafusion::sql::sqlparser::keywords::Keyword::NoKeyword,
    })
}
