//! Query files, read, checked and compiled as a whole. Connects to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::metadata::FieldMetadata;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Query as SqlQuery, SelectItem, SetExpr, Spanned, Statement as SqlStatement, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::define::catalog::{IMAGES, Insert, Script, Table};
use super::define::computed;
use super::diagnose::{Known, diagnose, unknown_column, unknown_table};
use super::dialect::cast_names::CastNames;
use super::dialect::functions;
use super::plan::compile;
use super::plan::pipeline::{Feed, Pipeline, Work};
use super::plan::processing_time;
use super::plan::relation::{StreamRelations, StreamTable};
use super::refusal::Refusal;
use super::submission::{Discovered, File, Submission};
use super::text::{Text, Variables};
use crate::error::{Error, Place, Result};

/// A submitted query: everything that its files define, compiled.
#[derive(Debug, Clone)]
pub struct Query {
    /// Tables, views and inserts.
    pub script: Arc<Script>,
    /// One per INSERT, in order.
    pub pipelines: Vec<Arc<Pipeline>>,
    /// Things to know before running it.
    pub warnings: Vec<String>,
}

impl Query {
    /// The same error with its place, if it is about an option of a table of this query.
    pub fn locate(&self, error: Error) -> Error {
        let Error::Config(message) = &error else { return error };
        let named = message.strip_prefix("table \"").and_then(|rest| rest.split_once('"'));
        let Some((table, rest)) = named.and_then(|(name, rest)| Some((self.script.tables.get(name)?, rest))) else {
            return error;
        };
        let option = rest.split('\'').skip(1).step_by(2).find_map(|option| table.option_places.get(option));
        option.unwrap_or(&table.place).error(message.as_str()).into()
    }
}

/// Reads and compiles query files as one.
pub async fn load(files: &[impl AsRef<Path>], variables: &Variables) -> Result<Query> {
    Submission::read(files, variables)?.compile(&Discovered::default()).await
}

/// Compiles texts, each with the name that messages use for it.
pub async fn load_texts(texts: Vec<(String, String)>, variables: &Variables) -> Result<Query> {
    Submission::of_texts(texts, variables)?.compile(&Discovered::default()).await
}

/// Compiles a script. Where something is still to come (`is_waiting`), there need be no INSERT.
pub(in crate::sql) async fn compile_script(mut script: Script, files: &[File], is_waiting: bool) -> Result<Query> {
    processing_time::offer(&mut script);
    super::plan::twins::tell_apart(&mut script);
    let context = context()?;
    let functions = functions(&context);
    let known = Known { tables: Vec::new(), functions: functions.clone() };
    computed::resolve(&mut script, &context.state(), &known)?;
    let script = Arc::new(script);
    let mut planner = Planner::new(&script, context, functions);
    let mut pipelines: Vec<Pipeline> = Vec::new();
    for File { text, views, inserts } in files {
        for view in &script.views[views.clone()] {
            let plan = planner
                .plan(&view.query, &view.tokens)
                .await
                .map_err(|error| diagnose(text, &view.tokens, &error, &planner.known))?;
            Arc::make_mut(&mut planner.views).insert(view.name.clone(), plan);
        }
        for insert in &script.inserts[inserts.clone()] {
            let pipeline = planner.insert(text, insert).await?;
            check_source(text, insert, &pipeline, &pipelines)?;
            match same_target(text, insert, &pipeline, &mut pipelines)? {
                Some(earlier) => join(earlier, pipeline),
                None => pipelines.push(pipeline),
            }
        }
    }
    if pipelines.is_empty() && !is_waiting {
        let message = "there is no INSERT INTO … SELECT, so there is nothing to run";
        let start = Location { line: 1, column: 1 };
        return Err(files.last().map_or_else(|| Error::config(message), |file| file.text.error(start, message).into()));
    }
    let pipelines: Vec<_> = pipelines.into_iter().map(Arc::new).collect();
    let warnings = super::warnings::warnings(&pipelines);
    Ok(Query { script, pipelines, warnings })
}

/// A DataFusion session for planning and for the rows of closed windows: names keep their case, one partition.
fn context() -> Result<SessionContext> {
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    let context = SessionContext::new_with_config(config);
    context.state_ref().write().register_expr_planner(Arc::new(CastNames))?;
    functions::register(&context);
    Ok(context)
}

/// The names of all functions.
fn functions(context: &SessionContext) -> Vec<String> {
    let state = context.state();
    state.scalar_functions().keys().chain(state.aggregate_functions().keys()).cloned().collect()
}

struct Planner {
    script: Arc<Script>,
    /// The views planned so far.
    views: Arc<BTreeMap<String, LogicalPlan>>,
    context: SessionContext,
    known: Known,
}

impl Planner {
    fn new(script: &Arc<Script>, context: SessionContext, functions: Vec<String>) -> Self {
        let tables = script.tables.keys().chain(script.views.iter().map(|view| &view.name)).cloned().collect();
        Self { script: Arc::clone(script), context, views: Arc::default(), known: Known { tables, functions } }
    }

    async fn insert(&mut self, text: &Text, insert: &Insert) -> Result<Pipeline> {
        let refused = |refusal: Refusal| Error::from(diagnose(text, &insert.tokens, &refusal, &self.known));
        let target = match &insert.target {
            Some(name) => Some(self.target(text, insert, name)?),
            None => None,
        };
        let plan = self.plan(&insert.query, &insert.tokens).await.map_err(refused)?;
        let plan = fit(plan, insert, target.as_deref()).map_err(refused)?;
        compile::compile(plan, target, &insert.emit, &self.context.state()).map_err(refused)
    }

    fn target(&self, text: &Text, insert: &Insert, name: &str) -> Result<Arc<Table>> {
        let unknown = || unknown_table(name, self.script.tables.keys().map(String::as_str));
        let target = self.script.tables.get(name).cloned().ok_or_else(|| text.error(insert.place, unknown()))?;
        let computed = target.written.iter().map(|written| &written.name).next();
        match target.metadata.keys().next() {
            None => match computed {
                None => Ok(target),
                Some(column) => {
                    let message = format!(
                        "table \"{name}\" is filled, and its column \"{column}\" is computed, which is for tables that are read; compute it in the query"
                    );
                    Err(text.error(insert.place, message).into())
                }
            },
            Some(column) => {
                let message = format!(
                    "table \"{name}\" is filled, and its column \"{column}\" is METADATA, which is of records that are read; leave it out"
                );
                Err(text.error(insert.place, message).into())
            }
        }
    }

    async fn plan(&self, query: &SqlQuery, tokens: &[TokenWithSpan]) -> std::result::Result<LogicalPlan, Refusal> {
        let statement = DfStatement::Statement(Box::new(SqlStatement::Query(Box::new(query.clone()))));
        let mut local = LocalNames::default();
        let _ = query.visit(&mut local);
        let local = local.0;
        for (name, table) in &self.script.tables {
            if local.contains(name) && !table.columns.fields().is_empty() && !self.context.table_exist(name.as_str())? {
                // DataFusion finds its way between a table and a WITH of the same name by itself.
                self.context.register_table(name.as_str(), Arc::new(StreamTable::plain(table)))?;
            }
        }
        Ok(self.state(tokens, local).statement_to_plan(statement).await?)
    }

    /// The session as one statement sees it: all tables and views, and `CHANGES` with images if it mentions them.
    fn state(&self, tokens: &[TokenWithSpan], local: BTreeSet<String>) -> SessionState {
        let mentions =
            |name: &str| tokens.iter().any(|it| matches!(&it.token, Token::Word(word) if word.value == name));
        let with_images = IMAGES.iter().any(|name| mentions(name));
        let relations =
            StreamRelations { script: Arc::clone(&self.script), local, views: Arc::clone(&self.views), with_images };
        SessionStateBuilder::new_from_existing(self.context.state())
            .with_relation_planners(vec![Arc::new(relations)])
            .build()
    }
}

/// The names that the WITH clauses of a query define, at any depth.
#[derive(Default)]
struct LocalNames(BTreeSet<String>);

impl Visitor for LocalNames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &SqlQuery) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0.extend(tables.map(|table| table.alias.name.value.clone()));
        ControlFlow::Continue(())
    }
}

/// Gives the query's columns the names, order and types that the target declares, if it declares any.
fn fit(plan: LogicalPlan, insert: &Insert, target: Option<&Table>) -> std::result::Result<LogicalPlan, Refusal> {
    let refuse = |column: usize, message: String| match place_of_column(&insert.query, column) {
        Some(place) => Err(Refusal::Place(place, message)),
        None => Err(Refusal::Query(message)),
    };
    let fields: Vec<_> = plan.schema().fields().iter().cloned().collect();
    let mut seen = BTreeSet::new();
    let declared = target.map(|table| &table.columns).filter(|columns| !columns.fields().is_empty());
    let Some(declared) = declared else {
        return match fields.iter().position(|field| !seen.insert(field.name().as_str())) {
            Some(twice) => {
                let name = fields[twice].name();
                refuse(twice, format!("two columns of the result are called \"{name}\"; give one another name with AS"))
            }
            None => Ok(plan),
        };
    };
    let target_name = target.map_or("", |table| &table.name);
    let wanted = wanted_columns(declared, insert, target_name)?;
    if wanted.len() != fields.len() {
        let names = |fields: &[FieldRef]| fields.iter().map(|it| it.name().as_str()).collect::<Vec<_>>().join(", ");
        let (gives, has) = (fields.len(), wanted.len());
        let both = format!(
            "the query gives {gives} columns ({}) to \"{target_name}\", which takes {has} ({})",
            names(&fields),
            names(&wanted)
        );
        return refuse(
            0,
            format!(
                "{both}; select as many, in this order, or list the columns: INSERT INTO {target_name} (…) SELECT …"
            ),
        );
    }
    let columns: Vec<_> = plan.schema().columns();
    let mut expressions = Vec::new();
    for (at, ((column, from), to)) in columns.into_iter().zip(&fields).zip(&wanted).enumerate() {
        if !datafusion::arrow::compute::can_cast_types(from.data_type(), to.data_type()) {
            let (to_type, from_type) =
                (crate::type_name::sql_name(to.data_type()), crate::type_name::sql_name(from.data_type()));
            return refuse(
                at,
                format!(
                    "column \"{}\" of \"{target_name}\" is {to_type}, but the query gives \"{}\" of type {from_type}; \
                 select something of type {to_type}",
                    to.name(),
                    from.name(),
                ),
            );
        }
        let value = Expr::Column(column);
        let value = if from.data_type() == to.data_type() { value } else { cast(value, to.data_type().clone()) };
        // What the target declares counts, such as that a text is a UUID.
        let mark = (!to.metadata().is_empty()).then(|| FieldMetadata::from(to.metadata()));
        expressions.push(value.alias_with_metadata(to.name(), mark));
    }
    Ok(LogicalPlanBuilder::from(plan).project(expressions)?.build()?)
}

/// Where a column of the result stands in the SELECT list, if no `*` is before it.
fn place_of_column(query: &SqlQuery, column: usize) -> Option<Location> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let is_one = |item: &&SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    let item = select.projection.iter().take_while(is_one).nth(column)?;
    Some(item.span().start).filter(|place| place.line > 0)
}

fn wanted_columns(declared: &SchemaRef, insert: &Insert, target: &str) -> std::result::Result<Vec<FieldRef>, Refusal> {
    if insert.columns.is_empty() {
        return Ok(declared.fields().iter().cloned().collect());
    }
    let find = |(name, place): &(String, Place)| {
        declared.fields().iter().find(|field| field.name().eq_ignore_ascii_case(name)).cloned().ok_or_else(|| {
            let message =
                unknown_column(name, Some(target), declared.fields().iter().map(|field| field.name().as_str()));
            Refusal::Sql(place.error(message))
        })
    };
    insert.columns.iter().map(find).collect()
}

/// The INSERT into the same table that this one is one with. A table keeps track of what one pipeline has written; two would not be
/// told apart after a crash.
fn same_target<'a>(
    text: &Text,
    insert: &Insert,
    pipeline: &Pipeline,
    earlier: &'a mut [Pipeline],
) -> Result<Option<&'a mut Pipeline>> {
    let Some(target) = &pipeline.target else { return Ok(None) };
    if matches!(target.options.get("connector"), Some("print" | "blackhole")) {
        return Ok(None);
    }
    let is_same =
        |it: &&mut Pipeline| it.target.as_ref().is_some_and(|other| other.place_in_words() == target.place_in_words());
    let Some(other) = earlier.iter_mut().find(is_same) else { return Ok(None) };
    let columns = |pipeline: &Pipeline| {
        let fields = pipeline.output.fields().iter();
        fields.map(|field| (field.name().clone(), field.data_type().clone())).collect::<Vec<_>>()
    };
    let name = &target.name;
    let message = match (&pipeline.work, &other.work) {
        _ if other.target.as_ref().is_some_and(|other| other.name != *name) => {
            format!(
                "table \"{name}\" is already filled by another INSERT, under another name; use one CREATE TABLE for both"
            )
        }
        (Work::Append, Work::Append) if columns(pipeline) == columns(other) => return Ok(Some(other)),
        (Work::Append, Work::Append) => {
            format!(
                "table \"{name}\" is already filled by another INSERT, which gives other columns; select the same, or fill another table"
            )
        }
        (Work::Window(_), Work::Window(_)) => format!(
            "table \"{name}\" is already filled by another INSERT; write both as one: INSERT INTO {name} SELECT … UNION ALL SELECT …"
        ),
        _ => format!("table \"{name}\" is already filled by another INSERT; give this one a table of its own"),
    };
    Err(text.error(insert.place, message).into())
}

/// Several INSERTs of single rows into one table are a `UNION ALL`.
fn join(one: &mut Pipeline, other: Pipeline) {
    let nullable = |(field, other): (&FieldRef, &FieldRef)| {
        field.as_ref().clone().with_nullable(field.is_nullable() || other.is_nullable())
    };
    let fields: Vec<_> = one.output.fields().iter().zip(other.output.fields()).map(nullable).collect();
    one.output = Arc::new(Schema::new(fields));
    one.fingerprint = format!("{}\n{}", one.fingerprint, other.fingerprint);
    one.feeds.extend(other.feeds);
    one.lookups.extend(other.lookups);
}

/// Offsets and inserts are told apart by topic and partition: a topic is read as one table.
fn check_source(text: &Text, insert: &Insert, pipeline: &Pipeline, earlier: &[Pipeline]) -> Result<()> {
    let before = earlier.iter().flat_map(|it| &it.feeds).map(|feed| &feed.table);
    let mut read: Vec<&Arc<Table>> = before.collect();
    for Feed { table, .. } in &pipeline.feeds {
        let is_twin = |other: &Table| other.name != table.name && other.place_in_words() == table.place_in_words();
        if let Some(twin) = read.iter().find(|it| is_twin(it)) {
            let message = format!(
                "tables \"{}\" and \"{}\" read the same records; read them as one table, or in two jobs",
                twin.name, table.name
            );
            return Err(text.error(insert.place, message).into());
        }
        read.push(table);
    }
    Ok(())
}
