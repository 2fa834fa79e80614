//! Deduplication without windows, as Flink writes it, with the time within which a row is a duplicate as standard SQL writes it:
//!
//! ```text
//!  SELECT … FROM (
//!    SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL '1' HOUR PRECEDING) AS rn FROM t)
//!  WHERE rn = 1
//! ```
//!
//! The frame of a row has the rows of its key from an hour before it: a row that is the first there has no other in that hour. In descending
//! order "before" is later, and what stays are the last ones.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, LogicalPlanBuilder, Operator, Window, WindowFrameBound, WindowFrameUnits, lit,
};
use std::sync::Arc;

use super::trace::unaliased;
use super::window_node::WindowNode;
use super::window_node::has_windows;
use crate::sql::define::catalog::Table;
use crate::sql::define::interval::text_millis;
use crate::sql::refusal::{Refusal, Result, refuse, refuse_at};
use crate::window::assigner::Windows;
use crate::window::duplicates::{DuplicatePlan, Keep};

const HINT: &str = "ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL '1' HOUR PRECEDING)";

/// Puts a deduplication in the place of the numbers of rows of which only 1 is asked for.
pub(super) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut refused = None;
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Filter(filter) = &node else { return Ok(Transformed::no(node)) };
        let numbers = split_conjunction(&filter.predicate).into_iter().filter_map(first_of);
        let places = numbers.filter_map(|column| filter.input.schema().maybe_index_of_column(column));
        for place in places.collect::<Vec<_>>() {
            match without_numbers(&filter.input, place) {
                Ok(Some(input)) => {
                    let node = node.with_new_exprs(node.expressions(), vec![input])?;
                    return Ok(Transformed::yes(node));
                }
                Ok(None) => {}
                Err(Refusal::Plan(error)) => return Err(*error),
                Err(refusal) => refused = refused.take().or(Some(refusal)),
            }
        }
        Ok(Transformed::no(node))
    });
    match refused {
        Some(refusal) => Err(refusal),
        None => Ok(rewritten.data()?),
    }
}

/// The column of which a condition says that it is 1, where it is at least that.
fn first_of(condition: &Expr) -> Option<&Column> {
    let Expr::BinaryExpr(it) = condition else { return None };
    let value = |expression: &Expr| match unaliased(expression) {
        Expr::Literal(value, _) => value.cast_to(&DataType::Int64).ok(),
        _ => None,
    };
    let is = |value: &ScalarValue, number: i64| *value == ScalarValue::Int64(Some(number));
    let (column, operator, value) = match (it.left.as_ref(), it.right.as_ref()) {
        (Expr::Column(column), other) => (column, it.op, value(other)?),
        (other, Expr::Column(column)) => (column, it.op.swap()?, value(other)?),
        _ => return None,
    };
    let is_first = match operator {
        Operator::Eq | Operator::LtEq => is(&value, 1),
        Operator::Lt => is(&value, 2),
        _ => false,
    };
    is_first.then_some(column)
}

/// The plan with a deduplication in the place of the row numbers that a column of it is.
fn without_numbers(plan: &LogicalPlan, column: usize) -> Result<Option<LogicalPlan>> {
    let below = match plan {
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => Some(column),
        LogicalPlan::Projection(it) => match it.expr.get(column).map(unaliased) {
            Some(Expr::Column(inner)) => it.input.schema().maybe_index_of_column(inner),
            _ => None,
        },
        LogicalPlan::Window(window) => return deduplication(window, column),
        _ => None,
    };
    let (Some(below), Some(input)) = (below, plan.inputs().first().copied()) else { return Ok(None) };
    let Some(input) = without_numbers(input, below)? else { return Ok(None) };
    Ok(Some(plan.with_new_exprs(plan.expressions(), vec![input])?))
}

fn deduplication(window: &Window, column: usize) -> Result<Option<LogicalPlan>> {
    let [expression] = window.window_expr.as_slice() else { return Ok(None) };
    let width = window.input.schema().fields().len();
    let Expr::WindowFunction(function) = unaliased(expression) else { return Ok(None) };
    let looks_at_windows = |key: &Expr| match key {
        Expr::Column(key) => crate::window::aggregate::WINDOW_COLUMNS.contains(&key.name.as_str()),
        _ => false,
    };
    let params = &function.params;
    let is_numbers = function.fun.name().eq_ignore_ascii_case("row_number") && column == width;
    if !is_numbers || has_windows(&window.input) || params.partition_by.iter().any(looks_at_windows) {
        return Ok(None);
    }
    let words = ["ROW_NUMBER", "OVER"];
    let frame = &params.window_frame;
    let within = match (frame.units, &frame.start_bound, &frame.end_bound) {
        (_, WindowFrameBound::Preceding(start), _) if start.is_null() => {
            return refuse_at(
                &words,
                format!(
                    "a deduplication needs the time within which a row is a duplicate, or it would keep every key for ever; write {HINT}, or a \
                     window: FROM TUMBLE(…) and PARTITION BY window_start, window_end, k"
                ),
            );
        }
        (WindowFrameUnits::Range, WindowFrameBound::Preceding(start), WindowFrameBound::CurrentRow) => length(start),
        _ => None,
    };
    let Some(within) = within.filter(|within| *within > 0) else {
        return refuse_at(
            &["RANGE", "ROWS", "GROUPS", "ROW_NUMBER"],
            format!("the frame of a deduplication is a fixed time before each row; write {HINT}"),
        );
    };
    if params.partition_by.is_empty() {
        return refuse_at(&words, format!("a deduplication is by a key; write {HINT}"));
    }
    let [order] = params.order_by.as_slice() else {
        return refuse_at(&["ORDER BY"], format!("a deduplication is ordered by the event time alone; write {HINT}"));
    };
    let schema = window.input.schema();
    let time = match &order.expr {
        Expr::Column(time) => schema.maybe_index_of_column(time),
        _ => None,
    };
    let Some(time) = time.filter(|at| matches!(schema.field(*at).data_type(), DataType::Timestamp(..))) else {
        return refuse_at(
            &["ORDER BY"],
            format!(
                "a deduplication is ordered by the event time, the column of the WATERMARK; `{}` is something else",
                order.expr
            ),
        );
    };
    let keep = if order.asc { Keep::First } else { Keep::Last };
    // Keys that are computed are computed before, row by row.
    let own: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    let mut keys = Vec::new();
    let mut computed = own.clone();
    for (number, key) in params.partition_by.iter().enumerate() {
        match key {
            Expr::Column(_) => keys.push(key.clone()),
            other => {
                let name = format!("deduplication_key_{number}");
                computed.push(other.clone().alias(&name));
                keys.push(Expr::Column(Column::new_unqualified(name)));
            }
        }
    }
    let input = LogicalPlan::clone(&window.input);
    let input = match computed.len() > own.len() {
        true => LogicalPlanBuilder::from(input).project(computed)?.build()?,
        false => input,
    };
    let windows = Windows::tumbling(DuplicatePlan::slice(within), 0);
    let mut node = WindowNode::try_new(input, own[time].clone(), windows, keys)?;
    node.duplicates = Some((keep, within));
    let node = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    let number = lit(ScalarValue::UInt64(Some(1))).alias(window.schema.field(width).name());
    Ok(Some(LogicalPlanBuilder::from(node).project(own.into_iter().chain([number]))?.build()?))
}

/// The milliseconds of a frame's bound.
fn length(bound: &ScalarValue) -> Option<i64> {
    match bound {
        ScalarValue::Utf8(Some(text)) => text_millis(text),
        ScalarValue::IntervalMonthDayNano(Some(length)) if length.months == 0 => {
            i64::from(length.days).checked_mul(86_400_000)?.checked_add(length.nanoseconds / 1_000_000)
        }
        _ => None,
    }
}

/// Rows without duplicates are a stream again: what looks at several of them needs a window.
pub(super) fn refuse_above(plan: &LogicalPlan) -> Result<()> {
    let example = "put a window around them: FROM TUMBLE((SELECT … WHERE rn = 1), ts, INTERVAL '5' MINUTE)";
    match plan {
        LogicalPlan::Aggregate(_) => refuse_at(
            &["GROUP BY", "SELECT"],
            format!("an aggregation over rows without duplicates needs a window; {example}"),
        ),
        LogicalPlan::Window(_) => {
            refuse_at(&["OVER"], format!("OVER on rows without duplicates would keep every row for ever; {example}"))
        }
        LogicalPlan::Distinct(_) => refuse_at(
            &["DISTINCT"],
            format!("DISTINCT over rows without duplicates would keep every row for ever; {example}"),
        ),
        LogicalPlan::Sort(_) => {
            refuse_at(&["ORDER BY"], format!("ORDER BY over rows without duplicates would wait for ever; {example}"))
        }
        LogicalPlan::Limit(_) => refuse_at(
            &["LIMIT", "FETCH", "OFFSET"],
            format!("LIMIT over rows without duplicates is not supported; {example}"),
        ),
        other => other.inputs().into_iter().try_for_each(refuse_above),
    }
}

/// A table's current rows have a key, and one row of each.
pub(super) fn refuse_current_duplicates<T>(table: &Table) -> Result<T> {
    refuse(format!(
        "the current rows of \"{0}\" are not deduplicated: they come and go, and there is one of each primary key; read its change events: CHANGES({0})",
        table.name
    ))
}
