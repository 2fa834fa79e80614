//! Functions that Flink and Spark call otherwise than DataFusion, or write in another form:
//!
//! ```text
//!  LISTAGG(x), LISTAGG(x, ';')              string_agg(x, ','), string_agg(x, ';')
//!  APPROX_COUNT_DISTINCT(x)                 approx_distinct(x)
//!  GROUPING_ID(a, b)                        grouping(a, b)
//!  IF(c, a, b)                              CASE WHEN c THEN a ELSE b END
//!  DATE_FORMAT(t, 'yyyy-MM-dd HH:mm')       date_format(t, '%Y-%m-%d %H:%M')
//!  FLOOR(t TO HOUR)                         date_trunc('hour', t)
//!  INTERVAL '1:30' HOUR TO MINUTE           INTERVAL '1 hours 30 minutes'
//! ```
//!
//! and others of the kind. What is a name alone is in [`NAMES`]. DATE_FORMAT would otherwise give the pattern itself as the result.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CeilFloorKind, DateTimeField, DuplicateTreatment, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, Interval, ObjectName,
    ObjectNamePart, OrderByExpr, OrderByOptions, Spanned, UnaryOperator, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::functions::TIME;
use super::patterns::{of_java, of_postgresql, of_similar};
use super::rewrite::Mistake;
use crate::sql::define::interval::qualified;

/// What is only called otherwise.
const NAMES: [(&str, &str); 22] = [
    ("approx_count_distinct", "approx_distinct"),
    ("approx_percentile", "approx_percentile_cont"),
    ("percentile_approx", "approx_percentile_cont"),
    ("percentile", "percentile_cont"),
    ("grouping_id", "grouping"),
    ("collect", "array_agg"),
    ("first", "first_value"),
    ("last", "last_value"),
    ("any_value", "first_value"),
    ("every", "bool_and"),
    ("some", "bool_or"),
    ("ucase", "upper"),
    ("lcase", "lower"),
    ("len", "length"),
    ("truncate", "trunc"),
    ("sign", "signum"),
    ("locate", "strpos"),
    ("regexp", "regexp_like"),
    ("rlike", "regexp_like"),
    ("variance", "var_samp"),
    ("std", "stddev"),
    ("timestamp_millis", "to_timestamp_millis"),
];

/// Functions that take a part of a time.
const PARTS: [(&str, &str); 12] = [
    ("year", "year"),
    ("quarter", "quarter"),
    ("month", "month"),
    ("week", "week"),
    ("weekofyear", "week"),
    ("dayofyear", "doy"),
    ("dayofmonth", "day"),
    ("day", "day"),
    ("hour", "hour"),
    ("minute", "minute"),
    ("second", "second"),
    ("dayofweek", "dow"),
];

/// Rewrites those of a query and of the queries inside it, or of an expression.
pub(in crate::sql) fn rewrite(part: &mut impl VisitMut) -> Result<(), Mistake> {
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
    match part.visit(&mut Functions) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(mistake) => Err(mistake),
    }
}

fn rewrite_one(expression: &mut Expr) -> Result<(), Mistake> {
    match expression {
        Expr::Function(_) => rewrite_function(expression),
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(field) } => {
            if *field != DateTimeField::NoDateTime {
                *expression = truncated(&field.to_string(), (**expr).clone());
            }
            Ok(())
        }
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(field) } => {
            if *field != DateTimeField::NoDateTime {
                *expression = raised(&field.to_string(), (**expr).clone());
            }
            Ok(())
        }
        Expr::Interval(interval) => {
            let Interval { value, leading_field: Some(first), last_field: Some(last), .. } = interval else {
                return Ok(());
            };
            let Expr::Value(text) = value.as_ref() else { return Ok(()) };
            let place = text.span.start;
            let Value::SingleQuotedString(text) = &text.value else { return Ok(()) };
            let (first, last) = (first.to_string(), last.to_string());
            let Some(words) = qualified(text, &first, &last) else {
                let example = "INTERVAL '1 02:03:04.5' DAY TO SECOND";
                return Err((place, format!("'{text}' is no length of {first} TO {last}; write it as in {example}")));
            };
            *expression = interval_of(&words);
            Ok(())
        }
        Expr::RLike { negated, expr, pattern, .. } => {
            let is_like = call("regexp_like", Span::empty(), vec![(**expr).clone(), (**pattern).clone()]);
            *expression = if *negated { not(is_like) } else { is_like };
            Ok(())
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char: None } => {
            let Expr::Value(value) = pattern.as_ref() else { return Ok(()) };
            let Value::SingleQuotedString(similar) = &value.value else { return Ok(()) };
            let is_similar = call("regexp_like", Span::empty(), vec![(**expr).clone(), text(&of_similar(similar))]);
            *expression = if *negated { not(is_similar) } else { is_similar };
            Ok(())
        }
        Expr::BinaryOp { left, op: BinaryOperator::Spaceship, right } => {
            *expression = Expr::IsNotDistinctFrom(left.clone(), right.clone());
            Ok(())
        }
        _ => Ok(()),
    }
}

fn rewrite_function(expression: &mut Expr) -> Result<(), Mistake> {
    let Expr::Function(function) = expression else { return Ok(()) };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return Ok(()) };
    let (name, span) = (name.value.to_ascii_lowercase(), name.span);
    if name == "localtimestamp" {
        *expression = time(&call("now", span, Vec::new()));
        return Ok(());
    }
    let arguments = plain_arguments(function);
    if let Some((_, other)) = NAMES.iter().find(|(known, _)| *known == name) {
        rename(function, other);
        return Ok(());
    }
    if let (Some((_, part)), Some([time])) = (PARTS.iter().find(|(known, _)| *known == name), arguments.as_deref()) {
        let part_of = call("date_part", span, vec![text(part), time.clone()]);
        // Sunday is 1 in Flink and Spark.
        *expression = if name == "dayofweek" { plus(&part_of, 1) } else { part_of };
        return Ok(());
    }
    let made = match (name.as_str(), arguments.as_deref()) {
        ("listagg", Some([_])) => {
            if let FunctionArguments::List(list) = &mut function.args {
                list.args.push(argument(text(",")));
            }
            rename(function, "string_agg");
            None
        }
        ("listagg", _) => {
            rename(function, "string_agg");
            None
        }
        ("if" | "iif", Some([condition, then, otherwise])) => {
            Some(case(condition.clone(), then.clone(), otherwise.clone()))
        }
        ("date_format" | "to_char" | "to_timestamp" | "to_date", _) => {
            translate_pattern(function)?;
            None
        }
        ("from_unixtime", Some([seconds])) => {
            Some(call("date_format", span, vec![from_seconds(seconds), text("%Y-%m-%d %H:%M:%S")]))
        }
        ("from_unixtime", Some([seconds, pattern])) => {
            let mut made = call("date_format", span, vec![from_seconds(seconds), pattern.clone()]);
            rewrite_function(&mut made)?;
            Some(made)
        }
        ("unix_timestamp", Some([])) => Some(call("to_unixtime", span, vec![call("now", span, Vec::new())])),
        ("unix_timestamp", _) => {
            translate_pattern(function)?;
            rename(function, "to_unixtime");
            None
        }
        ("to_timestamp_ltz", Some([number, digits])) => to_timestamp_ltz(number, digits, span)?,
        ("timestampdiff", Some([unit, from, to])) => {
            Some(call("timestampdiff", span, vec![unit_name(unit), time(from), time(to)]))
        }
        ("datediff", Some([to, from])) => {
            let day = |it: &Expr| time(&cast_to(it, "Date32"));
            Some(call("timestampdiff", span, vec![text("DAY"), day(from), day(to)]))
        }
        ("timestampadd", Some([unit, amount, to])) => Some(later(unit_name(unit), amount, to, span)),
        ("last_day", Some([day])) => {
            let next = added(&truncated("month", day.clone()), "1 month");
            Some(cast_to(&added(&next, "-1 day"), "Date32"))
        }
        ("date_add" | "date_sub" | "add_months", Some([to, amount])) => {
            let amount = match name.as_str() {
                "date_sub" => negative(amount),
                _ => amount.clone(),
            };
            let unit = if name == "add_months" { "MONTH" } else { "DAY" };
            Some(cast_to(&later(text(unit), &amount, &cast_to(to, "Date32"), span), "Date32"))
        }
        ("split_index", Some([string, delimiter, place])) => {
            let parts = call("string_to_array", span, vec![string.clone(), delimiter.clone()]);
            Some(call("array_element", span, vec![parts, plus(place, 1)]))
        }
        ("regexp_extract", Some([string, pattern, rest @ ..])) if rest.len() < 2 => {
            // With a group around all of it, the whole is there too.
            let whole = call("concat", span, vec![text("("), pattern.clone(), text(")")]);
            let found = call("regexp_match", span, vec![string.clone(), whole]);
            let group = rest.first().cloned().unwrap_or_else(|| number(0));
            Some(call("array_element", span, vec![found, plus(&group, 1)]))
        }
        ("percentile_disc", Some([fraction])) => percentile_disc(function, fraction, span),
        ("group_concat", _) => {
            if let FunctionArguments::List(list) = &mut function.args
                && list.args.len() == 1
            {
                let is_separator =
                    |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::Separator(_));
                let between = match list.clauses.iter().position(is_separator).map(|at| list.clauses.remove(at)) {
                    Some(FunctionArgumentClause::Separator(between)) => Expr::Value(between),
                    _ => text(","),
                };
                list.args.push(argument(between));
            }
            rename(function, "string_agg");
            None
        }
        ("mod", Some([left, right])) => {
            let (left, right) = (Box::new(nested(left)), Box::new(nested(right)));
            Some(nested(&Expr::BinaryOp { left, op: BinaryOperator::Modulo, right }))
        }
        ("to_base64" | "base64", Some([bytes])) => Some(call("encode", span, vec![bytes.clone(), text("base64pad")])),
        ("from_base64" | "unbase64", Some([string])) => {
            Some(cast_to(&call("decode", span, vec![string.clone(), text("base64")]), "Utf8"))
        }
        ("collect_list" | "collect_set", Some([value])) => {
            if let (FunctionArguments::List(list), "collect_set") = (&mut function.args, name.as_str()) {
                list.duplicate_treatment = Some(DuplicateTreatment::Distinct);
            }
            leave_out_nulls(function, value);
            rename(function, "array_agg");
            None
        }
        ("count_if", Some([condition])) => {
            function.filter = Some(Box::new(condition.clone()));
            function.args = list(vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)], Vec::new());
            rename(function, "count");
            None
        }
        ("max_by" | "arg_max" | "min_by" | "arg_min", Some([value, by])) => {
            let is_last = name.starts_with("max") || name == "arg_max";
            leave_out_nulls(function, by);
            let order = OrderByExpr {
                expr: by.clone(),
                options: OrderByOptions { asc: None, nulls_first: None },
                with_fill: None,
            };
            let clauses = vec![FunctionArgumentClause::OrderBy(vec![order])];
            function.args = list(vec![argument(value.clone())], clauses);
            rename(function, if is_last { "last_value" } else { "first_value" });
            None
        }
        _ => None,
    };
    if let Some(made) = made {
        *expression = made;
    }
    Ok(())
}

/// The first value at which so many of all have come: `array_agg(v ORDER BY v)[ceil(fraction * count(v))]`.
fn percentile_disc(function: &Function, fraction: &Expr, span: Span) -> Option<Expr> {
    let [order] = function.within_group.as_slice() else { return None };
    let mut values = function.clone();
    values.within_group = Vec::new();
    let clauses = vec![FunctionArgumentClause::OrderBy(vec![order.clone()])];
    values.args = list(vec![argument(order.expr.clone())], clauses);
    leave_out_nulls(&mut values, &order.expr);
    let mut count = values.clone();
    count.args = list(vec![argument(order.expr.clone())], Vec::new());
    rename(&mut values, "array_agg");
    rename(&mut count, "count");
    let (left, right) = (Box::new(nested(fraction)), Box::new(Expr::Function(count)));
    let place = call("ceil", span, vec![Expr::BinaryOp { left, op: BinaryOperator::Multiply, right }]);
    let place = cast_to(&call("greatest", span, vec![place, number(1)]), "Int64");
    Some(call("array_element", span, vec![Expr::Function(values), place]))
}

/// Spark's aggregates of this kind pass over nulls.
fn leave_out_nulls(function: &mut Function, value: &Expr) {
    let known = Expr::IsNotNull(Box::new(nested(value)));
    function.filter = Some(Box::new(match function.filter.take() {
        Some(filter) => {
            let (left, right) = (Box::new(known), Box::new(nested(&filter)));
            Expr::BinaryOp { left, op: BinaryOperator::And, right }
        }
        None => known,
    }));
}

/// The arguments, where they are nothing but that.
fn plain_arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

fn argument(expression: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expression))
}

fn list(args: Vec<FunctionArg>, clauses: Vec<FunctionArgumentClause>) -> FunctionArguments {
    FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses })
}

/// A call of a function.
pub(super) fn call(name: &str, span: Span, arguments: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::with_span(span, name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: list(arguments.into_iter().map(argument).collect(), Vec::new()),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// A text in quotes.
pub(super) fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

fn number(number: i64) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

fn nested(expression: &Expr) -> Expr {
    match expression {
        simple @ (Expr::Identifier(_) | Expr::Value(_) | Expr::Function(_) | Expr::Nested(_)) => simple.clone(),
        other => Expr::Nested(Box::new(other.clone())),
    }
}

fn plus(expression: &Expr, more: i64) -> Expr {
    if let Expr::Value(value) = expression
        && let Value::Number(text, _) = &value.value
        && let Ok(known) = text.parse::<i64>()
    {
        return number(known + more);
    }
    Expr::BinaryOp { left: Box::new(nested(expression)), op: BinaryOperator::Plus, right: Box::new(number(more)) }
}

fn negative(expression: &Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(nested(expression)) }
}

fn not(expression: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expression) }
}

fn interval_of(words: &str) -> Expr {
    Expr::Interval(Interval {
        value: Box::new(text(words)),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

/// `arrow_cast(expression, type)`.
pub(in crate::sql) fn cast_to(expression: &Expr, data_type: &str) -> Expr {
    call("arrow_cast", Span::empty(), vec![expression.clone(), text(data_type)])
}

/// As our functions of time take it.
fn time(expression: &Expr) -> Expr {
    cast_to(expression, TIME)
}

fn from_seconds(seconds: &Expr) -> Expr {
    call("to_timestamp_seconds", Span::empty(), vec![seconds.clone()])
}

fn truncated(unit: &str, time: Expr) -> Expr {
    call("date_trunc", Span::empty(), vec![text(&unit.to_ascii_lowercase()), time])
}

/// The next beginning of a unit, or the time itself where it is one.
fn raised(unit: &str, time: Expr) -> Expr {
    let down = truncated(unit, time.clone());
    let is_there =
        Expr::BinaryOp { left: Box::new(down.clone()), op: BinaryOperator::Eq, right: Box::new(nested(&time)) };
    let words = match unit.to_ascii_lowercase().as_str() {
        "quarter" => "3 months".to_owned(),
        unit => format!("1 {unit}"),
    };
    let next = Expr::BinaryOp { left: Box::new(down), op: BinaryOperator::Plus, right: Box::new(interval_of(&words)) };
    case(is_there, time, next)
}

/// A time so many units later: of the type that it has, where the number is known.
fn later(unit: Expr, amount: &Expr, to: &Expr, span: Span) -> Expr {
    let known = |expression: &Expr| match expression {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse::<i64>().ok(),
            _ => None,
        },
        _ => None,
    };
    let amount_known = match amount {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => known(expr).map(|it| -it),
        other => known(other),
    };
    let name = match &unit {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        },
        _ => None,
    };
    match (amount_known, name.as_deref()) {
        (Some(amount), Some("quarter")) => added(to, &format!("{} months", amount * 3)),
        (Some(amount), Some(unit)) => added(to, &format!("{amount} {unit}")),
        _ => call("timestampadd", span, vec![unit, amount.clone(), time(to)]),
    }
}

fn added(to: &Expr, words: &str) -> Expr {
    let (left, right) = (Box::new(nested(to)), Box::new(interval_of(words)));
    Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Plus, right }))
}

/// `MINUTE`, which is read as the name of a column, as text.
fn unit_name(unit: &Expr) -> Expr {
    match unit {
        Expr::Identifier(name) => text(&name.value.to_ascii_uppercase()),
        other => other.clone(),
    }
}

/// Milliseconds or seconds since 1970 as an instant.
fn to_timestamp_ltz(number: &Expr, digits: &Expr, span: Span) -> Result<Option<Expr>, Mistake> {
    let name = match digits.to_string().as_str() {
        "0" => "to_timestamp_seconds",
        "3" => "to_timestamp_millis",
        other => {
            let message = format!("TO_TIMESTAMP_LTZ takes seconds (0) or milliseconds (3) since 1970, not `{other}`");
            return Err((span.start, message));
        }
    };
    let instant = "Timestamp(Millisecond, Some(\"UTC\"))";
    Ok(Some(cast_to(&call(name, span, vec![number.clone()]), instant)))
}

fn rename(function: &mut Function, name: &str) {
    let span = function.name.span();
    function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::with_span(span, name))]);
}

/// `CASE WHEN condition THEN then ELSE otherwise END`.
fn case(condition: Expr, then: Expr, otherwise: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result: then }],
        else_result: Some(Box::new(otherwise)),
    }
}

/// The pattern in the second argument, of Java or (with `YYYY` or in TO_CHAR) of PostgreSQL, as one of strftime. A pattern with a `%` is one
/// already.
fn translate_pattern(function: &mut Function) -> Result<(), Mistake> {
    let (place, name) = (function.name.span().start, function.name.to_string());
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] = list.args.as_mut_slice() else {
        return Ok(());
    };
    let Value::SingleQuotedString(pattern) = &mut value.value else { return Ok(()) };
    if !pattern.contains('%') {
        *pattern = match name.eq_ignore_ascii_case("to_char") || pattern.contains("YYYY") || pattern.contains("HH24") {
            true => of_postgresql(pattern),
            false => of_java(pattern).map_err(|message| (place, message))?,
        };
    }
    Ok(())
}
