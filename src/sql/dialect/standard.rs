//! Standard SQL (and PostgreSQL's operators of JSON) in the words that DataFusion has for it:
//!
//! ```text
//!  … FETCH FIRST 3 ROWS ONLY                     … LIMIT 3
//!  CAST(a AS VARCHAR(2))                         left(CAST(a AS VARCHAR), 2)
//!  TIMESTAMP '2026-03-01 10:00'                  TIMESTAMP '2026-03-01 10:00:00'
//!  JSON_VALUE(a, '$.b' RETURNING INT)            CAST(json_value(a, '$.b') AS INT)
//!  a -> 'b', a ->> 'b', a -> 0                   json_get(a, '$[''b'']'), get_json_object(…), …
//!  SELECT t.window_start FROM TUMBLE(t, …)       SELECT t.window_start FROM TUMBLE(t, …) AS t
//! ```

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CharacterLength, DataType, Expr, Fetch, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, Ident, LimitClause, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    Spanned, Subscript, TableAlias, TableFactor, Value, VisitMut, VisitorMut,
};

use super::other_names::{call, text};
use crate::sql::plan::window_call::window_function;
use crate::window::aggregate::WINDOW_COLUMNS;

/// Rewrites a query and those inside it.
pub(in crate::sql) fn rewrite(query: &mut Query) {
    let _ = query.visit(&mut Standard);
}

struct Standard;

impl VisitorMut for Standard {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        limit(query);
        if let SetExpr::Select(select) = query.body.as_mut() {
            name_windows(select);
            name_fields(select);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Some(rewritten) = rewritten(expression) {
            *expression = rewritten;
        }
        ControlFlow::Continue(())
    }
}

/// `FETCH FIRST n ROWS ONLY` as `LIMIT n`.
fn limit(query: &mut Query) {
    let count = match &query.fetch {
        Some(Fetch { with_ties: false, percent: false, quantity }) => quantity.clone(),
        _ => return,
    };
    let count = count.unwrap_or_else(|| Expr::value(Value::Number("1".to_owned(), false)));
    let offset = match &query.limit_clause {
        None => None,
        Some(LimitClause::LimitOffset { limit: None, offset, .. }) => offset.clone(),
        Some(_) => return,
    };
    query.limit_clause = Some(LimitClause::LimitOffset { limit: Some(count), offset, limit_by: Vec::new() });
    query.fetch = None;
}

/// A field of a row is called as the field: `customer.name`, `items[1].price`.
fn name_fields(select: &mut Select) {
    let tables: BTreeSet<String> = select
        .from
        .iter_mut()
        .flat_map(|from| {
            std::iter::once(&mut from.relation).chain(from.joins.iter_mut().map(|join| &mut join.relation))
        })
        .filter_map(name_of)
        .collect();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expression) = item else { continue };
        let name = match &*expression {
            Expr::CompoundIdentifier(names) if names.len() > 2 || !tables.contains(&names[0].value) => {
                names.last().cloned()
            }
            Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
                Some(AccessExpr::Dot(Expr::Identifier(name))) => Some(name.clone()),
                _ => None,
            },
            _ => None,
        };
        if let Some(alias) = name {
            *item = SelectItem::ExprWithAlias { expr: expression.clone(), alias };
        }
    }
}

/// What a table in FROM is called.
fn name_of(factor: &mut TableFactor) -> Option<String> {
    if let Some((name, _)) = unnamed_window(factor) {
        return Some(name.value);
    }
    let (name, alias) = match factor {
        TableFactor::Table { name, alias, .. } | TableFactor::Function { name, alias, .. } => (Some(name), alias),
        TableFactor::Derived { alias, .. } | TableFactor::TableFunction { alias, .. } => (None, alias),
        _ => return None,
    };
    match (alias, name.map(|name| name.0.as_slice())) {
        (Some(alias), _) => Some(alias.name.value.clone()),
        (None, Some([ObjectNamePart::Identifier(name)])) => Some(name.value.clone()),
        _ => None,
    }
}

/// A window over `t` without a name is called `t` where its columns are asked for as `t.window_start`.
fn name_windows(select: &mut Select) {
    let mut asked = Asked::default();
    for item in &mut select.projection {
        let _ = item.visit(&mut asked);
    }
    let _ = select.selection.visit(&mut asked);
    let _ = select.group_by.visit(&mut asked);
    let _ = select.having.visit(&mut asked);
    let _ = select.qualify.visit(&mut asked);
    for from in &mut select.from {
        let _ = from.joins.visit(&mut asked);
    }
    let factors = select.from.iter_mut().flat_map(|from| {
        std::iter::once(&mut from.relation).chain(from.joins.iter_mut().map(|join| &mut join.relation))
    });
    for factor in factors {
        if let Some((name, alias)) = unnamed_window(factor)
            && asked.0.contains(&name.value)
        {
            *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
    }
}

/// The tables of which a column of the window is asked for.
#[derive(Default)]
struct Asked(BTreeSet<String>);

impl VisitorMut for Asked {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = expression
            && let [table, column] = names.as_slice()
            && WINDOW_COLUMNS.contains(&column.value.as_str())
        {
            self.0.insert(table.value.clone());
        }
        ControlFlow::Continue(())
    }
}

/// The table that a window without a name is over, and where its name would be.
fn unnamed_window(factor: &mut TableFactor) -> Option<(Ident, &mut Option<TableAlias>)> {
    let (first, alias) = match factor {
        TableFactor::Table { name, args: Some(args), alias: alias @ None, .. } if is_window(&name.0) => {
            (args.args.first()?, alias)
        }
        TableFactor::Function { name, args, alias: alias @ None, .. } if is_window(&name.0) => (args.first()?, alias),
        TableFactor::TableFunction { expr: Expr::Function(function), alias: alias @ None } => {
            let FunctionArguments::List(list) = &function.args else { return None };
            if !is_window(&function.name.0) {
                return None;
            }
            (list.args.first()?, alias)
        }
        _ => return None,
    };
    let (FunctionArg::Unnamed(FunctionArgExpr::Expr(table))
    | FunctionArg::Named { arg: FunctionArgExpr::Expr(table), .. }) = first
    else {
        return None;
    };
    let name = match table {
        Expr::Identifier(name) => name.clone(),
        // CHANGES(t)
        Expr::Function(function) => match &function.args {
            FunctionArguments::List(list) => match list.args.as_slice() {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name)))] => name.clone(),
                _ => return None,
            },
            _ => return None,
        },
        _ => return None,
    };
    Some((name, alias))
}

fn is_window(name: &[ObjectNamePart]) -> bool {
    matches!(name, [ObjectNamePart::Identifier(name)] if window_function(&name.value.to_ascii_uppercase()).is_some())
}

fn rewritten(expression: &mut Expr) -> Option<Expr> {
    match expression {
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, .. } => {
            with_seconds(expr, data_type);
            let length = take_length(data_type)?;
            let length = Expr::value(Value::Number(length.to_string(), false));
            let whole = std::mem::replace(expression, Expr::value(Value::Null));
            Some(call("left", whole.span(), vec![whole, length]))
        }
        Expr::TypedString(typed) => {
            let mut value = Expr::Value(typed.value.clone());
            with_seconds(&mut value, &typed.data_type);
            if let Expr::Value(value) = value {
                typed.value = value;
            }
            None
        }
        Expr::BinaryOp { left, op: op @ (BinaryOperator::Arrow | BinaryOperator::LongArrow), right } => {
            let Expr::Value(key) = right.as_ref() else { return None };
            let path = match &key.value {
                Value::SingleQuotedString(name) if !name.contains([']', '\'', '"']) => format!("$['{name}']"),
                Value::Number(place, _) => format!("$[{place}]"),
                _ => return None,
            };
            let function = if *op == BinaryOperator::Arrow { "json_get" } else { "get_json_object" };
            Some(call(function, left.span(), vec![(**left).clone(), text(&path)]))
        }
        Expr::CompoundFieldAccess { access_chain, .. } => {
            // DataFusion reads `items[1].price` as items[1]['price'] alone.
            let after = access_chain.iter().position(|access| matches!(access, AccessExpr::Subscript(_)))?;
            for access in &mut access_chain[after..] {
                if let AccessExpr::Dot(Expr::Identifier(field)) = access {
                    *access = AccessExpr::Subscript(Subscript::Index { index: text(&field.value) });
                }
            }
            None
        }
        Expr::Function(function) => {
            let FunctionArguments::List(list) = &mut function.args else { return None };
            let is_returning =
                |it: &FunctionArgumentClause| matches!(it, FunctionArgumentClause::JsonReturningClause(_));
            let at = list.clauses.iter().position(is_returning)?;
            let FunctionArgumentClause::JsonReturningClause(returning) = list.clauses.remove(at) else { return None };
            Some(Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(Expr::Function(function.clone())),
                data_type: returning.data_type,
                array: false,
                format: None,
            })
        }
        _ => None,
    }
}

/// The length of a type of texts, which is taken away.
fn take_length(data_type: &mut DataType) -> Option<u64> {
    let (DataType::Varchar(length)
    | DataType::Nvarchar(length)
    | DataType::CharacterVarying(length)
    | DataType::CharVarying(length)
    | DataType::Char(length)
    | DataType::Character(length)) = data_type
    else {
        return None;
    };
    match length.take()? {
        CharacterLength::IntegerLength { length, .. } => Some(length),
        CharacterLength::Max => None,
    }
}

/// A literal of a time to the minute, which DataFusion does not read.
fn with_seconds(value: &mut Expr, data_type: &DataType) {
    if let Expr::Value(value) = value
        && let Value::SingleQuotedString(text) = &mut value.value
        && matches!(data_type, DataType::Timestamp(..) | DataType::Datetime(_))
        && is_to_the_minute(text)
    {
        text.push_str(":00");
    }
}

fn is_to_the_minute(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 16
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            10 => matches!(byte, b' ' | b'T'),
            13 => *byte == b':',
            _ => byte.is_ascii_digit(),
        })
}
