//! Looks whether rows are in the table already: after a crash the table itself is the witness, not the server's memory
//! of tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, max, min};
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit};

use super::check::{From, WrittenColumn};
use super::client::{ClickHouseClient, quote_identifier, quote_string};
use super::ddl::Extra;
use super::insert::{Identity, Plan, query_ids_of};
use super::split::{Part, Parting};
use super::types::ChType;
use crate::change::TopicPartition;
use crate::error::{Error, Result};
use crate::sink::{Block, Guard, OF_RESULTS, TableForm, TakeOut, VERSION, WINDOW_START};

/// How often a running insert is looked for.
const POLL: Duration = Duration::from_millis(200);
/// How long the insert of another process is let run. Where that one sleeps, its insert would for minutes.
const PATIENCE: Duration = Duration::from_secs(3);

/// Waits until none of the inserts with these query ids runs any more. (Of a cluster: on the server that is asked.) Those of
/// `others` are killed, when they take their time: what is there then is there, the rest is sent by us.
pub(super) async fn wait_for_running(client: &ClickHouseClient, query_ids: &[String], others: bool) -> Result<()> {
    let ids: Vec<String> = query_ids.iter().map(|id| quote_string(id)).collect();
    wait_for(client, &format!("query_id IN ({})", ids.join(", ")), others).await
}

async fn wait_for(client: &ClickHouseClient, condition: &str, others: bool) -> Result<()> {
    let sql = format!("SELECT count() FROM system.processes WHERE {condition}");
    let kill = format!("KILL QUERY WHERE {condition} ASYNC");
    let (mut waited, mut killed) = (Duration::ZERO, !others);
    loop {
        let running = match client.query_tsv(&sql).await {
            Ok(count) => count.trim() != "0",
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "cannot look for running inserts, going on without");
                return Ok(());
            }
        };
        if !running {
            return Ok(());
        }
        if waited >= client.timeout() {
            return Err(Error::transient(
                format!("cannot insert at {}", client.place()),
                format!("an insert of the same rows still runs after {} s", waited.as_secs()),
            ));
        }
        if !killed && waited >= PATIENCE {
            killed = true;
            match client.query_tsv(&kill).await {
                Ok(_) => tracing::info!(
                    "the inserts of another process, which still ran, were told to stop at {}",
                    client.place()
                ),
                Err(error) => tracing::debug!(%error, "cannot stop running inserts, waiting for them"),
            }
        }
        tokio::time::sleep(POLL).await;
        waited += POLL;
    }
}

impl Plan {
    /// How many of the block's rows the table has in each partition, or `None` when it has no columns to find them by.
    /// `rows` are those of the block as they are sent.
    pub(super) async fn found(
        &self,
        client: &ClickHouseClient,
        rows: &[RecordBatch],
        block: &Block,
        job: &str,
    ) -> Result<Option<BTreeMap<Part, u64>>> {
        let condition = match self.identity {
            Identity::Positions(columns) if block.ranges.is_empty() => {
                self.own(&positions(rows_ranges(rows, columns)?), job, block)
            }
            Identity::Positions(_) => self.own(&positions(block_ranges(block)), job, block),
            Identity::Epoch(window_start) => {
                let epoch = format!("_job = {} AND _epoch = {}", quote_string(job), block.epoch);
                let window = window_start.map(|column| self.between(rows, column)).transpose()?.flatten();
                // Not those of the same epoch of an earlier job of this name.
                let is_made_at = |column: &WrittenColumn| {
                    let is_time =
                        matches!(column.ch_type.bare(), ChType::Plain(name, _) if name.starts_with("DateTime"));
                    matches!(column.from, From::Extra(Extra::UpdatedAt)) && is_time
                };
                let made_at = self.columns.iter().any(is_made_at);
                let made_at =
                    made_at.then(|| format!("toUnixTimestamp(updated_at) = {}", block.made_at.div_euclid(1_000)));
                [Some(epoch), window, made_at].into_iter().flatten().collect::<Vec<_>>().join(" AND ")
            }
            Identity::Versions | Identity::None => return Ok(None),
        };
        let part = self.part_expression().unwrap_or_else(|| "0".to_owned());
        let sql = format!("SELECT {part}, count() FROM {} WHERE {condition} GROUP BY 1", self.name.quoted());
        let settings: &[(&str, &str)] = if self.replicated { &[("select_sequential_consistency", "1")] } else { &[] };
        let text = client.query_with(&sql, settings).await?;
        let mut found = BTreeMap::new();
        for line in text.lines() {
            let unreadable = || Error::internal(format!("cannot read a count of rows: {line:?}"));
            let (part, count) = line.split_once('\t').ok_or_else(unreadable)?;
            let part = match (self.parting, part) {
                (Parting::Whole | Parting::Other, _) => Part::Any,
                (_, "\\N") => Part::Null,
                (_, part) => Part::Time(part.parse().map_err(|_| unreadable())?),
            };
            found.insert(part, count.parse().map_err(|_| unreadable())?);
        }
        Ok(Some(found))
    }

    /// Which rows are made again; `None` where they fold by their versions, or nothing tells them from others.
    fn made_again(&self, what: &TakeOut, job: &str) -> Option<String> {
        let column = |name: &str| self.has(name);
        let of_windows = what
            .windows_from
            .filter(|_| column(WINDOW_START))
            .map(|from| format!("{} >= fromUnixTimestamp64Milli({from}, 'UTC')", quote_identifier(WINDOW_START)));
        let of_job = column("_job").then(|| format!("_job = {}", quote_string(job)));
        // Of rows that were there before the table got these columns nobody knows more than their positions.
        let of_job_or_nobody = self.says(Extra::Job).then(|| format!("_job IN ({}, '')", quote_string(job)));
        let of_epochs = what
            .after
            .filter(|_| self.says(Extra::Epoch))
            .map(|after| format!("(_epoch > {} OR _epoch = 0)", after.epoch));
        let own = match (self.identity, &self.form, what.after) {
            (Identity::Positions(_), TableForm::DeadLetters, _) => {
                [Some(refused(what, column("_epoch"))), of_job, None, of_epochs]
            }
            (Identity::Positions(_), TableForm::Late, _) => {
                [Some(read_again(what)), of_job_or_nobody, of_windows, of_epochs]
            }
            (Identity::Positions(_), ..) => [Some(read_again(what)), of_job_or_nobody, None, of_epochs],
            (Identity::Epoch(_), _, Some(after)) => [Some(format!("_epoch > {}", after.epoch)), of_job, None, None],
            (Identity::Epoch(_), _, None) => [None, of_job, of_windows, None],
            (_, TableForm::Revised, Some(after)) => {
                [Some(format!("{VERSION} > {}", after.version)), of_job, None, None]
            }
            (_, TableForm::Revised, None) => [None, of_job, of_windows, None],
            (Identity::Versions | Identity::None, ..) => return None,
        };
        let conditions: Vec<String> = own.into_iter().flatten().collect();
        Some(if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") })
    }

    /// Takes out the rows that a job which was set back makes again, after the inserts of its earlier runs.
    ///
    /// Only out of parts that were there before this process was known to be the one that writes: should it sleep on the way, what its
    /// successor has inserted meanwhile stays. Parts are merged meanwhile, too, so it looks again until none has such rows.
    pub(super) async fn take_out(
        &self,
        client: &ClickHouseClient,
        what: &TakeOut,
        job: &str,
        guard: Option<&dyn Guard>,
    ) -> Result<()> {
        let Some(condition) = self.made_again(what, job) else { return Ok(()) };
        wait_for(client, &format!("match(query_id, {})", quote_string(&query_ids_of(job))), true).await?;
        let table = self.name.quoted();
        loop {
            let found = format!("SELECT _part, count() FROM {table} WHERE {condition} GROUP BY 1");
            let found = client.query_tsv(&found).await?;
            let parts: Vec<_> = found.lines().filter_map(|line| line.split_once('\t')).collect();
            if parts.is_empty() {
                return Ok(());
            }
            if let Some(guard) = guard {
                guard.ask().await?;
            }
            let rows: u64 = parts.iter().filter_map(|(_, rows)| rows.parse::<u64>().ok()).sum();
            tracing::info!("taking {rows} rows out of {}, which are made again", self.name);
            let parts: Vec<_> = parts.iter().map(|(part, _)| quote_string(part)).collect();
            let sql = format!(
                "ALTER TABLE {table} DELETE WHERE ({condition}) AND _part IN ({}) SETTINGS mutations_sync = 2",
                parts.join(", ")
            );
            client.query_tsv(&sql).await?;
        }
    }

    /// Whether there are rows that say they are of a job, and stay beside others like them.
    pub(super) async fn has_rows_of(&self, client: &ClickHouseClient, job: &str) -> Result<bool> {
        if self.form.keeps_versions() || !self.says_job() {
            return Ok(false);
        }
        let sql = format!("SELECT 1 FROM {} WHERE _job = {} LIMIT 1", self.name.quoted(), quote_string(job));
        Ok(!client.query_tsv(&sql).await?.trim().is_empty())
    }

    /// The rows of another job, or of a topic that had the same name, prove nothing by being at the same positions.
    fn own(&self, condition: &str, job: &str, block: &Block) -> String {
        let of_job = self.says_job().then(|| format!("_job = {}", quote_string(job)));
        let of_epoch = self.says(Extra::Epoch).then(|| format!("_epoch = {}", block.epoch));
        [Some(format!("({condition})")), of_job, of_epoch].into_iter().flatten().collect::<Vec<_>>().join(" AND ")
    }

    fn says(&self, extra: Extra) -> bool {
        self.columns.iter().any(|column| column.from == From::Extra(extra))
    }

    /// Whether rows say of which job they are; dead letters do by themselves.
    fn says_job(&self) -> bool {
        self.says(Extra::Job) || self.form == TableForm::DeadLetters && self.has("_job")
    }

    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known.name == column)
    }

    /// A row's partition, as [`Part`] has it.
    fn part_expression(&self) -> Option<String> {
        let (function, column) = match self.parting {
            Parting::Month(column) => ("toYYYYMM", column),
            Parting::Day(column) => ("toYYYYMMDD", column),
            Parting::Whole | Parting::Other => return None,
        };
        Some(format!("{function}({})", quote_identifier(&self.columns.get(column)?.name)))
    }

    /// `column BETWEEN least AND greatest`, for a column of times.
    fn between(&self, rows: &[RecordBatch], column: usize) -> Result<Option<String>> {
        let Some(name) = self.columns.get(column).map(|column| quote_identifier(&column.name)) else { return Ok(None) };
        let (mut least, mut greatest, mut unit) = (None, None, TimeUnit::Second);
        for batch in rows {
            let array = batch.column(column);
            let DataType::Timestamp(sent, _) = array.data_type() else { return Ok(None) };
            unit = *sent;
            let values = cast(array, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>();
            least = [least, min(values)].into_iter().flatten().min();
            greatest = [greatest, max(values)].into_iter().flatten().max();
        }
        let literal = |value: i64| match unit {
            TimeUnit::Second => format!("fromUnixTimestamp64Milli({}, 'UTC')", value.saturating_mul(1_000)),
            TimeUnit::Millisecond => format!("fromUnixTimestamp64Milli({value}, 'UTC')"),
            TimeUnit::Microsecond => format!("fromUnixTimestamp64Micro({value}, 'UTC')"),
            TimeUnit::Nanosecond => format!("fromUnixTimestamp64Nano({value}, 'UTC')"),
        };
        Ok(match (least, greatest) {
            (Some(least), Some(greatest)) => {
                Some(format!("{name} BETWEEN {} AND {}", literal(least), literal(greatest)))
            }
            _ => None,
        })
    }
}

/// Topic, partition, first and last offset.
type Range = (String, i32, i64, i64);

/// The positions of the records that a block was made of.
fn block_ranges(block: &Block) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::with_capacity(block.ranges.len());
    for (source, range) in block.ranges.iter().filter(|(_, range)| range.to > range.from) {
        match ranges.last_mut() {
            Some((topic, partition, _, last))
                if topic.as_str() == &*source.topic && *partition == source.partition && *last + 1 == range.from =>
            {
                *last = range.to - 1;
            }
            _ => ranges.push((source.topic.to_string(), source.partition, range.from, range.to - 1)),
        }
    }
    ranges
}

/// The positions between the least and the greatest offset of each topic and partition among the rows.
fn rows_ranges(rows: &[RecordBatch], [topic, partition, offset]: [usize; 3]) -> Result<Vec<Range>> {
    let mut ranges: BTreeMap<(String, i32), (i64, i64)> = BTreeMap::new();
    for batch in rows {
        let topics = cast(batch.column(topic), &DataType::Utf8)?;
        let partitions = cast(batch.column(partition), &DataType::Int32)?;
        let offsets = cast(batch.column(offset), &DataType::Int64)?;
        let (topics, partitions) = (topics.as_string::<i32>(), partitions.as_primitive::<Int32Type>());
        for (row, offset) in offsets.as_primitive::<Int64Type>().values().iter().enumerate() {
            let range =
                ranges.entry((topics.value(row).to_owned(), partitions.value(row))).or_insert((*offset, *offset));
            *range = (range.0.min(*offset), range.1.max(*offset));
        }
    }
    Ok(ranges.into_iter().map(|((topic, partition), (first, last))| (topic, partition, first, last)).collect())
}

/// The condition that a row is of a record that is read again.
fn read_again(what: &TakeOut) -> String {
    let range = |(from, offset): &(TopicPartition, i64)| (from.topic.to_string(), from.partition, *offset, i64::MAX);
    positions(what.positions.iter().map(range).collect())
}

/// The same of dead letters, some of which are groups of results.
fn refused(what: &TakeOut, has_epoch: bool) -> String {
    let when = match (what.after, what.windows_from) {
        (Some(after), _) if has_epoch => format!("_epoch > {}", after.epoch),
        (Some(_), _) => "0".to_owned(),
        (None, Some(from)) => format!("_offset >= {from}"),
        (None, None) => "1".to_owned(),
    };
    format!("({} OR (_partition = {OF_RESULTS} AND {when}))", read_again(what))
}

/// The condition that a row is at one of these positions.
fn positions(ranges: Vec<Range>) -> String {
    let ranges: Vec<String> = ranges
        .into_iter()
        .map(|(topic, partition, first, last)| {
            let topic = quote_string(&topic);
            format!("(_topic = {topic} AND _partition = {partition} AND _offset BETWEEN {first} AND {last})")
        })
        .collect();
    if ranges.is_empty() { "0".to_owned() } else { format!("({})", ranges.join(" OR ")) }
}
