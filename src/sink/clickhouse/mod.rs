//! The ClickHouse sink: creates or checks its table, and inserts each block exactly once.
//!
//! ```text
//!  Block ──► wire     columns in the types that the table has
//!        ──► split    at most a million rows and a hundred ClickHouse partitions an insert
//!        ──► insert   Arrow IPC stream, LZ4, synchronous, under a token that is a function of the block
//!        ──► repeat   after a crash: the rows themselves say what is there (look)
//! ```

mod check;
mod client;
mod ddl;
mod emptied;
mod encode;
mod evolve;
mod insert;
mod look;
pub mod lookup;
pub(crate) mod repeat;
pub(crate) mod split;
#[cfg(test)]
mod tests;
mod tls;
mod types;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use clickhouse::Compression;
use datafusion::arrow::array::RecordBatch;

use self::check::{Existing, From, WrittenColumn, check};
pub use self::client::{ClickHouseClient, quote_identifier, quote_string};
use self::ddl::{Extra, TableName, create_database, create_table, create_view, time_column};
use self::evolve::alteration;
pub use self::insert::query_id;
use self::insert::{Identity, Plan, insert_settings};
use self::look::wait_for_running;
use self::repeat::{Attempts, Server};
use self::split::{CHUNK_ROWS, Part, Piece, split};
use self::types::limit;
use crate::error::{Error, Result};
use crate::sink::limits::{Limit, Limits};
use crate::sink::{
    Block, Guard, IS_DELETED, OutputTable, POSITION, ROW_NUMBER, Sink, TableForm, TakeOut, VERSION, WINDOW_START,
};

/// How the server says that a view over the table has failed.
const IN_VIEW: &str = "while pushing to view";

/// The options that this sink reads.
pub const OPTIONS: &[&str] = &[
    "url",
    "username",
    "password",
    "database",
    "table",
    "deletes",
    "sink.compression",
    "sink.json-type",
    "sink.timeout",
    "ssl.ca-location",
    "clickhouse.engine",
    "clickhouse.order-by",
    "clickhouse.partition-by",
    "clickhouse.type.*",
    "clickhouse.written-at",
];

/// One output table in ClickHouse.
pub struct ClickHouseSink {
    output: OutputTable,
    name: TableName,
    client: ClickHouseClient,
    compression: Compression,
    /// How to write, once [`Sink::prepare`] has found out.
    plan: Option<Plan>,
    /// What is known of a block whose last attempt failed: it may be there all the same.
    attempts: Attempts,
    /// Rows of one insert at most; less in tests.
    chunk_rows: usize,
    /// What the table's columns cannot hold.
    limits: Limits,
    /// What is asked before each insert.
    guard: Option<Arc<dyn Guard>>,
    /// Whether it was said already that a repeat can only rely on its token.
    warned: bool,
    /// Rows that were there already when their block was sent again.
    repeats: u64,
    /// Whether this process has created the table.
    created: bool,
    /// Whether the last attempt failed in a view that is fed by the table.
    failed_in_view: bool,
}

impl fmt::Debug for ClickHouseSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickHouseSink")
            .field("client", &self.client)
            .field("table", &self.name)
            .finish_non_exhaustive()
    }
}

impl ClickHouseSink {
    /// A sink for an output table. Reads the options and connects to nothing.
    pub fn new(output: &OutputTable) -> Result<Self> {
        let options = &output.options;
        let compression = match options.get("sink.compression").unwrap_or("lz4") {
            "lz4" => Compression::Lz4,
            "none" => Compression::None,
            other => return Err(options.invalid("sink.compression", other, "'lz4' or 'none'")),
        };
        keeps_deleted(output)?;
        let sink = Self {
            name: TableName::from_options(options)?,
            client: ClickHouseClient::from_options(options)?,
            compression,
            plan: None,
            attempts: Attempts::default(),
            chunk_rows: CHUNK_ROWS,
            limits: Limits::default(),
            guard: None,
            warned: false,
            repeats: 0,
            created: false,
            failed_in_view: false,
            output: output.clone(),
        };
        // What cannot be created is said now, before anything is read.
        create_table(output, &sink.name, true)?;
        Ok(sink)
    }

    /// Rows of one insert at most: a block with more goes as several.
    #[must_use]
    pub fn with_chunk_rows(mut self, rows: usize) -> Self {
        self.chunk_rows = rows.clamp(1, CHUNK_ROWS);
        self
    }

    /// The client, for further questions to the same server.
    pub fn client(&self) -> &ClickHouseClient {
        &self.client
    }

    /// The table that rows go into: of a mirror, the versions.
    async fn create_or_find(&mut self, time64: bool) -> Result<(TableName, Existing)> {
        let found = Existing::look_up(&self.client, &self.name).await?;
        let target = match (&self.output.form, &found) {
            (form, Some(table)) if form.keeps_versions() && table.keeps_versions() => self.name.clone(),
            (TableForm::Mirror | TableForm::Multiset | TableForm::Revised, _) => self.name.versions(),
            (_, Some(table)) if table.engine == "View" => {
                return Err(Error::config(format!(
                    "{} at {} is a view and cannot be written; give the option 'table' another name",
                    self.name,
                    self.client.place()
                )));
            }
            _ => self.name.clone(),
        };
        if let Some(existing) = found.clone().filter(|_| target == self.name) {
            return Ok((target, existing));
        }
        if found.is_none() {
            let database = quote_string(&self.name.database);
            let count = format!("SELECT count() FROM system.databases WHERE name = {database}");
            if self.client.query_tsv(&count).await?.trim() == "0" {
                self.client.query_tsv(&create_database(&self.name)).await?;
            }
        }
        let versions = if target == self.name { None } else { Existing::look_up(&self.client, &target).await? };
        if let Some(table) = &found
            && (versions.is_none() || !table.is_view_over(&target))
        {
            // Only of what has a view: everything else has returned by now.
            return Err(self.in_the_way(&self.name, &table.engine));
        }
        let is_multiset = self.output.form == TableForm::Multiset;
        let fits = |table: &Existing| if is_multiset { table.keeps_counts() } else { table.keeps_versions() };
        if let Some(table) = versions.as_ref().filter(|table| !fits(table)) {
            return Err(self.in_the_way(&target, &table.engine));
        }
        if versions.is_none() {
            self.client.query_tsv(&create_table(&self.output, &target, time64)?).await?;
            self.created = true;
            tracing::info!(table = %target, "created the ClickHouse table");
        }
        if target != self.name && found.is_none() {
            self.client.query_tsv(&create_view(&self.output, &self.name, false)).await?;
        }
        let existing = Existing::look_up(&self.client, &target).await?;
        let existing = existing.ok_or_else(|| {
            Error::permanent(
                format!("cannot find the ClickHouse table {target} at {}", self.client.place()),
                "it was created and is not in system.tables; may the user see it?",
            )
        })?;
        Ok((target, existing))
    }

    /// Gives the table, and the view over it, the columns that the source has got.
    async fn evolve(&self, name: &TableName, existing: Existing, time64: bool) -> Result<Existing> {
        let mut evolved = existing;
        if let Some(alteration) = alteration(&self.output, name, &evolved, time64)? {
            self.client.query_tsv(&alteration).await?;
            tracing::info!("the source has got other columns: {alteration}");
            evolved = Existing::look_up(&self.client, name).await?.unwrap_or(evolved);
        }
        if *name != self.name {
            let view = Existing::look_up(&self.client, &self.name).await?;
            let is_machinery = |name: &str| [VERSION, IS_DELETED, ROW_NUMBER].contains(&name);
            let mut shown = self.output.schema.fields().iter().map(|field| field.name()).filter(|it| !is_machinery(it));
            if view.is_some_and(|view| shown.any(|column| view.type_of(column) != evolved.type_of(column))) {
                self.client.query_tsv(&create_view(&self.output, &self.name, true)).await?;
            }
        }
        Ok(evolved)
    }

    /// The error for a table that stands where one of the mirror's should.
    fn in_the_way(&self, table: &TableName, engine: &str) -> Error {
        if self.output.form == TableForm::Multiset {
            return Error::config(format!(
                "the ClickHouse table {table} at {} has the engine {engine} and cannot be part of a mirror without a key, which is \
                 a table {} and a view {} over it; drop or rename it, and Highwater creates both, or give the option 'table' \
                 another name",
                self.client.place(),
                self.name.versions(),
                self.name
            ));
        }
        let what = match self.output.form {
            TableForm::Revised => "results that come early or are corrected",
            _ => "a mirror",
        };
        let which = if self.output.form == TableForm::Revised { "which are" } else { "which is" };
        Error::config(format!(
            "the ClickHouse table {table} at {} has the engine {engine} and cannot be part of {what}, \
             {which} a table {} and a view {} over it; drop or rename it, and Highwater creates both; \
             or make {} a ReplacingMergeTree(_version, _is_deleted) with these two columns, and it is written directly; \
             or give the option 'table' another name",
            self.client.place(),
            self.name.versions(),
            self.name,
            self.name
        ))
    }

    /// By what a repeat finds the rows of a block.
    fn identity(&self, columns: &[WrittenColumn]) -> Identity {
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        let sent = |extra: Extra| columns.iter().any(|column| column.from == From::Extra(extra));
        match self.output.form {
            TableForm::Mirror | TableForm::Revised => Identity::Versions,
            TableForm::Results if sent(Extra::Job) && sent(Extra::Epoch) => {
                Identity::Epoch(time_column(&self.output).and_then(place))
            }
            TableForm::Results => Identity::None,
            _ => match POSITION.map(place) {
                [Some(topic), Some(partition), Some(offset)] => Identity::Positions([topic, partition, offset]),
                _ => Identity::None,
            },
        }
    }

    /// Says once when the server forgets tokens at once.
    async fn check_deduplication(&self, name: &TableName, existing: &Existing) -> Result<()> {
        if !existing.is_merge_tree() {
            tracing::warn!(
                "the ClickHouse table {name} has the engine {}, which does not remember inserts: one that is repeated in the same moment may \
                 be there twice; of an engine that does not keep its rows itself, so may all that are repeated after a failure, and rows \
                 cannot be taken out again; a table of the MergeTree family has each once",
                existing.engine
            );
            return Ok(());
        }
        if !existing.is_plain_merge_tree() {
            return Ok(());
        }
        let window = match existing.deduplication_window() {
            Some(window) => window,
            None => {
                let sql =
                    "SELECT value FROM system.merge_tree_settings WHERE name = 'non_replicated_deduplication_window'";
                self.client.query_tsv(sql).await?.trim().parse().unwrap_or(0)
            }
        };
        if window == 0 && !self.output.form.keeps_versions() {
            tracing::warn!(
                "the ClickHouse table {name} does not remember inserts, so that an insert repeated in the same moment may \
                 be there twice; run ALTER TABLE {} MODIFY SETTING non_replicated_deduplication_window = 10000",
                name.quoted()
            );
        }
        Ok(())
    }

    /// What the columns cannot hold. How far dates reach depends on the server: 26.7 keeps and shows the years 0 to 9999, older
    /// ones what is documented.
    async fn find_limits(&self, columns: &[WrittenColumn]) -> Result<Limits> {
        let of_columns = |all_years: bool| {
            let of_column = |column: &WrittenColumn| {
                let From::Block(place) = column.from else { return None };
                let (holds, remedy) = limit(self.output.schema.field(place).data_type(), &column.ch_type, all_years)?;
                Some(Limit { column: place, holds, target: format!("the type {}", column.ch_type), remedy })
            };
            Limits(columns.iter().filter_map(of_column).collect())
        };
        let (far, near) = (of_columns(true), of_columns(false));
        if far == near {
            return Ok(far);
        }
        let last = "fromUnixTimestamp64Milli(253402214400000, 'UTC')";
        let first = "fromUnixTimestamp64Milli(-30610224000000, 'UTC')";
        let sql = format!(
            "SELECT toString(CAST({last} AS Date32)) = '9999-12-31' AND toString(CAST({first} AS Date32)) = '1000-01-01' \
             AND toString({last}) = '9999-12-31 00:00:00.000' AND toString({first}) = '1000-01-01 00:00:00.000'"
        );
        match self.client.query_tsv(&sql).await {
            Ok(answer) if answer.trim() == "1" => Ok(far),
            Err(error) if error.is_transient() => Err(error),
            _ => Ok(near),
        }
    }

    fn plan(&self) -> Result<&Plan> {
        self.plan.as_ref().ok_or_else(|| Error::internal(format!("{} is written before it is prepared", self.name)))
    }

    /// Sends a block, or of one that was sent before what is missing.
    async fn send(&mut self, block: &Block, again: bool) -> Result<()> {
        let mut attempts = std::mem::take(&mut self.attempts);
        let sent = self.try_send(block, again, &mut attempts).await;
        self.attempts = attempts;
        if let Err(error) = &sent {
            self.failed_in_view = error.to_string().contains(IN_VIEW);
        }
        let there = sent?;
        self.repeats += there;
        // The server has put rows into the table before a view has failed on them, and gives them to no view again.
        if std::mem::take(&mut self.failed_in_view) && there > 0 {
            tracing::warn!(
                "{there} rows are in the ClickHouse table {} since an attempt that failed in a materialized view over it; what the view \
                 fills may lack them, and gets them only from the table",
                self.name
            );
        }
        Ok(())
    }

    /// Returns how many rows were there already.
    async fn try_send(&self, block: &Block, again: bool, attempts: &mut Attempts) -> Result<u64> {
        let plan = self.plan()?;
        let (rest, emptied) = match self.output.form {
            TableForm::Mirror => emptied::take_out(block)?,
            _ => (None, Vec::new()),
        };
        let block = rest.as_ref().unwrap_or(block);
        let rows = plan.rows(block, &self.output.job)?;
        let chunks = split(rows.clone(), plan.parting, self.chunk_rows)?;
        let guard = self.guard.as_deref();
        let table = Table { plan, client: &self.client, rows: &rows, block, job: &self.output.job, guard };
        let folds = plan.identity == Identity::Versions;
        let there = attempts.send(&table, &chunks, &block.token, (plan.parting, again, folds)).await?;
        for version in emptied {
            plan.empty(&self.client, version).await?;
        }
        Ok(there)
    }
}

/// The server's table, as blocks are sent to it.
struct Table<'a> {
    plan: &'a Plan,
    client: &'a ClickHouseClient,
    rows: &'a [RecordBatch],
    block: &'a Block,
    job: &'a str,
    guard: Option<&'a dyn Guard>,
}

#[async_trait]
impl Server for Table<'_> {
    async fn settled(&self, query_ids: &[String], others: bool) -> Result<()> {
        wait_for_running(self.client, query_ids, others).await
    }

    async fn found(&self) -> Result<Option<BTreeMap<Part, u64>>> {
        self.plan.found(self.client, self.rows, self.block, self.job).await
    }

    async fn insert(&self, pieces: &[&Piece], token: &str) -> Result<()> {
        // To have looked may have taken long.
        if let Some(guard) = self.guard {
            guard.check().await?;
        }
        self.plan.send(self.client, pieces, token).await
    }
}

/// Whether deletes leave the rows where they are, as `'deletes' = 'ignore'` says.
pub fn keeps_deleted(output: &OutputTable) -> Result<bool> {
    match output.options.get("deletes") {
        None | Some("apply") => Ok(false),
        // A changelog has its deletes as rows, which WHERE can leave out.
        Some("ignore") if output.form == TableForm::Mirror => Ok(true),
        Some("ignore") => Err(output.options.invalid(
            "deletes",
            "ignore",
            "nothing: it is for mirrors; in a changelog write WHERE _op <> 'd'",
        )),
        Some(other) => Err(output.options.invalid("deletes", other, "'apply' or 'ignore'")),
    }
}

#[async_trait]
impl Sink for ClickHouseSink {
    fn guard(&mut self, guard: Arc<dyn Guard>) {
        self.guard = Some(guard);
    }

    async fn prepare(&mut self) -> Result<()> {
        let names = "'deduplicate_insert', 'insert_deduplicate', 'async_insert', 'max_insert_block_size', \
                     'max_insert_block_size_bytes', 'min_insert_block_size_rows', 'min_insert_block_size_bytes', \
                     'max_insert_threads', 'max_partitions_per_insert_block', 'input_format_null_as_default', 'distributed_foreground_insert', \
                     'enable_time_time64_type'";
        let sql = format!("SELECT name, value, timezone() FROM system.settings WHERE name IN ({names})");
        let rows = self.client.query_rows(&sql).await?;
        let cell = |row: &Vec<Option<String>>, at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        let known: Vec<String> = rows.iter().map(|row| cell(row, 0)).collect();
        let time64 = rows.iter().any(|row| cell(row, 0) == "enable_time_time64_type" && cell(row, 1) == "1");
        let server_utc = rows.first().is_some_and(|row| matches!(cell(row, 2).as_str(), "UTC" | "Etc/UTC"));

        let (name, mut existing) = self.create_or_find(time64).await?;
        if self.output.evolves {
            existing = self.evolve(&name, existing, time64).await?;
        }
        let columns = check(&self.output, &name, self.client.place(), &existing)?;
        self.check_deduplication(&name, &existing).await?;
        let identity = self.identity(&columns);
        if matches!(identity, Identity::Positions(_)) && !columns.iter().any(|it| it.from == From::Extra(Extra::Epoch))
        {
            tracing::info!(
                "rows of the ClickHouse table {name} do not say of which job and epoch they are: only one job may fill it, from topics that are \
                 not created anew; to have them say it, run ALTER TABLE {} ADD COLUMN IF NOT EXISTS `_job` LowCardinality(String), ADD COLUMN IF \
                 NOT EXISTS `_epoch` UInt64 while no job fills it",
                name.quoted()
            );
        }
        let parting = existing.parting(&columns, server_utc);
        self.limits = self.find_limits(&columns).await?;
        self.plan = Some(Plan {
            identity,
            replicated: existing.is_replicated(),
            compression: self.compression,
            keeps_deleted: keeps_deleted(&self.output)?,
            form: self.output.form.clone(),
            settings: insert_settings(&known, parting),
            parting,
            name,
            columns,
        });
        Ok(())
    }

    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    fn was_created(&self) -> bool {
        self.created
    }

    async fn has_rows_of_job(&mut self) -> Result<bool> {
        self.plan()?.has_rows_of(&self.client, &self.output.job).await
    }

    fn take_repeats(&mut self) -> u64 {
        std::mem::take(&mut self.repeats)
    }

    fn check_take_out(&self, windows_from: Option<i64>) -> Result<()> {
        let plan = self.plan()?;
        let why = match (plan.identity, &self.output.form, windows_from) {
            (Identity::None, ..) => "it has no columns that say which rows are of this job",
            (_, TableForm::Results | TableForm::Revised, Some(_))
                if self.output.schema.column_with_name(WINDOW_START).is_none() =>
            {
                "it has no window_start, which would say of which windows its rows are; select it, or read from 'earliest'"
            }
            _ => return Ok(()),
        };
        Err(Error::config(format!(
            "rows that are made again cannot be taken out of the ClickHouse table {}: {why}",
            plan.name
        )))
    }

    async fn take_out(&mut self, what: &TakeOut) -> Result<()> {
        self.plan()?.take_out(&self.client, what, &self.output.job, self.guard.as_deref()).await
    }

    async fn write(&mut self, block: &Block) -> Result<()> {
        self.send(block, false).await
    }

    async fn write_again(&mut self, block: &Block) -> Result<()> {
        let identity = self.plan()?.identity;
        if identity == Identity::None && !self.warned {
            self.warned = true;
            tracing::warn!(
                "the ClickHouse table {} has no columns by which rows are found again ({}); \
                 rows that may be there already are sent once more under their deduplication token",
                self.name,
                if self.output.form == TableForm::Results { "_job, _epoch" } else { "_topic, _partition, _offset" }
            );
        }
        self.send(block, true).await
    }
}
