//! Where the demo's results go: ClickHouse, or where none answers, Parquet files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{ParquetReadOptions, SessionContext};

use super::{DemoArgs, emptied};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::sink::clickhouse::{ClickHouseClient, quote_identifier};
use crate::sql::query::{Query, load_texts};
use crate::sql::text::Variables;

const FILE: &str = "queries/registrations_per_store.sql";
const TEXT: &str = include_str!("../../../queries/registrations_per_store.sql");
/// The demo's own database.
const DATABASE: &str = "highwater_demo";

/// Where the results are.
pub(super) enum Place {
    /// A database of the demo's own.
    ClickHouse { client: Box<ClickHouseClient>, url: String, version: String },
    /// A folder for each table.
    Parquet(PathBuf),
}

/// What was read back.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Change events by `op`.
    pub(super) changes: BTreeMap<String, i64>,
    /// Different positions among the change events.
    pub(super) positions: i64,
    /// By window and store: registrations, and how many rows say so (one).
    pub(super) windows: BTreeMap<(String, i64), (i64, u32)>,
    /// Late registrations by window and store.
    pub(super) late: BTreeMap<(String, i64), i64>,
    /// Store and e-mail address of each customer.
    pub(super) customers: BTreeMap<i64, (i64, String)>,
    /// Rows that the mirror shows.
    pub(super) mirror_rows: usize,
    /// Records that could not be used.
    pub(super) dead_letters: usize,
}

type Rows = Vec<Vec<Option<String>>>;

impl Place {
    /// ClickHouse if it answers, with an empty database; otherwise an empty folder.
    pub(super) async fn choose(args: &DemoArgs) -> Result<Self> {
        if !args.parquet {
            let client = ClickHouseClient::new(&args.clickhouse, None, None)?;
            match client.server_version().await {
                Ok(version) => {
                    client.query_tsv(&format!("DROP DATABASE IF EXISTS {} SYNC", quote_identifier(DATABASE))).await?;
                    return Ok(Self::ClickHouse { client: Box::new(client), url: args.clickhouse.clone(), version });
                }
                Err(error) if error.is_transient() => {
                    println!("no ClickHouse answers at {}: results go to Parquet files instead\n", client.place());
                }
                Err(error) => return Err(error),
            }
        }
        let folder = args.folder.join("parquet");
        emptied(&folder)?;
        Ok(Self::Parquet(folder))
    }

    /// The query of [`FILE`], filling this place.
    pub(super) async fn query(&self, args: &DemoArgs, brokers: &str) -> Result<Query> {
        let mut values = BTreeMap::from([
            ("KAFKA_BROKERS".to_owned(), brokers.to_owned()),
            ("DATABASE".to_owned(), DATABASE.to_owned()),
            ("WINDOW".to_owned(), format!("{} SECONDS", args.window.as_secs())),
        ]);
        if let Self::ClickHouse { url, .. } = self {
            values.insert("CLICKHOUSE_URL".to_owned(), url.clone());
        }
        let mut query = load_texts(vec![(FILE.to_owned(), TEXT.to_owned())], &Variables::new(values)).await?;
        if let Self::Parquet(folder) = self {
            into_files(&mut query, folder)?;
        }
        Ok(query)
    }

    /// Reads the results back.
    pub(super) async fn read(&self) -> Result<Found> {
        let mut found = Found::default();
        for row in self.rows("customer_changes", "_op, count(*) AS n FROM {} GROUP BY _op").await? {
            found.changes.insert(text(&row, 0), number(&row, 1)?);
        }
        let positions = "count(*) FROM (SELECT DISTINCT _topic, _partition, _offset FROM {}) AS p";
        for row in self.rows("customer_changes", positions).await? {
            found.positions = number(&row, 0)?;
        }
        for row in self.rows("registrations_per_store", "window_start, store_id, registrations FROM {}").await? {
            let window = found.windows.entry((window_name(&row), number(&row, 1)?)).or_default();
            *window = (window.0 + number(&row, 2)?, window.1 + 1);
        }
        for row in self.rows("registrations_per_store_late", "window_start, store_id, sign FROM {}").await? {
            *found.late.entry((window_name(&row), number(&row, 1)?)).or_default() += number(&row, 2)?;
        }
        let customers = self.rows("customer", self.current_customers()).await?;
        found.mirror_rows = customers.len();
        for row in customers {
            found.customers.insert(number(&row, 0)?, (number(&row, 1)?, text(&row, 2)));
        }
        let dead_letters = if self.is_clickhouse() { "dead_letters" } else { "customer_changes_dead_letters" };
        found.dead_letters = self.rows(dead_letters, "_offset FROM {}").await?.len();
        Ok(found)
    }

    fn is_clickhouse(&self) -> bool {
        matches!(self, Self::ClickHouse { .. })
    }

    /// In ClickHouse a view hides what is old; files have all versions of a row.
    fn current_customers(&self) -> &'static str {
        match self {
            Self::ClickHouse { .. } => "customer_id, store_id, email FROM {}",
            Self::Parquet(_) => {
                "customer_id, store_id, email FROM (SELECT customer_id, store_id, email, _is_deleted, \
                 row_number() OVER (PARTITION BY customer_id ORDER BY _version DESC) AS newest FROM {}) \
                 WHERE newest = 1 AND _is_deleted = 0"
            }
        }
    }

    /// The rows of `SELECT …` over a table, `{}` in the text, in words that both databases understand.
    async fn rows(&self, table: &str, select: &str) -> Result<Rows> {
        let select = format!("SELECT {select}");
        match self {
            Self::ClickHouse { client, .. } => {
                let name = format!("{}.{}", quote_identifier(DATABASE), quote_identifier(table));
                client.query_rows(&select.replace("{}", &name)).await
            }
            Self::Parquet(folder) => parquet_rows(&folder.join(table), &select.replace("{}", "files")).await,
        }
    }

    /// What to try now.
    pub(super) fn what_next(&self) -> String {
        let look = match self {
            Self::ClickHouse { client, .. } => format!(
                "curl {} --data 'SELECT * FROM {DATABASE}.registrations_per_store ORDER BY window_start DESC, store_id LIMIT 16 \
                 FORMAT PrettyCompact'",
                client.place()
            ),
            Self::Parquet(folder) => format!("ls {}/*", folder.display()),
        };
        format!(
            "What next:\n  {look}\n  \
             highwater explain {FILE}           what it decodes, keeps and writes\n  \
             make demo-full                                                  the same from a MariaDB, through Debezium\n  \
             make up; highwater run {FILE}      the same on your own data"
        )
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClickHouse { client, version, .. } => {
                write!(f, "ClickHouse {version} at {}, database {DATABASE}", client.place())
            }
            Self::Parquet(folder) => write!(f, "Parquet files in {}", folder.display()),
        }
    }
}

/// Lets every table that is filled be a folder of Parquet files.
fn into_files(query: &mut Query, folder: &Path) -> Result<()> {
    for pipeline in &mut query.pipelines {
        let shared = || Error::internal("a pipeline that was just compiled is shared");
        let pipeline = Arc::get_mut(pipeline).ok_or_else(shared)?;
        let Some(target) = &mut pipeline.target else { continue };
        let mut table = target.as_ref().clone();
        let name = table.options.get("table").unwrap_or(&table.name);
        let name = name.rsplit('.').next().unwrap_or(name);
        let path = folder.join(name).display().to_string();
        let values = [("connector", "filesystem"), ("format", "parquet"), ("path", &path)];
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        table.options = Options::new(table.name.clone(), values);
        *target = Arc::new(table);
    }
    Ok(())
}

/// The rows of a statement over the table `files`: all Parquet files of a folder. None if there is none.
async fn parquet_rows(folder: &Path, sql: &str) -> Result<Rows> {
    let failed =
        |cause: &dyn fmt::Display| Error::permanent(format!("cannot read {}", folder.display()), cause.to_string());
    let is_part = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == "parquet"))
    };
    if !std::fs::read_dir(folder).is_ok_and(|mut entries| entries.any(is_part)) {
        return Ok(Vec::new());
    }
    let context = SessionContext::new();
    let path = folder.display().to_string();
    context.register_parquet("files", path, ParquetReadOptions::default()).await.map_err(|error| failed(&error))?;
    let plan = context.sql(sql).await.map_err(|error| failed(&error))?;
    let mut rows = Vec::new();
    let options = FormatOptions::default();
    for batch in plan.collect().await.map_err(|error| failed(&error))? {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let cell = |at: usize, row: usize| (!batch.column(at).is_null(row)).then(|| columns[at].value(row).to_string());
        rows.extend((0..batch.num_rows()).map(|row| (0..columns.len()).map(|at| cell(at, row)).collect()));
    }
    Ok(rows)
}

fn text(row: &[Option<String>], at: usize) -> String {
    row.get(at).cloned().flatten().unwrap_or_default()
}

fn number(row: &[Option<String>], at: usize) -> Result<i64> {
    let text = text(row, at);
    text.parse().map_err(|_| Error::internal(format!("expected a number among the results, found \"{text}\"")))
}

/// A window's start without fraction and zone: `2026-11-21T07:06:12.000Z` and `2026-11-21 07:06:12` are the same.
fn window_name(row: &[Option<String>]) -> String {
    text(row, 0).chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: DemoArgs,
    }

    #[tokio::test]
    async fn all_results_of_the_query_file_can_go_to_files() {
        let command = Command::parse_from(["demo", "--parquet"]);
        let place = Place::Parquet("out".into());
        let query = place.query(&command.args, "localhost:1").await.expect("the query file compiles");
        let paths: Vec<_> = query
            .pipelines
            .iter()
            .filter_map(|pipeline| pipeline.target.as_ref()?.options.get("path").map(str::to_owned))
            .collect();
        assert_eq!(paths, ["out/customer_changes", "out/customer", "out/registrations_per_store"]);
    }

    #[test]
    fn windows_have_one_name_in_both_places() {
        for text in ["2026-11-21 07:06:12", "2026-11-21T07:06:12", "2026-11-21T07:06:12.000Z"] {
            assert_eq!(window_name(&[Some(text.to_owned())]), "2026-11-21 07:06:12");
        }
    }
}
