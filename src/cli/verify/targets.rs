//! What is compared with what: as the arguments say, or as query files do.

use std::sync::Arc;

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};

use super::VerifyArgs;
use crate::cli::clickhouse::table_of as table_of_target;
use crate::error::{Error, Result};
use crate::sink::clickhouse::ClickHouseClient;
use crate::sql::define::catalog::Table;
use crate::sql::plan::pipeline::{Feed, Pipeline, Work};
use crate::sql::plan::relation::Reading;
use crate::sql::query::load;
use crate::sql::text::Variables;
use crate::verify::pairing::Origins;
use crate::window::stage::Stage;

/// A table and its copy.
pub(super) struct Target {
    /// The source's name of the table.
    pub(super) table: String,
    /// Its copy; when it is not known, the table of the same name.
    pub(super) mirror: Option<String>,
    /// Where the copy is.
    pub(super) client: ClickHouseClient,
    /// Where the copy's columns come from.
    pub(super) origins: Origins,
    /// Whether the query that fills the copy leaves deletes out.
    pub(super) keeps_deleted: bool,
}

/// All pairs to compare.
pub(super) async fn targets(args: &VerifyArgs) -> Result<Vec<Target>> {
    if args.mirrors.len() > args.tables.len() {
        return Err(Error::config("--mirror without a --table that it is the copy of"));
    }
    let mut known = if args.files.is_empty() { Vec::new() } else { of_files(args).await? };
    if args.tables.is_empty() {
        return match known.is_empty() {
            true if args.files.is_empty() => {
                Err(Error::config("nothing to compare: name query files, or --table and --mirror"))
            }
            true => Err(Error::config(
                "the query files fill no table in ClickHouse with the rows of a Debezium topic, so there is nothing to compare; \
                 name --table and --mirror",
            )),
            false => Ok(known),
        };
    }
    let mut chosen = Vec::new();
    for (at, table) in args.tables.iter().enumerate() {
        let is_it = |target: &Target| target.table == *table || target.table.rsplit('.').next() == Some(table.as_str());
        let mirror = args.mirrors.get(at).cloned();
        let found = known
            .iter()
            .position(|target| is_it(target) && mirror.as_ref().is_none_or(|it| target.mirror.as_ref() == Some(it)));
        chosen.push(match found {
            Some(found) => Target { table: table.clone(), ..known.swap_remove(found) },
            None if mirror.is_none() && !args.files.is_empty() => {
                let there: Vec<_> = known.iter().map(|target| target.table.as_str()).collect();
                return Err(Error::config(format!(
                    "the query files have no copy of {table}; they have {}; or name it with --mirror",
                    if there.is_empty() { "none".to_owned() } else { there.join(", ") }
                )));
            }
            None => Target {
                table: table.clone(),
                mirror,
                client: args.clickhouse.client(None)?,
                origins: Origins::default(),
                keeps_deleted: false,
            },
        });
    }
    Ok(chosen)
}

/// The mirrors that query files fill, and, for purging, changelogs; a table that has both is compared with its mirror.
async fn of_files(args: &VerifyArgs) -> Result<Vec<Target>> {
    let variables = Variables::new(args.set.iter().cloned().collect());
    let query = load(&args.files, &variables).await?;
    let mut targets: Vec<(bool, Target)> = Vec::new();
    for pipeline in &query.pipelines {
        let Some(target) = pipeline.target.as_ref().filter(|it| it.options.get("connector") == Some("clickhouse"))
        else {
            continue;
        };
        let [feed] = pipeline.feeds.as_slice() else { continue };
        let is_mirror = match &pipeline.work {
            Work::Mirror { .. } => true,
            Work::Append if feed.reading == Reading::Changes => false,
            _ => continue,
        };
        let stages = &feed.stages;
        let filters =
            stages.iter().any(|stage| matches!(stage, Stage::Filter(_) | Stage::Lookup(_) | Stage::Unnest(_)));
        if filters && !is_mirror {
            // Part of the changes are no copy of the rows.
            continue;
        }
        if filters && args.condition.is_none() {
            return Err(Error::config(format!(
                "the query that fills \"{}\" leaves rows out (WHERE); give the same condition with --where, for both sides",
                target.name
            )));
        }
        let table = table_of(&feed.table);
        let found = Target {
            mirror: Some(table_of_target(&target.options)),
            client: args.clickhouse.client(Some(&target.options))?,
            origins: origins(pipeline, feed),
            keeps_deleted: target.options.get("deletes") == Some("ignore"),
            table,
        };
        // A mirror says more than a changelog of the same table; for a purge it is the other way round.
        let better = is_mirror != args.purge.is_asked_for() || found.keeps_deleted;
        match targets.iter().position(|(_, it)| it.table == found.table) {
            Some(at) if better && !targets[at].0 => targets[at] = (better, found),
            Some(_) if !better => {}
            _ => targets.push((better, found)),
        }
    }
    Ok(targets.into_iter().map(|(_, target)| target).collect())
}

/// The source's name of a table: the end of its topic, `prefix.database.table`.
fn table_of(table: &Table) -> String {
    let topic = table.options.get("topic").unwrap_or(&table.name);
    let parts: Vec<&str> = topic.split(';').next().unwrap_or(topic).split('.').collect();
    parts[parts.len().saturating_sub(2)..].join(".")
}

/// The source's column of each of the result's that is nothing but one.
fn origins(pipeline: &Pipeline, feed: &Feed) -> Origins {
    let mut columns: Vec<Option<String>> = feed.scan.fields().iter().map(|field| Some(field.name().clone())).collect();
    for stage in &feed.stages {
        if let Stage::Project(expressions, _) = stage {
            columns = expressions.iter().map(|it| columns.get(column(it)?).cloned().flatten()).collect();
        }
    }
    let names = pipeline.output.fields().iter().map(|field| field.name().clone());
    Origins { columns: names.zip(columns).collect() }
}

/// The column that an expression is, perhaps in a wider type.
fn column(expression: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    let expression = expression.as_ref();
    if let Some(column) = expression.downcast_ref::<Column>() {
        return Some(column.index());
    }
    expression.downcast_ref::<CastExpr>().and_then(|cast| column(cast.expr()))
}
