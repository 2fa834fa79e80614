//! A planned SELECT → a [`Pipeline`]: the parts below the window aggregation become row-wise stages that lanes run,
//! the part above it stays a DataFusion plan over the rows of closed windows.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Aggregate, Expr, Extension, LogicalPlan, LogicalPlanBuilder, TableScan};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregate, LoweredAggregateBuilder};
use datafusion::physical_expr::utils::collect_columns;

use super::catalog::Table;
use super::closing::{ClosedInput, ClosedRows, Closing};
use super::emission::{Emission, EmitClause, row_identity};
use super::grouping::{Grouping, check_window_columns, grouping};
use super::pipeline::{Feed, Pipeline, ResultColumn, Windowed, Work};
use super::refusal::{Result, check_above, function_name, not_row_wise, refuse, refuse_at, several_inputs};
use super::relation::{Reading, StreamTable};
use super::trace::{is_group_key, trace};
use super::window_node::WindowNode;
use crate::window::aggregate::{WINDOW_COLUMNS, WindowPlan};
use crate::window::assigner::Windows;
use crate::window::pane::PaneLayout;
use crate::window::session_state::SessionPlan;
use crate::window::stage::{Stage, output_schema};

/// Compiles the plan of an INSERT's query. `target` is what it fills.
pub fn compile(
    plan: LogicalPlan,
    target: Option<Arc<Table>>,
    emit: &EmitClause,
    state: &SessionState,
) -> Result<Pipeline> {
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    // Before now() and the like become constants, so that a restart is the same query.
    let fingerprint = plan.display_indent_schema().to_string();
    let plan = super::nth_value::rewrite(plan, state)?;
    let rules: Vec<Arc<dyn datafusion::optimizer::OptimizerRule + Send + Sync>> =
        vec![Arc::new(SimplifyExpressions::new()), Arc::new(OptimizeProjections::new())];
    let plan = Optimizer::with_rules(rules).optimize(plan, state, |_, _| {})?;
    let output = Arc::new(plan.schema().as_arrow().clone());
    let compiler = Compiler { state, target: target.as_deref(), emit };
    let (feed, work) = match window_aggregation(&plan)? {
        Some(aggregate) => compiler.window(&plan, aggregate)?,
        None => compiler.row_wise(&plan, target.as_deref())?,
    };
    super::processing_time::check(&feed, &work)?;
    let fingerprint = format!("{fingerprint}\n{}", feed.table.fingerprint());
    let output = match work {
        Work::Window(_) => with_window_bounds(&output),
        _ => output,
    };
    let emission = compiler.emission(&feed.table)?;
    let windows = match &work {
        Work::Window(windowed) => windowed.inputs.first().map(|input| input.windows),
        _ => None,
    };
    emission.check(emit, windows)?;
    Ok(Pipeline { feeds: vec![feed], work, output, target, emission, fingerprint })
}

/// The columns of results: a window always has bounds.
fn with_window_bounds(output: &Schema) -> SchemaRef {
    let fields = output.fields().iter().map(|field| {
        let is_bound = WINDOW_COLUMNS.contains(&field.name().as_str());
        field.as_ref().clone().with_nullable(field.is_nullable() && !is_bound)
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), output.metadata().clone()))
}

/// What a scan reads, and what is done to the rows.
fn feed(scan: &TableScan, stages: Vec<Stage>) -> Result<Feed> {
    let StreamTable { table, reading, .. } = stream_table(scan)?;
    let scan = Arc::new(scan.projected_schema.as_arrow().clone());
    Ok(Feed { table: Arc::clone(table), reading: *reading, scan, stages, input: 0 })
}

/// The aggregation nearest to the stream, which is the one that has the window; `None` when there is none.
fn window_aggregation(plan: &LogicalPlan) -> Result<Option<&Aggregate>> {
    let mut found = None;
    let mut node = plan;
    loop {
        if let LogicalPlan::Aggregate(aggregate) = node {
            found = Some(aggregate);
        }
        match node.inputs().as_slice() {
            [] => return Ok(found),
            [input] => node = input,
            _ => {
                return refuse_at(&["JOIN", "UNION", "INTERSECT", "EXCEPT", "FROM"], several_inputs(node));
            }
        }
    }
}

/// The aggregates of a query, with what each is given per row.
#[derive(Default)]
struct Aggregates {
    functions: Vec<Arc<AggregateFunctionExpr>>,
    arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
}

struct Compiler<'a> {
    state: &'a SessionState,
    target: Option<&'a Table>,
    emit: &'a EmitClause,
}

impl Compiler<'_> {
    /// When the results over a table come.
    fn emission(&self, source: &Table) -> Result<Emission> {
        Ok(Emission::of(self.emit, self.target, &[source])?)
    }

    /// A query without aggregation: every row for itself.
    fn row_wise(&self, plan: &LogicalPlan, target: Option<&Table>) -> Result<(Feed, Work)> {
        let (stages, bottom) = self.stages(plan)?;
        let scan = match bottom {
            LogicalPlan::TableScan(scan) => scan,
            LogicalPlan::Extension(_) => {
                return refuse_at(
                    &["TUMBLE", "HOP", "CUMULATE", "SESSION"],
                    "a window without an aggregation; add GROUP BY window_start, window_end, and aggregates such as count(*)",
                );
            }
            other => return not_row_wise(other),
        };
        let stream = stream_table(scan)?;
        if stream.reading != Reading::Table {
            return Ok((feed(scan, stages)?, Work::Append));
        }
        let table = &stream.table;
        if table.primary_key.is_empty() {
            if target.and_then(|target| target.options.get("mirror")) == Some("multiset") {
                return Ok((feed(scan, stages)?, Work::Multiset));
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
            let traced = |at: &usize| {
                trace(plan, *at).is_some_and(|(bottom, column)| bottom.schema().field(column).name() == key)
            };
            (0..plan.schema().fields().len()).find(traced)
        };
        let key: Option<Vec<_>> = table.primary_key.iter().map(place_of).collect();
        match key {
            Some(key) => Ok((feed(scan, stages)?, Work::Mirror { key })),
            None => refuse(format!(
                "the current rows of \"{0}\" are kept by its primary key ({1}), which the query must select; \
                 to keep every event instead, read CHANGES({0})",
                table.name,
                table.primary_key.join(", ")
            )),
        }
    }

    fn window(&self, plan: &LogicalPlan, aggregate: &Aggregate) -> Result<(Feed, Work)> {
        let (after, bottom) = self.stages(&aggregate.input)?;
        let node = match bottom {
            LogicalPlan::Extension(Extension { node }) => node.as_any().downcast_ref::<WindowNode>(),
            _ => None,
        };
        let Some(node) = node else {
            let Some(function) = aggregate.aggr_expr.first().map(function_name) else {
                return not_row_wise(&LogicalPlan::Aggregate(aggregate.clone()));
            };
            return refuse_at(
                &["GROUP BY", &function],
                "an aggregation over a stream needs a window, or its state grows for ever: \
                 FROM TUMBLE(table, time_column, INTERVAL '5' MINUTE) … GROUP BY window_start, window_end",
            );
        };
        let (before, bottom) = self.stages(&node.input)?;
        let LogicalPlan::TableScan(scan) = bottom else { return not_row_wise(bottom) };
        let stream = stream_table(scan)?;
        self.check_window(node, scan, stream)?;
        let emission = self.emission(&stream.table)?;

        let width = node.input.schema().fields().len();
        let Grouping { columns, keys: key_expressions, sets } = grouping(aggregate, node)?;
        check_window_columns(aggregate, node)?;
        let keys = key_expressions
            .iter()
            .map(|key| self.physical(key, aggregate.input.schema()))
            .collect::<Result<Vec<_>>>()?;
        let Aggregates { functions, arguments, filters } = self.aggregates(aggregate)?;
        let key_fields =
            aggregate.schema.fields().iter().zip(&columns).filter(|(_, it)| matches!(it, ResultColumn::Key(_)));
        let key_schema = Arc::new(Schema::new(key_fields.map(|(field, _)| Arc::clone(field)).collect::<Vec<_>>()));
        let layout = Arc::new(PaneLayout::new(key_schema, functions)?);
        let scanned: SchemaRef = Arc::new(scan.projected_schema.as_arrow().clone());
        let windowed = Arc::new(windowed_schema(&output_schema(&before, &scanned), node));
        let used = used_columns(&after, &keys, &arguments, &filters);
        let sessions = match node.windows {
            Windows::Session { gap } => Some(Arc::new(self.sessions(node, gap, &layout)?)),
            _ => None,
        };
        let lane = Arc::new(WindowPlan {
            windows: node.windows,
            sessions,
            windowed,
            used_window_columns: [0, 1, 2].map(|column| used.contains(&(width + column))),
            after,
            keys,
            arguments,
            filters,
            layout,
            grouping_sets: sets,
            allowed_lateness: emission.allowed_lateness,
            revises: emission.revises(),
        });
        check_above(plan, aggregate, &columns, node.windows)?;
        let identity = emission.revises().then(|| row_identity(plan, aggregate, &columns, node.windows)).transpose()?;
        let closing = Arc::new(self.closing(plan, aggregate, columns, node)?);
        let key = (0..plan.schema().fields().len()).filter(|&column| is_group_key(plan, column)).collect();
        Ok((feed(scan, before)?, Work::Window(Windowed { inputs: vec![lane], closing, key, identity })))
    }

    fn check_window(&self, node: &WindowNode, scan: &TableScan, stream: &StreamTable) -> Result<()> {
        let table = &stream.table;
        if stream.reading == Reading::Table {
            return refuse(format!(
                "a window over the table \"{0}\" would have to follow its updates and deletes, which is not supported yet; \
                 to count its change events, write CHANGES({0})",
                table.name
            ));
        }
        let Expr::Column(column) = &node.time else { return refuse("the event time of a window is a column") };
        let Some(watermark) = &table.watermark else {
            return refuse(format!(
                "a window over \"{0}\" needs a watermark; add to CREATE TABLE {0}: WATERMARK FOR {1} AS {1} - INTERVAL '10' SECOND",
                table.name, column.name
            ));
        };
        let at = node.input.schema().maybe_index_of_column(column).unwrap_or(usize::MAX);
        let origin = trace(&node.input, at).map(|(_, at)| scan.projected_schema.field(at).name().as_str());
        if origin != Some(watermark.column.as_str()) {
            return refuse(format!(
                "the window is over \"{}\", but the watermark of \"{}\" is on \"{}\"; use that column",
                column.name, table.name, watermark.column
            ));
        }
        Ok(())
    }

    fn sessions(&self, node: &WindowNode, gap: i64, layout: &PaneLayout) -> Result<SessionPlan> {
        let schema = node.input.schema();
        let keys = node.partition_by.iter().map(|key| self.physical(key, schema)).collect::<Result<Vec<_>>>()?;
        let types =
            keys.iter().map(|key| key.data_type(schema.as_arrow())).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(SessionPlan::new(keys, types, gap, layout)?)
    }

    fn aggregates(&self, aggregate: &Aggregate) -> Result<Aggregates> {
        let schema = aggregate.input.schema();
        let planning = PhysicalPlanningContext::default();
        let mut aggregates = Aggregates::default();
        for expression in &aggregate.aggr_expr {
            if expression.to_string().starts_with("nth_value(") {
                return refuse_at(
                    &["nth_value"],
                    "\"nth_value\" needs an order, for the rows of a stream come in any; write nth_value(x, n ORDER BY y)",
                );
            }
            let builder = LoweredAggregateBuilder::new(
                expression,
                schema,
                schema.as_arrow(),
                self.state.execution_props(),
                &planning,
            );
            let LoweredAggregate { aggregate, filter, .. } =
                builder.with_human_display(expression.to_string()).build()?;
            // string_agg gathers as array_agg does, and sorts at the end.
            let sorts_by_itself =
                aggregate.fun().supports_within_group_clause() || aggregate.fun().name() == "string_agg";
            if aggregate.order_sensitivity() == AggregateOrderSensitivity::HardRequirement && !sorts_by_itself {
                return refuse(format!(
                    "\"{0}\" needs its rows sorted, and those of a stream come in any order; sort them when the window closes: \
                     array_element(array_agg(x ORDER BY y), n), or first_value or last_value",
                    aggregate.fun().name()
                ));
            }
            let ordering = aggregate.order_bys().iter().map(|order| Arc::clone(&order.expr));
            aggregates.arguments.push(aggregate.expressions().into_iter().chain(ordering).collect());
            aggregates.functions.push(aggregate);
            aggregates.filters.push(filter);
        }
        Ok(aggregates)
    }

    /// The plan above the aggregation, with the aggregation replaced by the rows of closed windows.
    fn closing(
        &self,
        plan: &LogicalPlan,
        aggregate: &Aggregate,
        columns: Vec<ResultColumn>,
        node: &WindowNode,
    ) -> Result<Closing> {
        let numbered = |(number, field): (usize, &Arc<datafusion::arrow::datatypes::Field>)| {
            field.as_ref().clone().with_name(format!("c{number}")).with_nullable(true)
        };
        let schema = Schema::new(aggregate.schema.fields().iter().enumerate().map(numbered).collect::<Vec<_>>());
        let closed = Arc::new(ClosedRows::new(Arc::new(schema)));
        let rows = LogicalPlanBuilder::scan("closed", provider_as_source(Arc::clone(&closed) as _), None)?;
        let named = aggregate.schema.iter().enumerate().map(|(number, (qualifier, field))| {
            Expr::Column(Column::new(Some("closed"), format!("c{number}")))
                .alias_qualified(qualifier.cloned(), field.name())
        });
        let rows = rows.project(named)?.build()?;
        let is_aggregation = |node: &LogicalPlan| matches!(node, LogicalPlan::Aggregate(it) if it == aggregate);
        let replaced = plan
            .clone()
            .transform_down(|node| {
                Ok(if is_aggregation(&node) {
                    Transformed::new(rows.clone(), true, datafusion::common::tree_node::TreeNodeRecursion::Jump)
                } else {
                    Transformed::no(node)
                })
            })
            .data()?;
        let plan = self.state.optimize(&replaced.recompute_schema()?)?;
        let input = ClosedInput { rows: closed, columns, windows: node.windows };
        Ok(Closing::new(plan, vec![input], self.state.clone()))
    }

    /// The filters and projections from the top of a plan down to the first node that is something else.
    fn stages<'p>(&self, plan: &'p LogicalPlan) -> Result<(Vec<Stage>, &'p LogicalPlan)> {
        let mut stages = Vec::new();
        let mut node = plan;
        loop {
            node = match node {
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Filter(filter) => {
                    stages.push(Stage::Filter(self.physical(&filter.predicate, filter.input.schema())?));
                    &filter.input
                }
                LogicalPlan::Projection(projection) => {
                    let expressions = projection.expr.iter().map(|it| self.physical(it, projection.input.schema()));
                    let schema = Arc::new(projection.schema.as_arrow().clone());
                    stages.push(Stage::Project(expressions.collect::<Result<_>>()?, schema));
                    &projection.input
                }
                bottom => {
                    stages.reverse();
                    return Ok((stages, bottom));
                }
            }
        }
    }

    fn physical(&self, expression: &Expr, schema: &DFSchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
        let is_query = |it: &Expr| {
            Ok(matches!(it, Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)))
        };
        if expression.exists(is_query)? {
            return refuse_at(
                &["( SELECT"],
                "a sub-query inside an expression is not supported yet; only FROM may have one",
            );
        }
        Ok(self.state.create_physical_expr(expression.clone(), schema)?)
    }
}

fn windowed_schema(rows: &Schema, node: &WindowNode) -> Schema {
    let added = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node)
        .fields()
        .iter()
        .rev()
        .take(WINDOW_COLUMNS.len());
    let added: Vec<_> = added.cloned().collect();
    Schema::new(rows.fields().iter().cloned().chain(added.into_iter().rev()).collect::<Vec<_>>())
}

/// The columns of the windowed rows that the first projection after the window, or what follows it, refers to.
fn used_columns(
    after: &[Stage],
    keys: &[Arc<dyn PhysicalExpr>],
    arguments: &[Vec<Arc<dyn PhysicalExpr>>],
    filters: &[Option<Arc<dyn PhysicalExpr>>],
) -> HashSet<usize> {
    let mut used = HashSet::new();
    let mut note = |expression: &Arc<dyn PhysicalExpr>| {
        used.extend(collect_columns(expression).iter().map(|column| column.index()))
    };
    for stage in after {
        match stage {
            Stage::Filter(predicate) => note(predicate),
            Stage::Project(expressions, _) => {
                expressions.iter().for_each(note);
                return used;
            }
        }
    }
    keys.iter().chain(arguments.iter().flatten()).chain(filters.iter().flatten()).for_each(note);
    used
}

fn stream_table(scan: &TableScan) -> Result<&StreamTable> {
    match StreamTable::of(scan) {
        Some(stream) => Ok(stream),
        None => refuse(format!("\"{}\" is not a table that can be read as a stream", scan.table_name)),
    }
}
