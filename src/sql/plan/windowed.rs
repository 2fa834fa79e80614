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

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::count::count_all;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column as PhysicalColumn;

use super::closing::{ClosedInput, ClosedRows, Closing};
use super::compile::{RowWise, refuse_queries, row_wise_input};
use super::duplicates::refuse_above;
use super::emission::{Emission, EmitClause, row_identity};
use super::grouping::{Grouping, check_window_columns, computes_with_window, grouping, looks_at_window};
use super::lookup::{is_small, sides};
use super::pipeline::{Feed, Nested, ResultColumn, RowIdentity, Windowed, Work};
use super::trace::{Origins, trace};
use super::window_input::Kept;
use super::window_node::{WindowNode, has_windows, window_node};
use crate::sql::refusal::{Result, check_above, not_row_wise, refuse, refuse_at, without_window};
use crate::window::aggregate::{WINDOW_COLUMNS, WindowPlan};
use crate::window::assigner::Windows;
use crate::window::duplicates::{DuplicatePlan, Keep, POSITION_FIELDS};

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
pub(super) struct Level {
    pub(super) plan: LogicalPlan,
    pub(super) closed: Vec<ClosedInput>,
}

/// What has been compiled of a query with windows.
pub(super) struct Compiler<'a> {
    pub(super) rows: RowWise<'a>,
    pub(super) emission: &'a Emission,
    pub(super) feeds: Vec<Feed>,
    pub(super) inputs: Vec<Arc<WindowPlan>>,
    pub(super) behind: Vec<i64>,
    pub(super) nested: Vec<Nested>,
    pub(super) duplicates: BTreeMap<usize, Arc<DuplicatePlan>>,
}

impl Compiler<'_> {
    /// A plan with the windows at its bottom replaced by the rows of those that have closed.
    pub(super) fn level(&mut self, plan: &LogicalPlan) -> Result<Level> {
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
    pub(super) fn waits(&self, number: usize) -> i64 {
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

    pub(super) fn closing(&self, level: Level) -> Result<Arc<Closing>> {
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
