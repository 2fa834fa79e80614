//! Spark's windows, which stand in GROUP BY, as windowing table functions in FROM:
//!
//! ```text
//!  SELECT window.start, store, count(*) FROM sales GROUP BY window(at, '5 minutes'), store
//!  SELECT window_start, store, count(*) FROM TUMBLE(sales, at, INTERVAL '5 minutes')
//!  GROUP BY window_start, window_end, store
//! ```

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr,
    Ident, Interval, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, Spanned, Subscript, TableAlias,
    TableFactor, Value, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use super::rewrite::{Mistake, each_query, subquery};

/// Rewrites the query and those inside it.
pub(in crate::sql) fn rewrite(query: &mut Query) -> Result<(), Mistake> {
    each_query(query, rewrite_one)
}

/// `window(…)` or `session_window(…)`.
fn spark_window(expression: &Expr) -> Option<(&Function, &'static str)> {
    let Expr::Function(function) = expression else { return None };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    let known = ["window", "session_window"].into_iter().find(|known| name.value.eq_ignore_ascii_case(known))?;
    (function.over.is_none()).then_some((function, known))
}

fn rewrite_one(query: &mut Query) -> Result<(), Mistake> {
    let shell = query.clone();
    let Query { body, order_by, .. } = query;
    let SetExpr::Select(select) = body.as_mut() else { return Ok(()) };
    let GroupByExpr::Expressions(groups, modifiers) = &select.group_by else { return Ok(()) };
    let Some(place) = groups.iter().position(|group| spark_window(group).is_some()) else { return Ok(()) };
    let Some((function, name)) = spark_window(&groups[place]) else { return Ok(()) };
    let (function, modifiers) = (function.clone(), modifiers.clone());
    let start = function.name.span().start;
    let wrong = |message: &str| Err((start, message.to_owned()));
    let mut others = groups.clone();
    others.remove(place);
    if others.iter().any(|group| spark_window(group).is_some()) {
        return wrong("GROUP BY has one window; this query has several");
    }
    let [from] = select.from.as_slice() else {
        return wrong(
            "a window in GROUP BY needs a query over one table; write FROM TUMBLE(…) and GROUP BY window_start, window_end",
        );
    };
    if !from.joins.is_empty() {
        return wrong(
            "a window in GROUP BY needs a query over one table; write FROM TUMBLE(…) and GROUP BY window_start, window_end",
        );
    }
    let arguments = arguments(&function, name)?;
    let mut table = from.relation.clone();
    if name == "session_window"
        && let Some(filter) = select.selection.take()
    {
        // Spark filters first: what WHERE drops keeps no session open.
        table = filtered(&shell, select, &table, filter);
    }
    let Some((data, alias)) = as_argument(table) else {
        return wrong("a window in GROUP BY needs a query over a table, CHANGES(table) or a sub-query");
    };
    // In the arguments of a table function, its table has no name.
    let own = alias.as_ref().map(|alias| alias.name.value.clone()).or_else(|| match &data {
        Expr::Identifier(table) => Some(table.value.clone()),
        _ => None,
    });
    let (mut arguments, mut keys) = (arguments, others.clone());
    if let Some(table) = own {
        let _ = arguments.visit(&mut Unqualified { table: &table });
        let _ = keys.visit(&mut Unqualified { table: &table });
    }
    let windowed = window_table(name, data, arguments, &keys, start)?;
    let mut select_from = from.clone();
    select_from.relation = function_table(windowed.0, windowed.1, alias, function.name.span());
    select.from = vec![select_from];
    let mentions = |name: &str| select.projection.iter().any(|item| item.to_string().contains(name));
    let bounds = ["window_start", "window_end", "window_time"].into_iter();
    let bounds = bounds.filter(|bound| *bound != "window_time" || mentions(bound));
    let bounds = bounds.map(|bound| Expr::Identifier(Ident::with_span(function.name.span(), bound)));
    let groups = bounds.chain(others).collect();
    select.group_by = GroupByExpr::Expressions(groups, modifiers);
    let mut uses = Uses { name };
    let Select { projection, having, .. } = select.as_mut();
    for item in projection {
        uses.item(item);
    }
    let _ = having.visit(&mut uses);
    let _ = order_by.visit(&mut uses);
    Ok(())
}

/// The arguments as expressions.
fn arguments(function: &Function, name: &str) -> Result<Vec<Expr>, Mistake> {
    let usage = match name {
        "window" => "window(column, '10 minutes' [, slide [, offset]])",
        _ => "session_window(column, '5 minutes')",
    };
    let wrong = || (function.name.span().start, format!("write {usage}"));
    let FunctionArguments::List(list) = &function.args else { return Err(wrong()) };
    let expression = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Ok(expression.clone()),
        _ => Err(wrong()),
    };
    let arguments = list.args.iter().map(expression).collect::<Result<Vec<_>, _>>()?;
    let most = if name == "window" { 4 } else { 2 };
    if (2..=most).contains(&arguments.len()) { Ok(arguments) } else { Err(wrong()) }
}

/// The table function that it is, and its arguments.
fn window_table(
    name: &str,
    data: Expr,
    arguments: Vec<Expr>,
    others: &[Expr],
    place: Location,
) -> Result<(&'static str, Vec<FunctionArg>), Mistake> {
    let plain = |expression: Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expression));
    let mut arguments = arguments.into_iter();
    let time = arguments.next().unwrap_or_else(|| data.clone());
    let mut lengths = Vec::new();
    for length in arguments {
        lengths.push(interval(length).map_err(|message| (place, message))?);
    }
    if name == "session_window" {
        let keys = Expr::Tuple(others.to_vec());
        let partition_by = FunctionArg::Named {
            name: Ident::new("partition_by"),
            arg: FunctionArgExpr::Expr(keys),
            operator: datafusion::sql::sqlparser::ast::FunctionArgOperator::RightArrow,
        };
        let mut all = vec![plain(data), plain(time)];
        all.extend(lengths.into_iter().map(plain));
        all.extend((!others.is_empty()).then_some(partition_by));
        return Ok(("SESSION", all));
    }
    // Spark writes the size before the slide; a slide as long as the size tumbles.
    let function = if lengths.len() == 1 || lengths[0] == lengths[1] { "TUMBLE" } else { "HOP" };
    match function {
        "HOP" => lengths.swap(0, 1),
        _ if lengths.len() > 1 => drop(lengths.remove(1)),
        _ => {}
    }
    let all = [data, time].into_iter().chain(lengths).map(plain).collect();
    Ok((function, all))
}

/// `'5 minutes'` or an INTERVAL.
fn interval(expression: Expr) -> Result<Expr, String> {
    match &expression {
        Expr::Interval(_) => Ok(expression),
        Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)) => Ok(Expr::Interval(Interval {
            value: Box::new(expression),
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        })),
        other => Err(format!("expected a length of time such as '5 minutes', found `{other}`")),
    }
}

/// The rows of a query's table that pass its WHERE, as a sub-query.
fn filtered(query: &Query, select: &Select, table: &TableFactor, filter: Expr) -> TableFactor {
    let all = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    let alias = match table {
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => alias.clone(),
        _ => None,
    };
    subquery((query, select), all, table.clone(), Some(filter), alias)
}

/// A table in FROM as the argument of a table function, and its alias.
fn as_argument(table: TableFactor) -> Option<(Expr, Option<TableAlias>)> {
    match table {
        TableFactor::Table { name, args: None, alias, .. } => match name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => Some((Expr::Identifier(name.clone()), alias)),
            _ => None,
        },
        TableFactor::Table { name, args: Some(args), alias, .. } => Some((call(name, args.args), alias)),
        TableFactor::Derived { subquery, alias, .. } => Some((Expr::Subquery(subquery), alias)),
        _ => None,
    }
}

fn call(name: ObjectName, args: Vec<FunctionArg>) -> Expr {
    Expr::Function(Function {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn function_table(name: &str, args: Vec<FunctionArg>, alias: Option<TableAlias>, span: Span) -> TableFactor {
    let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::with_span(span, name))]);
    TableFactor::Function { lateral: false, name, args, with_ordinality: false, alias }
}

/// Takes a table's name from before its columns.
struct Unqualified<'a> {
    table: &'a str,
}

impl VisitorMut for Unqualified<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = expression
            && let [table, column] = names.as_slice()
            && table.value == self.table
        {
            *expression = Expr::Identifier(column.clone());
        }
        ControlFlow::Continue(())
    }
}

/// Replaces uses of the window by its columns.
struct Uses {
    name: &'static str,
}

impl Uses {
    fn is_window(&self, expression: &Expr) -> bool {
        match expression {
            Expr::Identifier(name) => name.value.eq_ignore_ascii_case(self.name),
            other => spark_window(other).is_some(),
        }
    }

    /// The column of `window.start` or `window.end`.
    fn bound(&self, field: &Ident) -> Option<Expr> {
        let bound = ["start", "end"].into_iter().find(|bound| field.value.eq_ignore_ascii_case(bound))?;
        Some(Expr::Identifier(Ident::with_span(field.span, format!("window_{bound}"))))
    }

    fn replaced(&self, expression: &Expr) -> Option<Expr> {
        match expression {
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [window, field] if window.value.eq_ignore_ascii_case(self.name) => self.bound(field),
                _ => None,
            },
            Expr::CompoundFieldAccess { root, access_chain } if self.is_window(root) => match access_chain.as_slice() {
                [AccessExpr::Dot(Expr::Identifier(field))] => self.bound(field),
                [AccessExpr::Subscript(Subscript::Index { index: Expr::Value(value) })] => match &value.value {
                    Value::SingleQuotedString(field) => self.bound(&Ident::new(field)),
                    _ => None,
                },
                _ => None,
            },
            window if self.is_window(window) => {
                let span = window.span();
                let part = |part: Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(part));
                let text = |text: &str| Expr::Value(Value::SingleQuotedString(text.into()).into());
                let column = |name: &str| Expr::Identifier(Ident::with_span(span, name));
                let args = vec![
                    part(text("start")),
                    part(column("window_start")),
                    part(text("end")),
                    part(column("window_end")),
                ];
                Some(call(ObjectName(vec![ObjectNamePart::Identifier(Ident::new("named_struct"))]), args))
            }
            _ => None,
        }
    }

    /// A column of the result; one that is the window alone is called as in Spark.
    fn item(&mut self, item: &mut SelectItem) {
        if let SelectItem::UnnamedExpr(expression) = item
            && let Some(replaced) = self.replaced(expression)
        {
            let name = match expression {
                window if self.is_window(window) => self.name.to_owned(),
                Expr::CompoundIdentifier(names) => names.last().map_or_else(String::new, |name| name.value.clone()),
                _ => replaced.to_string().trim_start_matches("window_").to_owned(),
            };
            *item = SelectItem::ExprWithAlias { expr: replaced, alias: Ident::new(name) };
            return;
        }
        let _ = item.visit(self);
    }
}

impl VisitorMut for Uses {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Some(replaced) = self.replaced(expression) {
            *expression = replaced;
        }
        ControlFlow::Continue(())
    }
}
