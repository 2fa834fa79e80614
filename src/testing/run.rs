//! Running a case: the real job on the case's records, in one manner or another. The rows must not depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use tokio::sync::watch;

use super::case::Case;
use super::collect::Collected;
use super::record::Mark;
use crate::change::TopicPartition;
use crate::checkpoint::CheckpointStore;
use crate::error::{Error, Result, suggestion};
use crate::job::check::check;
use crate::job::input::by_table;
use crate::job::lookup::SmallSource;
use crate::job::outside::Outside;
use crate::job::progress::Progress;
use crate::job::run::run as run_job;
use crate::job::running::Outcome;
use crate::job::settings::{Ending, Settings};
use crate::options::Options;
use crate::sink::{OutputTable, Sink};
use crate::source::script::{Record, Script, open_together};
use crate::source::{self, Source};
use crate::sql::query::Query;
use crate::sql::submission::{Discovered, Submission};
use crate::sql::text::Variables;

/// The longest that a part of a case may take.
const LIMIT: Duration = Duration::from_secs(180);
/// How often a job without end is looked at.
const LOOK: Duration = Duration::from_micros(300);
/// The time at which every case begins: 2026-01-01 00:00 UTC.
const BEGINNING: i64 = 1_767_225_600_000;
/// How often one run of a case may be made to crash.
const CRASHES: usize = 4;

/// How a case is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    /// Lanes, at most; there are never more than partitions.
    pub lanes: usize,
    /// How many records are read at a time.
    pub batch: usize,
    /// Whether each batch is saved before the next is read.
    pub saves_each: bool,
    /// After how many records the job is stopped and goes on, again and again.
    pub restart_every: Option<usize>,
    /// After how many writes the job crashes, with and without the rows of that write in place, a few times.
    pub crash_every: Option<usize>,
}

impl Manner {
    /// All records at once.
    pub const WHOLE: Self =
        Self { lanes: 1, batch: usize::MAX, saves_each: false, restart_every: None, crash_every: None };

    /// The manners that every case of Highwater itself is run in.
    pub fn all() -> Vec<Self> {
        let batches = [1, 7, 1_000].map(|batch| Self { batch, saves_each: true, ..Self::WHOLE });
        let mut manners = vec![Self::WHOLE];
        manners.extend(batches.clone());
        manners.extend(batches.map(|manner| Self { lanes: 3, ..manner }));
        manners.extend([(1, 1), (3, 2), (1, 5)].map(|(lanes, every)| Self {
            lanes,
            batch: every,
            saves_each: true,
            restart_every: Some(every),
            crash_every: None,
        }));
        manners.extend([(3, 1), (1, 2)].map(|(lanes, every)| Self {
            lanes,
            batch: 2,
            saves_each: true,
            restart_every: None,
            crash_every: Some(every),
        }));
        manners
    }
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.batch {
            usize::MAX => write!(f, "whole")?,
            batch => write!(f, "batches of {batch}")?,
        }
        write!(f, ", {} lane{}", self.lanes, if self.lanes == 1 { "" } else { "s" })?;
        match (self.restart_every, self.crash_every) {
            (Some(every), _) => write!(f, ", a restart after every {every} records"),
            (None, Some(every)) => write!(f, ", a crash after every {every} writes"),
            (None, None) => Ok(()),
        }
    }
}

/// What came of a case.
#[derive(Debug)]
pub struct Came {
    /// The outputs of the job.
    pub tables: Vec<OutputTable>,
    /// The rows of each, in the order in which they came.
    pub rows: Vec<Vec<RecordBatch>>,
    /// Where each input was.
    pub positions: Vec<(TopicPartition, i64)>,
    /// The most windows that were open at a time.
    pub most_open_windows: u64,
}

/// Compiles the query of a case. The environment has no part in it.
pub async fn compile(case: &Case) -> Result<Query> {
    let variables = Variables::only(case.variables.clone(), "add a line === set NAME = VALUE to the case");
    let mut submission = Submission::of_texts(case.query.clone(), &variables)?;
    for (table, format, line) in &case.formats {
        if !submission.set_option(table, "format", format) {
            return Err(case.error(*line, format!("the query has no table \"{table}\"")));
        }
    }
    if let Some(table) = submission.open_tables().first() {
        let message = "a case has no topic to look its columns up in; declare them";
        return Err(table.place.error(format!("table \"{}\" declares no columns, and {message}", table.name)).into());
    }
    submission.compile(&Discovered::default()).await
}

/// Runs a case whose query has been compiled. Not beside another run of the same query.
pub async fn run(case: &Case, query: &Query, manner: &Manner) -> Result<Came> {
    let tables = check(query, "test")?.tables;
    let topics: BTreeMap<String, Vec<String>> =
        by_table(&query.pipelines).into_iter().map(|(table, _)| (table.name.clone(), topics(&table.options))).collect();
    let lookups = query.pipelines.iter().flat_map(|pipeline| &pipeline.lookups);
    let small: BTreeSet<String> = lookups.map(|small| small.table.name.clone()).collect();
    let streams: BTreeSet<String> = topics.keys().cloned().collect();
    let own = |table: &String| (table.clone(), vec![table.clone()]);
    let topics = small.iter().map(own).chain(topics).collect();
    let positions = positions(case, &topics)?;
    let outside = Arc::new(TestOutside::new(case, &topics, (&streams, &small), &positions, manner));
    let mut settings = Settings::new("test", Ending::Endless, CheckpointStore::in_memory("test"));
    settings.lanes = manner.lanes;
    settings.flush_interval = Duration::from_millis(1);
    settings.outside = Arc::clone(&outside) as Arc<dyn Outside>;
    #[cfg(test)]
    if manner.saves_each && manner.lanes > 1 {
        // No memory for kept rows, which are all saved again with every other checkpoint.
        settings.state_folder = std::env::temp_dir().join("highwater-cases");
        (settings.state_memory, settings.renew_after) = (Some(0), 2);
    }
    if manner.saves_each {
        settings.flush_rows = 1;
        // Open windows are saved with every batch, or hardly ever: then what came since is counted again.
        settings.checkpoint_interval = if manner.lanes == 1 { Duration::ZERO } else { Duration::from_secs(3_600) };
    }
    // The rows of small tables are there from the beginning.
    let streamed = |count: usize| case.inputs[..count].iter().filter(|it| streams.contains(&it.table)).count();
    let mut legs = legs(case, manner);
    for event in legs.iter_mut().flatten() {
        if let Event::Release(count) = event {
            *count = streamed(*count);
        }
    }
    let mut most_open_windows = 0;
    for (number, leg) in legs.iter().enumerate() {
        let ends = number + 1 == legs.len() && !case.open;
        settings.ending = if ends { Ending::Bounded } else { Ending::UntilCaughtUp };
        let crash_every = manner.crash_every;
        let time_out = tokio::time::timeout(LIMIT, run_leg(leg, query, settings.clone(), &outside, crash_every)).await;
        let open = time_out.map_err(|_| Error::internal(format!("the job has not ended after {LIMIT:?}")))??;
        most_open_windows = most_open_windows.max(open);
    }
    let rows = (0..tables.len()).map(|output| outside.collected.rows(output)).collect();
    Ok(Came { tables, rows, positions, most_open_windows })
}

/// The topics of a table; those that a pattern or a list stands for are not known, but for the first.
fn topics(options: &Options) -> Vec<String> {
    let named = options.get("topic").or(options.get("path")).unwrap_or(options.table());
    named.split(';').map(|topic| topic.trim().to_owned()).collect()
}

/// Where each record of a case is.
fn positions(case: &Case, topics: &BTreeMap<String, Vec<String>>) -> Result<Vec<(TopicPartition, i64)>> {
    let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    let position = |input: &super::record::Input| {
        let Some(own) = topics.get(&input.table) else {
            let known: Vec<_> = topics.keys().map(String::as_str).collect();
            let hint = suggestion(&input.table, known.iter().copied());
            let message = format!("the query does not read \"{}\"; it reads {}{hint}", input.table, known.join(", "));
            return Err(input.error(message));
        };
        let topic = input.topic.as_ref().unwrap_or(&own[0]).as_str().into();
        let partition = TopicPartition { topic, partition: input.partition };
        let next = next.entry(partition.clone()).or_insert(input.offset.unwrap_or(0));
        let offset = input.offset.unwrap_or(*next);
        if offset < *next {
            return Err(input.error(format!("offset {offset} comes after {} in {partition}; offsets go up", *next - 1)));
        }
        *next = offset + 1;
        Ok((partition, offset))
    };
    case.inputs.iter().map(position).collect()
}

/// What happens in one run of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// So many of all records may be read.
    Release(usize),
    /// Time passes.
    Advance(i64),
}

/// The runs that a case takes: a restart parts one from the next.
fn legs(case: &Case, manner: &Manner) -> Vec<Vec<Event>> {
    let mut marks = case.marks.clone();
    if let Some(every) = manner.restart_every {
        // Once time has passed, a restart is no longer the same: silence counts from it.
        let quiet =
            marks.iter().find(|(_, mark)| matches!(mark, Mark::Advance(_))).map_or(case.inputs.len(), |it| it.0);
        // The case's own marks stay in their order.
        let restarts = (1..=quiet / every).map(|count| (count * every, Mark::Restart));
        marks = restarts.chain(marks).collect();
        marks.sort_by_key(|&(after, _)| after);
    }
    let mut legs = vec![Vec::new()];
    let mut leg = 0;
    for (after, mark) in marks {
        legs[leg].push(Event::Release(after));
        match mark {
            Mark::Advance(time) => legs[leg].push(Event::Advance(time)),
            Mark::Restart => {
                legs.push(Vec::new());
                leg += 1;
            }
        }
    }
    legs[leg].push(Event::Release(case.inputs.len()));
    if legs[leg].iter().any(|event| matches!(event, Event::Advance(_))) {
        // Time only passes in runs without end.
        legs.push(vec![Event::Release(case.inputs.len())]);
    }
    legs
}

async fn run_leg(
    leg: &[Event],
    query: &Query,
    settings: Settings,
    outside: &TestOutside,
    crash_every: Option<usize>,
) -> Result<u64> {
    if leg.iter().any(|event| matches!(event, Event::Advance(_))) {
        return run_while_time_passes(leg, query, settings, outside).await;
    }
    if let Some(Event::Release(count)) = leg.last() {
        outside.script.release(*count);
    }
    let progress: Arc<Progress> = Arc::default();
    for crash in 0..=CRASHES {
        if let Some(every) = crash_every.filter(|_| crash < CRASHES) {
            outside.collected.crash_after(every * (crash + 1), crash % 2 == 0);
        }
        // Nobody tells it to stop.
        let (_stop, stopped) = watch::channel(false);
        let outcome = Box::pin(start(query, settings.clone(), outside, Arc::clone(&progress), stopped)).await;
        let has_crashed = crash_every.is_some() && crash < CRASHES && !outside.collected.call_off();
        match outcome {
            Err(_) if has_crashed => {}
            outcome => return outcome.map(|_| progress.most_open_windows.load(Relaxed)),
        }
    }
    Ok(progress.most_open_windows.load(Relaxed))
}

/// Runs the job without end, lets it read and close what it can, moves the clock, and stops it.
async fn run_while_time_passes(
    leg: &[Event],
    query: &Query,
    mut settings: Settings,
    outside: &TestOutside,
) -> Result<u64> {
    settings.ending = Ending::Endless;
    let progress: Arc<Progress> = Arc::default();
    let (stop, stopped) = watch::channel(false);
    let before = outside.script.asked();
    let mut job: Running<'_> = Box::pin(start(query, settings, outside, Arc::clone(&progress), stopped));
    // Silence counts from when a lane has got its partitions.
    work_until(&mut job, || outside.script.asked().iter().all(|(it, asked)| *asked > before[it])).await?;
    for event in leg {
        match *event {
            Event::Release(count) => {
                outside.script.release(count);
                let ends = outside.script.ends();
                let is_there = || {
                    let positions = progress.positions();
                    ends.iter().all(|(partition, end)| positions.get(partition) == Some(end))
                };
                work_until(&mut job, is_there).await?;
            }
            Event::Advance(time) => {
                outside.clock.fetch_add(time, SeqCst);
                // The cut that is on its way may have seen the old time. The next has seen the new one, and is complete when
                // there is one more.
                let before = outside.script.asked();
                let is_done = || outside.script.asked().iter().all(|(it, asked)| *asked >= before[it] + 3);
                work_until(&mut job, is_done).await?;
            }
        }
    }
    let _ = stop.send(true);
    job.await.map(|_| progress.most_open_windows.load(Relaxed))
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Outcome>> + Send + 'a>>;

async fn work_until(job: &mut Running<'_>, is_enough: impl Fn() -> bool) -> Result<()> {
    while !is_enough() {
        tokio::select! {
            outcome = &mut *job => {
                outcome?;
                return Err(Error::internal("the job has ended before its time"));
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    Ok(())
}

async fn start(
    query: &Query,
    settings: Settings,
    outside: &TestOutside,
    progress: Arc<Progress>,
    stop: watch::Receiver<bool>,
) -> Result<Outcome> {
    outside.opened.store(0, SeqCst);
    run_job(query.clone(), settings, progress, stop).await
}

/// The case in place of the world.
#[derive(Debug)]
struct TestOutside {
    clock: AtomicI64,
    script: Arc<Script>,
    /// The rows of small tables.
    small: Arc<Script>,
    /// The topics of each table, by the name of the table.
    topics: BTreeMap<String, BTreeSet<String>>,
    collected: Arc<Collected>,
    /// How many sinks this run of the job has opened: they are opened in the order of the outputs.
    opened: AtomicUsize,
}

impl TestOutside {
    fn new(
        case: &Case,
        named: &BTreeMap<String, Vec<String>>,
        (streams, small): (&BTreeSet<String>, &BTreeSet<String>),
        positions: &[(TopicPartition, i64)],
        manner: &Manner,
    ) -> Self {
        let mut topics: BTreeMap<String, BTreeSet<String>> =
            named.iter().map(|(table, topics)| (table.clone(), topics.iter().cloned().collect())).collect();
        for (input, (partition, _)) in case.inputs.iter().zip(positions) {
            topics.entry(input.table.clone()).or_default().insert(partition.topic.to_string());
        }
        let empty = |tables: &BTreeSet<String>| {
            let tables = tables.clone();
            let own = named.iter().filter(move |(table, _)| tables.contains(*table));
            own.map(|(_, topics)| TopicPartition { topic: topics[0].as_str().into(), partition: 0 })
        };
        let records = |tables: &BTreeSet<String>| {
            let tables = tables.clone();
            let own = case.inputs.iter().zip(positions).filter(move |(it, _)| tables.contains(&it.table));
            own.map(|(input, (partition, offset))| {
                let (key, value) = (input.key.clone(), input.value.clone());
                (partition.clone(), Record { offset: *offset, timestamp: input.timestamp, key, value })
            })
        };
        let tables = Script::new(empty(small), records(small), usize::MAX, false);
        tables.release(case.inputs.len());
        Self {
            clock: AtomicI64::new(BEGINNING),
            script: Arc::new(Script::new(empty(streams), records(streams), manner.batch, manner.saves_each)),
            small: Arc::new(tables),
            topics,
            collected: Arc::default(),
            opened: AtomicUsize::new(0),
        }
    }
}

impl Outside for TestOutside {
    fn now(&self) -> i64 {
        self.clock.load(SeqCst)
    }

    fn since(&self, _: Instant) -> Duration {
        Duration::ZERO
    }

    fn groups(&self, tables: &[&Options]) -> Vec<Vec<usize>> {
        source::groups(tables)
    }

    fn sources(&self, tables: &[&Options]) -> Result<Vec<Box<dyn Source>>> {
        let topics = tables.iter().map(|it| self.topics.get(it.table()).cloned().unwrap_or_default()).collect();
        Ok(open_together(&self.script, topics))
    }

    fn small_source(&self, table: &Options) -> Result<SmallSource> {
        let topics = vec![self.topics.get(table.table()).cloned().unwrap_or_default()];
        let source = open_together(&self.small, topics).pop();
        source.map(SmallSource::Records).ok_or_else(|| Error::internal("a small table has no records"))
    }

    fn sink(&self, table: &OutputTable, _: bool) -> Result<Box<dyn Sink>> {
        Ok(self.collected.sink(self.opened.fetch_add(1, SeqCst), table))
    }
}
