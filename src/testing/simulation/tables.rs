//! A simulated ClickHouse: rows are physically there, tokens are remembered for so many parts, inserts fail in every way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef};

use super::world::World;
use crate::change::TopicPartition;
use crate::error::{Error, Result};
use crate::sink::clickhouse::query_id;
use crate::sink::clickhouse::repeat::{Attempts, Server};
use crate::sink::clickhouse::split::{Part, Parting, Piece, split};
use crate::sink::{Block, Guard, OutputTable, POSITION, Sink, TableForm, TakeOut};
use crate::testing::cells::cells;

/// How the server misbehaves.
#[derive(Debug, Clone)]
pub(super) struct Temper {
    /// One in so many inserts meets a fault.
    pub(super) failing: u64,
    /// How many parts' tokens a table remembers.
    pub(super) window: usize,
    /// Rows of one insert at most.
    pub(super) chunk_rows: usize,
    /// Whether tables are parted by days.
    pub(super) by_day: bool,
}

/// Place of a record: topic, partition, offset.
pub(super) type Place = (String, i32, i64);

/// A row that is there.
#[derive(Debug, Clone)]
pub(super) struct Row {
    part: Part,
    /// Which insert of all it came with.
    landed: usize,
    pub(super) place: Option<Place>,
    epoch: u64,
    made_at: i64,
    window: Option<i64>,
    columns: SchemaRef,
    pub(super) cells: Vec<String>,
}

impl Row {
    /// What it has in a column.
    pub(super) fn cell(&self, column: &str) -> &str {
        self.columns.index_of(column).map_or("", |place| &self.cells[place])
    }
}

#[derive(Debug, Default)]
struct Table {
    rows: Vec<Row>,
    landed: usize,
    remembered: VecDeque<(String, Part)>,
}

/// An insert that the server, or the network, still has.
#[derive(Debug)]
struct Pending {
    output: usize,
    token: String,
    /// When it is done; the server runs it until then.
    lands: Duration,
    /// Whether the server knows of it already.
    runs: bool,
    pieces: Vec<(Part, Vec<Row>)>,
}

/// All tables of a server.
#[derive(Debug)]
pub(super) struct Tables {
    world: Arc<World>,
    temper: Temper,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: BTreeMap<usize, Table>,
    pending: Vec<Pending>,
    down_until: Duration,
    /// How many parts were known already.
    dropped: usize,
}

impl Tables {
    pub(super) fn new(world: &Arc<World>, temper: Temper) -> Arc<Self> {
        Arc::new(Self { world: Arc::clone(world), temper, inner: Mutex::default() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.settle(self.world.elapsed(), self.temper.window);
        inner
    }

    /// The rows of an output.
    pub(super) fn rows(&self, output: usize) -> Vec<Row> {
        self.inner().tables.get(&output).map(|table| table.rows.clone()).unwrap_or_default()
    }

    /// The server forgets which tokens it has seen. Only while it has no insert whose answer is still open and that it does
    /// not run, nor any process is stopped that is about to send one: against those nothing else helps.
    pub(super) fn forget_tokens(&self) {
        if self.all_known() {
            self.world.note("tokens are forgotten");
            self.inner().tables.values_mut().for_each(|table| table.remembered.clear());
        }
    }

    /// Whether the server has all that was sent to it, and nothing more will be by who is stopped.
    pub(super) fn all_known(&self) -> bool {
        self.inner().pending.iter().all(|it| it.runs) && self.world.all_will_ask()
    }

    /// Connections of a process that is dead: what had not arrived may never.
    pub(super) fn cut_connections(&self) {
        let lost = self.world.one_in(2);
        self.inner().pending.retain(|it| it.runs || !lost);
    }

    /// The sink of an output.
    pub(super) fn sink(self: &Arc<Self>, output: usize, table: &OutputTable) -> Box<dyn Sink> {
        let days =
            table.schema.fields().iter().position(|field| matches!(field.name().as_str(), "window_start" | "at"));
        let parting = days.filter(|_| self.temper.by_day).map_or(Parting::Whole, Parting::Day);
        Box::new(SimulatedSink {
            tables: Arc::clone(self),
            output,
            form: table.form.clone(),
            parting,
            attempts: Attempts::default(),
            guard: None,
        })
    }

    fn check_up(&self) -> Result<()> {
        if self.world.elapsed() < self.inner().down_until { Err(failed("connection refused")) } else { Ok(()) }
    }
}

impl Inner {
    fn settle(&mut self, now: Duration, window: usize) {
        let mut due: Vec<Pending> = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            if pending.lands <= now { due.push(pending) } else { self.pending.push(pending) }
        }
        due.sort_by_key(|pending| pending.lands);
        // What a server remembers is more than what comes while an insert wanders in the network.
        let wanders: BTreeSet<usize> = self.pending.iter().filter(|it| !it.runs).map(|it| it.output).collect();
        for pending in due {
            let remembers_all = wanders.contains(&pending.output);
            let table = self.tables.entry(pending.output).or_default();
            for (part, rows) in pending.pieces {
                let token = (pending.token.clone(), part);
                if table.remembered.contains(&token) {
                    self.dropped += 1;
                    continue;
                }
                table.landed += 1;
                let landed = table.landed;
                table.rows.extend(rows.into_iter().map(|row| Row { landed, ..row }));
                table.remembered.push_back(token);
                while table.remembered.len() > window && !remembers_all {
                    table.remembered.pop_front();
                }
            }
        }
    }
}

fn failed(what: &str) -> Error {
    Error::transient("cannot insert into the simulated table", what.to_owned())
}

/// What becomes of an insert.
enum Fate {
    Lands,
    Refused,
    /// It is there, or some of its parts are; the answer is lost.
    Unanswered {
        parts: usize,
    },
    /// The client gives up while the server still works.
    Outlives(Duration),
    /// The client gives up before the server has got it.
    Wanders(Duration),
}

struct SimulatedSink {
    tables: Arc<Tables>,
    output: usize,
    form: TableForm,
    parting: Parting,
    attempts: Attempts,
    guard: Option<Arc<dyn Guard>>,
}

impl SimulatedSink {
    async fn send(&mut self, block: &Block, again: bool) -> Result<()> {
        let chunks = split(block.rows.clone(), self.parting, self.tables.temper.chunk_rows)?;
        let mut attempts = std::mem::take(&mut self.attempts);
        let server = Connection { sink: self, block };
        let folds = self.form == TableForm::Mirror;
        let sent = attempts.send(&server, &chunks, &block.token, (self.parting, again, folds)).await;
        self.attempts = attempts;
        sent.map(drop)
    }
}

impl SimulatedSink {
    /// Removes what is made again, as far as it came with the first inserts, and returns how many rows that were.
    fn remove(&self, what: &TakeOut, first: usize) -> usize {
        let is_read_again = |row: &Row| {
            let Some((topic, partition, offset)) = &row.place else { return false };
            let is_of = |from: &TopicPartition| &*from.topic == topic && from.partition == *partition;
            what.positions.iter().any(|(from, first)| is_of(from) && offset >= first)
        };
        let of_windows = |row: &Row| what.windows_from.is_none_or(|from| row.window.is_some_and(|it| it >= from));
        let mut inner = self.tables.inner();
        let Some(table) = inner.tables.get_mut(&self.output) else { return 0 };
        let before = table.rows.len();
        let is_made_again = |row: &Row| match (&self.form, what.after) {
            (TableForm::Results, Some(after)) => row.epoch > after.epoch,
            (TableForm::Results, None) => of_windows(row),
            (TableForm::Late, _) => is_read_again(row) && of_windows(row),
            _ => is_read_again(row),
        };
        table.rows.retain(|row| row.landed > first || !is_made_again(row));
        before - table.rows.len()
    }
}

#[async_trait]
impl Sink for SimulatedSink {
    fn guard(&mut self, guard: Arc<dyn Guard>) {
        self.guard = Some(guard);
    }

    async fn prepare(&mut self) -> Result<()> {
        self.tables.world.point("prepare").await;
        self.tables.check_up()
    }

    async fn write(&mut self, block: &Block) -> Result<()> {
        self.send(block, false).await
    }

    async fn write_again(&mut self, block: &Block) -> Result<()> {
        self.send(block, true).await
    }

    async fn take_out(&mut self, what: &TakeOut) -> Result<()> {
        let (tables, world) = (&self.tables, &self.tables.world);
        world.point("take out").await;
        tables.check_up()?;
        // All inserts of the job that still run; those of others are killed, or come to their end.
        let is_own = |it: &Pending| it.runs && it.output == self.output;
        if world.one_in(2) {
            tables.inner().pending.retain(|it| !is_own(it));
        }
        while tables.inner().pending.iter().any(is_own) {
            world.sleep(Duration::from_millis(200)).await;
        }
        if self.form == TableForm::Mirror {
            return Ok(());
        }
        let there = tables.inner().tables.get(&self.output).map_or(0, |table| table.landed);
        if let Some(guard) = &self.guard {
            guard.ask().await?;
        }
        world.point("take these out").await;
        let gone = self.remove(what, there);
        world.note(&format!("{gone} rows are taken out of {}", self.output));
        world.point("taken out").await;
        Ok(())
    }
}

struct Connection<'a> {
    sink: &'a SimulatedSink,
    block: &'a Block,
}

impl Connection<'_> {
    fn fate(&self, parts: usize) -> Fate {
        let world = &self.sink.tables.world;
        if !world.strikes(self.sink.tables.temper.failing) {
            return Fate::Lands;
        }
        match world.below(6) {
            0 => Fate::Refused,
            1 => {
                self.sink.tables.inner().down_until = world.elapsed() + world.moment(3_000);
                Fate::Refused
            }
            2 => Fate::Unanswered { parts },
            3 => Fate::Unanswered { parts: world.below(parts as u64 + 1) as usize },
            4 => Fate::Outlives(world.moment(800)),
            _ => Fate::Wanders(world.moment(800)),
        }
    }
}

#[async_trait]
impl Server for Connection<'_> {
    async fn settled(&self, query_ids: &[String], others: bool) -> Result<()> {
        let (tables, world) = (&self.sink.tables, &self.sink.tables.world);
        let kills = others && world.one_in(2);
        loop {
            world.point("look for running inserts").await;
            tables.check_up()?;
            let runs = |it: &Pending| it.runs && query_ids.contains(&query_id(&it.token));
            if !tables.inner().pending.iter().any(runs) {
                return Ok(());
            }
            if kills {
                tables.inner().pending.retain(|it| !runs(it));
            }
            world.sleep(Duration::from_millis(200)).await;
        }
    }

    async fn found(&self) -> Result<Option<BTreeMap<Part, u64>>> {
        let (tables, world) = (&self.sink.tables, &self.sink.tables.world);
        world.point("count").await;
        world.sleep(world.moment(3)).await;
        tables.check_up()?;
        let mine: Vec<Row> = rows(&self.block.rows, Part::Any, self.block)?;
        let inner = tables.inner();
        let there = inner.tables.get(&self.sink.output).map(|table| table.rows.as_slice()).unwrap_or_default();
        let mut found = BTreeMap::new();
        let mut count = |row: &Row| *found.entry(row.part).or_insert(0) += 1;
        if self.sink.form == TableForm::Results {
            let windows: BTreeSet<_> = mine.iter().map(|row| row.window).collect();
            let (least, greatest) = (windows.first(), windows.last());
            let is_own = |row: &&Row| {
                row.epoch == self.block.epoch
                    && row.made_at / 1_000 == self.block.made_at / 1_000
                    && Some(&row.window) >= least
                    && Some(&row.window) <= greatest
            };
            there.iter().filter(is_own).for_each(&mut count);
            return Ok(Some(found));
        }
        let mut ranges: BTreeMap<(String, i32), (i64, i64)> = BTreeMap::new();
        for (source, range) in &self.block.ranges {
            ranges.insert((source.topic.to_string(), source.partition), (range.from, range.to - 1));
        }
        if ranges.is_empty() {
            for (topic, partition, offset) in mine.into_iter().filter_map(|row| row.place) {
                let range = ranges.entry((topic, partition)).or_insert((offset, offset));
                *range = (range.0.min(offset), range.1.max(offset));
            }
        }
        let is_own = |row: &&Row| {
            row.place.as_ref().is_some_and(|(topic, partition, offset)| {
                ranges.get(&(topic.clone(), *partition)).is_some_and(|(first, last)| (first..=last).contains(&offset))
            })
        };
        there.iter().filter(is_own).for_each(&mut count);
        Ok(Some(found))
    }

    async fn insert(&self, pieces: &[&Piece], token: &str) -> Result<()> {
        let (tables, world) = (&self.sink.tables, &self.sink.tables.world);
        if let Some(guard) = &self.sink.guard {
            guard.check().await?;
        }
        world.sending(1);
        world.point(&format!("insert {token} {}", pieces.len())).await;
        world.sleep(world.moment(10)).await;
        world.sending(-1);
        tables.check_up()?;
        if tables.inner().pending.iter().any(|it| it.runs && it.token == token) {
            return Err(failed("Code: 216. DB::Exception: Query with the same id is already running"));
        }
        let parts = pieces.iter().map(|piece| Ok((piece.part, rows(&piece.rows, piece.part, self.block)?)));
        let mut pieces = parts.collect::<Result<Vec<_>>>()?;
        let fate = self.fate(pieces.len());
        let (lands, runs, answer) = match fate {
            Fate::Refused => return Err(failed("Code: 252. DB::Exception: Too many parts")),
            Fate::Lands => (Duration::ZERO, true, Ok(())),
            Fate::Unanswered { parts } => {
                pieces.truncate(parts);
                (Duration::ZERO, true, Err(failed("connection reset")))
            }
            Fate::Outlives(time) => (time, true, Err(failed("timed out"))),
            Fate::Wanders(time) => (time, false, Err(failed("timed out"))),
        };
        world.note(&format!("  lands in {lands:?} with {} parts, {}", pieces.len(), answer.is_ok()));
        let (token, lands) = (token.to_owned(), world.elapsed() + lands);
        tables.inner().pending.push(Pending { output: self.sink.output, token, lands, runs, pieces });
        drop(tables.inner());
        world.point("answered").await;
        answer
    }
}

fn rows(batches: &[RecordBatch], part: Part, block: &Block) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for batch in batches {
        let column = |name: &str, data_type| batch.column_by_name(name).map(|it| cast(it, &data_type)).transpose();
        let topics = column(POSITION[0], DataType::Utf8)?;
        let partitions = column(POSITION[1], DataType::Int32)?;
        let offsets = column(POSITION[2], DataType::Int64)?;
        let windows = column("window_start", DataType::Int64)?;
        for (at, cells) in cells(batch)?.into_iter().enumerate() {
            let place = match (&topics, &partitions, &offsets) {
                (Some(topics), Some(partitions), Some(offsets)) => Some((
                    topics.as_string::<i32>().value(at).to_owned(),
                    partitions.as_primitive::<Int32Type>().value(at),
                    offsets.as_primitive::<Int64Type>().value(at),
                )),
                _ => None,
            };
            let window = windows.as_ref().filter(|it| it.is_valid(at));
            let window = window.map(|it| it.as_primitive::<Int64Type>().value(at));
            let columns = batch.schema();
            rows.push(Row {
                part,
                landed: 0,
                place,
                epoch: block.epoch,
                made_at: block.made_at,
                window,
                columns,
                cells,
            });
        }
    }
    Ok(rows)
}
