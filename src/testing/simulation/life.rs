//! One life: what the world is like, when the process dies, and that it always starts again.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::model::{Event, Model, payload};
use super::store::SimulatedStore;
use super::tables::{Tables, Temper};
use super::topic::{Record, Topic};
use super::world::{BEGINNING, Fate, World};
use crate::change::TopicPartition;
use crate::checkpoint::CheckpointStore;
use crate::error::{Error, Result};
use crate::job::lane::{Lane, Turn};
use crate::job::outside::Outside;
use crate::job::run::run;
use crate::job::running::Outcome;
use crate::job::settings::{Ending, Settings};
use crate::options::Options;
use crate::sink::{OutputTable, Sink};
use crate::source::{self, Source};
use crate::sql::query::{Query, load_texts};
use crate::sql::text::Variables;
use crate::testing::oracle::generate::Random;

/// A changelog, windows and a mirror of one table; so there are late rows and dead letters too.
const QUERY: &str = "
CREATE TABLE t (id BIGINT, name STRING, value BIGINT, at TIMESTAMP(3), PRIMARY KEY (id) NOT ENFORCED,
  WATERMARK FOR at AS at - INTERVAL '3' HOUR)
WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'none:9092', 'format' = 'debezium-json',
  'idle-timeout' = '500 ms', 'idle-close' = '1 s');
CREATE TABLE changes WITH ('connector' = 'blackhole');
CREATE TABLE results WITH ('connector' = 'blackhole');
CREATE TABLE mirror WITH ('connector' = 'blackhole');
INSERT INTO changes SELECT * FROM CHANGES(t);
INSERT INTO results SELECT window_start, name, count(*) AS n, sum(value) AS total
FROM TUMBLE(CHANGES(t), at, INTERVAL '1' HOUR) GROUP BY window_start, name;
INSERT INTO mirror SELECT * FROM t;
";
/// The same with rows that are kept, and windows over them, which come out right only if each row is kept as it is; and with sessions.
const KEEPING: &str = "
CREATE TABLE rows_now WITH ('connector' = 'blackhole');
INSERT INTO rows_now SELECT window_start, name, count(*) AS n, sum(value) AS total
FROM TUMBLE(t, at, INTERVAL '1' HOUR) GROUP BY window_start, name;
CREATE TABLE sessions WITH ('connector' = 'blackhole');
INSERT INTO sessions SELECT window_start, window_end, name, count(*) AS n, sum(value) AS total
FROM SESSION(CHANGES(t) PARTITION BY name, at, INTERVAL '1' HOUR) GROUP BY window_start, window_end, name;
";
/// How often a process dies before it is let live.
const DEATHS: u64 = 5;
/// A process that has not come to its end by then has gone astray.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What jobs run.
pub(super) struct Queries {
    plain: Query,
    keeping: Query,
}

pub(super) async fn queries() -> Queries {
    let load =
        async |text: String| load_texts(vec![("simulation.sql".into(), text)], &Variables::none()).await.unwrap();
    Queries { plain: load(QUERY.to_owned()).await, keeping: load(format!("{QUERY}{KEEPING}")).await }
}

/// A runtime of one thread, which calls this when all its tasks wait.
pub(super) fn runtime(idle: impl Fn() + Send + Sync + 'static) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().on_thread_park(idle).build().unwrap()
}

pub(super) struct Life {
    world: Arc<World>,
    outside: Arc<SimulatedOutside>,
    settings: Settings,
    model: Model,
    /// How many things a process mostly does before it dies.
    span: u64,
    /// Whether processes are stopped, and woken when others have taken their place.
    sleeps: bool,
    /// Where rows are kept that have no room in memory, in lives that keep rows.
    keeps: Option<tempfile::TempDir>,
    store: Arc<SimulatedStore>,
    /// Whether checkpoints are damaged, the newest first.
    damages: bool,
}

impl Life {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let model = Model::random(&mut random);
        let pace = random.pick(&[1_000, 20_000, 100_000]);
        let failing = random.pick(&[10, 30, 200]);
        let temper = Temper {
            failing: random.pick(&[3, 10, 60]),
            window: random.pick(&[1_000, 1_000, 30]),
            chunk_rows: random.pick(&[3, 20, 1_000]),
            by_day: random.one_in(2),
        };
        let lanes = 1 + random.below(3) as usize;
        let flush_rows = random.pick(&[1, 20, 250_000, 250_000]);
        let flush = random.pick(&[10, 50, 200]);
        let checkpoint = random.pick(&[0, 300, 1_000, 1_000]);
        let span = random.pick(&[15, 60, 300]);
        let mut partitions: BTreeMap<TopicPartition, Vec<Record>> = BTreeMap::new();
        for (number, events) in model.partitions.iter().enumerate() {
            let mut at = Duration::ZERO;
            let record = |event: &Event| {
                at += Duration::from_micros(random.below(pace));
                Record { offset: event.offset, at, key: b"{}".to_vec(), value: payload(event) }
            };
            let records = events.iter().map(record).collect();
            partitions.insert(TopicPartition { topic: "t".into(), partition: number as i32 }, records);
        }
        let sleeps = random.one_in(2);
        // Nothing in memory, little, or all.
        let keeps = random.one_in(3).then(|| (random.pick(&[0, 500, 1 << 30]), random.pick(&[1, 4, 100, 100])));
        // What the server has forgotten of a process that was about to insert, nothing else knows.
        let temper = if sleeps { Temper { window: 1_000, ..temper } } else { temper };
        let (damages, jumps) = (random.one_in(2), random.pick(&[None, Some(100), Some(2_000)]));
        let world = World::new(random);
        world.set_jumps(jumps);
        let partitions = partitions.into_iter().map(|(it, records)| (it, Arc::new(records))).collect();
        let topic = Topic { world: Arc::clone(&world), partitions, failing: failing * 3, away_until: Mutex::default() };
        let outside = Arc::new(SimulatedOutside {
            tables: Tables::new(&world, temper),
            topic: Arc::new(topic),
            world: Arc::clone(&world),
            opened: AtomicUsize::new(0),
        });
        let store = SimulatedStore::new(&world, failing);
        let checkpoints = CheckpointStore::in_store(Arc::clone(&store) as _, "the simulated store", "j");
        let mut settings = Settings::new("j", Ending::Endless, checkpoints);
        settings.lanes = lanes;
        settings.flush_rows = flush_rows;
        settings.flush_interval = Duration::from_millis(flush);
        settings.checkpoint_interval = Duration::from_millis(checkpoint);
        let keeps = keeps.map(|(memory, renew_after)| {
            let folder = tempfile::tempdir().unwrap();
            settings.state_folder = folder.path().to_owned();
            // More often: the longer the row of checkpoints that build on each other.
            settings.checkpoint_interval /= 20;
            (settings.state_memory, settings.renew_after) = (Some(memory), renew_after);
            folder
        });
        Self { world, outside, settings, model, span, sleeps, keeps, store, damages }
    }

    /// Lives it to its end. An error is what is wrong with it.
    pub(super) fn live(&self, queries: &Queries) -> Result<(), String> {
        let query = if self.keeps.is_some() { &queries.keeping } else { &queries.plain };
        let world = &self.world;
        let mut deaths = 0;
        // A process that is stopped, and knows nothing of the one that has taken its place.
        let mut sleeper: Option<Process> = None;
        loop {
            let dies = deaths < DEATHS && !world.one_in(6);
            // The last runs go to the end, whatever it takes.
            let ending = if deaths >= DEATHS || world.one_in(8) { Ending::Bounded } else { Ending::Endless };
            let ending = if ending == Ending::Bounded && !self.all_visible() { Ending::UntilCaughtUp } else { ending };
            let steps = dies.then(|| 1 + world.below(self.span * 4));
            let stops_after = (ending == Ending::Endless).then(|| world.moment(3_000));
            world.note(&format!("=== {ending:?}"));
            let mut process = Process::start(self, query, ending, steps, stops_after);
            let falls_asleep = self.sleeps && sleeper.is_none() && deaths < DEATHS && world.one_in(2);
            let ended = match falls_asleep {
                true => process.run(world, Some(1 + world.below(self.span * 3))),
                false => self.beside(&mut process, &mut sleeper)?,
            };
            let Some(ended) = ended else {
                deaths += 1;
                sleeper = Some(process);
                continue;
            };
            world.note(&format!("=== {ended:?}"));
            match ended {
                End::Died if dies => deaths += 1,
                End::Died => return Err("the process does not come to an end".into()),
                End::Stuck => return Err("the process hangs: nothing will ever happen in it".into()),
                End::Ended(Ok(Outcome::Finished)) if ending == Ending::Bounded => break,
                End::Ended(Ok(_)) => {}
                // Somebody starts it again.
                End::Ended(Err(error)) if error.is_transient() => {}
                End::Ended(Err(error)) if was_taken_over(&error) && self.sleeps => deaths += 1,
                // The end was saved before its process died.
                End::Ended(Err(error)) if has_ended(&error) => break,
                End::Ended(Err(error)) => return Err(error.to_string()),
            }
            drop(process);
            self.between(sleeper.is_some());
        }
        if let Some(sleeper) = &mut sleeper {
            let ended = sleeper.run(world, None);
            check_sleeper(ended.as_ref())?;
        }
        world.pass(Duration::from_secs(10));
        let of = |output: usize| self.outside.tables.rows(output);
        let dead = of(if self.keeps.is_some() { 8 } else { 4 });
        self.model.check(&Outcomes { changes: of(0), results: of(1), late: of(2), mirror: of(3), dead })?;
        if self.keeps.is_none() {
            return Ok(());
        }
        self.model.check_current(&of(4), &of(5))?;
        self.model.check_sessions(&of(6), &of(7))
    }

    /// Runs a process to its end; at times the one that is stopped is woken for a while.
    fn beside(&self, process: &mut Process, sleeper: &mut Option<Process>) -> Result<Option<End>, String> {
        let world = &self.world;
        loop {
            let slice = sleeper.is_some().then(|| 1 + world.below(self.span));
            if let Some(ended) = process.run(world, slice) {
                return Ok(Some(ended));
            }
            if world.one_in(3) {
                world.pass(world.moment(2_000));
            }
            if world.one_in(3) {
                self.outside.tables.forget_tokens();
            }
            if let Some(woken) = sleeper.as_mut().filter(|_| world.one_in(3))
                && let Some(ended) = woken.run(world, Some(1 + world.below(self.span)))
            {
                world.note(&format!("=== the sleeper: {ended:?}"));
                check_sleeper(Some(&ended))?;
                *sleeper = None;
            }
        }
    }

    /// No process runs: the world goes on.
    fn between(&self, has_sleeper: bool) {
        let world = &self.world;
        self.outside.tables.cut_connections();
        if world.one_in(3) {
            world.pass(world.moment(5_000));
        }
        if world.one_in(3) {
            self.outside.tables.forget_tokens();
        }
        if world.one_in(4) {
            world.skew();
        }
        // An insert that is on its way from a process which lives beside its successor is known by its token alone, and what is made
        // again after damage has others.
        if self.damages && !has_sleeper && world.one_in(3) && self.outside.tables.all_known() {
            self.store.damage();
        }
    }

    fn all_visible(&self) -> bool {
        let now = self.world.elapsed();
        self.outside.topic.partitions.values().all(|records| records.last().is_none_or(|it| it.at <= now))
    }

    pub(super) fn trace(&self) -> (u64, Vec<String>) {
        self.world.trace()
    }
}

/// The rows of all tables.
pub(super) struct Outcomes {
    pub(super) changes: Vec<super::tables::Row>,
    pub(super) results: Vec<super::tables::Row>,
    pub(super) late: Vec<super::tables::Row>,
    pub(super) mirror: Vec<super::tables::Row>,
    pub(super) dead: Vec<super::tables::Row>,
}

/// How a process ended.
#[derive(Debug)]
enum End {
    Died,
    Stuck,
    Ended(Result<Outcome>),
}

fn was_taken_over(error: &Error) -> bool {
    error.to_string().contains("was taken over by process")
}

fn has_ended(error: &Error) -> bool {
    error.to_string().contains("has run to its end")
}

/// A process that slept notices in the end that the job is not its own any more, unless it still was.
fn check_sleeper(ended: Option<&End>) -> Result<(), String> {
    match ended {
        Some(End::Ended(Err(error))) if !error.is_transient() && !was_taken_over(error) && !has_ended(error) => {
            Err(format!("the process that slept: {error}"))
        }
        Some(End::Stuck) => Err("the process that slept hangs".into()),
        _ => Ok(()),
    }
}

/// A process, which may be stopped at each thing that it does.
struct Process {
    number: usize,
    main: Pin<Box<dyn Future<Output = End>>>,
    runtime: tokio::runtime::Runtime,
}

impl Process {
    fn start(life: &Life, query: &Query, ending: Ending, steps: Option<u64>, stops_after: Option<Duration>) -> Self {
        let world = Arc::clone(&life.world);
        let number = world.begin(steps, steps.is_none());
        let idle = Arc::clone(&world);
        let runtime = runtime(move || idle.go_on());
        let (SimulatedOutside { world: shared, topic, tables, .. }, query) = (&*life.outside, query.clone());
        let (shared, topic, tables) = (Arc::clone(shared), Arc::clone(topic), Arc::clone(tables));
        let outside = SimulatedOutside { world: shared, topic, tables, opened: AtomicUsize::new(0) };
        let mut settings = life.settings.clone();
        (settings.ending, settings.outside) = (ending, Arc::new(outside));
        let (stop, stopped) = watch::channel(false);
        let main = Box::pin(async move {
            let longest = world.sleep(LONGEST);
            let stopping = async {
                match stops_after {
                    Some(time) => world.sleep(time).await,
                    None => std::future::pending().await,
                }
                let _ = stop.send(true);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                () = longest => End::Died,
                () = stopping => End::Died,
                outcome = run(query, settings, Arc::default(), stopped) => End::Ended(outcome),
            }
        });
        Self { number, main, runtime }
    }

    /// Runs on; `None` when it was stopped, after so many steps.
    fn run(&mut self, world: &World, slice: Option<u64>) -> Option<End> {
        world.turn_to(self.number, slice);
        let main = &mut self.main;
        let ended = self.runtime.block_on(poll_fn(|context| match world.fate(context) {
            Some(Fate::Killed) => Poll::Ready(Some(End::Died)),
            Some(Fate::Stuck) => Poll::Ready(Some(End::Stuck)),
            Some(Fate::Stopped) => Poll::Ready(None),
            None => main.as_mut().poll(context).map(Some),
        }));
        if ended.is_some() {
            world.end();
        }
        ended
    }
}

#[derive(Debug)]
struct SimulatedOutside {
    world: Arc<World>,
    topic: Arc<Topic>,
    tables: Arc<Tables>,
    /// How many sinks this process has opened: they are opened in the order of the outputs.
    opened: AtomicUsize,
}

impl Outside for SimulatedOutside {
    fn now(&self) -> i64 {
        self.world.wall_clock().max(BEGINNING / 2)
    }

    fn elapsed(&self) -> Duration {
        self.world.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.world.sleep(time))
    }

    fn since(&self, _: Instant) -> Duration {
        Duration::ZERO
    }

    fn groups(&self, tables: &[&Options]) -> Vec<Vec<usize>> {
        source::groups(tables)
    }

    fn sources(&self, _: &[&Options]) -> Result<Vec<Box<dyn Source>>> {
        Ok(vec![self.topic.source()])
    }

    fn sink(&self, table: &OutputTable, _: bool) -> Result<Box<dyn Sink>> {
        Ok(self.tables.sink(self.opened.fetch_add(1, SeqCst), table))
    }

    fn start_lane(&self, _: usize, mut lane: Lane) -> Result<Option<JoinHandle<()>>> {
        let world = Arc::clone(&self.world);
        let runtime = tokio::runtime::Handle::try_current().map_err(Error::internal)?;
        runtime.spawn(async move {
            let mut idle = 0;
            loop {
                let turn = lane.turn();
                world.point("").await;
                match turn {
                    Turn::Worked => {
                        idle = 0;
                        world.sleep(world.moment(20)).await;
                    }
                    // Less often, when it lasts.
                    Turn::Idle => {
                        idle = (idle * 2 + 1).min(200);
                        world.sleep(Duration::from_millis(idle)).await;
                    }
                    Turn::Ended => return,
                }
            }
        });
        Ok(None)
    }

    fn reports(&self) -> usize {
        100_000
    }
}
