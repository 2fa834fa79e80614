//! Why a query cannot run as a stream: what, where, what to write instead.

use datafusion::common::JoinType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Operator};
use datafusion::sql::sqlparser::tokenizer::Location;

use super::plan::grouping::{missing_bounds, sets_of};
use super::plan::trace::{Origins, inputs_below, unaliased};
use crate::error::SqlError;
use crate::window::assigner::Windows;

/// Why a query cannot run: DataFusion's errors, and ours, which name the thing and the way out.
pub enum Refusal {
    /// An error of DataFusion's planner.
    Plan(Box<DataFusionError>),
    /// A query that cannot run as a stream; it stands where the first thing in quotes does.
    Query(String),
    /// The same, standing at one of these words: the first that the query has.
    Word(Vec<String>, String),
    /// The same, standing at this place of the text.
    Place(Location, String),
    /// A mistake whose place in the file is known.
    Sql(SqlError),
}

impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Self {
        Self::Plan(Box::new(error))
    }
}

impl From<crate::error::Error> for Refusal {
    fn from(error: crate::error::Error) -> Self {
        Self::Query(error.to_string())
    }
}

/// The result of planning.
pub(super) type Result<T> = std::result::Result<T, Refusal>;

/// Refuses; the message names the thing in quotes.
pub(super) fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Refusal::Query(message.into()))
}

/// Refuses at the first of these words that the query has.
pub(super) fn refuse_at<T>(words: &[&str], message: impl Into<String>) -> Result<T> {
    Err(Refusal::Word(words.iter().map(|word| (*word).to_owned()).collect(), message.into()))
}

fn node_name(plan: &LogicalPlan) -> String {
    let text = plan.display().to_string();
    text.split([':', ' ']).next().unwrap_or(&text).to_owned()
}

/// The name of an aggregate function, as it is written.
pub(super) fn function_name(aggregate: &Expr) -> String {
    match unaliased(aggregate) {
        Expr::AggregateFunction(function) => function.func.name().to_owned(),
        other => other.to_string(),
    }
}

/// Refuses a node that a stream cannot pass.
pub(super) fn not_row_wise<T>(plan: &LogicalPlan) -> Result<T> {
    let closed = "the rows of each closed window, in a query with TUMBLE and GROUP BY window_start, window_end";
    match plan {
        LogicalPlan::Sort(_) => refuse_at(
            &["ORDER BY"],
            format!("ORDER BY over an endless stream would wait for ever; it works on {closed}"),
        ),
        LogicalPlan::Limit(_) => refuse_at(
            &["LIMIT", "FETCH", "OFFSET"],
            format!("LIMIT over an endless stream is not supported; it works on {closed}"),
        ),
        LogicalPlan::Distinct(_) | LogicalPlan::Aggregate(_) => refuse_at(
            &["DISTINCT", "GROUP BY"],
            format!("DISTINCT over an endless stream would keep every row for ever; it works on {closed}"),
        ),
        LogicalPlan::Window(_) => refuse_at(
            &["OVER"],
            format!("OVER on an endless stream would keep every row for ever; it works on {closed}"),
        ),
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => refuse_at(
            &["SELECT", "VALUES"],
            "the query reads no table; add FROM and a table, CHANGES(table) or TUMBLE(…)",
        ),
        other => refuse_at(&[], format!("{} cannot run as a stream yet", node_name(other))),
    }
}

/// Refuses a stream that comes to a node which looks at several rows without windows.
pub(super) fn without_window<T>(scan: &LogicalPlan, above: Option<&LogicalPlan>) -> Result<T> {
    match above {
        Some(LogicalPlan::Join(_)) => refuse_at(
            &["JOIN", "IN", "EXISTS", "FROM"],
            "a join of streams would keep endless state; give both sides windows, and join those: \
             FROM (SELECT * FROM TUMBLE(a, …)) AS a JOIN (SELECT * FROM TUMBLE(b, …)) AS b \
             ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.id = b.id; \
             a small table is joined with as it is: give it 'lookup.cache' = 'FULL'",
        ),
        Some(LogicalPlan::Union(_)) => refuse_at(
            &["UNION"],
            "one side of UNION ALL has the rows of closed windows, the other single rows; write an INSERT for each, or give both a window",
        ),
        Some(LogicalPlan::Distinct(it)) if matches!(it.input().as_ref(), LogicalPlan::Union(_)) => refuse_at(
            &["UNION"],
            "UNION over endless streams would keep every row for ever to tell which are new; write UNION ALL",
        ),
        Some(LogicalPlan::Aggregate(aggregate)) if !aggregate.aggr_expr.is_empty() => {
            let function = aggregate.aggr_expr.first().map(function_name).unwrap_or_default();
            refuse_at(
                &["GROUP BY", &function],
                "an aggregation over a stream needs a window, or its state grows for ever: \
                 FROM TUMBLE(table, time_column, INTERVAL '5' MINUTE) … GROUP BY window_start, window_end",
            )
        }
        Some(other) => not_row_wise(other),
        None => not_row_wise(scan),
    }
}

/// Above the windows, rows are looked at a window at a time: what groups, numbers or joins them must say so.
pub(in crate::sql) fn check_above(plan: &LogicalPlan, origins: &Origins<'_>) -> Result<()> {
    let missing = |input: &LogicalPlan, bounds: &[usize]| missing_in_any(bounds, &windows_below(input, origins));
    let by_window = |input: &LogicalPlan, expressions: &[Expr]| {
        missing(input, &expressions.iter().flat_map(|it| origins.bounds_of(input, it)).collect::<Vec<_>>())
    };
    match plan {
        LogicalPlan::Aggregate(it) => {
            // Each grouping set by itself.
            let sets = match it.group_expr.as_slice() {
                [Expr::GroupingSet(set)] => sets_of(set),
                keys => vec![keys.to_vec()],
            };
            if let Some(missing) = sets.iter().find_map(|keys| by_window(&it.input, keys)) {
                return refuse_at(
                    &["GROUP BY"],
                    format!(
                        "a second aggregation is over the rows of each closed window, so it must group by {missing}; to combine windows, \
                         put one around them: FROM TUMBLE(minutes, window_time, INTERVAL '1' HOUR)"
                    ),
                );
            }
        }
        LogicalPlan::Window(it) => {
            for expression in &it.window_expr {
                let Expr::WindowFunction(function) = unaliased(expression) else { continue };
                if by_window(&it.input, &function.params.partition_by).is_some() {
                    return refuse_at(
                        &["OVER"],
                        "OVER is over the rows of each closed window, so write PARTITION BY window_start, window_end",
                    );
                }
            }
        }
        LogicalPlan::Distinct(it) => {
            let input = it.input();
            let columns = input.schema().columns().into_iter().map(Expr::Column);
            let bounds: Vec<_> = columns.flat_map(|it| origins.bounds_of(input, &it)).collect();
            if let Some(missing) = missing(input, &bounds) {
                return refuse_at(
                    &["DISTINCT", "UNION"],
                    format!("DISTINCT is over the rows of each closed window, so select {missing} too"),
                );
            }
        }
        LogicalPlan::Join(join) => check_join(join, origins)?,
        _ => {}
    }
    plan.inputs().into_iter().try_for_each(|input| check_above(input, origins))
}

/// The windows of the inputs below, each kind once.
fn windows_below(plan: &LogicalPlan, origins: &Origins<'_>) -> Vec<Windows> {
    windows_below_any(&[plan], origins)
}

fn windows_below_any(plans: &[&LogicalPlan], origins: &Origins<'_>) -> Vec<Windows> {
    let mut found = Vec::new();
    let below: Vec<_> = plans.iter().flat_map(|plan| inputs_below(plan)).collect();
    for input in origins.0.iter().filter(|input| below.contains(&input.rows.number())) {
        if !found.contains(&input.windows) {
            found.push(input.windows);
        }
    }
    found
}

/// What is missing to tell one window from another, where there may be several kinds.
fn missing_in_any(bounds: &[usize], windows: &[Windows]) -> Option<&'static str> {
    let both = "window_start and window_end";
    match windows {
        [] => None,
        [one] => missing_bounds(bounds, *one).map(|_| match one {
            Windows::Cumulate { .. } | Windows::Session { .. } => both,
            _ => "window_start or window_end",
        }),
        _ => (!has_both(bounds)).then_some(both),
    }
}

fn has_both(bounds: &[usize]) -> bool {
    bounds.contains(&0) && bounds.iter().any(|bound| *bound > 0)
}

/// A join is of the rows of one window with those of the same window.
fn check_join(join: &Join, origins: &Origins<'_>) -> Result<()> {
    let places = ["JOIN", "IN", "EXISTS", "FROM"];
    let (left, right) = (windows_below(&join.left, origins), windows_below(&join.right, origins));
    if left.is_empty() || right.is_empty() {
        // One side is constant.
        let keeps_constant = match join.join_type {
            JoinType::Inner | JoinType::LeftMark | JoinType::RightMark => false,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => left.is_empty(),
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => right.is_empty(),
            JoinType::Full => true,
        };
        return match keeps_constant {
            true => refuse_at(
                &places,
                "this join would have the rows of the constant side once for each window; turn it around",
            ),
            false => Ok(()),
        };
    }
    let in_filter = join.filter.iter().flat_map(split_conjunction).filter_map(|it| match it {
        Expr::BinaryExpr(it) if it.op == Operator::Eq => Some((it.left.as_ref(), it.right.as_ref())),
        _ => None,
    });
    let of = |one: &Expr, other: &Expr| {
        let (one, other) = (origins.bounds_of(&join.left, one), origins.bounds_of(&join.right, other));
        (one == other && !one.is_empty()).then_some(one)
    };
    let pairs = join.on.iter().map(|(one, other)| (one, other)).chain(in_filter);
    let bounds = pairs.filter_map(|(one, other)| of(one, other).or_else(|| of(other, one)));
    let bounds: Vec<usize> = bounds.flatten().collect();
    // Where one column tells windows apart, one is enough.
    if missing_in_any(&bounds, &windows_below_any(&[&join.left, &join.right], origins)).is_some() {
        return refuse_at(
            &places,
            "a join of windows is of each window with the same window, or it would keep endless state; write \
             ON a.window_start = b.window_start AND a.window_end = b.window_end AND …",
        );
    }
    if let ([one], [other]) = (left.as_slice(), right.as_slice())
        && one != other
    {
        return refuse_at(
            &places,
            format!(
                "the windows of the join's sides are not the same, so their rows would never meet: {one}, and {other}"
            ),
        );
    }
    Ok(())
}
