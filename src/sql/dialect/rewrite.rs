//! What the rewriting of queries is made of.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Location;

/// A mistake and its place.
pub(super) type Mistake = (Location, String);

/// Rewrites a query, then those inside it, up to the first mistake.
pub(super) fn each_query(
    query: &mut Query,
    rewrite: impl FnMut(&mut Query) -> Result<(), Mistake>,
) -> Result<(), Mistake> {
    struct Queries<F>(F);
    impl<F: FnMut(&mut Query) -> Result<(), Mistake>> VisitorMut for Queries<F> {
        type Break = Mistake;

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Mistake> {
            match (self.0)(query) {
                Ok(()) => ControlFlow::Continue(()),
                Err(mistake) => ControlFlow::Break(mistake),
            }
        }
    }
    match query.visit(&mut Queries(rewrite)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(mistake) => Err(mistake),
    }
}

/// `(SELECT projection FROM table WHERE filter) AS alias`, where `pattern`, a query and its SELECT, has all else that sqlparser wants to know.
pub(super) fn subquery(
    pattern: (&Query, &Select),
    projection: Vec<SelectItem>,
    table: TableFactor,
    filter: Option<Expr>,
    alias: Option<TableAlias>,
) -> TableFactor {
    let (query, select) = pattern;
    let select = Select {
        distinct: None,
        projection,
        from: vec![TableWithJoins { relation: table, joins: Vec::new() }],
        selection: filter,
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        having: None,
        qualify: None,
        named_window: Vec::new(),
        ..select.clone()
    };
    let query = Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        ..query.clone()
    };
    TableFactor::Derived { lateral: false, subquery: Box::new(query), alias, sample: None }
}
