//! `highwater verify`.

mod purge;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{HumanCount, ProgressBar};

use self::purge::PurgeArgs;
use self::targets::{Target, targets};
use super::clickhouse::ClickHouseArgs;
use super::run::duration;
use super::{name_and_value, print_result};
use crate::error::Result;
use crate::telemetry::LIVE_LINES;
use crate::verify::compare::{Settings, compare};
use crate::verify::copy::Copy;
use crate::verify::pairing::Pairing;
use crate::verify::report::TableReport;
use crate::verify::source::{Described, Source};
use crate::verify::statements::Subject;

const EXAMPLES: &str = "\
Examples:
  highwater verify queries/registrations_per_store.sql --source mysql://dbz@localhost:3306
  highwater verify --source postgres://localhost/shop --table public.orders --mirror shop.orders
  highwater verify q.sql --format json > report.json || echo different
  highwater verify q.sql --table shop.orders --purge-archived --older-than 90d --time-column created_at --dry-run

Passwords are better in the environment: SOURCE_URL or SOURCE_PASSWORD, CLICKHOUSE_URL or CLICKHOUSE_PASSWORD.

Exit codes: 0 equal, 1 different, 2 a mistake in an argument, 3 a database does not answer.";

/// Arguments of `highwater verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// Query files: the mirrors that they fill are compared with the tables that these are of
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A value for ${NAME} in the files
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
    /// The database: mysql://, mariadb:// or postgres://[user[:password]@]host[:port][/database]
    #[arg(long, value_name = "URL", env = "SOURCE_URL", hide_env_values = true)]
    source: String,
    /// The password of the source
    #[arg(long, env = "SOURCE_PASSWORD", hide_env_values = true, hide = true)]
    source_password: Option<String>,
    /// Only these tables: database.table, in PostgreSQL schema.table [default: all that the files mirror]
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Their copies in ClickHouse, in the same order: database.table [default: as the files say, or of the same name]
    #[arg(long = "mirror", value_name = "TABLE")]
    mirrors: Vec<String>,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    /// Compare only rows for which this holds: a condition that both databases understand
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Do not compare this column
    #[arg(long = "ignore-column", value_name = "NAME")]
    ignored: Vec<String>,
    /// Rows of a range
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    range_rows: u64,
    /// How long to wait before rows that differ are looked at again; longer than the mirror is behind
    #[arg(long, default_value = "5 s", value_parser = duration)]
    settle: Duration,
    /// How often they are looked at again
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..))]
    looks: u32,
    /// Rows that are shown of each table
    #[arg(long, default_value_t = 20)]
    max_rows: usize,
    /// Rows that differ before the search of a table ends
    #[arg(long, default_value_t = 100_000)]
    max_differences: usize,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    purge: PurgeArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Runs the command. What is different is no error: the exit code says so.
pub(crate) async fn run(args: &VerifyArgs) -> Result<ExitCode> {
    args.purge.check()?;
    let targets = targets(args).await?;
    let mut source = Source::connect(&args.source, args.source_password.as_deref(), args.purge.writes()).await?;
    let mut reports = Vec::new();
    let mut purges = Vec::new();
    for target in &targets {
        let (subject, described) = subject(&mut source, target, args).await?;
        if args.purge.is_asked_for() {
            purges.push(args.purge.purge(&mut source, &subject, &described, target, args.format).await?);
        } else {
            let report = compared(&mut source, &subject, args).await?;
            if args.format == Format::Text {
                print_result(&report.to_text())?;
            }
            reports.push(report);
        }
    }
    let equal = reports.iter().all(TableReport::is_equal);
    if args.format == Format::Json {
        let json = match args.purge.is_asked_for() {
            true => serde_json::json!({ "tables": purges }),
            false => {
                let tables: Vec<_> = reports.iter().map(TableReport::to_json).collect();
                serde_json::json!({ "equal": equal, "tables": tables })
            }
        };
        print_result(&format!("{json:#}\n"))?;
    }
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Looks both sides of a target up and matches their columns.
async fn subject(source: &mut Source, target: &Target, args: &VerifyArgs) -> Result<(Subject, Described)> {
    let table = source.table(&target.table)?;
    let described = source.describe(&table).await?;
    let mirror = target.mirror.clone().unwrap_or_else(|| table.to_string());
    let copy = Copy::look_up(&target.client, &mirror).await?;
    let pairing = Pairing::new(&table, &described, &copy.columns, &target.origins, &args.ignored)?;
    let subject = Subject { table, dialect: source.dialect(), copy, pairing, filter: args.condition.clone() };
    Ok((subject, described))
}

async fn compared(source: &mut Source, subject: &Subject, args: &VerifyArgs) -> Result<TableReport> {
    let settings = Settings {
        range_rows: args.range_rows,
        settle: args.settle,
        looks: args.looks,
        max_rows: args.max_rows,
        max_differences: args.max_differences,
        ..Settings::default()
    };
    let bar = LIVE_LINES.add(ProgressBar::new_spinner());
    let progress = |rows: u64| {
        bar.set_message(format!("{}: {} rows compared", subject.table, HumanCount(rows)));
        bar.tick();
    };
    let report = compare(source, subject, &settings, &progress).await;
    bar.finish_and_clear();
    report
}
