//! `nth_value(x, n ORDER BY y)` as what it means: the nth of all values, sorted. DataFusion's own wants rows that come sorted.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};

use super::trace::unaliased;

/// Rewrites every `nth_value` that says its order.
pub(super) fn rewrite(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let in_plan = |node: LogicalPlan| match node {
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(|it| ordered_nth_value(it).is_some()) => {
            Ok(Transformed::yes(rewrite_one(&aggregate, state)?))
        }
        other => Ok(Transformed::no(other)),
    };
    plan.transform_up(in_plan).data()
}

fn ordered_nth_value(expression: &Expr) -> Option<&AggregateFunction> {
    match unaliased(expression) {
        Expr::AggregateFunction(function) if function.func.name() == "nth_value" => {
            (!function.params.order_by.is_empty() && function.params.args.len() == 2).then_some(function)
        }
        _ => None,
    }
}

fn rewrite_one(aggregate: &Aggregate, state: &SessionState) -> Result<LogicalPlan> {
    let (Some(all), Some(element)) =
        (state.aggregate_functions().get("array_agg"), state.scalar_functions().get("array_element"))
    else {
        return Ok(LogicalPlan::Aggregate(aggregate.clone()));
    };
    let gathered =
        aggregate.aggr_expr.iter().enumerate().map(|(number, expression)| match ordered_nth_value(expression) {
            Some(function) => {
                let mut function = function.clone();
                function.func = Arc::clone(all);
                function.params.args.truncate(1);
                Expr::AggregateFunction(function).alias(format!("nth_value {number}"))
            }
            None => expression.clone(),
        });
    let gathered = Aggregate::try_new(Arc::clone(&aggregate.input), aggregate.group_expr.clone(), gathered.collect())?;
    let first = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let columns =
        gathered.schema.iter().zip(aggregate.schema.iter()).enumerate().map(|(at, ((table, field), (_, named)))| {
            let column = Expr::Column(Column::from((table, field)));
            let nth = at.checked_sub(first).and_then(|at| ordered_nth_value(&aggregate.aggr_expr[at]));
            match nth {
                Some(function) => element.call(vec![column, function.params.args[1].clone()]).alias(named.name()),
                None => column,
            }
        });
    let columns: Vec<_> = columns.collect();
    LogicalPlanBuilder::from(LogicalPlan::Aggregate(gathered)).project(columns)?.build()
}
