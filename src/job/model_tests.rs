//! Windows against a model that sorts nothing and knows nothing of lanes, batches or Arrow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, cast::AsArray};
use datafusion::arrow::datatypes::{Int64Type, SchemaRef, TimestampMillisecondType};
use proptest::prelude::*;

use super::merge::merge;
use crate::change::TopicPartition;
use crate::sql::closing::Closing;
use crate::sql::pipeline::Work;
use crate::sql::query::load_texts;
use crate::sql::text::Variables;
use crate::window::NO_EVENT_TIME;
use crate::window::aggregate::{EventTimes, Refused, Uncounted, WindowAggregate, WindowPlan, WindowState};
use crate::window::stage::Rows;
use crate::window::watermark::{BEGINNING_OF_TIME, END_OF_TIME, PartitionClock};

const SIZE: i64 = 10_000;
const DELAY: i64 = 3_000;

/// An event: its time (`None` is null), its key, a number, whether the query's filter keeps it.
#[derive(Debug, Clone)]
struct Event {
    time: Option<i64>,
    key: u8,
    amount: i64,
    kept: bool,
}

/// Count, sum, and least amount of a window and key.
type Results = BTreeMap<(i64, String), (i64, i64, i64)>;
/// An event by partition and place.
type Place = (usize, usize);

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

/// Partitions whose times mostly go up, so that some rows are late and most are not.
fn partitions() -> impl Strategy<Value = Vec<Vec<Event>>> {
    let drifting = prop::collection::vec(event(), 0..120).prop_map(|mut events| {
        let count = events.len().max(1) as i64;
        for (place, event) in events.iter_mut().enumerate() {
            event.time = event.time.map(|time| time / 10 + place as i64 * 120_000 / count);
        }
        events
    });
    prop::collection::vec(drifting, 1..5)
}

/// What the semantics say, row by row.
fn model(partitions: &[Vec<Event>]) -> (Results, BTreeSet<Place>, BTreeSet<Place>) {
    let (mut results, mut late, mut timeless) = (Results::new(), BTreeSet::new(), BTreeSet::new());
    for (partition, events) in partitions.iter().enumerate() {
        let mut clock = BEGINNING_OF_TIME;
        for (place, event) in events.iter().enumerate() {
            let met = clock;
            clock = event.time.map_or(clock, |time| clock.max(time - DELAY));
            match event.time {
                _ if !event.kept => {}
                None => drop(timeless.insert((partition, place))),
                Some(time) => {
                    let start = time.div_euclid(SIZE) * SIZE;
                    if start + SIZE <= met {
                        late.insert((partition, place));
                    } else {
                        let entry = results.entry((start, event.key.to_string())).or_insert((0, 0, i64::MAX));
                        *entry = (entry.0 + 1, entry.1 + event.amount, entry.2.min(event.amount));
                    }
                }
            }
        }
    }
    (results, late, timeless)
}

/// The engine's parts, driven by hand: batches of partitions come to their lanes in the order that `turns` gives.
struct Engine {
    plan: Arc<WindowPlan>,
    closing: Arc<Closing>,
    scan: SchemaRef,
    lanes: Vec<WindowAggregate>,
    clocks: Vec<PartitionClock>,
    read: Vec<usize>,
    results: Results,
    late: BTreeSet<Place>,
    timeless: BTreeSet<Place>,
    watermark: i64,
}

impl Engine {
    async fn new(lanes: usize, partitions: usize) -> Self {
        let text = "CREATE TABLE t (k STRING, amount BIGINT, kept STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
            WITH ('connector' = 'filesystem', 'path' = 'x', 'format' = 'json');
            SELECT window_start, k, count(*) AS n, sum(amount) AS total, min(amount) AS least
            FROM TUMBLE(t, ts, INTERVAL '10' SECOND) WHERE kept = 'y' GROUP BY window_start, window_end, k;";
        let query = load_texts(vec![("t.sql".into(), text.into())], &Variables::default()).await.unwrap();
        let pipeline = &query.pipelines[0];
        let Work::Window { lane, closing, .. } = &pipeline.work else { panic!("not a window") };
        Self {
            plan: Arc::clone(lane),
            closing: Arc::clone(closing),
            scan: Arc::clone(&pipeline.scan),
            lanes: (0..lanes).map(|_| WindowAggregate::new(Arc::clone(lane)).unwrap()).collect(),
            clocks: vec![PartitionClock::default(); partitions],
            read: vec![0; partitions],
            results: Results::new(),
            late: BTreeSet::new(),
            timeless: BTreeSet::new(),
            watermark: BEGINNING_OF_TIME,
        }
    }

    fn read(&mut self, partition: usize, events: &[Event]) {
        let from = self.read[partition];
        self.read[partition] += events.len();
        let column = |name: &str| -> datafusion::arrow::array::ArrayRef {
            match name {
                "k" => Arc::new(StringArray::from_iter_values(events.iter().map(|event| event.key.to_string()))),
                "kept" => {
                    Arc::new(StringArray::from_iter_values(events.iter().map(|it| if it.kept { "y" } else { "n" })))
                }
                "amount" => Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.amount))),
                _ => Arc::new(events.iter().map(|event| event.time).collect::<TimestampMillisecondArray>()),
            }
        };
        let columns = self.scan.fields().iter().map(|field| column(field.name())).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.scan), columns).unwrap();
        let mut times =
            EventTimes { times: events.iter().map(|it| it.time.unwrap_or(NO_EVENT_TIME)).collect(), met: vec![] };
        self.clocks[partition].observe(&times.times.clone(), DELAY, &mut times.met);
        let mut uncounted = Uncounted::default();
        let lane = partition % self.lanes.len();
        let source = TopicPartition { topic: "t".into(), partition: partition as i32 };
        self.lanes[lane].push(&Rows::all(batch), &times, &source, &mut uncounted).unwrap();
        for (rows, _) in uncounted.late {
            self.late.extend((0..rows.len()).map(|row| (partition, from + rows.source_row(row))));
        }
        for (row, refused) in uncounted.refused {
            assert_eq!(refused, Refused::NoEventTime);
            self.timeless.insert((partition, from + row));
        }
    }

    /// Closes what the least clock has passed (or everything), as the job does.
    async fn close(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
        let windows: Vec<WindowState> =
            self.lanes.iter_mut().flat_map(|lane| lane.close(self.watermark).unwrap()).collect();
        let closed = merge(windows, &self.plan).unwrap().windows;
        for batch in self.closing.finish(&closed).await.unwrap().rows {
            let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>().clone();
            let starts = batch.column(0).as_primitive::<TimestampMillisecondType>();
            for row in 0..batch.num_rows() {
                let key = (starts.value(row), batch.column(1).as_string::<i32>().value(row).to_owned());
                let values = (numbers(2).value(row), numbers(3).value(row), numbers(4).value(row));
                assert_eq!(self.results.insert(key.clone(), values), None, "{key:?} came twice");
            }
        }
    }

    fn least_clock(&self) -> i64 {
        self.clocks.iter().map(|clock| clock.time()).min().unwrap()
    }

    /// Saves all lanes and restores them, all into the first of other lanes.
    fn restart(&mut self, lanes: usize) {
        let saved: Vec<WindowState> = self.lanes.iter_mut().flat_map(|lane| lane.copy_state().unwrap()).collect();
        self.lanes = (0..lanes).map(|_| WindowAggregate::new(Arc::clone(&self.plan)).unwrap()).collect();
        self.lanes[0].restore(&saved, &|_| true).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn windows_equal_the_model(
        partitions in partitions(),
        lanes in 1_usize..4,
        turns in prop::collection::vec((0_usize..8, 1_usize..40, prop::bool::weighted(0.3), prop::bool::weighted(0.05)), 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut engine = Engine::new(lanes, partitions.len()).await;
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
            let (results, late, timeless) = model(&partitions);
            assert_eq!(engine.results, results);
            assert_eq!(engine.late, late);
            assert_eq!(engine.timeless, timeless);
        });
    }
}
