//! GROUP BY of a windowed aggregation: which of its columns are the window's, which are keys, and its grouping sets.

use datafusion::common::Column;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet as SqlGroupingSet, LogicalPlan};

use super::lookup::{Sides, sides};
use super::pipeline::ResultColumn;
use super::trace::{unaliased, window_column};
use super::window_node::WindowNode;
use crate::sql::refusal::{Result, refuse_at};
use crate::window::aggregate::GroupingSet;
use crate::window::assigner::Windows;
use crate::window::calendar::Span;

/// A GROUP BY.
pub(super) struct Grouping {
    /// Where each column of the aggregation's result comes from.
    pub(super) columns: Vec<ResultColumn>,
    /// The keys besides the window.
    pub(super) keys: Vec<Expr>,
    /// The grouping sets, empty without.
    pub(super) sets: Vec<GroupingSet>,
}

/// Sorts out a GROUP BY.
pub(super) fn grouping(aggregate: &Aggregate, node: &WindowNode) -> Result<Grouping> {
    let width = node.input.schema().fields().len();
    let expressions: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
    let mut grouping = Grouping { columns: Vec::new(), keys: Vec::new(), sets: Vec::new() };
    for expression in &expressions {
        grouping.columns.push(match window_column(expression, &aggregate.input, width) {
            Some(column) => ResultColumn::Window(column),
            None => {
                grouping.keys.push(expression.clone());
                ResultColumn::Key(grouping.keys.len() - 1)
            }
        });
    }
    match aggregate.group_expr.as_slice() {
        [Expr::GroupingSet(set)] => {
            for members in sets_of(set) {
                add_set(&mut grouping, &expressions, &members, node)?;
            }
            grouping.columns.push(ResultColumn::GroupingSet);
        }
        _ => {
            let bounds = grouping.columns.iter().filter_map(|column| match column {
                ResultColumn::Window(bound) => Some(*bound),
                _ => None,
            });
            check_bounds(&bounds.collect::<Vec<_>>(), node.windows, "GROUP BY")?;
        }
    }
    grouping.columns.extend((0..aggregate.aggr_expr.len()).map(ResultColumn::Value));
    Ok(grouping)
}

/// The expressions of each set.
pub(in crate::sql) fn sets_of(set: &SqlGroupingSet) -> Vec<Vec<Expr>> {
    match set {
        SqlGroupingSet::GroupingSets(sets) => sets.clone(),
        SqlGroupingSet::Rollup(all) => (0..=all.len()).rev().map(|count| all[..count].to_vec()).collect(),
        SqlGroupingSet::Cube(all) => (0..1_usize << all.len().min(20))
            .rev()
            .map(|mask| {
                let is_in = |place: usize| mask >> (all.len() - 1 - place) & 1 == 1;
                (0..all.len()).filter(|&place| is_in(place)).map(|place| all[place].clone()).collect()
            })
            .collect(),
    }
}

fn add_set(grouping: &mut Grouping, expressions: &[Expr], members: &[Expr], node: &WindowNode) -> Result<()> {
    let mut set = GroupingSet { keys: vec![false; grouping.keys.len()], id: 0 };
    let mut bounds = Vec::new();
    // DataFusion's number has a bit per expression, the last one lowest, which is 1 where it is left out; above these, which of
    // several equal sets it is.
    for (place, (expression, column)) in expressions.iter().zip(&grouping.columns).enumerate() {
        let is_in = members.contains(expression);
        set.id |= u64::from(!is_in) << (expressions.len() - 1 - place);
        match column {
            ResultColumn::Key(key) => set.keys[*key] = is_in,
            ResultColumn::Window(bound) if is_in => bounds.push(*bound),
            _ => {}
        }
    }
    let all_bounds = grouping.columns.iter().filter(|column| matches!(column, ResultColumn::Window(_))).count();
    let message = "each grouping set";
    if bounds.len() < all_bounds {
        return refuse_at(
            &["GROUPING SETS", "ROLLUP", "CUBE", "GROUP BY"],
            "a grouping set without the window would never be complete; keep window_start and window_end in each: \
             GROUP BY window_start, window_end, ROLLUP (a, b)",
        );
    }
    check_bounds(&bounds, node.windows, message)?;
    let equal = grouping.sets.iter().filter(|it| it.keys == set.keys).count() as u64;
    set.id |= equal << expressions.len();
    grouping.sets.push(set);
    Ok(())
}

/// What tells two windows apart must be in GROUP BY: a group of several windows would be complete when the last is.
fn check_bounds(bounds: &[usize], windows: Windows, place: &str) -> Result<()> {
    let words = ["GROUP BY", "TUMBLE", "HOP", "CUMULATE", "SESSION"];
    if bounds.is_empty() {
        return refuse_at(
            &words,
            "GROUP BY has no window column, so no group would ever be complete; add window_start, window_end",
        );
    }
    match missing_bounds(bounds, windows) {
        None => Ok(()),
        Some(missing) => refuse_at(&words, format!("{place} lacks {missing}; group by window_start, window_end")),
    }
}

/// Which of the window's columns would have to be there as well to tell one window from another, and why.
pub(in crate::sql) fn missing_bounds(bounds: &[usize], windows: Windows) -> Option<&'static str> {
    let (has_start, has_end) = (bounds.contains(&0), bounds.iter().any(|bound| *bound > 0));
    match windows {
        _ if !has_start && !has_end => Some("window_start and window_end"),
        Windows::Hop { starts, size: Span::Months(_) } if !has_start && !matches!(starts.every, Span::Months(_)) => {
            Some("window_start: windows of HOP that are months long may end together")
        }
        Windows::Cumulate { .. } if !has_end => Some("window_end: the windows of CUMULATE begin together"),
        Windows::Session { .. } if !has_end => Some("window_end: sessions of several keys may begin together"),
        Windows::Session { .. } if !has_start => Some("window_start: sessions of several keys may end together"),
        _ => None,
    }
}

/// Rows of windows that share their panes have no window before the aggregation: there, the window's columns may only be passed
/// on to GROUP BY. Returns one that is computed with; then rows are kept as they are, and aggregated when their windows have closed.
pub(super) fn check_window_columns(aggregate: &Aggregate, node: &WindowNode) -> Option<Column> {
    if matches!(node.windows, Windows::Tumble(_)) {
        return None;
    }
    let width = node.input.schema().fields().len();
    let groups = grouping_set_to_exprlist(&aggregate.group_expr).unwrap_or_default();
    let mut found = computes_with_window(groups.into_iter().chain(&aggregate.aggr_expr), &aggregate.input, width);
    let mut plan = aggregate.input.as_ref();
    while found.is_none() {
        plan = match plan {
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Unnest(unnest) => &unnest.input,
            LogicalPlan::Filter(filter) => {
                found = computes_with_window([&filter.predicate].into_iter(), &filter.input, width);
                &filter.input
            }
            LogicalPlan::Projection(projection) => {
                found = computes_with_window(projection.expr.iter(), &projection.input, width);
                &projection.input
            }
            LogicalPlan::Join(join) => match sides(join) {
                Some(sides) => {
                    found = looks_at_window(&sides, width);
                    sides.stream
                }
                None => return None,
            },
            _ => return None,
        };
    }
    found
}

/// A column of the window by which a small table is joined with.
pub(super) fn looks_at_window(sides: &Sides<'_>, width: usize) -> Option<Column> {
    let columns = sides.looked_at().flat_map(Expr::column_refs);
    let is_window = |it: &&Column| window_column(&Expr::Column((*it).clone()), sides.stream, width).is_some();
    columns.into_iter().find(is_window).cloned()
}

/// A column of the window that an expression is not, but computes with.
pub(super) fn computes_with_window<'a>(
    expressions: impl Iterator<Item = &'a Expr>,
    input: &LogicalPlan,
    width: usize,
) -> Option<Column> {
    for expression in expressions {
        if matches!(unaliased(expression), Expr::Column(_)) {
            continue;
        }
        let is_window = |it: &&Column| window_column(&Expr::Column((*it).clone()), input, width).is_some();
        if let Some(column) = expression.column_refs().into_iter().find(is_window) {
            return Some(column.clone());
        }
    }
    None
}
