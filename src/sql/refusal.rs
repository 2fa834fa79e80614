//! Why a query cannot run as a stream: what, where, what to write instead.

use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::sql::sqlparser::tokenizer::Location;

use super::grouping::missing_bounds;
use super::pipeline::ResultColumn;
use super::trace::{traces_to_window, unaliased};
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

/// Why several streams cannot be one, and what to write instead.
pub(super) fn several_inputs(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::Join(_) => "a join of streams is not supported yet; write each stream to ClickHouse with an INSERT of its own, and join there".into(),
        LogicalPlan::Union(_) => "a UNION of streams is not supported yet; write one INSERT per stream, each into a table of its own".into(),
        other => format!("{} of streams is not supported yet; write one INSERT per stream", node_name(other)),
    }
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

/// Above the window aggregation, rows are looked at a window at a time: what groups or numbers them must say so.
pub(super) fn check_above(
    plan: &LogicalPlan,
    aggregate: &Aggregate,
    columns: &[ResultColumn],
    windows: Windows,
) -> Result<()> {
    let by_window = |input: &LogicalPlan, expressions: &[Expr]| {
        let place = |expression: &Expr| match unaliased(expression) {
            Expr::Column(column) => input.schema().maybe_index_of_column(column),
            _ => None,
        };
        let bounds =
            expressions.iter().filter_map(place).filter_map(|at| traces_to_window(input, at, aggregate, columns));
        missing_bounds(&bounds.collect::<Vec<_>>(), windows)
    };
    let needed = match windows {
        Windows::Cumulate { .. } | Windows::Session { .. } => "window_start and window_end",
        _ => "window_start or window_end",
    };
    match plan {
        LogicalPlan::Aggregate(it) if it == aggregate => return Ok(()),
        LogicalPlan::Aggregate(it) if by_window(&it.input, &it.group_expr).is_some() => {
            return refuse_at(
                &["GROUP BY"],
                format!(
                    "a second aggregation is over the rows of each closed window, so it must group by {needed}; \
                     to combine windows, use one longer window"
                ),
            );
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
            let places = 0..input.schema().fields().len();
            let bounds = places.filter_map(|at| traces_to_window(input, at, aggregate, columns)).collect::<Vec<_>>();
            if missing_bounds(&bounds, windows).is_some() {
                return refuse_at(
                    &["DISTINCT"],
                    format!("DISTINCT is over the rows of each closed window, so select {needed} too"),
                );
            }
        }
        _ => {}
    }
    plan.inputs().into_iter().try_for_each(|input| check_above(input, aggregate, columns, windows))
}
