//! The names of aggregates.

use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr};

/// DataFusion leaves casts out of names, so that `sum(v)` and `sum(CAST(v AS DOUBLE))` are two columns of one name, which it refuses,
/// whatever they are called above. This gives arguments with casts a name that has them.
#[derive(Debug)]
pub(in crate::sql) struct CastNames;

impl ExprPlanner for CastNames {
    fn plan_aggregate(&self, mut aggregate: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        for argument in &mut aggregate.args {
            if argument.exists(|it| Ok(matches!(it, Expr::Cast(_) | Expr::TryCast(_))))? {
                let name = argument.to_string();
                *argument = std::mem::take(argument).alias(name);
            }
        }
        Ok(PlannerResult::Original(aggregate))
    }
}
