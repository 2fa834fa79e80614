//! Windows in GROUP BY that stand there by their number or name, and those without a time:
//!
//! ```text
//!  SELECT window(at, '5 minutes') AS w, upper(k) AS key … GROUP BY w, 2    … GROUP BY window(at, '5 minutes'), upper(k)
//!  SELECT tumble(INTERVAL '1 hour') AS window … FROM t GROUP BY window     … GROUP BY tumble(at, INTERVAL '1 hour')
//! ```
//!
//! Other numbers and names beside a window are resolved as well: a session is of the rest of the GROUP BY.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, ObjectName, ObjectNamePart, Query,
    Select, SelectItem, SetExpr, TableFactor, Value,
};

use super::rewrite::{Mistake, each_query};
use crate::sql::define::catalog::Script;

/// Windows that stand in GROUP BY, and how many arguments they have without a time.
const WINDOWS: [(&str, usize); 5] = [("window", 1), ("session_window", 1), ("tumble", 1), ("hop", 2), ("session", 1)];

/// Rewrites the query and those inside it.
pub(in crate::sql) fn rewrite(query: &mut Query, script: &Script) -> Result<(), Mistake> {
    each_query(query, |query| {
        if let SetExpr::Select(select) = query.body.as_mut() {
            rewrite_one(select, script);
        }
        Ok(())
    })
}

fn rewrite_one(select: &mut Select, script: &Script) {
    let GroupByExpr::Expressions(groups, modifiers) = &select.group_by else { return };
    let resolved: Vec<Expr> = groups.iter().map(|group| meant(group, select, script).clone()).collect();
    if !resolved.iter().any(|group| window(group).is_some()) {
        return;
    }
    select.group_by = GroupByExpr::Expressions(resolved, modifiers.clone());
    let Some(time) = time_of(select, script) else { return };
    if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
        groups.iter_mut().for_each(|group| give_time(group, &time));
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } = item {
            give_time(expression, &time);
        }
    }
}

/// What a key of GROUP BY stands for.
fn meant<'a>(group: &'a Expr, select: &'a Select, script: &Script) -> &'a Expr {
    let found = match group {
        Expr::Value(value) => match &value.value {
            Value::Number(place, _) => place
                .parse::<usize>()
                .ok()
                .and_then(|place| select.projection.get(place.checked_sub(1)?))
                .and_then(item),
            _ => None,
        },
        // A column of the rows goes before one of the result.
        Expr::Identifier(name) if !select.from.iter().any(|from| has_column(&from.relation, name, script)) => {
            select.projection.iter().find_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias } if alias.value == name.value => Some(expr),
                _ => None,
            })
        }
        _ => None,
    };
    found.unwrap_or(group)
}

fn item(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } => Some(expression),
        _ => None,
    }
}

fn has_column(relation: &TableFactor, name: &Ident, script: &Script) -> bool {
    match relation {
        TableFactor::Table { name: table, .. } => match table.0.as_slice() {
            [ObjectNamePart::Identifier(table)] => {
                let view = script.views.iter().find(|view| view.name == table.value);
                let table = script.tables.get(&table.value);
                table.is_some_and(|table| table.columns.field_with_name(&name.value).is_ok())
                    || view.is_some_and(|view| gives(&view.query, name, script))
            }
            _ => false,
        },
        TableFactor::Derived { subquery, .. } => gives(subquery, name, script),
        _ => false,
    }
}

/// Whether a query has a column of that name.
fn gives(query: &Query, name: &Ident, script: &Script) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    select.projection.iter().any(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => alias.value == name.value,
        SelectItem::UnnamedExpr(Expr::Identifier(column)) => column.value == name.value,
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
            names.last().is_some_and(|column| column.value == name.value)
        }
        SelectItem::Wildcard(_) => select.from.iter().any(|from| has_column(&from.relation, name, script)),
        _ => false,
    })
}

/// A window, and how many arguments it has without a time.
fn window(expression: &Expr) -> Option<usize> {
    let Expr::Function(function) = expression else { return None };
    let ([ObjectNamePart::Identifier(name)], None) = (function.name.0.as_slice(), &function.over) else { return None };
    WINDOWS.iter().find(|(known, _)| name.value.eq_ignore_ascii_case(known)).map(|(_, count)| *count)
}

/// The event time of the table that is read, if it is a table.
fn time_of(select: &Select, script: &Script) -> Option<Ident> {
    let [from] = select.from.as_slice() else { return None };
    let TableFactor::Table { name: ObjectName(parts), args: None, .. } = &from.relation else { return None };
    let [ObjectNamePart::Identifier(name)] = parts.as_slice() else { return None };
    let watermark = script.tables.get(&name.value)?.watermark.as_ref()?;
    Some(Ident::with_quote('"', watermark.column.as_str()))
}

/// Puts the time before the lengths, where these are alone.
fn give_time(expression: &mut Expr, time: &Ident) {
    let Some(count) = window(expression) else { return };
    let Expr::Function(function) = expression else { return };
    let FunctionArguments::List(list) = &mut function.args else { return };
    let is_length = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Interval(_))) => true,
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => {
            matches!(value.value, Value::SingleQuotedString(_))
        }
        _ => false,
    };
    if list.args.len() == count && list.args.iter().all(is_length) {
        list.args.insert(0, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(time.clone()))));
    }
}
