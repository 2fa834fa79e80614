//! A query with windows: what is counted or collected on the way to them, and the plan over the rows of those that have closed.
//!
//! ```text
//!  Sort                            Sort                    the closing plan
//!   Join  window_start, …           Join
//!    Aggregate ─┐                    closed rows of 0
//!     Window    ├─ input 0
//!      Scan a ──┘
//!    Filter ────┐                    closed rows of 1
//!     Window    ├─ input 1: its rows as they are
//!      Scan b ──┘
//! ```
//!
//! A window over rows that have windows themselves is an input too: it gets what another closing plan gives.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::count::count_all;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, TableScan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregate, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::utils::collect_columns;

use super::catalog::Table;
use super::closing::{ClosedInput, ClosedRows, Closing};
use super::compile::{Branch, RowWise, is_row_wise, refuse_queries, row_wise_input, stream_table, window_node};
use super::duplicates::{refuse_above, refuse_current_duplicates};
use super::emission::{Emission, EmitClause, row_identity};
use super::grouping::{Grouping, check_window_columns, computes_with_window, grouping, looks_at_window};
use super::lookup::{is_small, refuse_current, sides};
use super::pipeline::{Feed, Nested, ResultColumn, RowIdentity, Windowed, Work};
use super::refusal::{Result, check_above, not_row_wise, refuse, refuse_at, without_window};
use super::relation::Reading;
use super::trace::{Origins, closed_input, trace};
use super::window_node::WindowNode;
use crate::state::BeforeImages;
use crate::window::aggregate::{GroupingSet, WINDOW_COLUMNS, WindowPlan};
use crate::window::assigner::Windows;
use crate::window::duplicates::{DuplicatePlan, Keep, POSITION_FIELDS};
use crate::window::pane::{Pane, PaneLayout};
use crate::window::retract::UndoPlan;
use crate::window::session_state::SessionPlan;
use crate::window::stage::Stage;

/// Compiles it.
pub(super) fn compile(
    plan: &LogicalPlan,
    rows: RowWise<'_>,
    emission: &Emission,
    emit: &EmitClause,
) -> Result<(Vec<Feed>, Work, SchemaRef)> {
    let mut compiler = Compiler {
        rows,
        emission,
        feeds: Vec::new(),
        inputs: Vec::new(),
        behind: Vec::new(),
        nested: Vec::new(),
        duplicates: BTreeMap::new(),
    };
    let above = compiler.level(plan)?;
    let origins = Origins(&above.closed);
    let identity = compiler.identity(&above, emit)?;
    let columns = 0..plan.schema().fields().len();
    let key = columns.clone().filter(|&column| origins.is_key(&above.plan, column)).collect();
    let has_bound = |column: usize| origins.bound(&above.plan, column).is_some_and(|bound| !bound.nullable);
    let output = plan.schema().as_arrow();
    let fields = columns.map(|column| {
        let field = output.field(column);
        let is_bound = WINDOW_COLUMNS.contains(&field.name().as_str()) && has_bound(column);
        field.clone().with_nullable(field.is_nullable() && !is_bound)
    });
    let output = Schema::new_with_metadata(fields.collect::<Vec<_>>(), output.metadata().clone());
    let closing = compiler.closing(above)?;
    let Compiler { feeds, inputs, behind, nested, duplicates, .. } = compiler;
    let windowed = Windowed { inputs, behind, nested, duplicates, closing, key, identity };
    Ok((feeds, Work::Window(windowed), Arc::new(output)))
}

/// A plan over closed windows, as it is written.
struct Level {
    plan: LogicalPlan,
    closed: Vec<ClosedInput>,
}

/// The aggregates of an input, with what each is given per row.
#[derive(Default)]
struct Aggregates {
    functions: Vec<Arc<AggregateFunctionExpr>>,
    arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
}

/// What is kept of the rows of a window.
struct Kept {
    after: Vec<Stage>,
    /// The columns that are there after that.
    rows: DFSchemaRef,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    key_fields: Vec<Arc<Field>>,
    /// Whether each row's position is a key too.
    positions: bool,
    aggregates: Aggregates,
    sets: Vec<GroupingSet>,
}

struct Compiler<'a> {
    rows: RowWise<'a>,
    emission: &'a Emission,
    feeds: Vec<Feed>,
    inputs: Vec<Arc<WindowPlan>>,
    behind: Vec<i64>,
    nested: Vec<Nested>,
    duplicates: BTreeMap<usize, Arc<DuplicatePlan>>,
}

impl Compiler<'_> {
    /// A plan with the windows at its bottom replaced by the rows of those that have closed.
    fn level(&mut self, plan: &LogicalPlan) -> Result<Level> {
        let mut closed = Vec::new();
        let plan = self.cut(plan, None, &mut closed)?.recompute_schema()?;
        if closed.is_empty() {
            return not_row_wise(&LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
                produce_one_row: true,
                schema: Arc::clone(plan.schema()),
            }));
        }
        if closed.iter().any(|input| self.duplicates.contains_key(&input.rows.number())) {
            refuse_above(&plan)?;
        }
        check_above(&plan, &Origins(&closed))?;
        let plan = not_in(plan, &Origins(&closed))?;
        // A window is complete when all inputs have it.
        let numbers: Vec<_> = closed.iter().map(|input| input.rows.number()).collect();
        let waits = |number: usize| self.waits(number);
        let behind = numbers.iter().map(|&number| self.behind[number] + waits(number)).max().unwrap_or(0);
        for number in numbers {
            self.behind[number] = behind - self.waits(number);
        }
        Ok(Level { plan, closed })
    }

    /// How much later than others an input gives what has closed.
    fn waits(&self, number: usize) -> i64 {
        match self.duplicates.get(&number) {
            Some(duplicates) => duplicates.behind(),
            None => i64::from(self.inputs[number].sessions.is_some()),
        }
    }

    /// What tells the rows of results from each other, where they are revised.
    fn identity(&self, level: &Level, emit: &EmitClause) -> Result<Option<RowIdentity>> {
        let Some(first) = level.closed.first() else { return Ok(None) };
        self.emission.check(emit, Some(first.windows))?;
        let words = ["EMIT", "TUMBLE", "HOP", "CUMULATE", "SESSION"];
        let is_simple = self.inputs.len() == 1 && !first.collected;
        if self.emission.fill.is_some() && !is_simple {
            return refuse_at(
                &words,
                "FILL EMPTY WINDOWS is for a query with one window and GROUP BY, whose groups it fills in; leave it out here",
            );
        }
        if !self.emission.revises() {
            return Ok(None);
        }
        if !self.duplicates.is_empty() {
            return refuse_at(
                &["EMIT", "ROW_NUMBER", "OVER"],
                "rows without duplicates are written once, when it is known that they stay; leave out EMIT CHANGES and allowed lateness \
                 ('allowed-lateness' of a table too)",
            );
        }
        if !self.nested.is_empty() {
            return refuse_at(
                &words,
                "results of windows over windows come when these close, once; leave out EMIT CHANGES and allowed lateness \
                 ('allowed-lateness' of a table too: ALLOWED LATENESS is of the INSERT)",
            );
        }
        if level.closed.iter().any(|input| input.windows != first.windows) {
            return refuse_at(
                &words,
                "early and corrected results are of windows of one kind, and this query has several; write an INSERT for each",
            );
        }
        row_identity(&level.plan, &Origins(&level.closed), first.windows).map(Some)
    }

    fn closing(&self, level: Level) -> Result<Arc<Closing>> {
        let plan = self.rows.state.optimize(&level.plan)?;
        Ok(Arc::new(Closing::new(plan, level.closed, self.rows.state.clone())))
    }

    /// Replaces windows. `above` is the nearest node above that looks at several rows.
    fn cut(
        &mut self,
        plan: &LogicalPlan,
        above: Option<&LogicalPlan>,
        closed: &mut Vec<ClosedInput>,
    ) -> Result<LogicalPlan> {
        if let Some(node) = window_node(plan)
            && let Some(duplicates) = node.duplicates
        {
            return self.deduplicated(plan, node, duplicates, closed);
        }
        if let LogicalPlan::Aggregate(aggregate) = plan
            && let Some(node) = window_below(&aggregate.input)
            && check_window_columns(aggregate, node).is_none()
        {
            return self.aggregated(aggregate, node, closed);
        }
        if let Some(node) = window_below(plan)
            && may_collect(plan, node)
        {
            return self.collected(plan, node, closed);
        }
        for expression in plan.expressions() {
            refuse_queries(&expression)?;
        }
        let inputs = plan.inputs();
        match plan {
            LogicalPlan::TableScan(scan) if is_small(plan) => return self.rows.small_scan(scan),
            LogicalPlan::TableScan(_) => return without_window(plan, above),
            _ if inputs.is_empty() => return Ok(plan.clone()),
            _ => {}
        }
        let passes = match plan {
            LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => true,
            LogicalPlan::Union(_) => !has_windows(plan),
            _ => false,
        };
        let above = if passes { above } else { Some(plan) };
        let inputs = inputs.into_iter().map(|input| self.cut(input, above, closed)).collect::<Result<Vec<_>>>()?;
        Ok(plan.with_new_exprs(plan.expressions(), inputs)?)
    }

    /// Rows that are counted.
    fn aggregated(
        &mut self,
        aggregate: &Aggregate,
        node: &WindowNode,
        closed: &mut Vec<ClosedInput>,
    ) -> Result<LogicalPlan> {
        let Grouping { columns, keys, sets } = grouping(aggregate, node)?;
        let schema = aggregate.input.schema();
        let keys = keys.iter().map(|key| self.rows.physical(key, schema)).collect::<Result<Vec<_>>>()?;
        let key_fields =
            aggregate.schema.fields().iter().zip(&columns).filter(|(_, it)| matches!(it, ResultColumn::Key(_)));
        let kept = Kept {
            after: self.rows.stages(&aggregate.input)?,
            rows: Arc::clone(schema),
            keys,
            key_fields: key_fields.map(|(field, _)| Arc::clone(field)).collect(),
            positions: false,
            aggregates: self.aggregates(&aggregate.aggr_expr, schema)?,
            sets,
        };
        let number = self.input(node, node.windows, kept)?;
        closed_rows(number, node.windows, columns, &aggregate.schema, false, closed)
    }

    /// Rows that are kept as they are: grouped by all their columns, and counted.
    fn collected(
        &mut self,
        plan: &LogicalPlan,
        node: &WindowNode,
        closed: &mut Vec<ClosedInput>,
    ) -> Result<LogicalPlan> {
        let (schema, width) = (plan.schema(), node.input.schema().fields().len());
        let (mut columns, mut keys, mut key_fields) = (Vec::new(), Vec::new(), Vec::new());
        for (at, field) in schema.fields().iter().enumerate() {
            let origin = trace(plan, at).filter(|(bottom, from)| window_node(bottom).is_some() && *from >= width);
            columns.push(match origin {
                Some((_, from)) => ResultColumn::Window(from - width),
                None => {
                    keys.push(Arc::new(PhysicalColumn::new(field.name(), at)) as Arc<dyn PhysicalExpr>);
                    key_fields.push(Arc::clone(field));
                    ResultColumn::Key(keys.len() - 1)
                }
            });
        }
        let aggregates = self.aggregates(&[count_all()], schema)?;
        let after = self.rows.stages(plan)?;
        let kept =
            Kept { after, rows: Arc::clone(schema), keys, key_fields, positions: false, aggregates, sets: Vec::new() };
        // Rows do not change from step to step.
        let windows = match node.windows {
            Windows::Cumulate { periods, step, .. } => Windows::Cumulate { periods, step, on_update: false },
            other => other,
        };
        let number = self.input(node, windows, kept)?;
        closed_rows(number, windows, columns, schema, true, closed)
    }

    /// Rows that are kept one by one until their slice of time is over, and deduplicated then.
    fn deduplicated(
        &mut self,
        plan: &LogicalPlan,
        node: &WindowNode,
        (keep, within): (Keep, i64),
        closed: &mut Vec<ClosedInput>,
    ) -> Result<LogicalPlan> {
        let (schema, below) = (plan.schema(), node.input.schema());
        let width = below.fields().len();
        let own = || below.fields().iter().enumerate();
        let keys = own().map(|(at, field)| Arc::new(PhysicalColumn::new(field.name(), at)) as Arc<dyn PhysicalExpr>);
        let positions = POSITION_FIELDS.map(|(name, data_type)| Arc::new(Field::new(name, data_type, false)));
        let kept = Kept {
            after: Vec::new(),
            rows: Arc::clone(schema),
            keys: keys.collect(),
            key_fields: below.fields().iter().cloned().chain(positions).collect(),
            positions: true,
            aggregates: self.aggregates(&[count_all()], schema)?,
            sets: Vec::new(),
        };
        let place = |expression: &Expr| match expression {
            Expr::Column(column) => below.maybe_index_of_column(column),
            _ => None,
        };
        let keys: Option<Vec<usize>> = node.partition_by.iter().map(place).collect();
        let (Some(keys), Some(time)) = (keys, place(&node.time)) else {
            return refuse("the key and the time of a deduplication are columns");
        };
        let number = self.input(node, node.windows, kept)?;
        let rows = Arc::new(below.as_arrow().clone());
        self.duplicates.insert(number, Arc::new(DuplicatePlan { keys, time, keep, within, rows }));
        let columns = (0..width).map(ResultColumn::Key).chain((0..WINDOW_COLUMNS.len()).map(ResultColumn::Window));
        closed_rows(number, node.windows, columns.collect(), schema, true, closed)
    }

    /// An input, and what gives it its rows.
    fn input(&mut self, node: &WindowNode, windows: Windows, kept: Kept) -> Result<usize> {
        let Kept { after, rows, keys, key_fields, positions, aggregates, sets } = kept;
        let Aggregates { functions, mut arguments, filters } = aggregates;
        let Expr::Column(time) = &node.time else { return refuse("the event time of a window is a column") };
        let time_at = node.input.schema().index_of_column(time)?;
        let is_nested = !is_row_wise(&node.input) || has_windows(&node.input);
        let branches = if is_nested { Vec::new() } else { self.rows.branches(&node.input, Some(time_at))? };
        for branch in &branches {
            check_window(&time.name, branch)?;
            let stream = stream_table(branch.scan)?;
            if stream.reading == Reading::Table {
                if node.duplicates.is_some() {
                    return refuse_current_duplicates(&stream.table);
                }
                refuse_current::<()>(&branch.stages, &stream.table)?;
                refuse_current::<()>(&after, &stream.table)?;
            }
        }
        let nested = if is_nested { Some(self.nested(node, time_at)?) } else { None };
        let key_schema = Arc::new(Schema::new(key_fields));
        let is_current = |branch: &Branch<'_>| stream_table(branch.scan).is_ok_and(|it| it.reading == Reading::Table);
        let layout = match branches.iter().any(is_current) {
            true => {
                let plan =
                    |(function, arguments): (_, &mut Vec<_>)| UndoPlan::new(function, arguments, rows.as_arrow());
                let undo = functions.iter().zip(&mut arguments).map(plan).collect::<crate::error::Result<_>>()?;
                Arc::new(PaneLayout::retracting(key_schema, functions, undo)?)
            }
            false => Arc::new(PaneLayout::new(key_schema, functions)?),
        };
        if let Err(error) = Pane::new(&layout) {
            return refuse(format!("the rows of a window cannot be grouped by these columns: {error}"));
        }
        let sessions = match windows {
            Windows::Session { gap } => Some(Arc::new(self.sessions(node, gap, &layout)?)),
            _ => None,
        };
        let width = node.input.schema().fields().len();
        let used = used_columns(width, &after, &keys, &arguments, &filters);
        let plan = WindowPlan {
            windows,
            sessions,
            windowed: Arc::new(windowed_schema(node, is_nested)),
            used_window_columns: [0, 1, 2].map(|column| used.contains(&(width + column))),
            after,
            keys,
            positions,
            arguments,
            filters,
            layout,
            grouping_sets: sets,
            allowed_lateness: self.emission.allowed_lateness,
            revises: self.emission.revises(),
        };
        let number = self.inputs.len();
        self.inputs.push(Arc::new(plan));
        self.behind.push(0);
        for branch in branches {
            self.feeds.push(branch.feed(number)?);
        }
        if let Some((closing, behind)) = nested {
            self.behind[number] = behind;
            self.nested.push(Nested { closing, input: number, time: time_at });
        }
        Ok(number)
    }

    /// The closed windows that give a window its rows, and how far they are behind the watermark.
    fn nested(&mut self, node: &WindowNode, time: usize) -> Result<(Arc<Closing>, i64)> {
        let below = self.level(&node.input)?;
        let numbers: Vec<usize> = below.closed.iter().map(|input| input.rows.number()).collect();
        let behind = numbers.iter().map(|&it| self.behind[it] + self.waits(it)).max().unwrap_or(0);
        if numbers.iter().any(|number| self.duplicates.contains_key(number)) {
            self.check_time(&below.plan, time)?;
            return Ok((self.closing(below)?, behind));
        }
        match Origins(&below.closed).bound(&below.plan, time) {
            Some(bound) if bound.bound == 2 && !bound.nullable => {}
            Some(bound) if bound.bound == 2 => {
                return refuse(format!(
                    "the time of the window, \"{0}\", is null where an outer join has only the other side; write coalesce(a.{0}, b.{0}) AS {0}",
                    node.input.schema().field(time).name()
                ));
            }
            _ => {
                return refuse(format!(
                    "\"{}\" is not the time of the windows below; select their window_time too (add it to GROUP BY), and write it here",
                    node.input.schema().field(time).name().trim_start_matches("inner_")
                ));
            }
        }
        Ok((self.closing(below)?, behind))
    }

    /// The time of a window over rows without duplicates is that by which they were compared.
    fn check_time(&self, plan: &LogicalPlan, time: usize) -> Result<()> {
        let is_time = |plan: &LogicalPlan, column: usize| match trace(plan, column) {
            Some((LogicalPlan::TableScan(scan), at)) => {
                let duplicates = closed_input(scan).and_then(|number| self.duplicates.get(&number));
                duplicates.is_some_and(|duplicates| duplicates.time == at)
            }
            _ => false,
        };
        match is_time(plan, time) {
            true => Ok(()),
            false => refuse(format!(
                "a window over rows without duplicates is over the time by which they were compared, and \"{}\" is another column",
                plan.schema().field(time).name()
            )),
        }
    }

    fn sessions(&self, node: &WindowNode, gap: i64, layout: &PaneLayout) -> Result<SessionPlan> {
        let schema = node.input.schema();
        let keys = node.partition_by.iter().map(|key| self.rows.physical(key, schema)).collect::<Result<Vec<_>>>()?;
        let types =
            keys.iter().map(|key| key.data_type(schema.as_arrow())).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(SessionPlan::new(keys, types, gap, layout)?)
    }

    fn aggregates(&self, expressions: &[Expr], schema: &DFSchemaRef) -> Result<Aggregates> {
        let planning = PhysicalPlanningContext::default();
        let mut aggregates = Aggregates::default();
        for expression in expressions {
            refuse_queries(expression)?;
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
                self.rows.state.execution_props(),
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
}

/// DataFusion has NOT IN, which null has a say in, with one column only. Rows come a window at a time, so the window need not be
/// compared.
fn not_in(plan: LogicalPlan, origins: &Origins<'_>) -> Result<LogicalPlan> {
    let mut refused = false;
    let plan = plan.transform_up(|node| match node {
        LogicalPlan::Join(mut join) if join.null_aware && join.on.len() > 1 => {
            let of = |side: &LogicalPlan, key: &Expr| origins.bound_of(side, key).map(|bound| bound.bound);
            let is_bound = |(one, other): &(Expr, Expr)| {
                of(&join.left, one).is_some_and(|bound| of(&join.right, other) == Some(bound))
            };
            let others: Vec<_> = join.on.iter().filter(|pair| !is_bound(pair)).cloned().collect();
            refused |= others.len() > 1;
            join.on = others;
            Ok(Transformed::yes(LogicalPlan::Join(join)))
        }
        other => Ok(Transformed::no(other)),
    });
    let plan = plan.data()?;
    match refused {
        true => refuse_at(
            &["NOT IN", "IN"],
            "NOT IN with a condition on more than the window is not supported; write NOT EXISTS (SELECT * FROM … WHERE …)",
        ),
        false => Ok(plan),
    }
}

/// The window whose rows these are, filtered and computed with.
fn window_below(plan: &LogicalPlan) -> Option<&WindowNode> {
    match plan {
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) | LogicalPlan::Projection(_) => {
            plan.inputs().first().and_then(|input| window_below(input))
        }
        LogicalPlan::Join(join) => sides(join).and_then(|sides| window_below(sides.stream)),
        LogicalPlan::Unnest(_) => row_wise_input(plan).and_then(window_below),
        other => window_node(other).filter(|node| node.duplicates.is_none()),
    }
}

/// Whether rows can be kept as they are here: windows that share panes have no bounds yet that could be computed with.
fn may_collect(plan: &LogicalPlan, node: &WindowNode) -> bool {
    let width = node.input.schema().fields().len();
    let own: Vec<Expr> = plan.expressions();
    match plan {
        LogicalPlan::SubqueryAlias(it) => may_collect(&it.input, node),
        LogicalPlan::Unnest(it) => may_collect(&it.input, node),
        LogicalPlan::Filter(_) | LogicalPlan::Projection(_) => plan.inputs().first().is_some_and(|input| {
            let is_known = matches!(node.windows, Windows::Tumble(_));
            (is_known || computes_with_window(own.iter(), input, width).is_none()) && may_collect(input, node)
        }),
        LogicalPlan::Join(join) => sides(join).is_none_or(|sides| {
            let is_known = matches!(node.windows, Windows::Tumble(_));
            (is_known || looks_at_window(&sides, width).is_none()) && may_collect(sides.stream, node)
        }),
        _ => true,
    }
}

fn has_windows(plan: &LogicalPlan) -> bool {
    window_node(plan).is_some() || plan.inputs().into_iter().any(has_windows)
}

/// The table of an input's rows, with the names of what it stands for.
fn closed_rows(
    number: usize,
    windows: Windows,
    columns: Vec<ResultColumn>,
    schema: &DFSchemaRef,
    collected: bool,
    closed: &mut Vec<ClosedInput>,
) -> Result<LogicalPlan> {
    let numbered =
        |(at, field): (usize, &Arc<Field>)| field.as_ref().clone().with_name(format!("c{at}")).with_nullable(true);
    let fields = Schema::new(schema.fields().iter().enumerate().map(numbered).collect::<Vec<_>>());
    let rows = Arc::new(ClosedRows::new(number, Arc::new(fields)));
    let table = if number == 0 { "closed".to_owned() } else { format!("closed_{number}") };
    let plan = LogicalPlanBuilder::scan(table.as_str(), provider_as_source(Arc::clone(&rows) as _), None)?;
    let named = schema.iter().enumerate().map(|(at, (qualifier, field))| {
        Expr::Column(Column::new(Some(table.as_str()), format!("c{at}")))
            .alias_qualified(qualifier.cloned(), field.name())
    });
    closed.push(ClosedInput { rows, columns, windows, collected });
    Ok(plan.project(named)?.build()?)
}

/// A window over a table closes by the table's watermark, so it must be over its column.
fn check_window(time: &str, branch: &Branch<'_>) -> Result<()> {
    let stream = stream_table(branch.scan)?;
    let table = &stream.table;
    if stream.reading == Reading::Table {
        check_current_rows(branch.scan, table)?;
    }
    let Some(watermark) = &table.watermark else {
        return refuse(format!(
            "a window over \"{0}\" needs a watermark; add to CREATE TABLE {0}: WATERMARK FOR {1} AS {1} - INTERVAL '10' SECOND",
            table.name, time
        ));
    };
    let origin = branch.time.map(|at| branch.scan.projected_schema.field(at).name().as_str());
    if origin != Some(watermark.column.as_str()) {
        return refuse(format!(
            "the window is over \"{time}\", but the watermark of \"{}\" is on \"{}\"; use that column",
            table.name, watermark.column
        ));
    }
    Ok(())
}

/// A window over a table's current rows takes rows back as they were: with the metadata of the change that made them so, which is only
/// known where it is kept with the row.
fn check_current_rows(scan: &TableScan, table: &Table) -> Result<()> {
    let is_trusted = matches!(BeforeImages::of(&table.options), Ok(BeforeImages::Trusted));
    if !is_trusted && !table.primary_key.is_empty() {
        return Ok(());
    }
    let watermark = table.watermark.as_ref().map(|watermark| &watermark.column);
    let read = scan.projected_schema.fields().iter().map(|field| field.name()).chain(watermark);
    if let Some(column) = read.into_iter().find_map(|name| table.metadata_of(name)) {
        let way_out = match is_trusted {
            true => "leave out 'before-images' = 'trusted', so that it is kept with the row",
            false => "declare a PRIMARY KEY, so that it is kept with the row",
        };
        return refuse(format!(
            "column \"{column}\" of \"{0}\" is METADATA of a record, and when its row is updated or deleted nothing says what it was; {way_out}, or \
             read the table's change events with CHANGES({0})",
            table.name
        ));
    }
    Ok(())
}

/// The columns of a window's rows. Those of closed windows may all be null.
fn windowed_schema(node: &WindowNode, is_nested: bool) -> Schema {
    let schema = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node).as_arrow();
    let field = |field: &Arc<Field>| field.as_ref().clone().with_nullable(field.is_nullable() || is_nested);
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

/// The columns of the windowed rows that the first projection after the window, or what follows it, refers to.
fn used_columns(
    width: usize,
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
            // Its result has columns of its own; which of the window's are used after it is not worth knowing.
            Stage::Lookup(_) | Stage::Unnest(_) => {
                used.extend(width..width + WINDOW_COLUMNS.len());
                return used;
            }
            Stage::Windows(_) => {}
        }
    }
    keys.iter().chain(arguments.iter().flatten()).chain(filters.iter().flatten()).for_each(note);
    used
}
