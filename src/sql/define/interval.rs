//! Durations in SQL: `INTERVAL '5' MINUTE`, `INTERVAL '1 hour 30 minutes'`, `INTERVAL '1' MONTH`.

use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Interval, UnaryOperator, Value};

use crate::window::calendar::Span;

const DAY: i64 = 86_400_000;

/// The milliseconds of an INTERVAL literal, or why it has none.
pub fn interval_millis(expression: &SqlExpr) -> Result<i64, String> {
    fixed(interval_span(expression)?).ok_or_else(|| {
        let unit = match expression {
            SqlExpr::Interval(Interval { leading_field: Some(unit), .. }) => unit.to_string(),
            _ => "MONTH".into(),
        };
        format!("a {unit} has no fixed length; use MILLISECOND, SECOND, MINUTE, HOUR, DAY or WEEK")
    })
}

/// A length in milliseconds, if it has one: days are of 24 hours.
pub fn fixed(span: Span) -> Option<i64> {
    match span {
        Span::Fixed(millis) => Some(millis),
        Span::Days(days) => days.checked_mul(DAY),
        Span::Weeks(weeks) => weeks.checked_mul(7 * DAY),
        Span::Months(_) => None,
    }
}

/// The length of an INTERVAL literal as it is written: in days, weeks or months where it has these alone.
pub fn interval_span(expression: &SqlExpr) -> Result<Span, String> {
    let wrong = || format!("expected INTERVAL such as INTERVAL '5' MINUTE, found `{expression}`");
    match expression {
        SqlExpr::Interval(Interval { value, leading_field, last_field, .. }) => {
            let text = literal_text(value).ok_or_else(wrong)?;
            if let (Some(first), Some(last)) = (leading_field, last_field) {
                let in_words = qualified(&text, &first.to_string(), &last.to_string()).ok_or_else(wrong)?;
                return text_span(&in_words).ok_or_else(wrong);
            }
            match leading_field {
                Some(field) => {
                    let unit = Unit::of(&field.to_string()).ok_or_else(wrong)?;
                    let amount: f64 = text.trim().parse().map_err(|_| wrong())?;
                    unit.times(amount).ok_or_else(|| {
                        let whole = if unit.months > 0 { "months" } else { "milliseconds" };
                        format!("`{expression}` is not a whole number of {whole}")
                    })
                }
                None => text_span(&text).ok_or_else(wrong),
            }
        }
        SqlExpr::UnaryOp { op: UnaryOperator::Minus, expr } => Ok(match interval_span(expr)? {
            Span::Fixed(amount) => Span::Fixed(-amount),
            Span::Days(amount) => Span::Days(-amount),
            Span::Weeks(amount) => Span::Weeks(-amount),
            Span::Months(amount) => Span::Months(-amount),
        }),
        _ => Err(wrong()),
    }
}

/// The milliseconds of a text such as `1 HOUR`, if it has a fixed length.
pub fn text_millis(text: &str) -> Option<i64> {
    fixed(text_span(text)?)
}

/// The units of an interval of several, each with what stands after it in the text.
const FIELDS: [(&str, char); 6] =
    [("YEAR", '-'), ("MONTH", ' '), ("DAY", ' '), ("HOUR", ':'), ("MINUTE", ':'), ("SECOND", ':')];

/// `'1 02:03' DAY TO MINUTE` in words: `1 days 2 hours 3 minutes`.
pub fn qualified(text: &str, first: &str, last: &str) -> Option<String> {
    let place = |name: &str| FIELDS.iter().position(|(field, _)| field.eq_ignore_ascii_case(name));
    let (first, last) = (place(first)?, place(last)?);
    let crosses = first < 2 && last >= 2;
    let (sign, mut rest) = match text.trim().strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.trim()),
    };
    if first >= last || crosses {
        return None;
    }
    let mut words = Vec::new();
    for (field, separator) in &FIELDS[first..=last] {
        let is_last = *field == FIELDS[last].0;
        let amount = match is_last {
            true => rest,
            false => {
                let (amount, after) = rest.split_once(*separator)?;
                rest = after;
                amount
            }
        };
        let amount = amount.trim();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match amount.split_once('.') {
            Some((whole, fraction)) if *field == "SECOND" && is_number(whole) && is_number(fraction) => {
                let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
                words.push(format!("{sign}{whole} seconds"));
                if nanos % 1_000_000 == 0 {
                    words.push(format!("{sign}{} milliseconds", nanos / 1_000_000));
                } else {
                    words.push(format!("{sign}{nanos} nanoseconds"));
                }
            }
            None if is_number(amount) => words.push(format!("{sign}{amount} {}s", field.to_ascii_lowercase())),
            _ => return None,
        }
    }
    Some(words.join(" "))
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

/// A unit: of so many months, or else of so many milliseconds.
#[derive(Clone, Copy, PartialEq)]
struct Unit {
    months: i64,
    millis: i64,
}

impl Unit {
    fn of(name: &str) -> Option<Self> {
        let (months, millis) = match name.to_ascii_lowercase().trim_end_matches('s') {
            "millisecond" => (0, 1),
            "second" | "sec" => (0, 1_000),
            "minute" | "min" => (0, 60_000),
            "hour" => (0, 3_600_000),
            "day" => (0, DAY),
            "week" => (0, 7 * DAY),
            "month" => (1, 0),
            "quarter" => (3, 0),
            "year" => (12, 0),
            _ => return None,
        };
        Some(Self { months, millis })
    }

    fn times(self, amount: f64) -> Option<Span> {
        let whole =
            |amount: f64| (amount.fract() == 0.0 && amount.abs() < i64::MAX as f64 / 2.0).then_some(amount as i64);
        match (self.months, self.millis, whole(amount)) {
            (0, DAY, Some(days)) if days.checked_mul(DAY).is_some() => Some(Span::Days(days)),
            (0, millis, Some(weeks)) if millis == 7 * DAY && weeks.checked_mul(millis).is_some() => {
                Some(Span::Weeks(weeks))
            }
            (0, millis, _) => whole(amount * millis as f64).map(Span::Fixed),
            (months, ..) => whole(amount * months as f64).map(Span::Months),
        }
    }
}

/// `5 minutes`, `1 hour 30 minutes`, `2 months`, and PostgreSQL's `01:30:00`.
fn text_span(text: &str) -> Option<Span> {
    let words: Vec<_> = text.split_whitespace().collect();
    if let [clock] = words.as_slice()
        && clock.split(':').count() == 3
    {
        return text_span(&qualified(clock, "HOUR", "SECOND")?);
    }
    if words.is_empty() || words.len() % 2 != 0 {
        return None;
    }
    let mut spans = words.chunks(2).map(|pair| Unit::of(pair[1])?.times(pair[0].parse::<i64>().ok()? as f64));
    let first = spans.next()??;
    spans.try_fold(first, |total, span| match (total, span?) {
        (Span::Months(total), Span::Months(more)) => total.checked_add(more).map(Span::Months),
        (total, more) => fixed(total)?.checked_add(fixed(more)?).map(Span::Fixed),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn intervals_keep_days_weeks_and_months() {
        for (text, span) in [
            ("INTERVAL '5' MINUTE", Some(Span::Fixed(300_000))),
            ("INTERVAL '5' MINUTES", Some(Span::Fixed(300_000))),
            ("INTERVAL '0.5' SECOND", Some(Span::Fixed(500))),
            ("INTERVAL '0.0001' SECOND", None),
            ("INTERVAL '250' MILLISECOND", Some(Span::Fixed(250))),
            ("INTERVAL '30' DAY", Some(Span::Days(30))),
            ("INTERVAL '0.5' DAY", Some(Span::Fixed(43_200_000))),
            ("INTERVAL '2' WEEK", Some(Span::Weeks(2))),
            ("INTERVAL '1' MONTH", Some(Span::Months(1))),
            ("INTERVAL '1' QUARTER", Some(Span::Months(3))),
            ("INTERVAL '1.5' YEAR", Some(Span::Months(18))),
            ("INTERVAL '0.1' MONTH", None),
            ("INTERVAL '-5' MINUTE", Some(Span::Fixed(-300_000))),
            ("- INTERVAL '1' DAY", Some(Span::Days(-1))),
            ("INTERVAL '1 hour 30 minutes'", Some(Span::Fixed(5_400_000))),
            ("INTERVAL '1 day 1 hour'", Some(Span::Fixed(90_000_000))),
            ("INTERVAL '1 year 1 month'", Some(Span::Months(13))),
            ("INTERVAL '1 month 1 day'", None),
            ("INTERVAL '00:05' MINUTE TO SECOND", Some(Span::Fixed(5_000))),
            ("INTERVAL '1:30' HOUR TO MINUTE", Some(Span::Fixed(5_400_000))),
            ("INTERVAL '-1 02:03:04.5' DAY TO SECOND", Some(Span::Fixed(-93_784_500))),
            ("INTERVAL '1-2' YEAR TO MONTH", Some(Span::Months(14))),
            ("INTERVAL '1:2:3' HOUR TO MINUTE", None),
            ("INTERVAL '1' MINUTE TO SECOND", None),
            ("INTERVAL '01:30:00'", Some(Span::Fixed(5_400_000))),
            ("INTERVAL '00:00:00.25'", Some(Span::Fixed(250))),
            ("INTERVAL '01:30'", None),
            ("INTERVAL 'five minutes'", None),
            ("INTERVAL '99999999999999999999' DAY", None),
            ("'5 minutes'", None),
        ] {
            let parsed = Parser::new(&GenericDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
            assert_eq!(interval_span(&parsed).ok(), span, "{text}");
        }
    }
}
