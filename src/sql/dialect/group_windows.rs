//! Flink's older windows, which stand in GROUP BY, as Spark's, which [`super::spark`] makes windowing table functions of:
//!
//! ```text
//!  SELECT TUMBLE_START(at, INTERVAL '5' MINUTE), store, count(*) FROM sales GROUP BY TUMBLE(at, INTERVAL '5' MINUTE), store
//!  SELECT window_start, store, count(*) FROM sales GROUP BY window(at, INTERVAL '5' MINUTE), store
//! ```

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArguments, GroupByExpr, Ident, ObjectName, ObjectNamePart, Query, SelectItem, SetExpr,
    Spanned, VisitMut, VisitorMut,
};

use super::rewrite::{Mistake, each_query};

/// The windows, how many arguments they have, and what Spark calls them.
const WINDOWS: [(&str, usize, &str); 3] =
    [("TUMBLE", 2, "window"), ("HOP", 3, "window"), ("SESSION", 2, "session_window")];
/// What is asked of them, and the columns that have it.
const BOUNDS: [(&str, &str); 3] = [("START", "window_start"), ("END", "window_end"), ("ROWTIME", "window_time")];

/// Rewrites the query and those inside it.
pub(in crate::sql) fn rewrite(query: &mut Query) -> Result<(), Mistake> {
    each_query(query, rewrite_one)
}

fn rewrite_one(query: &mut Query) -> Result<(), Mistake> {
    let Query { body, order_by, .. } = query;
    let SetExpr::Select(select) = body.as_mut() else { return Ok(()) };
    let GroupByExpr::Expressions(groups, _) = &mut select.group_by else { return Ok(()) };
    let mut found = None;
    for group in groups {
        found = found.or(spark_window(group)?);
    }
    let Some(window) = found else { return Ok(()) };
    let mut bounds = Bounds { window };
    for item in &mut select.projection {
        // The window itself, as a struct.
        if let SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } = item
            && spark_window(expression)?.is_some()
        {
            continue;
        }
        if let SelectItem::UnnamedExpr(expression) = item
            && let Some(column) = bounds.column(expression)
        {
            *item = SelectItem::UnnamedExpr(Expr::Identifier(column));
            continue;
        }
        let _ = item.visit(&mut bounds);
    }
    let _ = select.having.visit(&mut bounds);
    let _ = order_by.visit(&mut bounds);
    Ok(())
}

/// Puts Spark's window in the place of Flink's; returns its name.
fn spark_window(group: &mut Expr) -> Result<Option<&'static str>, Mistake> {
    let Expr::Function(function) = group else { return Ok(None) };
    let Some((name, count, spark)) = WINDOWS.into_iter().find(|(name, ..)| is_called(function, name)) else {
        return Ok(None);
    };
    let span = function.name.span();
    let FunctionArguments::List(list) = &mut function.args else { return Ok(None) };
    if function.over.is_some() {
        return Ok(None);
    }
    if list.args.len() != count {
        let usage = match name {
            "HOP" => "HOP(time, INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)",
            "SESSION" => "SESSION(time, INTERVAL '5' MINUTE)",
            _ => "TUMBLE(time, INTERVAL '5' MINUTE)",
        };
        return Err((
            span.start,
            format!("{name} in GROUP BY is written {usage}; with an offset, write FROM {name}(table, …)"),
        ));
    }
    if count == 3 {
        // Spark writes the size first.
        list.args.swap(1, 2);
    }
    function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::with_span(span, spark))]);
    Ok(Some(name))
}

fn is_called(function: &Function, name: &str) -> bool {
    matches!(function.name.0.as_slice(), [ObjectNamePart::Identifier(own)] if own.value.eq_ignore_ascii_case(name))
}

/// Replaces `TUMBLE_START(…)` and its kin.
struct Bounds {
    window: &'static str,
}

impl Bounds {
    fn column(&self, expression: &Expr) -> Option<Ident> {
        let Expr::Function(function) = expression else { return None };
        let is_bound = |(bound, _): &&(&str, &str)| is_called(function, &format!("{}_{bound}", self.window));
        let (_, column) = BOUNDS.iter().find(is_bound)?;
        Some(Ident::with_span(function.name.span(), *column))
    }
}

impl VisitorMut for Bounds {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Some(column) = self.column(expression) {
            *expression = Expr::Identifier(column);
        }
        ControlFlow::Continue(())
    }
}
