//! Where the columns of a plan come from.

use datafusion::logical_expr::{Expr, LogicalPlan};

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
    column < aggregate.group_expr.len()
}

/// The expression without its names.
pub(super) fn unaliased(expression: &Expr) -> &Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}
