//! `UNNEST` in FROM as `unnest` in SELECT, which goes row by row:
//!
//! ```text
//!  SELECT o.id, i.sku FROM orders AS o CROSS JOIN UNNEST(o.items) AS i       or  FROM orders AS o, UNNEST(…)
//!  SELECT o.id, i.sku FROM (SELECT *, unnest(o.items) AS i FROM orders AS o) AS o
//!  … LEFT JOIN UNNEST(o.items) AS i ON TRUE                                  unnest_outer(o.items)
//! ```

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectNamePart, Query, Select, SelectItem, SetExpr, Spanned,
    TableAlias, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use datafusion::sql::sqlparser::tokenizer::Span;

use super::other_names::call;
use super::rewrite::{Mistake, each_query, subquery};

/// Rewrites the query and those inside it.
pub(in crate::sql) fn rewrite(query: &mut Query) -> Result<(), Mistake> {
    each_query(query, |query| {
        let shell = query.clone();
        if let SetExpr::Select(select) = query.body.as_mut() {
            while take_one(&shell, select).is_some() {}
            let joins = select.from.iter().flat_map(|from| &from.joins);
            return joins.filter_map(refused).next().map_or(Ok(()), Err);
        }
        Ok(())
    })
}

/// Takes the first UNNEST into the table before it.
fn take_one(shell: &Query, select: &mut Select) -> Option<()> {
    // What stands after a comma is a join, too.
    let after_comma = select.from.iter().skip(1).position(|from| matches!(from.relation, TableFactor::UNNEST { .. }));
    if let Some(before) = after_comma {
        let TableWithJoins { relation, joins } = select.from.remove(before + 1);
        let from = &mut select.from[before];
        from.joins.push(Join { relation, global: false, join_operator: JoinOperator::CrossJoin(JoinConstraint::None) });
        from.joins.extend(joins);
    }
    let is_first = |from: &TableWithJoins| from.joins.first().is_some_and(|join| is_unnest(join).is_some());
    let place = select.from.iter().position(is_first)?;
    let from = &mut select.from[place];
    let keeps_empty = is_unnest(from.joins.first()?)?;
    let join = from.joins.remove(0);
    let TableFactor::UNNEST { alias, mut array_exprs, .. } = join.relation else { return None };
    let (array, alias) = (array_exprs.pop()?, alias?);
    // PostgreSQL calls the column as the table, where it has no name of its own.
    let column = alias.columns.first().map_or_else(|| alias.name.clone(), |column| column.name.clone());
    let function = if keeps_empty { "unnest_outer" } else { "unnest" };
    let items = call(function, alias.name.span, vec![array]);
    let name = name_of(&from.relation);
    let projection = vec![
        SelectItem::Wildcard(WildcardAdditionalOptions::default()),
        SelectItem::ExprWithAlias { expr: items, alias: column.clone() },
    ];
    let alias_of = |name: Ident| TableAlias { explicit: true, name, columns: Vec::new(), at: None };
    let table = from.relation.clone();
    select.from[place].relation = subquery((shell, select), projection, table, None, name.map(alias_of));
    let _ = select.visit(&mut Items { table: &alias.name.value, column: &column });
    Some(())
}

/// Whether a join is with the items of an array, and keeps rows without any.
fn is_unnest(join: &Join) -> Option<bool> {
    let TableFactor::UNNEST { alias: Some(alias), array_exprs, with_offset: false, with_ordinality: false, .. } =
        &join.relation
    else {
        return None;
    };
    if array_exprs.len() != 1 || alias.columns.len() > 1 {
        return None;
    }
    let is_all = |on: &JoinConstraint| match on {
        JoinConstraint::None => true,
        JoinConstraint::On(Expr::Value(value)) => value.value == Value::Boolean(true),
        _ => false,
    };
    match &join.join_operator {
        JoinOperator::CrossJoin(on) | JoinOperator::Join(on) | JoinOperator::Inner(on) if is_all(on) => Some(false),
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) if is_all(on) => Some(true),
        _ => None,
    }
}

/// An UNNEST that is of another form.
fn refused(join: &Join) -> Option<Mistake> {
    let TableFactor::UNNEST { alias, array_exprs, with_offset, with_ordinality, .. } = &join.relation else {
        return None;
    };
    let place = array_exprs.first().map_or_else(|| Span::empty().start, |array| array.span().start);
    let message = match alias {
        _ if *with_offset || *with_ordinality => {
            "UNNEST has no places of its items (WITH ORDINALITY, WITH OFFSET) here; leave them out"
        }
        _ if array_exprs.len() != 1 => "UNNEST takes one array; write one for each",
        None => "UNNEST needs a name, by which its items are called; write UNNEST(items) AS item",
        Some(alias) if alias.columns.len() > 1 => {
            "UNNEST gives one column; the fields of items that are rows are item.field: write UNNEST(items) AS item"
        }
        Some(_) => "UNNEST is joined with CROSS JOIN, or LEFT JOIN … ON TRUE; write other conditions in WHERE",
    };
    Some((place, message.to_owned()))
}

fn name_of(relation: &TableFactor) -> Option<Ident> {
    match relation {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. }
        | TableFactor::TableFunction { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, args: None, .. } => match name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Items have no table any more: `i.sku` is a field of `i`, and with a name for the column `i.x` is `x`.
struct Items<'a> {
    table: &'a str,
    column: &'a Ident,
}

impl VisitorMut for Items<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = expression
            && names[0].value == self.table
            && self.table != self.column.value
        {
            names.remove(0);
            if let [only] = names.as_slice() {
                *expression = Expr::Identifier(only.clone());
            }
        }
        ControlFlow::Continue(())
    }
}
