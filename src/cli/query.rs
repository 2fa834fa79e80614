//! `highwater query`: a look at what was written.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::clickhouse::ClickHouseArgs;
use super::{name_and_value, print_result};
use crate::error::{Error, Result};
use crate::sink::clickhouse::ClickHouseClient;
use crate::sql::query::load;
use crate::sql::text::Variables;

const EXAMPLES: &str = "\
Examples:
  highwater query 'SELECT * FROM shop.changes ORDER BY ts DESC LIMIT 10'
  highwater query --file queries/changes_log.sql 'SELECT count() FROM shop.changes'
  highwater query --format csv 'SELECT * FROM shop.customer' > customers.csv";

/// Arguments of `highwater query`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QueryArgs {
    /// A statement in ClickHouse's SQL
    sql: String,
    /// Ask the ClickHouse that this query file writes to
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A value for ${NAME} in the files
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    /// How rows are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// A JSON object a line
    Json,
    /// With a line of names
    Csv,
}

impl Format {
    fn in_clickhouse(self) -> &'static str {
        match self {
            Self::Table => "PrettyCompactMonoBlock",
            Self::Json => "JSONEachRow",
            Self::Csv => "CSVWithNames",
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: &QueryArgs) -> Result<()> {
    let client = match args.clickhouse.is_given() {
        false if !args.files.is_empty() => of_files(args).await?,
        _ => args.clickhouse.client(None)?,
    };
    let rows = client.query_text(args.sql.trim().trim_end_matches(';'), args.format.in_clickhouse()).await?;
    print_result(&rows)
}

/// The ClickHouse of the first table that the files fill there.
async fn of_files(args: &QueryArgs) -> Result<ClickHouseClient> {
    let query = load(&args.files, &Variables::new(args.set.iter().cloned().collect())).await?;
    let targets = query.pipelines.iter().filter_map(|pipeline| pipeline.target.as_ref());
    let target = targets.into_iter().find(|target| target.options.get("connector") == Some("clickhouse"));
    let target =
        target.ok_or_else(|| Error::config("the query files fill no table in ClickHouse; give --clickhouse"))?;
    args.clickhouse.client(Some(&target.options))
}
