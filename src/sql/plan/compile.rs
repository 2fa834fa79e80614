//! A planned SELECT → a [`Pipeline`]: the parts below windows become row-wise stages that lanes run, the parts above them stay
//! DataFusion plans over the rows of closed windows. Queries with windows: `windowed.rs`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, DFSchemaRef, NullHandling};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column as PhysicalColumn;

use super::emission::{Emission, EmitClause};
use super::lookup::{Noted, is_small, refuse_alone, refuse_current, sides};
use super::pipeline::{Feed, Pipeline, Work};
use super::relation::{Reading, StreamTable};
use super::trace::{passed_by, same_instants, trace};
use super::window_node::{WindowNode, window_node};
use super::windowed;
use crate::sql::define::catalog::Table;
use crate::sql::refusal::{Result, not_row_wise, refuse, refuse_at};
use crate::window::assigner::Windows;
use crate::window::row_windows::RowWindows;
use crate::window::stage::Stage;
use crate::window::unnest::Unnest;

/// Compiles the plan of an INSERT's query. `target` is what it fills.
pub fn compile(
    plan: LogicalPlan,
    target: Option<Arc<Table>>,
    emit: &EmitClause,
    state: &SessionState,
) -> Result<Pipeline> {
    let plan = super::duplicates::rewrite(plan)?;
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    // Before now() and the like become constants, so that a restart is the same query.
    let fingerprint = plan.display_indent_schema().to_string();
    let plan = super::nth_value::rewrite(plan, state)?;
    let plan = super::distinct_rows::rewrite(plan, state)?;
    let rules: Vec<Arc<dyn datafusion::optimizer::OptimizerRule + Send + Sync>> = vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(OptimizeProjections::new()),
    ];
    let plan = Optimizer::with_rules(rules).optimize(plan, state, |_, _| {})?;
    let output = Arc::new(plan.schema().as_arrow().clone());
    let small = Noted::default();
    let rows = RowWise { state, small: &small };
    let emission = Emission::of(emit, target.as_deref(), &tables_below(&plan))?;
    if is_small(&plan) {
        return refuse_alone(&plan);
    }
    let (feeds, work, output) = match is_row_wise(&plan) {
        true => {
            let (feeds, work) = rows.query(&plan, target.as_deref())?;
            emission.check(emit, None)?;
            (feeds, work, output)
        }
        false => windowed::compile(&plan, rows, &emission, emit)?,
    };
    for feed in &feeds {
        super::processing_time::check(feed, &work)?;
    }
    let mut fingerprint = fingerprint;
    let mut named: Vec<&str> = Vec::new();
    for feed in &feeds {
        if !named.contains(&feed.table.name.as_str()) {
            named.push(&feed.table.name);
            let follows = match (&work, feed.reading) {
                (Work::Window(_), Reading::Table) => "\nits current rows",
                _ => "",
            };
            fingerprint = format!("{fingerprint}\n{}{follows}", feed.table.fingerprint());
        }
    }
    Ok(Pipeline { feeds, work, output, target, lookups: small.into_inner(), emission, fingerprint })
}

/// Whether each row can go its way without any other.
pub(super) fn is_row_wise(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Extension(_)
            if window_node(plan).is_some_and(|it| {
                it.duplicates.is_some() || matches!(it.windows, Windows::Session { .. }) || has_current_rows(&it.input)
            }) =>
        {
            false
        }
        LogicalPlan::Filter(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Extension(_) => plan.inputs().into_iter().all(is_row_wise),
        LogicalPlan::Join(join) => sides(join).is_some_and(|sides| is_row_wise(sides.stream)),
        LogicalPlan::Unnest(_) => row_wise_input(plan).is_some_and(is_row_wise),
        _ => false,
    }
}

/// Whether rows of it may be taken back: the rows of their windows are known when these have closed.
fn has_current_rows(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => stream_table(scan).is_ok_and(|stream| stream.reading == Reading::Table),
        other => other.inputs().into_iter().any(has_current_rows),
    }
}

/// The tables that a plan reads.
fn tables_below(plan: &LogicalPlan) -> Vec<&Table> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let streams = stream_table(scan).into_iter().filter(|stream| stream.reading != Reading::Lookup);
            streams.map(|stream| stream.table.as_ref()).collect()
        }
        other => other.inputs().into_iter().flat_map(tables_below).collect(),
    }
}

/// One of the ways from a table to a node.
pub(super) struct Branch<'p> {
    /// What is read.
    pub(super) scan: &'p TableScan,
    /// What is done to the rows.
    pub(super) stages: Vec<Stage>,
    /// Which column of the scan has the instants of the column that was asked for.
    pub(super) time: Option<usize>,
}

impl Branch<'_> {
    /// What it feeds an input with.
    pub(super) fn feed(self, input: usize) -> Result<Feed> {
        let StreamTable { table, reading, .. } = stream_table(self.scan)?;
        let scan = Arc::new(self.scan.projected_schema.as_arrow().clone());
        Ok(Feed { table: Arc::clone(table), reading: *reading, scan, stages: self.stages, input })
    }
}

/// Compiles what is done to rows one by one.
#[derive(Clone, Copy)]
pub(super) struct RowWise<'a> {
    pub(super) state: &'a SessionState,
    /// The small tables that are joined with.
    pub(super) small: &'a Noted,
}

impl RowWise<'_> {
    /// A query without state: every row for itself.
    fn query(self, plan: &LogicalPlan, target: Option<&Table>) -> Result<(Vec<Feed>, Work)> {
        let branches = self.branches(plan, None)?;
        for branch in &branches {
            let stream = stream_table(branch.scan)?;
            if stream.reading == Reading::Table {
                refuse_current::<()>(&branch.stages, &stream.table)?;
            }
            if stream.reading == Reading::Table && branches.len() > 1 {
                return refuse(format!(
                    "UNION ALL is not for the current rows of a table, here \"{0}\"; read its change events: CHANGES({0})",
                    stream.table.name
                ));
            }
        }
        let is_current = |branch: &Branch<'_>| stream_table(branch.scan).is_ok_and(|it| it.reading == Reading::Table);
        let work = match branches.as_slice() {
            [only] if is_current(only) => current_rows(plan, &stream_table(only.scan)?.table, target)?,
            _ => Work::Append,
        };
        Ok((branches.into_iter().map(|branch| branch.feed(0)).collect::<Result<_>>()?, work))
    }

    /// The ways from tables to a node, and where one of its columns comes from.
    pub(super) fn branches<'p>(self, plan: &'p LogicalPlan, column: Option<usize>) -> Result<Vec<Branch<'p>>> {
        let below = match plan {
            LogicalPlan::TableScan(_) if is_small(plan) => return refuse_alone(plan),
            LogicalPlan::TableScan(scan) => return Ok(vec![Branch { scan, stages: Vec::new(), time: column }]),
            LogicalPlan::Union(union) => {
                let mut all = Vec::new();
                for input in &union.inputs {
                    let mut branches = self.branches(input, column)?;
                    let stage = same_columns(input.schema(), &union.schema);
                    branches.iter_mut().for_each(|branch| branch.stages.extend(stage.clone()));
                    all.extend(branches);
                }
                return Ok(all);
            }
            LogicalPlan::Join(join) => column.and_then(|at| sides(join)?.of_stream(at)),
            LogicalPlan::Unnest(unnest) => column.and_then(|at| passed_by(unnest, at)),
            LogicalPlan::Projection(projection) => column.and_then(|at| same_instants(projection.expr.get(at)?, plan)),
            LogicalPlan::Extension(_) => {
                column.filter(|at| window_node(plan).is_some_and(|it| *at < it.input.schema().fields().len()))
            }
            _ => column,
        };
        let (input, window) = match (row_wise_input(plan), window_node(plan)) {
            (Some(input), _) => (input, None),
            (None, Some(node)) => (&node.input, Some(windows_of_rows(node, plan.schema())?)),
            (None, None) => return not_row_wise(plan),
        };
        let mut branches = self.branches(input, below)?;
        // Once for all branches: lookups are numbered.
        let stage = if window.is_some() { window } else { self.stage(plan)? };
        branches.iter_mut().for_each(|branch| branch.stages.extend(stage.clone()));
        Ok(branches)
    }

    /// The filters, projections and joins with small tables from the top of a plan down to the first node that is something else.
    pub(super) fn stages(self, plan: &LogicalPlan) -> Result<Vec<Stage>> {
        let Some(input) = row_wise_input(plan) else { return Ok(Vec::new()) };
        let mut stages = self.stages(input)?;
        stages.extend(self.stage(plan)?);
        Ok(stages)
    }

    /// What a node with a [`row_wise_input`] does to each row of it, if anything.
    fn stage(self, plan: &LogicalPlan) -> Result<Option<Stage>> {
        Ok(match plan {
            LogicalPlan::Filter(filter) => {
                Some(Stage::Filter(self.physical(&filter.predicate, filter.input.schema())?))
            }
            LogicalPlan::Projection(projection) => {
                let expressions = projection.expr.iter().map(|it| self.physical(it, projection.input.schema()));
                let schema = Arc::new(projection.schema.as_arrow().clone());
                Some(Stage::Project(expressions.collect::<Result<_>>()?, schema))
            }
            LogicalPlan::Join(join) => sides(join).map(|sides| self.lookup(&sides)).transpose()?,
            LogicalPlan::Unnest(unnest) => Some(Stage::Unnest(Unnest {
                columns: unnest.dependency_indices.clone(),
                arrays: unnest.list_type_columns.iter().map(|(at, _)| *at).collect(),
                keeps_empty: unnest.options.null_handling == NullHandling::PreserveAndExpandEmpty,
                schema: Arc::new(unnest.schema.as_arrow().clone()),
            })),
            _ => None,
        })
    }

    /// An expression over rows.
    pub(super) fn physical(self, expression: &Expr, schema: &DFSchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
        refuse_queries(expression)?;
        Ok(self.state.create_physical_expr(expression.clone(), schema)?)
    }
}

/// What a filter, a projection, an alias, a join with a small table or UNNEST gets its rows from.
pub(super) fn row_wise_input(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan {
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) | LogicalPlan::Projection(_) => {
            plan.inputs().into_iter().next()
        }
        LogicalPlan::Join(join) => sides(join).map(|sides| sides.stream),
        // Arrays, each of one depth.
        LogicalPlan::Unnest(unnest) => {
            let is_plain = unnest.struct_type_columns.is_empty()
                && unnest.list_type_columns.iter().all(|(_, list)| list.depth == 1)
                && unnest.options.null_handling != NullHandling::Preserve;
            is_plain.then_some(unnest.input.as_ref())
        }
        _ => None,
    }
}

/// Gives each row its windows.
fn windows_of_rows(node: &WindowNode, schema: &DFSchema) -> Result<Stage> {
    let Expr::Column(time) = &node.time else { return refuse("the event time of a window is a column") };
    let time = node.input.schema().index_of_column(time)?;
    let schema: SchemaRef = Arc::new(schema.as_arrow().clone());
    Ok(Stage::Windows(RowWindows { windows: node.windows, time, schema }))
}

/// What DataFusion could not make a join of.
pub(in crate::sql) fn refuse_queries(expression: &Expr) -> Result<()> {
    let is_query = |it: &Expr| {
        Ok(matches!(it, Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)))
    };
    if expression.exists(is_query)? {
        return refuse_at(
            &["( SELECT"],
            "this sub-query inside an expression is not supported; join with it, in a query over closed windows on window_start and \
             window_end",
        );
    }
    Ok(())
}

/// The current rows of a table: by its key, or counted.
fn current_rows(plan: &LogicalPlan, table: &Table, target: Option<&Table>) -> Result<Work> {
    if table.primary_key.is_empty() {
        if target.and_then(|target| target.options.get("mirror")) == Some("multiset") {
            return Ok(Work::Multiset);
        }
        return refuse(format!(
            "table \"{0}\" has changes but no PRIMARY KEY by which its current rows could be told apart; read its events with \
             CHANGES({0}), or count equal rows: 'mirror' = 'multiset' on the table that is filled",
            table.name
        ));
    }
    if let Some(mirror) = target.and_then(|target| target.options.get("mirror")).filter(|it| *it != "key") {
        return refuse(format!(
            "option 'mirror' is '{mirror}', but table \"{}\" has a PRIMARY KEY; leave the option out: its rows are mirrored by it",
            table.name
        ));
    }
    let place_of = |key: &String| {
        let traced =
            |at: &usize| trace(plan, *at).is_some_and(|(bottom, column)| bottom.schema().field(column).name() == key);
        (0..plan.schema().fields().len()).find(traced)
    };
    let key: Option<Vec<_>> = table.primary_key.iter().map(place_of).collect();
    match key {
        Some(key) => Ok(Work::Mirror { key }),
        None => refuse(format!(
            "the current rows of \"{0}\" are kept by its primary key ({1}), which the query must select; \
             to keep every event instead, read CHANGES({0})",
            table.name,
            table.primary_key.join(", ")
        )),
    }
}

/// Gives a branch of a UNION the columns of all of it, if they are not the same.
fn same_columns(branch: &DFSchema, union: &DFSchema) -> Option<Stage> {
    let (from, to) = (branch.as_arrow(), union.as_arrow());
    let is_same =
        |(from, to): (&Arc<datafusion::arrow::datatypes::Field>, &Arc<datafusion::arrow::datatypes::Field>)| {
            from.data_type() == to.data_type() && from.is_nullable() == to.is_nullable() && from.name() == to.name()
        };
    if from.fields().iter().zip(to.fields()).all(is_same) {
        return None;
    }
    let column = |(at, field): (usize, &Arc<datafusion::arrow::datatypes::Field>)| {
        Arc::new(PhysicalColumn::new(field.name(), at)) as Arc<dyn PhysicalExpr>
    };
    // What a branch says of its columns (that a text is a UUID) is not true of all.
    let fields = to.fields().iter().map(|field| field.as_ref().clone()).collect::<Vec<_>>();
    Some(Stage::Project(from.fields().iter().enumerate().map(column).collect(), Arc::new(Schema::new(fields))))
}

/// The table that a scan reads.
pub(super) fn stream_table(scan: &TableScan) -> Result<&StreamTable> {
    match StreamTable::of(scan) {
        Some(stream) => Ok(stream),
        None => refuse(format!("\"{}\" is not a table that can be read as a stream", scan.table_name)),
    }
}
