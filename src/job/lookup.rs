//! Small tables: read as a whole before the first row is joined with them, then kept current beside the job.
//!
//! Each has a thread of its own, which ends with the job. A topic is followed; files and tables of ClickHouse are read again every so
//! often. What cannot be read at the start ends the job; what cannot be read again leaves the rows as they were.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::concat_batches;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::derived::TableDecoder;
use super::outside::Outside;
use super::progress::Progress;
use super::report::WaitsFor;
use super::small_rows::{Contents, Decoding};
use crate::change::TopicPartition;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::sink::clickhouse::lookup as clickhouse;
use crate::source::{self, RawBatch, Source, SourceReader, text};
use crate::sql::define::small_table::SmallTable;
use crate::sql::query::Query;
use crate::window::stage::{Rows, run};

/// How long a poll waits for records, and so how late a thread sees that the job has ended.
const POLL: Duration = Duration::from_millis(100);
/// How long it waits before it tries again what failed.
const RETRY: Duration = Duration::from_secs(1);

/// The small tables of a job; they are kept current as long as this is there.
#[derive(Debug, Default)]
pub struct SmallTables {
    ended: Arc<AtomicBool>,
}

impl Drop for SmallTables {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
    }
}

impl SmallTables {
    /// Reads all small tables of a query. Where the job is `endless`, it waits for servers that are away, and keeps the tables current.
    pub async fn load(
        query: &Query,
        outside: &Arc<dyn Outside>,
        progress: &Arc<Progress>,
        endless: bool,
    ) -> Result<Self> {
        let tables = Self::default();
        let mut waiting = Vec::new();
        for small in query.pipelines.iter().flat_map(|pipeline| &pipeline.lookups) {
            let (loaded, answer) = oneshot::channel();
            let keeper = Keeper {
                small: Arc::clone(small),
                outside: Arc::clone(outside),
                progress: Arc::clone(progress),
                ended: Arc::clone(&tables.ended),
                runtime: Handle::current(),
            };
            std::thread::Builder::new()
                .name(format!("small-{}", small.table.name))
                .spawn(move || keeper.work(loaded, endless))
                .map_err(|cause| Error::permanent("cannot start a thread", cause))?;
            waiting.push((small, answer));
        }
        for (small, answer) in waiting {
            let name = &small.table.name;
            let ended = |_| Error::internal(format!("the thread of the small table \"{name}\" has ended"));
            answer.await.map_err(ended)??;
        }
        Ok(tables)
    }
}

/// Checks the options of a small table, and that its rows can be decoded.
pub fn check(small: &SmallTable) -> Result<()> {
    match small_source(&small.table.options)? {
        SmallSource::ClickHouse(options) => clickhouse::check(&options)?,
        SmallSource::Records(_) => {}
    }
    let decoding = Decoding::new(small)?;
    decoding.decoder()?;
    Contents::new(small, &decoding).map(drop)
}

/// Where the rows of a small table come from.
pub enum SmallSource {
    /// Records that are read from the first to the last, and followed where they can be.
    Records(Box<dyn Source>),
    /// A table of ClickHouse.
    ClickHouse(Options),
}

/// Where a small table's options say that its rows are. Connects to nothing.
pub fn small_source(options: &Options) -> Result<SmallSource> {
    match options.required("connector")? {
        "clickhouse" => Ok(SmallSource::ClickHouse(options.clone())),
        _ => source::open(options).map(SmallSource::Records),
    }
}

/// What keeps a small table current.
struct Keeper {
    small: Arc<SmallTable>,
    outside: Arc<dyn Outside>,
    progress: Arc<Progress>,
    ended: Arc<AtomicBool>,
    runtime: Handle,
}

/// A source that is read on.
struct Following {
    source: Box<dyn Source>,
    reader: Box<dyn SourceReader>,
    decoder: TableDecoder,
    contents: Contents,
}

impl Keeper {
    fn work(&self, loaded: oneshot::Sender<Result<()>>, endless: bool) {
        let name = &self.small.table.name;
        let first = loop {
            match self.read() {
                Err(error) if error.is_transient() && endless && !self.has_ended() => self.wait(&error),
                read => {
                    self.progress.goes_on(WaitsFor::Source, name);
                    break read.map_err(|error| named(name, error));
                }
            }
        };
        let (first, outcome) = match first {
            Ok(following) => (following, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let failed = outcome.is_err();
        if loaded.send(outcome).is_err() || failed || !endless {
            return;
        }
        let interval = match self.small.table.reload_interval() {
            Ok(Some(interval)) => interval,
            _ => return,
        };
        let is_followed = self.small.table.options.get("connector") == Some("kafka");
        match first.filter(|_| is_followed) {
            Some(following) => self.follow(following, interval),
            None => self.read_again(interval),
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Waits before the next attempt.
    fn wait(&self, error: &Error) {
        let name = &self.small.table.name;
        if self.progress.waits(WaitsFor::Source, name, error, self.outside.now()) {
            tracing::warn!("small table {name}: {error}; trying again");
        }
        self.sleep(RETRY);
    }

    /// Sleeps, unless the job ends.
    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.has_ended() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(POLL));
        }
    }

    fn read_again(&self, interval: Duration) {
        loop {
            self.sleep(interval);
            if self.has_ended() {
                return;
            }
            if let Err(error) = self.read() {
                tracing::warn!(
                    "small table {}: {error}; its rows stay as they were {interval:?} ago, and are read again then",
                    self.small.table.name
                );
            }
        }
    }

    /// Takes in what comes, at most once an interval: the rows are indexed anew each time.
    fn follow(&self, mut following: Following, interval: Duration) {
        let name = &self.small.table.name;
        let (mut since, mut batches) = (Instant::now(), Vec::new());
        while !self.has_ended() {
            let polled = following.reader.poll(POLL, &mut batches).and_then(|()| following.source.maintain());
            match polled {
                Err(error) => self.wait(&error),
                Ok(()) => drop(self.progress.goes_on(WaitsFor::Source, name)),
            }
            for batch in batches.drain(..) {
                if let Err(error) = self.take_in(&batch, &mut following.decoder, &mut following.contents) {
                    tracing::warn!("small table {name}: {error}; these records are left out");
                }
            }
            if following.contents.has_changed && since.elapsed() >= interval {
                if let Err(error) = self.publish(&mut following.contents) {
                    tracing::warn!("small table {name}: {error}; its rows stay as they were");
                }
                since = Instant::now();
            }
        }
    }

    /// Reads all rows, up to where the table ends now, and puts them in place.
    fn read(&self) -> Result<Option<Following>> {
        let decoding = Decoding::new(&self.small)?;
        let mut decoder = decoding.decoder()?;
        let mut contents = Contents::new(&self.small, &decoding)?;
        match self.outside.small_source(&self.small.table.options)? {
            SmallSource::ClickHouse(options) => {
                let columns: Vec<&str> =
                    decoding.of_records.columns.fields().iter().map(|field| field.name().as_str()).collect();
                let rows = self.runtime.block_on(clickhouse::rows_as_json(&options, &columns))?;
                for batch in text::batches(self.small.table.options.table(), rows) {
                    self.take_in(&batch, &mut decoder, &mut contents)?;
                }
                self.publish(&mut contents)?;
                Ok(None)
            }
            SmallSource::Records(source) => {
                let mut following = Following { reader: Box::new(Nothing), source, decoder, contents };
                self.read_to_the_end(&mut following)?;
                self.publish(&mut following.contents)?;
                Ok(Some(following))
            }
        }
    }

    fn read_to_the_end(&self, following: &mut Following) -> Result<()> {
        let source = &mut following.source;
        let partitions = source.partitions()?;
        let (first, end) = (source.first_offsets(&partitions)?, source.end_offsets(&partitions)?);
        following.reader = source.reader()?;
        let mut open: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for partition in partitions {
            let (from, to) = (first.get(&partition).copied().unwrap_or(0), end.get(&partition).copied().unwrap_or(0));
            source.assign(0, &partition, from)?;
            if to > from {
                open.insert(partition, to);
            }
        }
        let mut batches = Vec::new();
        while !open.is_empty() && !self.has_ended() {
            following.reader.poll(POLL, &mut batches)?;
            following.source.maintain()?;
            for batch in batches.drain(..) {
                self.take_in(&batch, &mut following.decoder, &mut following.contents)?;
                if open.get(&batch.source).is_some_and(|&to| batch.range.to >= to) {
                    open.remove(&batch.source);
                }
            }
            open.retain(|partition, _| !following.reader.at_end(partition));
        }
        Ok(())
    }

    fn take_in(&self, raw: &RawBatch, decoder: &mut TableDecoder, contents: &mut Contents) -> Result<()> {
        while let Err(error) = decoder.prepare(raw) {
            if !error.is_transient() || self.has_ended() {
                return Err(error);
            }
            self.wait(&error);
        }
        self.progress.goes_on(WaitsFor::Source, &self.small.table.name);
        let changes = decoder.decode(raw)?;
        if let Some(letter) = changes.dead_letters.first() {
            changes.dead_letters.iter().for_each(|letter| self.progress.count_dead_letter(letter.reason));
            tracing::warn!(
                "small table {}: {} records cannot be used and are left out, the first at {} offset {}: {}",
                self.small.table.name,
                changes.dead_letters.len(),
                raw.source,
                letter.offset,
                letter.message
            );
        }
        contents.apply(&changes)
    }

    fn publish(&self, contents: &mut Contents) -> Result<()> {
        let rows = contents.current()?;
        let (done, failed) = self.computed(rows);
        if let Some(message) = failed {
            tracing::warn!(
                "small table {}: rows that the query cannot compute are left out: {message}",
                self.small.table.name
            );
        }
        let schema = Arc::clone(&self.small.rows.schema);
        let rows = concat_batches(&schema, &done)?;
        tracing::debug!("small table {} has {} rows", self.small.table.name, rows.num_rows());
        self.small.rows.replace(rows)
    }

    /// The rows after the query's steps for them; those on which one fails are left out.
    fn computed(&self, rows: RecordBatch) -> (Vec<RecordBatch>, Option<String>) {
        let schema = Arc::clone(&self.small.rows.schema);
        let conformed = |batch: RecordBatch| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&schema), batch.columns().to_vec(), &options)
        };
        let (mut waiting, mut done, mut failed) = (vec![rows], Vec::new(), None);
        while let Some(rows) = waiting.pop() {
            let outcome = run(&self.small.stages, Rows::all(rows.clone()))
                .and_then(|done| if done.is_empty() { Ok(None) } else { Ok(Some(conformed(done.batch)?)) });
            let length = rows.num_rows();
            match outcome {
                Ok(batch) => done.extend(batch),
                Err(_) if length > 1 => {
                    waiting.push(rows.slice(length / 2, length - length / 2));
                    waiting.push(rows.slice(0, length / 2));
                }
                Err(error) => failed = Some(error.to_string()),
            }
        }
        (done, failed)
    }
}

/// The error of a small table, with its name.
fn named(name: &str, error: Error) -> Error {
    match error {
        Error::External { context, cause, retry } => {
            Error::External { context: format!("the small table \"{name}\" cannot be read: {context}"), cause, retry }
        }
        other => other,
    }
}

/// A reader before there is one.
struct Nothing;

impl SourceReader for Nothing {
    fn poll(&mut self, _: Duration, _: &mut Vec<RawBatch>) -> Result<()> {
        Ok(())
    }

    fn at_end(&self, _: &TopicPartition) -> bool {
        true
    }

    fn pause(&mut self, _: &TopicPartition) -> Result<()> {
        Ok(())
    }

    fn resume(&mut self, _: &TopicPartition) -> Result<()> {
        Ok(())
    }
}
