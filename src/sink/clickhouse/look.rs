//! Looks whether rows are in the table already: after a crash the table itself is the witness, not the server's memory
//! of tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, max, min};
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit};

use super::client::{ClickHouseClient, quote_identifier, quote_string};
use super::insert::{Identity, Plan};
use super::split::{Part, Parting, Piece};
use crate::error::{Error, Result};

/// How often a running insert is looked for.
const POLL: Duration = Duration::from_millis(200);

/// Waits until none of the inserts with these query ids runs any more. (Of a cluster: on the server that is asked.)
pub(super) async fn wait_for_running(client: &ClickHouseClient, query_ids: &[String]) -> Result<()> {
    let ids: Vec<String> = query_ids.iter().map(|id| quote_string(id)).collect();
    let sql = format!("SELECT count() FROM system.processes WHERE query_id IN ({})", ids.join(", "));
    let mut waited = Duration::ZERO;
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
        tokio::time::sleep(POLL).await;
        waited += POLL;
    }
}

impl Plan {
    /// How many of the piece's rows the table has, or `None` when it has no columns to find them by.
    pub(super) async fn found(
        &self,
        client: &ClickHouseClient,
        piece: &Piece,
        job: &str,
        epoch: u64,
    ) -> Result<Option<u64>> {
        let rows = || piece.chunks.iter().flat_map(|chunk| &chunk.rows);
        let mut conditions = match self.identity {
            Identity::Positions(columns) => vec![positions(rows(), columns)?],
            Identity::Epoch(window_start) => {
                let mut conditions = vec![format!("_job = {} AND _epoch = {epoch}", quote_string(job))];
                if let Some(column) = window_start {
                    conditions.extend(self.between(rows(), column)?);
                }
                conditions
            }
            Identity::Versions | Identity::None => return Ok(None),
        };
        conditions.extend(self.within(piece.part));
        let sql = format!("SELECT count() FROM {} WHERE {}", self.name.quoted(), conditions.join(" AND "));
        let settings: &[(&str, &str)] = if self.replicated { &[("select_sequential_consistency", "1")] } else { &[] };
        let text = client.query_with(&sql, settings).await?;
        match text.trim().parse() {
            Ok(count) => Ok(Some(count)),
            Err(_) => Err(Error::internal(format!("cannot read a count of rows: {text:?}"))),
        }
    }

    /// Restricts to one partition: ranges of positions of several partitions lie within each other.
    fn within(&self, part: Part) -> Option<String> {
        let (function, column) = match self.parting {
            Parting::Month(column) => ("toYYYYMM", column),
            Parting::Day(column) => ("toYYYYMMDD", column),
            Parting::Whole | Parting::Other => return None,
        };
        let column = quote_identifier(&self.columns.get(column)?.name);
        match part {
            Part::Any => None,
            Part::Time(value) => Some(format!("{function}({column}) = {value}")),
            Part::Null => Some(format!("{column} IS NULL")),
        }
    }

    /// `column BETWEEN least AND greatest`, for a column of times.
    fn between<'a>(&self, rows: impl Iterator<Item = &'a RecordBatch>, column: usize) -> Result<Option<String>> {
        let Some(name) = self.columns.get(column).map(|column| quote_identifier(&column.name)) else { return Ok(None) };
        let (mut least, mut greatest, mut literal): (_, _, Option<fn(i64) -> String>) = (None, None, None);
        for batch in rows {
            let array = batch.column(column);
            literal = match array.data_type() {
                DataType::Timestamp(TimeUnit::Second, _) => {
                    Some(|value| format!("fromUnixTimestamp64Milli({}, 'UTC')", value.saturating_mul(1_000)))
                }
                DataType::Timestamp(TimeUnit::Millisecond, _) => {
                    Some(|value| format!("fromUnixTimestamp64Milli({value}, 'UTC')"))
                }
                DataType::Timestamp(TimeUnit::Microsecond, _) => {
                    Some(|value| format!("fromUnixTimestamp64Micro({value}, 'UTC')"))
                }
                DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                    Some(|value| format!("fromUnixTimestamp64Nano({value}, 'UTC')"))
                }
                _ => return Ok(None),
            };
            let values = cast(array, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>();
            least = [least, min(values)].into_iter().flatten().min();
            greatest = [greatest, max(values)].into_iter().flatten().max();
        }
        Ok(match (literal, least, greatest) {
            (Some(literal), Some(least), Some(greatest)) => {
                Some(format!("{name} BETWEEN {} AND {}", literal(least), literal(greatest)))
            }
            _ => None,
        })
    }
}

/// The range of offsets of each topic and partition among the rows, as a condition.
fn positions<'a>(
    rows: impl Iterator<Item = &'a RecordBatch>,
    [topic, partition, offset]: [usize; 3],
) -> Result<String> {
    let mut ranges: BTreeMap<(String, i32), (i64, i64)> = BTreeMap::new();
    for batch in rows {
        let topics = cast(batch.column(topic), &DataType::Utf8)?;
        let partitions = cast(batch.column(partition), &DataType::Int32)?;
        let offsets = cast(batch.column(offset), &DataType::Int64)?;
        let (topics, partitions) = (topics.as_string::<i32>(), partitions.as_primitive::<Int32Type>());
        let offsets = offsets.as_primitive::<Int64Type>();
        // Rows of one partition lie together: gather a run before looking its place up.
        let mut row = 0;
        while row < batch.num_rows() {
            let (run_topic, run_partition) = (topics.value(row), partitions.value(row));
            let (mut least, mut greatest) = (offsets.value(row), offsets.value(row));
            while row < batch.num_rows() && partitions.value(row) == run_partition && topics.value(row) == run_topic {
                least = least.min(offsets.value(row));
                greatest = greatest.max(offsets.value(row));
                row += 1;
            }
            let range = ranges.entry((run_topic.to_owned(), run_partition)).or_insert((least, greatest));
            *range = (range.0.min(least), range.1.max(greatest));
        }
    }
    let ranges: Vec<String> = ranges
        .into_iter()
        .map(|((topic, partition), (least, greatest))| {
            let topic = quote_string(&topic);
            format!("(_topic = {topic} AND _partition = {partition} AND _offset BETWEEN {least} AND {greatest})")
        })
        .collect();
    Ok(format!("({})", ranges.join(" OR ")))
}
