//! Columns that a table computes from others: `day AS CAST(placed AS DATE)`. They are computed when a record is decoded, where some query
//! needs them, and are columns of the row like any other from there on.

use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::Utc;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ExprWithAlias, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

use super::catalog::{Script, Table};
use crate::error::Result;
use crate::sql::diagnose::{Known, diagnose};
use crate::sql::names::Names;
use crate::sql::plan::compile::refuse_queries;
use crate::sql::refusal::{Refusal, Result as Planned, refuse};
use crate::sql::text::Text;

/// A computed column as it is written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The column.
    pub name: String,
    /// What it is.
    pub expression: SqlExpr,
    /// The same as text: the first of the tokens is the column's name.
    pub tokens: Vec<TokenWithSpan>,
    /// Where that stands.
    pub text: Text,
}

/// How a column is computed.
#[derive(Debug, Clone)]
pub struct Computed {
    /// Over a row of `inputs`.
    pub expression: Arc<dyn PhysicalExpr>,
    /// The columns that it is computed from.
    pub inputs: SchemaRef,
    /// It in words: state depends on it.
    pub words: String,
}

/// Plans the computed columns of all tables, which have no types before.
pub(in crate::sql) fn resolve(script: &mut Script, state: &SessionState, known: &Known) -> Result<()> {
    for table in script.tables.values_mut().filter(|table| !table.written.is_empty()) {
        let table = Arc::make_mut(table);
        for written in table.written.clone() {
            let failed = |refusal: Refusal| diagnose(&written.text, &written.tokens, &refusal, known);
            let (data_type, computed) = plan(table, &written, state).map_err(failed)?;
            check_watermark(table, &written.name, &data_type).map_err(failed)?;
            let typed = |field: &Arc<Field>| match *field.name() == written.name {
                true => Field::new(&written.name, data_type.clone(), true),
                false => field.as_ref().clone(),
            };
            table.columns = Arc::new(Schema::new(table.columns.fields().iter().map(typed).collect::<Vec<_>>()));
            table.computed.insert(written.name.clone(), computed);
        }
    }
    Ok(())
}

fn plan(table: &Table, written: &Written, state: &SessionState) -> Planned<(DataType, Computed)> {
    let is_own = |field: &&Arc<Field>| !table.written.iter().any(|written| written.name == *field.name());
    let others = table.columns.fields().iter().filter(is_own);
    // The image of a delete may lack what is NOT NULL.
    let others: Vec<Field> = others.map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let names = Names::new(others.iter().map(|field| field.name().as_str()));
    let schema = DFSchema::try_from_qualified_schema(table.name.as_str(), &Schema::new(others))?;
    let mut expression = written.expression.clone();
    if let Err((place, message)) = crate::sql::dialect::other_names::rewrite(&mut expression) {
        return Err(Refusal::Place(place, message));
    }
    let _ = expression.visit(&mut Resolving(&names));
    let planned = state.create_logical_expr_from_sql_expr(ExprWithAlias { expr: expression, alias: None }, &schema)?;
    let looks_around = planned.exists(|it| Ok(matches!(it, Expr::AggregateFunction(_) | Expr::WindowFunction(_))))?;
    if looks_around {
        return refuse(format!(
            "column \"{}\" is computed from one row alone, and `{}` looks at several; write that in the query",
            written.name, written.expression
        ));
    }
    if planned.is_volatile() {
        return refuse(format!(
            "column \"{}\" would be another value whenever its record is read, also after a crash; `{}` is not for computed columns",
            written.name, written.expression
        ));
    }
    refuse_queries(&planned)?;
    let mut places: Vec<usize> =
        planned.column_refs().into_iter().filter_map(|column| schema.maybe_index_of_column(column)).collect();
    places.sort_unstable();
    places.dedup();
    let inputs = Arc::new(schema.as_arrow().project(&places).map_err(crate::error::Error::internal)?);
    // The expression is over these columns alone.
    let own = DFSchema::try_from_qualified_schema(table.name.as_str(), &inputs)?;
    let words = planned.to_string();
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(own.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(Some(Utc::now()))
        .build();
    let simplifier = ExprSimplifier::new(context);
    let simple = simplifier.simplify(simplifier.coerce(planned, &own)?)?;
    let physical = state.create_physical_expr(simple, &own)?;
    let data_type = physical.data_type(&inputs)?;
    if data_type == DataType::Null {
        return refuse(format!("column \"{}\" is NULL in every row; CAST it to a type", written.name));
    }
    Ok((data_type, Computed { expression: physical, inputs, words }))
}

fn check_watermark(table: &Table, column: &str, data_type: &DataType) -> Planned<()> {
    let is_clock = table.watermark.as_ref().is_some_and(|watermark| watermark.column == column);
    if is_clock && !matches!(data_type, DataType::Timestamp(..)) {
        let found = crate::type_name::sql_name(data_type);
        return refuse(format!(
            "WATERMARK needs a TIMESTAMP column; \"{column}\" is {found}; write CAST(… AS TIMESTAMP(3))"
        ));
    }
    Ok(())
}

/// Names are found in any case.
struct Resolving<'a>(&'a Names);

impl VisitorMut for Resolving<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut SqlExpr) -> ControlFlow<()> {
        let name = match expression {
            SqlExpr::Identifier(name) => Some(name),
            SqlExpr::CompoundIdentifier(names) => names.last_mut(),
            _ => None,
        };
        if let Some(name) = name
            && let Some(known) = self.0.resolve(&name.value)
        {
            name.value = known;
        }
        ControlFlow::Continue(())
    }
}

impl Table {
    /// Whether a column is not in the record's row as it is: it is beside it, or computed.
    pub fn is_derived(&self, column: &str) -> bool {
        self.metadata.contains_key(column) || self.computed.contains_key(column)
    }

    /// What of a record, and not of its row, a column is taken or computed from, if so.
    pub fn metadata_of(&self, column: &str) -> Option<&str> {
        let is_metadata = |name: &&str| self.metadata.contains_key(*name);
        let inputs = self.computed.get(column).into_iter().flat_map(|it| it.inputs.fields());
        let mut names = inputs.map(|field| field.name().as_str());
        let own = self.metadata.get_key_value(column).map(|(name, _)| name.as_str());
        own.or_else(|| names.find(is_metadata))
    }
}
