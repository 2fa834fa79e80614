//! Query files, read, checked and compiled as a whole. Connects to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{Query as SqlQuery, Statement as SqlStatement};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::catalog::{IMAGES, Insert, Script, Table};
use super::compile::{Refusal, compile};
use super::diagnose::diagnose;
use super::pipeline::Pipeline;
use super::relation::StreamRelations;
use super::statement::read_statements;
use super::text::{Text, Variables};
use crate::error::{Error, Result, suggestion};

/// A submitted query: everything that its files define, compiled.
#[derive(Debug)]
pub struct Query {
    /// Tables, views and inserts.
    pub script: Arc<Script>,
    /// One per INSERT, in order.
    pub pipelines: Vec<Arc<Pipeline>>,
    /// Things to know before running it.
    pub warnings: Vec<String>,
}

/// Reads and compiles query files as one.
pub async fn load(files: &[impl AsRef<Path>], variables: &Variables) -> Result<Query> {
    let mut texts = Vec::new();
    for file in files {
        let path = file.as_ref();
        let source = std::fs::read_to_string(path)
            .map_err(|cause| Error::permanent(format!("cannot read {}", path.display()), cause))?;
        texts.push((path.display().to_string(), source));
    }
    load_texts(texts, variables).await
}

/// Compiles texts, each with the name that messages use for it.
pub async fn load_texts(texts: Vec<(String, String)>, variables: &Variables) -> Result<Query> {
    let mut script = Script::default();
    let mut sources = Vec::new();
    for (file, source) in texts {
        let text = Text::new(file, &source, variables)?;
        let (views, inserts) = (script.views.len(), script.inserts.len());
        read_statements(&text, &mut script)?;
        sources.push((text, views..script.views.len(), inserts..script.inserts.len()));
    }
    let script = Arc::new(script);
    let mut planner = Planner { script: Arc::clone(&script), views: Arc::default(), context: context() };
    let mut pipelines = Vec::new();
    for (text, views, inserts) in &sources {
        check_tables(text, &script)?;
        for view in &script.views[views.clone()] {
            let plan =
                planner.plan(&view.query, &view.tokens).await.map_err(|error| diagnose(text, &view.tokens, &error))?;
            Arc::make_mut(&mut planner.views).insert(view.name.clone(), plan);
        }
        for insert in &script.inserts[inserts.clone()] {
            let pipeline = planner.insert(text, insert).await?;
            check_target(text, insert, &pipeline, &pipelines)?;
            pipelines.push(Arc::new(pipeline));
        }
    }
    if pipelines.is_empty() {
        let file = sources.first().map_or("the query", |(text, ..)| &text.file);
        return Err(Error::config(format!("{file} has no INSERT INTO … SELECT, so there is nothing to run")));
    }
    let warnings = warnings(&pipelines);
    Ok(Query { script, pipelines, warnings })
}

/// A DataFusion session for planning and for the rows of closed windows: names keep their case, one partition.
fn context() -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    SessionContext::new_with_config(config)
}

struct Planner {
    script: Arc<Script>,
    views: Arc<BTreeMap<String, LogicalPlan>>,
    context: SessionContext,
}

impl Planner {
    async fn insert(&mut self, text: &Text, insert: &Insert) -> Result<Pipeline> {
        let refused = |refusal: Refusal| Error::from(diagnose(text, &insert.tokens, &refusal));
        let target = match &insert.target {
            Some(name) => Some(self.target(text, insert, name)?),
            None => None,
        };
        let plan = self.plan(&insert.query, &insert.tokens).await.map_err(refused)?;
        let plan = fit(plan, insert, target.as_deref()).map_err(refused)?;
        compile(plan, target, &self.context.state()).map_err(refused)
    }

    fn target(&self, text: &Text, insert: &Insert, name: &str) -> Result<Arc<Table>> {
        self.script.tables.get(name).cloned().ok_or_else(|| {
            let hint = suggestion(name, self.script.tables.keys().map(String::as_str));
            let message = format!("table \"{name}\" not found; define it with CREATE TABLE before this INSERT{hint}");
            text.error(insert.place, message).into()
        })
    }

    async fn plan(&self, query: &SqlQuery, tokens: &[TokenWithSpan]) -> std::result::Result<LogicalPlan, Refusal> {
        let statement = DfStatement::Statement(Box::new(SqlStatement::Query(Box::new(query.clone()))));
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        let local = with.map(|table| table.alias.name.value.clone()).collect();
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

/// Gives the query's columns the names, order and types that the target declares, if it declares any.
fn fit(plan: LogicalPlan, insert: &Insert, target: Option<&Table>) -> std::result::Result<LogicalPlan, Refusal> {
    let refuse = |message: String| Err(Refusal::Query(message));
    let fields: Vec<_> = plan.schema().fields().iter().cloned().collect();
    let mut seen = BTreeSet::new();
    let declared = target.map(|table| &table.columns).filter(|columns| !columns.fields().is_empty());
    let Some(declared) = declared else {
        return match fields.iter().find(|field| !seen.insert(field.name().as_str())) {
            Some(twice) => refuse(format!(
                "two columns of the result are called \"{0}\"; give one another name with AS",
                twice.name()
            )),
            None => Ok(plan),
        };
    };
    let target_name = target.map_or("", |table| &table.name);
    let wanted = wanted_columns(declared, insert, target_name)?;
    if wanted.len() != fields.len() {
        let both = format!(
            "it has {} ({})",
            wanted.len(),
            wanted.iter().map(|it| it.name().as_str()).collect::<Vec<_>>().join(", ")
        );
        return refuse(format!("the query gives {} columns to \"{target_name}\", but {both}", fields.len()));
    }
    let columns: Vec<_> = plan.schema().columns();
    let mut expressions = Vec::new();
    for ((column, from), to) in columns.into_iter().zip(&fields).zip(&wanted) {
        if !datafusion::arrow::compute::can_cast_types(from.data_type(), to.data_type()) {
            return refuse(format!(
                "column \"{}\" of \"{target_name}\" is {}, but the query gives \"{}\" of type {}; add a CAST",
                to.name(),
                super::types::sql_name(to.data_type()),
                from.name(),
                super::types::sql_name(from.data_type())
            ));
        }
        let value = Expr::Column(column);
        let value = if from.data_type() == to.data_type() { value } else { cast(value, to.data_type().clone()) };
        expressions.push(value.alias(to.name()));
    }
    Ok(LogicalPlanBuilder::from(plan).project(expressions)?.build()?)
}

fn wanted_columns(
    declared: &SchemaRef,
    insert: &Insert,
    target: &str,
) -> std::result::Result<Vec<datafusion::arrow::datatypes::FieldRef>, Refusal> {
    if insert.columns.is_empty() {
        return Ok(declared.fields().iter().cloned().collect());
    }
    let find = |name: &String| {
        declared.fields().iter().find(|field| field.name() == name).cloned().ok_or_else(|| {
            let hint = suggestion(name, declared.fields().iter().map(|field| field.name().as_str()));
            Refusal::Query(format!("column \"{name}\" not found in table \"{target}\"{hint}"))
        })
    };
    insert.columns.iter().map(find).collect()
}

/// A table keeps track of what one INSERT has written; two would not be told apart after a crash.
fn check_target(text: &Text, insert: &Insert, pipeline: &Pipeline, earlier: &[Arc<Pipeline>]) -> Result<()> {
    let Some(target) = &pipeline.target else { return Ok(()) };
    let is_kept = !matches!(target.options.get("connector"), Some("print" | "blackhole"));
    if is_kept && earlier.iter().any(|it| it.target.as_ref().is_some_and(|other| other.name == target.name)) {
        let message =
            format!("table \"{}\" is already filled by another INSERT; give this one a table of its own", target.name);
        return Err(text.error(insert.place, message).into());
    }
    Ok(())
}

/// Options that no connector or format knows are spelling mistakes.
fn check_tables(text: &Text, script: &Script) -> Result<()> {
    for table in script.tables.values() {
        let connector = table.options.get("connector").unwrap_or_default();
        let Some(known) = crate::connector::known_options(connector) else {
            let hint = suggestion(connector, crate::connector::CONNECTORS.iter().copied());
            let message = match connector {
                "" => format!("table \"{}\" needs the option 'connector'", table.name),
                _ => format!(
                    "connector '{connector}' is not known{hint}; there are {}",
                    crate::connector::CONNECTORS.join(", ")
                ),
            };
            return Err(text.error(table.place, message).into());
        };
        for name in table.options.names() {
            if !known
                .iter()
                .any(|it| it == &name || it.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix)))
            {
                let hint = suggestion(name, known.iter().copied());
                let message = format!("option '{name}' is not known to connector '{connector}'{hint}");
                return Err(text.error(table.place, message).into());
            }
        }
    }
    Ok(())
}

fn warnings(pipelines: &[Arc<Pipeline>]) -> Vec<String> {
    let mut warnings = BTreeSet::new();
    for pipeline in pipelines {
        let table = &pipeline.table;
        let mode = table.options.get("scan.startup.mode");
        if pipeline.reading == super::relation::Reading::Table && matches!(mode, Some("latest-offset" | "timestamp")) {
            warnings.insert(format!(
                "table \"{}\" is read as its current rows but not from the beginning of its topic, so older rows are missing; \
                 set 'scan.startup.mode' = 'earliest-offset'",
                table.name
            ));
        }
    }
    warnings.into_iter().collect()
}
