//! Where the columns of a plan come from.

use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};

use super::pipeline::ResultColumn;

/// Which window column an expression over `input` is, if it is nothing but one.
pub(super) fn window_column(expression: &Expr, input: &LogicalPlan, width: usize) -> Option<usize> {
    let Expr::Column(column) = unaliased(expression) else { return None };
    let (bottom, at) = trace(input, input.schema().maybe_index_of_column(column)?)?;
    (matches!(bottom, LogicalPlan::Extension(_)) && at >= width).then(|| at - width)
}

/// Follows an output column down through renamings to the node that is not a filter or projection.
pub(super) fn trace(plan: &LogicalPlan, column: usize) -> Option<(&LogicalPlan, usize)> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => trace(&alias.input, column),
        LogicalPlan::Filter(filter) => trace(&filter.input, column),
        LogicalPlan::Sort(sort) => trace(&sort.input, column),
        LogicalPlan::Limit(limit) => trace(&limit.input, column),
        LogicalPlan::Projection(projection) => match unaliased(projection.expr.get(column)?) {
            Expr::Column(inner) => trace(&projection.input, projection.input.schema().maybe_index_of_column(inner)?),
            _ => None,
        },
        bottom => (column < bottom.schema().fields().len()).then_some((bottom, column)),
    }
}

/// Whether an output column is a group key, under whatever name.
pub(super) fn is_group_key(plan: &LogicalPlan, column: usize) -> bool {
    let Some((LogicalPlan::Aggregate(aggregate), column)) = trace(plan, column) else { return false };
    // Several grouping sets have a number after their keys.
    let sets = usize::from(matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]));
    column + sets < aggregate.schema.fields().len() - aggregate.aggr_expr.len()
}

/// Which of the window's columns an output column is, through whatever lies between.
pub(super) fn traces_to_window(
    plan: &LogicalPlan,
    column: usize,
    window: &Aggregate,
    columns: &[ResultColumn],
) -> Option<usize> {
    let through = |input: &LogicalPlan, expression: Option<&Expr>| match expression.map(unaliased) {
        Some(Expr::Column(inner)) => {
            let place = input.schema().maybe_index_of_column(inner);
            place.and_then(|at| traces_to_window(input, at, window, columns))
        }
        _ => None,
    };
    match plan {
        LogicalPlan::Aggregate(it) if it == window => match columns.get(column) {
            Some(ResultColumn::Window(bound)) => Some(*bound),
            _ => None,
        },
        LogicalPlan::Aggregate(it) => through(&it.input, it.group_expr.get(column)),
        LogicalPlan::Projection(it) => through(&it.input, it.expr.get(column)),
        LogicalPlan::Window(it) => {
            (column < it.input.schema().fields().len()).then(|| traces_to_window(&it.input, column, window, columns))?
        }
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_) => {
            plan.inputs().first().and_then(|it| traces_to_window(it, column, window, columns))
        }
        _ => None,
    }
}

/// The expression without its names.
pub(super) fn unaliased(expression: &Expr) -> &Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}
