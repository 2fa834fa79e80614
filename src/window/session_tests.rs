//! What sessions cost, counted in rows that are moved and written; and that nothing is lost by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampMillisecondArray};
use datafusion::arrow::datatypes::Int64Type;

use super::aggregate::{EventTimes, Uncounted, WindowAggregate, WindowPlan, WindowState};
use super::session_join::join;
use super::settled::SavedAt;
use super::stage::Rows;
use super::watermark::{BEGINNING_OF_TIME, END_OF_TIME};
use crate::change::TopicPartition;
use crate::sql::plan::pipeline::Pipeline;
use crate::sql::query::load_texts;
use crate::sql::text::Variables;

const GAP: i64 = 100_000;

/// Sessions per key, as one lane has them.
struct Lane {
    pipeline: Arc<Pipeline>,
    windows: WindowAggregate,
}

/// Rows by the start and the end of their session, and its key.
type Found = BTreeMap<(i64, i64, String), i64>;

impl Lane {
    async fn new() -> Self {
        let text = format!(
            "CREATE TABLE t (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
            WITH ('connector' = 'filesystem', 'path' = 'x', 'format' = 'json');
            SELECT window_start, window_end, k, count(*) AS n
            FROM SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '{GAP}' MILLISECOND)
            GROUP BY window_start, window_end, k;"
        );
        let query = load_texts(vec![("t.sql".into(), text)], &Variables::default()).await.unwrap();
        let pipeline = Arc::clone(&query.pipelines[0]);
        let windows = WindowAggregate::new(Arc::clone(&pipeline.windowed().unwrap().inputs[0])).unwrap();
        Self { pipeline, windows }
    }

    fn another(&self) -> Self {
        let windows = WindowAggregate::new(Arc::clone(self.plan())).unwrap();
        Self { pipeline: Arc::clone(&self.pipeline), windows }
    }

    fn plan(&self) -> &Arc<WindowPlan> {
        &self.pipeline.windowed().unwrap().inputs[0]
    }

    /// Rows of a key and a time each.
    fn push(&mut self, partition: i32, rows: &[(usize, i64)]) {
        let column = |name: &str| -> ArrayRef {
            match name {
                "k" => Arc::new(StringArray::from_iter_values(rows.iter().map(|(key, _)| format!("key {key}")))),
                _ => Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(_, time)| *time))),
            }
        };
        let feed = &self.pipeline.feeds[0];
        let columns = feed.scan.fields().iter().map(|field| column(field.name())).collect();
        let batch = RecordBatch::try_new(Arc::clone(&feed.scan), columns).unwrap();
        let times = rows.iter().map(|(_, time)| *time).collect();
        let times = EventTimes { times, met: vec![BEGINNING_OF_TIME; rows.len()], ..EventTimes::default() };
        let source = TopicPartition { topic: "t".into(), partition };
        let mut uncounted = Uncounted::default();
        self.windows.push(&feed.stages, &Rows::all(batch), &times, &source, &mut uncounted).unwrap();
        assert!(uncounted.late.is_empty() && uncounted.refused.is_empty());
    }

    fn close(&mut self, watermark: i64, found: &mut Found) {
        let states = self.windows.close(watermark).unwrap();
        let plan = self.plan();
        let sessions = plan.sessions.as_ref().unwrap();
        for groups in join(&states, Vec::new(), plan, sessions).unwrap().closed {
            let numbers = |column: usize| groups.column(column).as_primitive::<Int64Type>().clone();
            let (starts, ends, counts) = (numbers(0), numbers(1), numbers(3));
            for row in 0..groups.num_rows() {
                let key = groups.column(2).as_string::<i32>().value(row).to_owned();
                *found.entry((starts.value(row), ends.value(row), key)).or_insert(0) += counts.value(row);
            }
        }
    }

    /// A checkpoint: its states, and how many rows are to be written for it. It is saved.
    fn save(&mut self, number: u64) -> (Vec<WindowState>, usize) {
        let states = self.windows.copy_state().unwrap();
        let mut written = 0;
        for (place, state) in states.iter().enumerate() {
            match &state.saved {
                Some(saved) if saved.get().is_some() => {}
                Some(saved) => {
                    saved.set(SavedAt { number, place });
                    written += state.groups.num_rows();
                }
                None => written += state.groups.num_rows(),
            }
        }
        (states, written)
    }
}

#[tokio::test]
async fn closing_moves_what_closes() {
    let mut lane = Lane::new().await;
    let (mut found, mut expected) = (Found::new(), Found::new());
    let steps = 300;
    for step in 0..steps {
        let rows: Vec<_> = (0..20).map(|row| (step * 20 + row, step as i64 * 1_000)).collect();
        lane.push(0, &rows);
        expected.extend(rows.iter().map(|(key, time)| ((*time, time + GAP, format!("key {key}")), 1)));
        lane.close(step as i64 * 1_000, &mut found);
    }
    let sessions = lane.windows.sessions().unwrap();
    assert_eq!(sessions.held().panes, 101 * 20, "as many are open");
    let most = steps * (20 + 3);
    assert!(sessions.groups.moved <= most, "{} rows were moved", sessions.groups.moved);
    assert!(sessions.fragments.looked_at <= most, "{} were looked at", sessions.fragments.looked_at);
    lane.close(END_OF_TIME, &mut found);
    assert_eq!(found, expected);
    assert_eq!(lane.windows.held().groups, 0);
}

#[tokio::test]
async fn a_checkpoint_writes_what_is_new_and_goes_on_in_other_lanes() {
    let mut lane = Lane::new().await;
    let open = 4_000;
    let all: Vec<_> = (0..open).map(|key| (key, key as i64)).collect();
    for partition in [0, 1] {
        lane.push(partition, &all);
    }
    let (_, first) = lane.save(0);
    assert!(first >= 2 * open);
    let (mut written, mut states) = (0, Vec::new());
    let rounds = 200;
    for round in 1..=rounds {
        // A new one; one of before, whose session grows; and two that come to be one session.
        let time = 90_000 + round as i64;
        lane.push(0, &[(open + round, time), (round, time), (2 * open, round as i64 * 3 * GAP)]);
        lane.push(1, &[(2 * open, round as i64 * 3 * GAP)]);
        lane.push(1, &[(2 * open, (round as i64 * 3 - 1) * GAP), (2 * open, (round as i64 * 3 - 2) * GAP)]);
        let (saved, fresh) = lane.save(round as u64);
        (written, states) = (written + fresh, saved);
    }
    assert!(written < rounds * open / 8, "{written} rows were written");
    // After a restart that of partition 1 is elsewhere, and nothing is written again but what changes.
    let mut lanes = [lane.another(), lane.another()];
    for (number, lane) in lanes.iter_mut().enumerate() {
        lane.windows.restore(&states, &|source| source.partition == number as i32).unwrap();
        lane.push(number as i32, &[(5, 95_000)]);
    }
    lane.push(0, &[(5, 95_000)]);
    lane.push(1, &[(5, 95_000)]);
    let (mut found, mut elsewhere) = (Found::new(), Found::new());
    lane.close(150_000, &mut found);
    lanes.iter_mut().for_each(|lane| lane.close(150_000, &mut elsewhere));
    // Those that had one row in each partition have it in each lane.
    assert!(found.len() > open / 2);
    assert_eq!(found.values().sum::<i64>(), elsewhere.values().sum::<i64>());
    // Again, by what the lanes save after it.
    let saved: Vec<WindowState> = lanes.iter_mut().flat_map(|lane| lane.save(1_000).0).collect();
    let mut one = lane.another();
    one.windows.restore(&saved, &|_| true).unwrap();
    let (mut found, mut elsewhere) = (Found::new(), Found::new());
    lane.close(END_OF_TIME, &mut found);
    one.close(END_OF_TIME, &mut elsewhere);
    assert_eq!(found, elsewhere);
}

/// Fragments that join it would each leave their groups beside its own.
#[tokio::test]
async fn a_session_that_goes_on_does_not_grow() {
    let mut lane = Lane::new().await;
    lane.push(0, &(1..10).map(|key| (key, 0)).collect::<Vec<_>>());
    let rounds = 300;
    for round in 0..rounds {
        let from = round as i64 * 2 * GAP;
        lane.push(0, &[(0, from), (0, from + 3 * GAP / 2)]);
        lane.push(0, &[(0, from + 3 * GAP / 4), (0, from + 7 * GAP / 4)]);
        lane.save(round as u64);
    }
    assert!(lane.windows.held().groups < 60, "{} groups", lane.windows.held().groups);
    let (states, _) = lane.save(rounds as u64);
    let mut other = lane.another();
    other.windows.restore(&states, &|_| true).unwrap();
    let (mut found, mut elsewhere) = (Found::new(), Found::new());
    lane.close(END_OF_TIME, &mut found);
    other.close(END_OF_TIME, &mut elsewhere);
    let end = (rounds as i64 - 1) * 2 * GAP + 7 * GAP / 4 + GAP;
    assert_eq!(found[&(0, end, "key 0".to_owned())], 4 * rounds as i64);
    assert_eq!(found, elsewhere);
}
