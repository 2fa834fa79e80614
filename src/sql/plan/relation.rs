//! What may stand in FROM: tables, `CHANGES(t)`, and the windowing table functions, as DataFusion plan nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, Diagnostic, Location, Span, TableReference, plan_datafusion_err, plan_err};
use datafusion::datasource::{DefaultTableSource, provider_as_source};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan, TableSource, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Spanned, TableFactor,
};

use super::processing_time::HIDDEN;
use super::window_call::{WINDOW_FUNCTIONS, window_function};
use crate::error::suggestion;
use crate::sql::define::catalog::{AFTER, BEFORE, Script, Table};
use crate::sql::diagnose::unknown_table;

/// How a query reads a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reading {
    /// Rows that are only ever added.
    Rows,
    /// `CHANGES(t)`: every change event as a row of its own.
    Changes,
    /// The table's current rows: updates and deletes take the old row back.
    Table,
    /// A small table as a whole, for joins with it.
    Lookup,
}

/// A stream as DataFusion sees it while planning: a schema. It is never scanned.
#[derive(Debug)]
pub struct StreamTable {
    /// The table that is read.
    pub table: Arc<Table>,
    /// How it is read.
    pub reading: Reading,
    schema: SchemaRef,
}

impl StreamTable {
    /// The plain name of a table: its current rows if it has changes, else its rows.
    pub fn plain(table: &Arc<Table>) -> Self {
        let reading = match table.has_changes() {
            _ if table.is_small() => Reading::Lookup,
            true => Reading::Table,
            false => Reading::Rows,
        };
        Self { schema: table.decoded_columns(), table: Arc::clone(table), reading }
    }

    /// `CHANGES(table)`, with the image before where there are such, and the one after when a query refers to it.
    fn changes(table: &Arc<Table>, with_images: bool) -> Self {
        let schema = table.change_columns();
        let is_shown = |name: &str| match name {
            BEFORE => with_images || table.has_changes(),
            AFTER => with_images,
            _ => true,
        };
        let columns = schema.fields().iter().filter(|it| is_shown(it.name()));
        let schema = Arc::new(Schema::new(columns.cloned().collect::<Vec<_>>()));
        Self { schema, table: Arc::clone(table), reading: Reading::Changes }
    }

    /// What a scan reads.
    pub(super) fn of(scan: &TableScan) -> Option<&Self> {
        let source = scan.source.as_ref() as &dyn std::any::Any;
        let source = source.downcast_ref::<DefaultTableSource>()?;
        (source.table_provider.as_ref() as &dyn std::any::Any).downcast_ref::<Self>()
    }

    /// The same with the time of reading.
    pub(super) fn with_processing_time(&self) -> Self {
        let added = Arc::new(super::processing_time::field(HIDDEN));
        let fields = self.schema.fields().iter().cloned().chain([added]);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { table: Arc::clone(&self.table), reading: self.reading, schema }
    }

    pub(super) fn scan(self) -> Result<LogicalPlan> {
        let name = self.table.name.clone();
        let source: Arc<dyn TableSource> = provider_as_source(Arc::new(self));
        LogicalPlanBuilder::scan(TableReference::bare(name), source, None)?.build()
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan_err!(
            "table \"{}\" is a stream: a query over it is a chain of filters and projections, with one window",
            self.table.name
        )
    }
}

/// Plans `CHANGES(t)`, windows such as `TUMBLE(…)`, and `TABLE(TUMBLE(…))`.
#[derive(Debug)]
pub struct StreamRelations {
    /// The tables that may be read.
    pub script: Arc<Script>,
    /// Names that the query's own WITH defines, which hide tables and views.
    pub local: BTreeSet<String>,
    /// The views that may be read, planned.
    pub views: Arc<BTreeMap<String, LogicalPlan>>,
    /// Whether the query refers to the images before and after.
    pub with_images: bool,
}

impl RelationPlanner for StreamRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (name, arguments, alias) = match &relation {
            TableFactor::Table { name, args: Some(args), alias, .. } => {
                (name.clone(), args.args.clone(), alias.clone())
            }
            TableFactor::TableFunction { expr: SqlExpr::Function(function), alias } => {
                (function.name.clone(), arguments(&function.args)?, alias.clone())
            }
            TableFactor::Function { name, args, alias, .. } => (name.clone(), args.clone(), alias.clone()),
            TableFactor::Table { name, args: None, alias, .. } => {
                return Ok(match self.named(name).map_err(|error| at(error, name))? {
                    Some(plan) => RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias.clone()))),
                    None => RelationPlanning::Original(Box::new(relation)),
                });
            }
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        let plan = match name.to_string().to_ascii_uppercase().as_str() {
            "CHANGES" => self.changes(&arguments),
            other => match window_function(other) {
                Some(function) => function.plan(&arguments, context),
                None => {
                    let known = WINDOW_FUNCTIONS.iter().map(|function| function.name).chain(["CHANGES"]);
                    let hint = suggestion(&name.to_string(), known);
                    let there_are = "; there are TUMBLE, HOP, CUMULATE, SESSION and CHANGES";
                    let hint = if hint.is_empty() { there_are } else { &hint };
                    plan_err!("table function \"{name}\" is not known{hint}")
                }
            },
        };
        let plan = plan.map_err(|error| at(error, &name))?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

impl StreamRelations {
    /// A table or view by its name. DataFusion only knows the names that stand in FROM, not those in a table function.
    fn named(&self, name: &ObjectName) -> Result<Option<LogicalPlan>> {
        let [ObjectNamePart::Identifier(Ident { value: name, .. })] = name.0.as_slice() else { return Ok(None) };
        if self.local.contains(name) {
            return Ok(None);
        }
        if let Some(view) = self.views.get(name) {
            return LogicalPlanBuilder::from(view.clone()).alias(name.as_str())?.build().map(Some);
        }
        match self.script.tables.get(name) {
            Some(table) if table.columns.fields().is_empty() => Err(without_columns(name.as_str())),
            Some(table) => StreamTable::plain(table).scan().map(Some),
            None => Ok(None),
        }
    }

    fn changes(&self, arguments: &[FunctionArg]) -> Result<LogicalPlan> {
        let [argument] = arguments else { return plan_err!("CHANGES takes one argument: the name of a table") };
        let Some(SqlExpr::Identifier(Ident { value: name, .. })) = value(argument) else {
            return plan_err!("CHANGES takes the name of a table, not `{argument}`");
        };
        let unknown = || {
            let message = unknown_table(name, self.script.tables.keys().map(String::as_str));
            at(plan_datafusion_err!("{message}"), argument)
        };
        let table = self.script.tables.get(name).ok_or_else(unknown)?;
        if table.columns.fields().is_empty() {
            return Err(at(without_columns(name), argument));
        }
        StreamTable::changes(table, self.with_images).scan()
    }
}

fn without_columns(table: &str) -> DataFusionError {
    let example = format!("CREATE TABLE {table} (id INT, …) WITH (…)");
    plan_datafusion_err!(
        "table \"{table}\" declares no columns; run and validate --connect look them up, here they have to be written: {example}"
    )
}

/// The error at the place of a part of the query, unless it has a place already.
pub(super) fn at(error: DataFusionError, part: &impl Spanned) -> DataFusionError {
    let span = part.span().start;
    if span.line == 0 || error.diagnostic().is_some_and(|diagnostic| diagnostic.span.is_some()) {
        return error;
    }
    let place = Location { line: span.line, column: span.column };
    error.with_diagnostic(Diagnostic::new_error("", Some(Span { start: place, end: place })))
}

/// A name, a table function or a sub-query, as an argument of a table function.
pub(super) fn relation(argument: &SqlExpr) -> Result<TableFactor> {
    let table = |name: ObjectName, args| TableFactor::Table {
        name,
        args,
        alias: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    };
    match argument {
        SqlExpr::Identifier(name) => Ok(table(ObjectName(vec![ObjectNamePart::Identifier(name.clone())]), None)),
        SqlExpr::Function(function) => Ok(TableFactor::Function {
            lateral: false,
            name: function.name.clone(),
            args: arguments(&function.args)?,
            with_ordinality: false,
            alias: None,
        }),
        SqlExpr::Subquery(query) => {
            Ok(TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None })
        }
        other => plan_err!("expected a table, CHANGES(table) or a sub-query, found `{other}`"),
    }
}

pub(super) fn time_column(expression: &SqlExpr, input: &LogicalPlan) -> Result<Expr> {
    let name = match expression {
        SqlExpr::Identifier(name) => name,
        SqlExpr::CompoundIdentifier(names) if !names.is_empty() => &names[names.len() - 1],
        SqlExpr::Function(function) if function.name.to_string().eq_ignore_ascii_case("DESCRIPTOR") => {
            match arguments(&function.args)?.as_slice() {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Identifier(name)))] => {
                    return time_column(&SqlExpr::Identifier(name.clone()), input);
                }
                _ => return plan_err!("DESCRIPTOR takes one column"),
            }
        }
        other => return plan_err!("expected the column with the event time, found `{other}`"),
    };
    let (qualifier, field) = input.schema().qualified_field_with_unqualified_name(&name.value)?;
    match field.data_type() {
        DataType::Timestamp(..) => Ok(Expr::Column(Column::from((qualifier, field)))),
        other => {
            let found = crate::type_name::sql_name(other);
            plan_err!("a window needs a TIMESTAMP column; \"{}\" is {found}", name.value)
        }
    }
}

fn arguments(arguments: &FunctionArguments) -> Result<Vec<FunctionArg>> {
    match arguments {
        FunctionArguments::List(FunctionArgumentList { args, .. }) => Ok(args.clone()),
        FunctionArguments::None => Ok(Vec::new()),
        FunctionArguments::Subquery(_) => plan_err!("expected arguments in parentheses"),
    }
}

fn value(argument: &FunctionArg) -> Option<&SqlExpr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression))
        | FunctionArg::Named { arg: FunctionArgExpr::Expr(expression), .. }
        | FunctionArg::ExprNamed { arg: FunctionArgExpr::Expr(expression), .. } => Some(expression),
        _ => None,
    }
}
