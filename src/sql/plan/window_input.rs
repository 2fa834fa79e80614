//! An input of a windowed query: its windows, what is kept of their rows, and what gives it its rows.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregate, LoweredAggregateBuilder};
use datafusion::physical_expr::utils::collect_columns;

use super::closing::Closing;
use super::compile::{Branch, is_row_wise, refuse_queries, stream_table};
use super::duplicates::refuse_current_duplicates;
use super::lookup::refuse_current;
use super::pipeline::Nested;
use super::relation::Reading;
use super::trace::{Origins, closed_input, trace};
use super::window_node::{WindowNode, has_windows};
use super::windowed::Compiler;
use crate::sql::define::catalog::Table;
use crate::sql::refusal::{Result, refuse, refuse_at};
use crate::state::BeforeImages;
use crate::window::aggregate::{GroupingSet, WINDOW_COLUMNS, WindowPlan};
use crate::window::assigner::Windows;
use crate::window::pane::{Pane, PaneLayout};
use crate::window::retract::UndoPlan;
use crate::window::session_state::SessionPlan;
use crate::window::stage::Stage;

/// The aggregates of an input, with what each is given per row.
#[derive(Default)]
pub(super) struct Aggregates {
    pub(super) functions: Vec<Arc<AggregateFunctionExpr>>,
    pub(super) arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    pub(super) filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
}

/// What is kept of the rows of a window.
pub(super) struct Kept {
    pub(super) after: Vec<Stage>,
    /// The columns that are there after that.
    pub(super) rows: DFSchemaRef,
    pub(super) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) key_fields: Vec<Arc<Field>>,
    /// Whether each row's position is a key too.
    pub(super) positions: bool,
    pub(super) aggregates: Aggregates,
    pub(super) sets: Vec<GroupingSet>,
}

impl Compiler<'_> {
    /// An input, and what gives it its rows.
    pub(super) fn input(&mut self, node: &WindowNode, windows: Windows, kept: Kept) -> Result<usize> {
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

    pub(super) fn aggregates(&self, expressions: &[Expr], schema: &DFSchemaRef) -> Result<Aggregates> {
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
