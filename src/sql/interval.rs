//! Durations in SQL: `INTERVAL '5' MINUTE`, `INTERVAL '1 hour 30 minutes'`, `'5 minutes'`.

use datafusion::sql::sqlparser::ast::{DateTimeField, Expr as SqlExpr, Interval, UnaryOperator, Value};

/// The milliseconds of an INTERVAL literal, or why it has none.
pub fn interval_millis(expression: &SqlExpr) -> Result<i64, String> {
    if let SqlExpr::Interval(Interval {
        leading_field:
            Some(unit @ (DateTimeField::Month | DateTimeField::Months | DateTimeField::Year | DateTimeField::Years)),
        ..
    }) = expression
    {
        return Err(format!("a {unit} has no fixed length; use MILLISECOND, SECOND, MINUTE, HOUR, DAY or WEEK"));
    }
    let wrong = || format!("expected INTERVAL such as INTERVAL '5' MINUTE, found `{expression}`");
    match expression {
        SqlExpr::Interval(Interval { value, leading_field, .. }) => {
            let text = literal_text(value).ok_or_else(wrong)?;
            match leading_field {
                Some(field) => {
                    let amount: f64 = text.trim().parse().map_err(|_| wrong())?;
                    let millis = amount * unit_millis(field).ok_or_else(wrong)? as f64;
                    if millis.fract() != 0.0 || millis.abs() > i64::MAX as f64 / 2.0 {
                        return Err(format!("`{expression}` is not a whole number of milliseconds"));
                    }
                    Ok(millis as i64)
                }
                None => text_millis(&text).ok_or_else(wrong),
            }
        }
        SqlExpr::UnaryOp { op: UnaryOperator::Minus, expr } => interval_millis(expr).map(|millis| -millis),
        _ => Err(wrong()),
    }
}

fn literal_text(expression: &SqlExpr) -> Option<String> {
    match expression {
        SqlExpr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => Some(text.clone()),
            _ => None,
        },
        SqlExpr::UnaryOp { op: UnaryOperator::Minus, expr } => Some(format!("-{}", literal_text(expr)?)),
        _ => None,
    }
}

fn unit_millis(field: &DateTimeField) -> Option<i64> {
    Some(match field {
        DateTimeField::Millisecond | DateTimeField::Milliseconds => 1,
        DateTimeField::Second | DateTimeField::Seconds => 1_000,
        DateTimeField::Minute | DateTimeField::Minutes => 60_000,
        DateTimeField::Hour | DateTimeField::Hours => 3_600_000,
        DateTimeField::Day | DateTimeField::Days => 86_400_000,
        DateTimeField::Week(_) | DateTimeField::Weeks => 604_800_000,
        _ => return None,
    })
}

/// `5 minutes`, `1 hour 30 minutes`.
fn text_millis(text: &str) -> Option<i64> {
    let words: Vec<_> = text.split_whitespace().collect();
    if words.is_empty() || words.len() % 2 != 0 {
        return None;
    }
    words.chunks(2).try_fold(0_i64, |total, pair| {
        let amount: i64 = pair[0].parse().ok()?;
        let unit = match pair[1].to_ascii_lowercase().trim_end_matches('s') {
            "millisecond" => 1,
            "second" | "sec" => 1_000,
            "minute" | "min" => 60_000,
            "hour" => 3_600_000,
            "day" => 86_400_000,
            "week" => 604_800_000,
            _ => return None,
        };
        total.checked_add(amount.checked_mul(unit)?)
    })
}
