//! Windows of every kind against models that know nothing of lanes, batches, panes or Arrow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, cast::AsArray,
};
use datafusion::arrow::datatypes::{Int64Type, TimestampMillisecondType};
use proptest::prelude::*;

use super::merge::{Merged, merge, merge_sessions};
use crate::change::TopicPartition;
use crate::sql::plan::closing::Closing;
use crate::sql::plan::pipeline::{Pipeline, Windowed};
use crate::sql::query::load_texts;
use crate::sql::text::Variables;
use crate::testing::properties::properties;
use crate::window::NO_EVENT_TIME;
use crate::window::aggregate::{EventTimes, Refused, Uncounted, WindowAggregate, WindowPlan, WindowState};
use crate::window::session_join::{briefs, join};
use crate::window::stage::Rows;
use crate::window::watermark::{BEGINNING_OF_TIME, END_OF_TIME, PartitionClock};

const DELAY: i64 = 3_000;

/// An event: its time (`None` is null), its key, a number, whether the query's filter keeps it.
#[derive(Debug, Clone)]
struct Event {
    time: Option<i64>,
    key: u8,
    amount: i64,
    kept: bool,
}

/// Count, sum, and least amount of a window (start, end) and key.
type Results = BTreeMap<(i64, i64, String), (i64, i64, i64)>;
/// An event by partition and place.
type Place = (usize, usize);

/// A kind of windows: how it is written, and the windows of a time as the definition has them.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Tumble,
    Hop { slide: i64, size: i64, offset: i64 },
    Cumulate { step: i64, size: i64, on_update: bool },
    Session { by_key: bool },
}

const GAP: i64 = 4_000;

impl Kind {
    fn from(self) -> String {
        let millis = |length: i64| format!("INTERVAL '{length}' MILLISECOND");
        match self {
            Self::Tumble => "TUMBLE(t, ts, INTERVAL '10' SECOND)".into(),
            Self::Hop { slide, size, offset } => {
                format!("HOP(t, ts, {}, {}, {})", millis(slide), millis(size), millis(offset))
            }
            Self::Cumulate { step, size, on_update } => {
                format!("CUMULATE(t, ts, {}, {}, emitOnlyOnUpdate => {on_update})", millis(step), millis(size))
            }
            Self::Session { by_key } => {
                format!(
                    "SESSION(TABLE t {}, DESCRIPTOR(ts), {})",
                    if by_key { "PARTITION BY k" } else { "" },
                    millis(GAP)
                )
            }
        }
    }

    fn windows(self, time: i64) -> Vec<(i64, i64)> {
        match self {
            Self::Tumble => Self::Hop { slide: 10_000, size: 10_000, offset: 0 }.windows(time),
            Self::Hop { slide, size, offset } => (-100..=100)
                .map(|number| ((time / slide) + number) * slide + offset)
                .map(|start| (start, start + size))
                .filter(|&(start, end)| start <= time && time < end)
                .collect(),
            Self::Cumulate { step, size, .. } => {
                let start = time.div_euclid(size) * size;
                (1..=size / step).map(|count| (start, start + count * step)).filter(|&(_, end)| end > time).collect()
            }
            Self::Session { .. } => Vec::new(),
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let time =
        prop_oneof![20 => (0_i64..120_000).prop_map(Some), 1 => Just(None), 1 => (-50_000_i64..0).prop_map(Some)];
    (time, 0_u8..4, -100_i64..100, prop::bool::weighted(0.8)).prop_map(|(time, key, amount, kept)| Event {
        time,
        key,
        amount,
        kept,
    })
}

/// Partitions whose times mostly go up, so that some rows are late and most are not. Whole seconds often, so that rows
/// fall on the bounds of windows and lie exactly a gap apart.
fn partitions(longest: usize) -> impl Strategy<Value = Vec<Vec<Event>>> {
    let drifting = (prop::collection::vec(event(), 0..longest), any::<bool>()).prop_map(|(mut events, whole)| {
        let count = events.len().max(1) as i64;
        for (place, event) in events.iter_mut().enumerate() {
            event.time = event.time.map(|time| time / 10 + place as i64 * 120_000 / count);
            event.time = event.time.map(|time| if whole { time / 1_000 * 1_000 } else { time });
        }
        events
    });
    prop::collection::vec(drifting, 1..5)
}

#[derive(Default)]
struct Model {
    results: Results,
    late: BTreeSet<Place>,
    timeless: BTreeSet<Place>,
}

impl Model {
    fn add(&mut self, (start, end): (i64, i64), event: &Event) {
        let entry = self.results.entry((start, end, event.key.to_string())).or_insert((0, 0, i64::MAX));
        *entry = (entry.0 + 1, entry.1 + event.amount, entry.2.min(event.amount));
    }
}

/// What the semantics say, row by row.
fn model(kind: Kind, partitions: &[Vec<Event>]) -> Model {
    let mut model = Model::default();
    let mut changed = BTreeSet::new();
    let mut sessions = Vec::new();
    for (partition, events) in partitions.iter().enumerate() {
        let mut clock = BEGINNING_OF_TIME;
        for (place, event) in events.iter().enumerate() {
            let met = clock;
            clock = event.time.map_or(clock, |time| clock.max(time - DELAY));
            let Some(time) = event.time else {
                if event.kept {
                    model.timeless.insert((partition, place));
                }
                continue;
            };
            if let Kind::Session { by_key } = kind {
                let key = if by_key { event.key } else { 0 };
                let counts = find_session(&mut sessions, (partition, key), time, met, event);
                if !counts && event.kept {
                    model.late.insert((partition, place));
                }
                continue;
            }
            if !event.kept {
                continue;
            }
            let open: Vec<_> = kind.windows(time).into_iter().filter(|&(_, end)| end > met).collect();
            open.iter().for_each(|&window| model.add(window, event));
            match open.iter().min_by_key(|(_, end)| *end) {
                Some(&(start, end)) => drop(changed.insert((start, end, event.key.to_string()))),
                None => drop(model.late.insert((partition, place))),
            }
        }
    }
    if let Kind::Cumulate { on_update: true, .. } = kind {
        model.results.retain(|window, _| changed.contains(window));
    }
    join_sessions(sessions, &mut model);
    model
}

/// The rows of a session in one partition, each with the clock that it met.
struct Stretch {
    of: (usize, u8),
    start: i64,
    last: i64,
    rows: Vec<(i64, Event)>,
}

/// Flink's rule, by the partition's own clock: a row counts when the session that it makes or joins is not over.
fn find_session(sessions: &mut Vec<Stretch>, of: (usize, u8), time: i64, met: i64, event: &Event) -> bool {
    let mut made = Stretch { of, start: time, last: time, rows: vec![(met, event.clone())] };
    let joins = |it: &Stretch| it.of == of && it.last + GAP >= met && it.start - GAP <= time && time <= it.last + GAP;
    let joined: Vec<Stretch> = sessions.extract_if(.., |it| joins(it)).collect();
    if joined.is_empty() && time + GAP < met {
        return false;
    }
    for other in joined {
        made.start = made.start.min(other.start);
        made.last = made.last.max(other.last);
        made.rows.extend(other.rows);
    }
    sessions.push(made);
    true
}

/// Stretches of a key in several partitions are one session where rows of each touch the other that came before it was over.
fn join_sessions(mut sessions: Vec<Stretch>, model: &mut Model) {
    let is_one = |a: &Stretch, b: &Stretch| {
        let touches = |a: &Stretch, b: &Stretch| {
            let touches = |time: i64| b.start - GAP <= time && time <= b.last + GAP;
            a.rows.iter().any(|(met, row)| row.time.is_some_and(touches) && *met <= b.last + GAP)
        };
        a.of.1 == b.of.1 && touches(a, b) && touches(b, a)
    };
    while let Some(one) = sessions.pop() {
        let mut session = vec![one];
        let mut at = 0;
        while at < session.len() {
            let others: Vec<Stretch> = sessions.extract_if(.., |other| is_one(&session[at], other)).collect();
            session.extend(others);
            at += 1;
        }
        let start = session.iter().map(|it| it.start).min().unwrap();
        let end = session.iter().map(|it| it.last).max().unwrap() + GAP;
        for event in session.iter().flat_map(|it| &it.rows).map(|(_, event)| event).filter(|event| event.kept) {
            model.add((start, end), event);
        }
    }
}

/// The engine's parts, driven by hand: batches of partitions come to their lanes in the order that `turns` gives.
struct Engine {
    plan: Arc<WindowPlan>,
    closing: Arc<Closing>,
    pipeline: Arc<Pipeline>,
    lanes: Vec<WindowAggregate>,
    clocks: Vec<PartitionClock>,
    read: Vec<usize>,
    found: Model,
    watermark: i64,
}

impl Engine {
    async fn new(kind: Kind, lanes: usize, partitions: usize) -> Self {
        let text = format!(
            "CREATE TABLE t (k STRING, amount BIGINT, kept STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
            WITH ('connector' = 'filesystem', 'path' = 'x', 'format' = 'json');
            SELECT window_start, window_end, k, count(*) AS n, sum(amount) AS total, min(amount) AS least
            FROM {} WHERE kept = 'y' GROUP BY window_start, window_end, k;",
            kind.from()
        );
        let query = load_texts(vec![("t.sql".into(), text)], &Variables::default()).await.unwrap();
        let pipeline = &query.pipelines[0];
        let Windowed { inputs, closing, .. } = pipeline.windowed().unwrap();
        let lane = &inputs[0];
        Self {
            plan: Arc::clone(lane),
            closing: Arc::clone(closing),
            pipeline: Arc::clone(pipeline),
            lanes: (0..lanes).map(|_| WindowAggregate::new(Arc::clone(lane)).unwrap()).collect(),
            clocks: vec![PartitionClock::default(); partitions],
            read: vec![0; partitions],
            found: Model::default(),
            watermark: BEGINNING_OF_TIME,
        }
    }

    fn read(&mut self, partition: usize, events: &[Event]) {
        let from = self.read[partition];
        self.read[partition] += events.len();
        let column = |name: &str| -> ArrayRef {
            match name {
                "k" => Arc::new(StringArray::from_iter_values(events.iter().map(|event| event.key.to_string()))),
                "kept" => {
                    Arc::new(StringArray::from_iter_values(events.iter().map(|it| if it.kept { "y" } else { "n" })))
                }
                "amount" => Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.amount))),
                _ => Arc::new(events.iter().map(|event| event.time).collect::<TimestampMillisecondArray>()),
            }
        };
        let columns = self.pipeline.feeds[0].scan.fields().iter().map(|field| column(field.name())).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.pipeline.feeds[0].scan), columns).unwrap();
        let mut times = EventTimes {
            times: events.iter().map(|it| it.time.unwrap_or(NO_EVENT_TIME)).collect(),
            ..EventTimes::default()
        };
        self.clocks[partition].observe(&times.times.clone(), DELAY, &mut times.met);
        let mut uncounted = Uncounted::default();
        let lane = partition % self.lanes.len();
        self.lanes[lane]
            .push(&self.pipeline.feeds[0].stages, &Rows::all(batch), &times, &source(partition), &mut uncounted)
            .unwrap();
        for (rows, windows) in uncounted.late {
            assert_eq!(rows.len(), windows.len());
            self.found.late.extend((0..rows.len()).map(|row| (partition, from + rows.source_row(row))));
        }
        for (row, refused) in uncounted.refused {
            assert_eq!(refused, Refused::NoEventTime);
            self.found.timeless.insert((partition, from + row));
        }
    }

    /// Closes what the least clock has passed (or everything), as the job does.
    async fn close(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
        let closed = self.closed();
        for batch in self.closing.finish(&[closed.windows]).await.unwrap().rows {
            let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>().clone();
            let times = |column: usize| batch.column(column).as_primitive::<TimestampMillisecondType>().clone();
            for row in 0..batch.num_rows() {
                let name = batch.column(2).as_string::<i32>().value(row).to_owned();
                let key = (times(0).value(row), times(1).value(row), name);
                let values = (numbers(3).value(row), numbers(4).value(row), numbers(5).value(row));
                assert_eq!(self.found.results.insert(key.clone(), values), None, "{key:?} came twice");
            }
        }
    }

    fn closed(&mut self) -> Merged {
        let states: Vec<WindowState> =
            self.lanes.iter_mut().flat_map(|lane| lane.close(self.watermark).unwrap()).collect();
        let Some(sessions) = &self.plan.sessions else { return merge(states, &self.plan).unwrap() };
        let left = briefs(&states, &self.plan, sessions).unwrap();
        let neighbours = self.lanes.iter().flat_map(|lane| lane.neighbours(&left)).collect();
        let joined = join(&states, neighbours, &self.plan, sessions).unwrap();
        self.lanes[0].restore(&joined.held, &|_| true).unwrap();
        merge_sessions(&joined.closed, &self.plan).unwrap()
    }

    fn least_clock(&self) -> i64 {
        self.clocks.iter().map(|clock| clock.time()).min().unwrap()
    }

    /// Saves all lanes and restores them into other lanes. What had been closed is closed again and dropped, as in recovery.
    fn restart(&mut self, lanes: usize) {
        let saved: Vec<WindowState> = self.lanes.iter_mut().flat_map(|lane| lane.copy_state().unwrap()).collect();
        self.lanes = (0..lanes).map(|_| WindowAggregate::new(Arc::clone(&self.plan)).unwrap()).collect();
        match self.plan.sessions {
            Some(_) => {
                for (number, lane) in self.lanes.iter_mut().enumerate() {
                    lane.restore(&saved, &|source| source.partition as usize % lanes == number).unwrap();
                }
            }
            None => self.lanes[0].restore(&saved, &|_| true).unwrap(),
        }
        drop(self.closed());
    }
}

fn source(partition: usize) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: partition as i32 }
}

/// Whose turn it is, for how many events, whether windows close after it, and whether the job is started again.
type Turn = (usize, usize, bool, bool);

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    prop::collection::vec((0_usize..8, 1_usize..40, prop::bool::weighted(0.3), prop::bool::weighted(0.1)), 0..60)
}

fn compare(kind: Kind, partitions: &[Vec<Event>], lanes: usize, turns: Vec<Turn>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut engine = Engine::new(kind, lanes, partitions.len()).await;
        let the_rest = (0..partitions.len()).map(|partition| (partition, usize::MAX, true, false));
        for (partition, count, closes, restarts) in turns.into_iter().chain(the_rest) {
            let partition = partition % partitions.len();
            let from = engine.read[partition];
            let to = from.saturating_add(count).min(partitions[partition].len());
            engine.read(partition, &partitions[partition][from..to]);
            if restarts {
                engine.restart(lanes % 3 + 1);
            }
            if closes {
                engine.close(engine.least_clock()).await;
            }
        }
        engine.close(END_OF_TIME).await;
        let model = model(kind, partitions);
        assert_eq!(engine.found.late, model.late);
        assert_eq!(engine.found.results, model.results);
        assert_eq!(engine.found.timeless, model.timeless);
    });
}

/// What has waited for a session of another partition is of it for good, also when that one is extended to the front later.
#[test]
fn sessions_that_were_one_remain_one() {
    let events = |events: &[(i64, u8)]| -> Vec<Event> {
        events.iter().map(|&(time, key)| Event { time: Some(time), key, amount: time, kept: true }).collect()
    };
    let ahead = events(&[(62_000, 0), (80_000, 1)]);
    let behind = events(&[(64_000, 0), (67_000, 0), (70_000, 0), (63_000, 0)]);
    // The first closes while the second goes on; then a late row comes before the second's start, and the job is started again.
    let turns = vec![(0, 2, false, false), (1, 3, true, false), (1, 1, false, true)];
    compare(Kind::Session { by_key: true }, &[ahead, behind], 2, turns);
}

proptest! {
    #![proptest_config(properties(96))]

    #[test]
    fn tumbling_windows_equal_the_model(partitions in partitions(120), lanes in 1_usize..4, turns in turns()) {
        compare(Kind::Tumble, &partitions, lanes, turns);
    }

    #[test]
    fn hopping_windows_equal_the_model(
        partitions in partitions(60),
        lanes in 1_usize..4,
        turns in turns(),
        (slide, more, offset) in (500_i64..6_000, 0_i64..30_000, -5_000_i64..5_000),
    ) {
        let size = if more % 2 == 0 { slide + more } else { slide * (1 + more % 9) };
        compare(Kind::Hop { slide, size, offset }, &partitions, lanes, turns);
    }

    #[test]
    fn cumulating_windows_equal_the_model(
        partitions in partitions(60),
        lanes in 1_usize..4,
        turns in turns(),
        (step, steps, on_update) in (700_i64..4_000, 1_i64..12, any::<bool>()),
    ) {
        compare(Kind::Cumulate { step, size: step * steps, on_update }, &partitions, lanes, turns);
    }

    #[test]
    fn sessions_equal_the_model(
        partitions in partitions(60),
        lanes in 1_usize..4,
        turns in turns(),
        by_key in any::<bool>(),
    ) {
        compare(Kind::Session { by_key }, &partitions, lanes, turns);
    }
}
