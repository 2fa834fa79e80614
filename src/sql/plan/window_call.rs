//! `TUMBLE(…)`, `HOP(…)`, `CUMULATE(…)` and `SESSION(…)` as they are written → [`WindowNode`].

use std::sync::Arc;

use chrono_tz::Tz;
use datafusion::common::{Column, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, FunctionArg, FunctionArgExpr, Value};

use super::processing_time;
use super::relation::{at, relation, time_column};
use super::window_node::WindowNode;
use crate::error::suggestion;
use crate::sql::define::interval::{fixed, interval_span};
use crate::window::aggregate::WINDOW_COLUMNS;
use crate::window::assigner::Windows;
use crate::window::calendar::{Grid, Span};

/// A windowing table function.
pub(in crate::sql) struct WindowFunction {
    pub(super) name: &'static str,
    /// Its arguments in order, after the table and its time; the lengths first.
    lengths: &'static [&'static str],
    named: &'static [&'static str],
    usage: &'static str,
}

/// All of them.
pub(super) const WINDOW_FUNCTIONS: [WindowFunction; 4] = [
    WindowFunction {
        name: "TUMBLE",
        lengths: &["SIZE"],
        named: &["OFFSET", "TIME_ZONE"],
        usage: "TUMBLE(table, time_column, INTERVAL '5' MINUTE [, offset] [, TIME ZONE 'zone'])",
    },
    WindowFunction {
        name: "HOP",
        lengths: &["SLIDE", "SIZE"],
        named: &["OFFSET", "TIME_ZONE"],
        usage: "HOP(table, time_column, INTERVAL '1' MINUTE, INTERVAL '5' MINUTE [, offset] [, TIME ZONE 'zone']), the slide before the size",
    },
    WindowFunction {
        name: "CUMULATE",
        lengths: &["STEP", "SIZE"],
        named: &["OFFSET", "TIME_ZONE", "EMITONLYONUPDATE"],
        usage: "CUMULATE(table, time_column, INTERVAL '1' HOUR, INTERVAL '1' DAY [, offset] [, TIME ZONE 'zone'] [, emitOnlyOnUpdate => true]), the step before the size",
    },
    WindowFunction {
        name: "SESSION",
        lengths: &["GAP"],
        named: &["PARTITION_BY"],
        usage: "SESSION(table [PARTITION BY column, …], time_column, INTERVAL '5' MINUTE)",
    },
];

/// The arguments of a call, by their names.
#[derive(Default)]
struct Arguments {
    named: Vec<(&'static str, SqlExpr)>,
    partition_by: Vec<SqlExpr>,
}

impl Arguments {
    fn get(&self, name: &str) -> Option<&SqlExpr> {
        self.named.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl WindowFunction {
    /// Plans a call.
    pub(super) fn plan(
        &self,
        arguments: &[FunctionArg],
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let arguments = self.sort_out(arguments)?;
        let needed = |name: &str| arguments.get(name).ok_or_else(|| plan_datafusion_err!("write {}", self.usage));
        let input = context.plan(relation(needed("DATA")?)?)?;
        let column = needed("TIMECOL")?;
        let timed = match processing_time::is_call(column) {
            true => processing_time::with_column(input),
            false => time_column(column, &input).map(|time| (input, time)),
        };
        let (input, time) = timed.map_err(|error| at(error, column))?;
        let (input, time) = without_window_columns(input, time)?;
        let windows = self.windows(&arguments)?;
        let mut partition_by = Vec::new();
        for key in &arguments.partition_by {
            let planned = context.sql_to_expr(key.clone(), input.schema());
            partition_by.push(planned.map_err(|error| at(error, key))?);
        }
        let node = WindowNode::try_new(input, time, windows, partition_by)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// Gives each argument its name: those without one have the names of their places.
    fn sort_out(&self, arguments: &[FunctionArg]) -> Result<Arguments> {
        let known: Vec<&'static str> =
            ["DATA", "TIMECOL"].iter().chain(self.lengths).chain(self.named).copied().collect();
        let mut found = Arguments::default();
        let mut positional = Vec::new();
        // `PARTITION BY a, b, time, gap`: the keys are what is more than the places after them.
        let mut keys_until = None;
        for argument in arguments {
            let (name, value) = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => {
                    positional.push(value.clone());
                    continue;
                }
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => (name.value.clone(), value),
                FunctionArg::ExprNamed { name, arg: FunctionArgExpr::Expr(value), .. } => (name.to_string(), value),
                other => return plan_err!("cannot read `{other}`; write {}", self.usage),
            };
            let Some(name) = known.iter().find(|it| it.replace('_', "").eq_ignore_ascii_case(&name.replace('_', "")))
            else {
                let hint = suggestion(&name.to_ascii_uppercase(), known.iter().copied());
                let what = if name == "partition_by" { "PARTITION BY".into() } else { format!("argument \"{name}\"") };
                let error = plan_datafusion_err!("{what} is not known to {}{hint}; write {}", self.name, self.usage);
                return Err(at(error, value));
            };
            if *name == "PARTITION_BY" {
                match value {
                    SqlExpr::Tuple(keys) => found.partition_by.extend(keys.iter().cloned()),
                    SqlExpr::Nested(key) => found.partition_by.push((**key).clone()),
                    key => {
                        found.partition_by.push(key.clone());
                        keys_until = Some(positional.len());
                    }
                }
            } else if found.get(name).is_some() {
                return Err(at(plan_datafusion_err!("{name} of {} is given twice", self.name), value));
            } else {
                found.named.push((name, value.clone()));
            }
        }
        let open: Vec<_> =
            ["DATA", "TIMECOL"].iter().chain(self.lengths).filter(|it| found.get(it).is_none()).copied().collect();
        if let Some(from) = keys_until {
            let more = positional.len().saturating_sub(open.len()).min(positional.len() - from);
            found.partition_by.extend(positional.drain(from..from + more));
        }
        let is_open = |name: &&&str| self.named.contains(*name) && found.get(name).is_none();
        let optional: Vec<_> = ["OFFSET", "EMITONLYONUPDATE"].iter().filter(is_open).copied().collect();
        if !(open.len()..=open.len() + optional.len()).contains(&positional.len()) {
            let count = arguments.len();
            let s = if count == 1 { "" } else { "s" };
            return plan_err!("{} has {count} argument{s}; write {}", self.name, self.usage);
        }
        found.named.extend(open.into_iter().chain(optional).zip(positional));
        Ok(found)
    }

    fn windows(&self, arguments: &Arguments) -> Result<Windows> {
        let span = |name: &'static str| {
            let Some(written) = arguments.get(name) else { return plan_err!("write {}", self.usage) };
            let what = format!("{} of {}", name.to_ascii_lowercase(), self.name);
            let span =
                interval_span(written).map_err(|message| at(plan_datafusion_err!("{what}: {message}"), written))?;
            if !span.is_positive() {
                let message = "a window needs a size above zero, such as INTERVAL '5' MINUTE";
                return Err(at(plan_datafusion_err!("{what}: {message}"), written));
            }
            Ok((span, written))
        };
        let mut lengths = self.lengths.iter().map(|name| span(name)).collect::<Result<Vec<_>>>()?;
        let zone = arguments.get("TIME_ZONE").map(time_zone).transpose()?;
        let is_calendar = zone.is_some() || lengths.iter().any(|(span, _)| matches!(span, Span::Months(_)));
        if !is_calendar || self.name == "SESSION" {
            for (span, written) in &mut lengths {
                let Some(millis) = fixed(*span) else {
                    let message =
                        "the gap of SESSION has a fixed length; use MILLISECOND, SECOND, MINUTE, HOUR, DAY or WEEK";
                    return Err(at(plan_datafusion_err!("{message}"), *written));
                };
                *span = Span::Fixed(millis);
            }
        }
        let offset = match arguments.get("OFFSET") {
            Some(written) => {
                let millis = interval_span(written)
                    .and_then(|span| fixed(span).ok_or_else(|| "a month has no fixed length; use DAY".into()));
                millis.map_err(|message| at(plan_datafusion_err!("offset of {}: {message}", self.name), written))?
            }
            None => 0,
        };
        let grid = |every: Span| Grid { every, offset, zone: zone.unwrap_or(Tz::UTC) };
        let refused = |part: &SqlExpr, message: String| Err(at(plan_datafusion_err!("{message}"), part));
        let is_fixed = |span: Span| !span.is_calendar();
        match (self.name, lengths.as_slice()) {
            ("SESSION", [(Span::Fixed(gap), _)]) => Ok(Windows::Session { gap: *gap }),
            (_, [.., (size, written)]) if is_calendar && is_fixed(*size) => refused(
                written,
                format!(
                    "TIME ZONE is for windows of days, weeks, months or years, and {size} is always as long; shift windows of a fixed \
                     length by an offset"
                ),
            ),
            ("HOP", [(slide, written), (size, _)]) => {
                if is_calendar && is_fixed(*slide) {
                    return refused(
                        written,
                        "windows of the calendar begin every so many days, weeks, months or years; write the slide in these".into(),
                    );
                }
                if slide.bounds().1 > size.bounds().0 && !is_at_most(*slide, *size) {
                    return refused(
                        written,
                        format!(
                            "the slide of HOP ({slide}) is longer than its size ({size}), so that rows between two windows would be in \
                             none; the slide comes before the size"
                        ),
                    );
                }
                Ok(Windows::Hop { starts: grid(*slide), size: *size })
            }
            ("CUMULATE", [(step, written), (size, _)]) => {
                if step.bounds().0 > size.bounds().1 || (same_unit(*step, *size) && !is_at_most(*step, *size)) {
                    return refused(
                        written,
                        format!(
                            "the step of CUMULATE ({step}) is longer than its size ({size}); the step comes before the size"
                        ),
                    );
                }
                if same_unit(*step, *size) && amount(*size) % amount(*step) != 0 {
                    return refused(
                        written,
                        format!("the size of CUMULATE ({size}) is not a multiple of its step ({step})"),
                    );
                }
                let on_update = arguments.get("EMITONLYONUPDATE").map(truth).transpose()?.unwrap_or(false);
                Ok(Windows::Cumulate { periods: grid(*size), step: *step, on_update })
            }
            (_, [(size, _)]) => Ok(Windows::Tumble(grid(*size))),
            _ => plan_err!("write {}", self.usage),
        }
    }
}

/// Rows that have a window already get those columns under other names: the window around them has the names.
fn without_window_columns(input: LogicalPlan, time: Expr) -> Result<(LogicalPlan, Expr)> {
    let is_bound = |name: &str| WINDOW_COLUMNS.contains(&name);
    if !input.schema().fields().iter().any(|field| is_bound(field.name())) {
        return Ok((input, time));
    }
    let has = |name: &str| input.schema().fields().iter().any(|field| field.name() == name);
    let renamed = |name: &str| {
        let mut renamed = format!("inner_{name}");
        while has(&renamed) {
            renamed = format!("inner_{renamed}");
        }
        renamed
    };
    let expressions = input.schema().iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match is_bound(field.name()) {
            true => column.alias_qualified(qualifier.cloned(), renamed(field.name())),
            false => column,
        }
    });
    let expressions: Vec<_> = expressions.collect();
    let time = match time {
        Expr::Column(column) if is_bound(&column.name) => {
            Expr::Column(Column::new(column.relation, renamed(&column.name)))
        }
        other => other,
    };
    Ok((LogicalPlanBuilder::from(input).project(expressions)?.build()?, time))
}

fn amount(span: Span) -> i64 {
    let (Span::Fixed(amount) | Span::Days(amount) | Span::Months(amount)) = span else {
        let Span::Weeks(weeks) = span else { return 0 };
        return weeks.saturating_mul(7);
    };
    amount
}

/// Whether both are counted in the same unit; weeks are days.
fn same_unit(one: Span, other: Span) -> bool {
    let unit = |span: Span| match span {
        Span::Fixed(_) => 0,
        Span::Days(_) | Span::Weeks(_) => 1,
        Span::Months(_) => 2,
    };
    unit(one) == unit(other)
}

fn is_at_most(one: Span, other: Span) -> bool {
    same_unit(one, other) && amount(one) <= amount(other)
}

fn time_zone(written: &SqlExpr) -> Result<Tz> {
    let error = |message: String| at(plan_datafusion_err!("{message}"), written);
    let SqlExpr::Value(value) = written else {
        return Err(error(format!("expected a time zone such as 'Europe/Berlin', found `{written}`")));
    };
    let (Value::SingleQuotedString(name) | Value::DoubleQuotedString(name)) = &value.value else {
        return Err(error(format!("expected a time zone such as 'Europe/Berlin', found `{written}`")));
    };
    name.parse().map_err(|_| {
        let hint = suggestion(name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        let hint =
            if hint.is_empty() { "; write the name of a place, such as 'Europe/Berlin', or 'UTC'" } else { &hint };
        error(format!("time zone \"{name}\" is not known{hint}"))
    })
}

fn truth(written: &SqlExpr) -> Result<bool> {
    match written {
        SqlExpr::Value(value) if matches!(value.value, Value::Boolean(_)) => Ok(value.value == Value::Boolean(true)),
        other => Err(at(plan_datafusion_err!("emitOnlyOnUpdate is true or false, not `{other}`"), written)),
    }
}

/// Whether the name is that of a windowing table function.
pub(in crate::sql) fn window_function(name: &str) -> Option<&'static WindowFunction> {
    WINDOW_FUNCTIONS.iter().find(|it| it.name.eq_ignore_ascii_case(name))
}
