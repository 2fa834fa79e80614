//! `highwater delivery`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::checkpoint::{Place, newest};
use super::clickhouse::{ClickHouseArgs, table_of};
use super::table::Table;
use super::{name_and_value, print_result};
use crate::error::{Error, Result};
use crate::job::outputs::Outputs;
use crate::options::Options;
use crate::sink::clickhouse::ClickHouseClient;
use crate::sql::query::load;
use crate::sql::text::Variables;
use crate::verify::delivered::{Delivered, Found, Positions, Results};

const EXAMPLES: &str = "\
Examples:
  highwater delivery registrations_per_store --file queries/registrations_per_store.sql
  highwater delivery registrations_per_store           # the tables that its checkpoint names, or all with positions
  highwater delivery --table shop.customer_changes --json

Exit codes: 0 no row is there twice, 1 some are, 2 a mistake in an argument, 3 ClickHouse does not answer.";

/// Arguments of `highwater delivery`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeliveryArgs {
    /// The job: rows that say that they are another's do not count
    job: Option<String>,
    /// The tables that these query files fill
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A value for ${NAME} in the files
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
    /// Only these tables: database.table
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    #[command(flatten)]
    place: Place,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. Rows that are there twice are no error: the exit code says so.
pub(crate) async fn run(args: &DeliveryArgs) -> Result<ExitCode> {
    let (client, tables) = tables(args).await.map_err(|error| args.clickhouse.say_where(error, &args.files))?;
    if tables.is_empty() {
        return Err(Error::config(format!(
            "ClickHouse at {} has no table with positions or epochs{}; name some with --table, or the query files with --file",
            client.place(),
            args.job.as_ref().map(|job| format!(" of job \"{job}\"")).unwrap_or_default()
        )));
    }
    let mut all = Vec::new();
    for table in &tables {
        let delivered = Delivered::look_at(&client, table, args.job.as_deref()).await?;
        if !args.json {
            print_result(&to_text(&delivered))?;
        }
        all.push(delivered);
    }
    let repeats: u64 = all.iter().map(Delivered::repeats).sum();
    match args.json {
        true => {
            let tables: Vec<_> = all.iter().map(to_json).collect();
            print_result(&format!("{:#}\n", json!({ "repeats": repeats, "tables": tables })))?;
        }
        false if repeats == 0 => print_result("no row is there twice\n")?,
        false => print_result(&format!("{} rows are there twice\n", HumanCount(repeats)))?,
    }
    Ok(if repeats == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Which tables, and where: as the arguments say, as query files do, as the job's checkpoint does, or all that may be meant.
async fn tables(args: &DeliveryArgs) -> Result<(ClickHouseClient, Vec<String>)> {
    if !args.files.is_empty() {
        let query = load(&args.files, &Variables::new(args.set.iter().cloned().collect())).await?;
        let outputs = Outputs::new(&query, args.job.as_deref().unwrap_or("job"))?;
        let is_here = |options: &&Options| options.get("connector") == Some("clickhouse");
        let options: Vec<_> = outputs.tables.iter().map(|table| &table.options).filter(is_here).collect();
        let first = options.first().ok_or_else(|| Error::config("the query files fill no table in ClickHouse"))?;
        let filled: Vec<String> = options.iter().map(|options| table_of(options)).collect();
        return Ok((
            args.clickhouse.client(Some(first))?,
            if args.tables.is_empty() { filled } else { args.tables.clone() },
        ));
    }
    let client = args.clickhouse.client(None)?;
    if !args.tables.is_empty() {
        return Ok((client, args.tables.clone()));
    }
    if let Some(job) = &args.job
        && let Ok(Some(found)) = newest(&args.place, job).await
        && !found.outline.manifest.described.tables.is_empty()
    {
        return Ok((client, found.outline.manifest.described.tables));
    }
    let tables = Delivered::tables(&client, args.job.as_deref()).await?;
    Ok((client, tables))
}

fn to_text(delivered: &Delivered) -> String {
    let name = &delivered.table;
    match &delivered.found {
        Found::Missing => format!("{name}: not there\n"),
        Found::Nothing { rows } => {
            format!("{name}: {} rows without positions, versions or epochs; nothing can be told\n", HumanCount(*rows))
        }
        Found::Versions { rows, folding } => format!(
            "{name}: {} versions of rows; {} are there twice and fold when parts are merged\n",
            HumanCount(*rows),
            HumanCount(*folding)
        ),
        Found::Results(results) => format!("{name}: {}\n", results_text(results)),
        Found::Positions(partitions) if partitions.is_empty() => format!("{name}: no rows\n"),
        Found::Positions(partitions) => positions_text(name, partitions),
    }
}

fn results_text(results: &Results) -> String {
    if results.rows == 0 {
        return "no results".to_owned();
    }
    let windows = results.windows.as_ref().map(|(first, last)| format!(" of windows from {first} to {last}"));
    let twice = match (results.repeats, results.same_key) {
        (0, 0) => "none twice".to_owned(),
        (0, same) => format!(
            "none twice; {} have the sorting key ({}) of another and other values, as groups do that differ in a column that is not in it",
            HumanCount(same),
            results.key
        ),
        (repeats, _) => format!("{} twice", HumanCount(repeats)),
    };
    format!(
        "{} results{}, made in {} epochs from {} to {}, {twice}",
        HumanCount(results.rows),
        windows.unwrap_or_default(),
        HumanCount(results.epoch_count),
        results.epochs.0,
        results.epochs.1
    )
}

fn positions_text(name: &str, partitions: &[Positions]) -> String {
    let mut table = Table::new(&["partition", "first", "last", "records", "rows", "missing", "twice"]);
    for it in partitions {
        let counts = [it.records, it.rows, it.missing(), it.repeats].map(|count| HumanCount(count).to_string());
        let place = [format!("{}[{}]", it.topic, it.partition), it.first.to_string(), it.last.to_string()];
        table.row(place.into_iter().chain(counts).collect());
    }
    let mut text = format!("{name}\n{table}");
    for it in partitions.iter().filter(|it| it.gaps > 0) {
        let some: Vec<_> = it
            .some_gaps
            .iter()
            .map(|(from, to)| if from == to { from.to_string() } else { format!("{from} to {to}") })
            .collect();
        let more =
            if it.gaps > some.len() as u64 { format!(", … ({} gaps)", HumanCount(it.gaps)) } else { String::new() };
        text.push_str(&format!("  without a row in {}[{}]: {}{more}\n", it.topic, it.partition, some.join(", ")));
    }
    text
}

fn to_json(delivered: &Delivered) -> Value {
    let found = match &delivered.found {
        Found::Missing => json!({ "kind": "missing" }),
        Found::Nothing { rows } => json!({ "kind": "other", "rows": rows }),
        Found::Versions { rows, folding } => json!({ "kind": "versions", "rows": rows, "folding": folding }),
        Found::Results(it) => json!({
            "kind": "results", "rows": it.rows, "first_window": it.windows.as_ref().map(|it| &it.0),
            "last_window": it.windows.as_ref().map(|it| &it.1), "epochs": it.epoch_count, "first_epoch": it.epochs.0,
            "last_epoch": it.epochs.1, "repeats": it.repeats, "same_key": it.same_key, "key": it.key,
        }),
        Found::Positions(partitions) => {
            let partitions = partitions.iter().map(|it| {
                json!({
                    "topic": it.topic, "partition": it.partition, "first": it.first, "last": it.last, "records": it.records,
                    "rows": it.rows, "missing": it.missing(), "gaps": it.gaps, "some_gaps": it.some_gaps, "repeats": it.repeats,
                })
            });
            json!({ "kind": "positions", "partitions": partitions.collect::<Vec<_>>() })
        }
    };
    let mut value = json!({ "table": delivered.table });
    if let (Some(value), Value::Object(found)) = (value.as_object_mut(), found) {
        value.extend(found);
    }
    value
}
