//! The oracle: random streams through random queries, beside a model that takes one event after the other and knows nothing
//! of lanes, batches, Arrow or DataFusion.
//!
//! A failing seed is shrunk and printed as a case, which `highwater test` runs.
//!
//! ```text
//! HIGHWATER_SEEDS=100000       how many seeds, instead of those of `make test`
//! HIGHWATER_FIRST_SEED=4711    where to begin
//! ```

pub(super) mod generate;
mod model;
mod scenario;
mod shrink;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use generate::{Random, stream};
use scenario::{Item, Scenario, Shape};
use shrink::shrink;

use crate::sql::query::Query;
use crate::testing::case::Case;
use crate::testing::check::check;
use crate::testing::run::{Manner, compile, run};

/// Seeds in `make test`.
const SEEDS: u64 = 2_000;
/// Streams through each query: planning it takes longer than running it.
const STREAMS: u64 = 10;
/// Queries that run at a time.
const AT_A_TIME: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_streams_through_random_queries_equal_the_model() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (first, count) = (number("HIGHWATER_FIRST_SEED", 0), number("HIGHWATER_SEEDS", SEEDS));
    let next = Arc::new(AtomicU64::new(first / STREAMS));
    let last = (first + count).div_ceil(STREAMS);
    let work = |next: Arc<AtomicU64>| async move {
        loop {
            let query = next.fetch_add(1, SeqCst);
            if query >= last {
                return Ok::<(), String>(());
            }
            run_query(query).await.inspect_err(|_| next.store(last, SeqCst))?;
        }
    };
    let workers: Vec<_> = (0..AT_A_TIME).map(|_| tokio::spawn(work(Arc::clone(&next)))).collect();
    for worker in workers {
        if let Err(report) = worker.await.unwrap() {
            panic!("\n{report}");
        }
    }
}

/// Streams through the query that a number stands for. An error is what failed, as small as it goes.
async fn run_query(number: u64) -> Result<(), String> {
    let shape = Shape::random(&mut Random::new(number));
    let query = compile(&case(&Scenario { shape: shape.clone(), items: Vec::new() })).await.unwrap();
    for seed in number * STREAMS..(number + 1) * STREAMS {
        let mut random = Random::new(seed);
        let scenario = Scenario { shape: shape.clone(), items: stream(&shape, &mut random) };
        let manner = &manner(&mut random);
        if !complaints(&scenario, &query, manner).await.is_empty() {
            let query = &query;
            let fails = |it| async move { !complaints(&it, query, manner).await.is_empty() };
            let scenario = shrink(scenario, fails).await;
            let complaints = complaints(&scenario, query, manner).await.join("\n");
            return Err(format!("seed {seed} ({manner}):\n{complaints}\n--- as a case:\n{}", scenario.text()));
        }
    }
    Ok(())
}

/// Mostly one of the quick ones: those that save each record take ten times as long.
fn manner(random: &mut Random) -> Manner {
    let is_quick = |manner: &Manner| manner.batch >= 7 && manner.restart_every.is_none();
    let wants_quick = !random.one_in(5);
    let mut manners = Manner::all();
    manners.retain(|manner| !wants_quick || is_quick(manner));
    manners.swap_remove(random.below(manners.len() as u64) as usize)
}

async fn complaints(scenario: &Scenario, query: &Query, manner: &Manner) -> Vec<String> {
    let case = case(scenario);
    match run(&case, query, manner).await.and_then(|came| check(&case, &came)) {
        Ok(complaints) => complaints,
        Err(error) => vec![error.to_string()],
    }
}

fn case(scenario: &Scenario) -> Case {
    Case::parse("oracle.test", &scenario.text()).unwrap()
}

/// The model against what DESIGN.md says, by hand: it must not be wrong in the way in which the engine is.
#[test]
fn the_model_knows_what_is_late() {
    let mut shape = Shape::random(&mut Random::new(0));
    shape.simplify();
    let event = |partition, time| {
        let row = scenario::Row { time, ..scenario::Row::default() };
        Item::Event(scenario::Event { partition, row, ..scenario::Event::default() })
    };
    let items = vec![
        event(0, Some(25_000)),
        event(1, Some(1_000)),
        // The clock of partition 0 is at 25 s less 3.
        event(0, Some(19_999)),
        event(0, Some(20_000)),
        event(0, None),
        event(1, Some(5_000)),
    ];
    let text = Scenario { shape, items }.text();
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("=== expected")).skip(2).collect();
    assert_eq!(
        rows,
        ["2026-03-01T10:00:00 | 2026-03-01T10:00:10 | 2", "2026-03-01T10:00:20 | 2026-03-01T10:00:30 | 2"]
    );
    let marked: Vec<&str> = text.lines().filter(|line| line.starts_with("-- ")).collect();
    assert_eq!(marked, ["-- late", "-- dead no_event_time"]);
}
