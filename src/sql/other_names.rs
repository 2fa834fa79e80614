//! Functions that Flink and Spark call otherwise than DataFusion, or write in another form:
//!
//! ```text
//!  LISTAGG(x), LISTAGG(x, ';')              string_agg(x, ','), string_agg(x, ';')
//!  APPROX_COUNT_DISTINCT(x)                 approx_distinct(x)
//!  GROUPING_ID(a, b)                        grouping(a, b)
//!  IF(c, a, b)                              CASE WHEN c THEN a ELSE b END
//!  DATE_FORMAT(t, 'yyyy-MM-dd HH:mm')       date_format(t, '%Y-%m-%d %H:%M')
//! ```
//!
//! The last one would otherwise give the pattern itself as the result.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Query, Spanned, Value, VisitMut, VisitorMut,
};

use super::spark::Mistake;

/// Rewrites those of the query and of the queries inside it.
pub(super) fn rewrite(query: &mut Query) -> Result<(), Mistake> {
    struct Functions;
    impl VisitorMut for Functions {
        type Break = Mistake;

        fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Mistake> {
            match rewrite_one(expression) {
                Ok(()) => ControlFlow::Continue(()),
                Err(mistake) => ControlFlow::Break(mistake),
            }
        }
    }
    match query.visit(&mut Functions) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(mistake) => Err(mistake),
    }
}

fn rewrite_one(expression: &mut Expr) -> Result<(), Mistake> {
    let Expr::Function(function) = expression else { return Ok(()) };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return Ok(()) };
    match name.value.to_ascii_lowercase().as_str() {
        "approx_count_distinct" => rename(function, "approx_distinct"),
        "grouping_id" => rename(function, "grouping"),
        "listagg" => {
            if let FunctionArguments::List(list) = &mut function.args
                && list.args.len() == 1
            {
                let comma = Expr::value(Value::SingleQuotedString(",".into()));
                list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(comma)));
            }
            rename(function, "string_agg");
        }
        "if" => {
            if let Some(case) = case(function) {
                *expression = case;
            }
        }
        "date_format" => translate_pattern(function)?,
        _ => {}
    }
    Ok(())
}

fn rename(function: &mut Function, name: &str) {
    let span = function.name.span();
    function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::with_span(span, name))]);
}

/// `IF(condition, then, otherwise)` as CASE.
fn case(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let [condition, then, otherwise] = list.args.as_slice() else { return None };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression.clone()),
        _ => None,
    };
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: plain(condition)?, result: plain(then)? }],
        else_result: Some(Box::new(plain(otherwise)?)),
    })
}

/// Java's pattern in the second argument as one of strftime. A pattern with a `%` is one already.
fn translate_pattern(function: &mut Function) -> Result<(), Mistake> {
    let place = function.name.span().start;
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] = list.args.as_mut_slice() else {
        return Ok(());
    };
    let Value::SingleQuotedString(pattern) = &mut value.value else { return Ok(()) };
    if !pattern.contains('%') {
        *pattern = strftime(pattern).map_err(|message| (place, message))?;
    }
    Ok(())
}

/// The same pattern for strftime.
fn strftime(java: &str) -> Result<String, String> {
    let mut made = String::new();
    let mut rest = java;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (text, after) = rest[1..].split_once('\'').unwrap_or((&rest[1..], ""));
            made.push_str(if text.is_empty() { "'" } else { text });
            rest = after;
            continue;
        }
        let after = rest.trim_start_matches(first);
        // What is repeated, and not a letter, stands for itself as often.
        let field = &rest[..rest.len() - after.len()];
        made.push_str(match field {
            "y" | "yyyy" | "u" | "uuuu" => "%Y",
            "yy" | "uu" => "%y",
            "MMMM" => "%B",
            "MMM" => "%b",
            "MM" => "%m",
            "M" => "%-m",
            "dd" => "%d",
            "d" => "%-d",
            "DDD" => "%j",
            "EEEE" => "%A",
            "E" | "EE" | "EEE" => "%a",
            "HH" => "%H",
            "H" => "%-H",
            "hh" => "%I",
            "h" => "%-I",
            "mm" => "%M",
            "m" => "%-M",
            "ss" => "%S",
            "s" => "%-S",
            "SSS" => "%3f",
            "SSSSSS" => "%6f",
            "SSSSSSSSS" => "%9f",
            "a" => "%p",
            other if first.is_ascii_alphabetic() => {
                return Err(format!(
                    "DATE_FORMAT: `{other}` of the pattern '{java}' is not known; write it as strftime has it, such as '%Y-%m-%d %H:%M:%S'"
                ));
            }
            other => other,
        });
        rest = after;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn patterns_of_java() {
        let same = |java: &str, expected: &str| assert_eq!(strftime(java).as_deref(), Ok(expected));
        same("yyyy-MM-dd HH:mm:ss.SSS", "%Y-%m-%d %H:%M:%S.%3f");
        same("yyyyMMdd'T'HH''", "%Y%m%dT%H'");
        same("EEE, d MMM yy -- hh a", "%a, %-d %b %y -- %I %p");
        same("", "");
        assert!(strftime("yyyy-QQ").is_err_and(|message| message.contains("`QQ`")));
    }
}
