//! `count(DISTINCT a, b)` as what it means: how many different pairs there are, of those without a null. DataFusion's own counts one
//! column.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, when};

use super::trace::unaliased;

/// Rewrites every count of distinct rows of several columns.
pub(super) fn rewrite(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let in_plan = |node: LogicalPlan| match node {
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(|it| distinct_rows(it).is_some()) => {
            Ok(Transformed::yes(LogicalPlan::Aggregate(rewrite_one(&aggregate, state)?)))
        }
        other => Ok(Transformed::no(other)),
    };
    plan.transform_up(in_plan).data()
}

fn distinct_rows(expression: &Expr) -> Option<&AggregateFunction> {
    match unaliased(expression) {
        Expr::AggregateFunction(function) if function.func.name() == "count" => {
            (function.params.distinct && function.params.args.len() > 1).then_some(function)
        }
        _ => None,
    }
}

fn rewrite_one(aggregate: &Aggregate, state: &SessionState) -> Result<Aggregate> {
    let Some(row) = state.scalar_functions().get("struct") else { return Ok(aggregate.clone()) };
    let first = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let counted = aggregate.aggr_expr.iter().enumerate().map(|(at, expression)| {
        let Some(function) = distinct_rows(expression) else { return Ok(expression.clone()) };
        let mut function = function.clone();
        let columns = std::mem::take(&mut function.params.args);
        let all_there = columns.iter().cloned().map(Expr::is_not_null).reduce(Expr::and);
        let row = row.call(columns);
        function.params.args = match all_there {
            Some(all_there) => vec![when(all_there, row).end()?],
            None => vec![row],
        };
        Ok(Expr::AggregateFunction(function).alias(aggregate.schema.field(first + at).name()))
    });
    let counted = counted.collect::<Result<Vec<_>>>()?;
    Aggregate::try_new(Arc::clone(&aggregate.input), aggregate.group_expr.clone(), counted)
}
