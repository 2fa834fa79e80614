//! The simulation: a job's whole life with crashes, in a world whose every misfortune comes from a seed.
//!
//! The job is the real one, on one thread: lanes take turns, time passes when all wait. Around it are a broker, a ClickHouse, a
//! checkpoint store and a clock that fail ([`topic`], [`tables`], [`store`], [`world`]). The process dies at any thing that it does
//! and starts again from what the store has. At the end the rows that are physically in the tables are those of a model.
//!
//! ```text
//! HIGHWATER_SEED=4711     one life, with all that happened in it
//! HIGHWATER_LIVES=100000  how many lives, instead of those of `make test`
//! ```

mod life;
mod model;
mod store;
mod tables;
mod topic;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use life::{Life, queries, runtime};

/// Lives in `make test`.
const LIVES: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_happens_each_row_is_there_once() {
    if let Some(seed) = number("HIGHWATER_SEED") {
        let queries = runtime(|| ()).block_on(queries());
        let life = Life::new(seed);
        let outcome = life.live(&queries);
        life.trace().1.iter().for_each(|line| println!("{line}"));
        outcome.unwrap_or_else(|complaint| panic!("seed {seed}: {complaint}"));
        return;
    }
    let (next, last) = (Arc::new(AtomicU64::new(0)), number("HIGHWATER_LIVES").unwrap_or(LIVES));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = move |next: Arc<AtomicU64>| {
        let queries = runtime(|| ()).block_on(queries());
        loop {
            let seed = next.fetch_add(1, SeqCst);
            if seed >= last {
                return Ok(());
            }
            Life::new(seed).live(&queries).map_err(|complaint| {
                next.store(last, SeqCst);
                format!("{complaint}\nagain, with all that happened: HIGHWATER_SEED={seed}")
            })?;
        }
    };
    let start = |_| {
        let next = Arc::clone(&next);
        std::thread::spawn(move || work(next))
    };
    let complaints = (0..threads).map(start).collect::<Vec<_>>().into_iter().filter_map(|it| it.join().unwrap().err());
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n\n"));
}

#[test]
fn a_seed_has_the_same_life_again() {
    let queries = runtime(|| ()).block_on(queries());
    for seed in 0..20 {
        let [one, other] = [0, 1].map(|_| {
            let life = Life::new(seed);
            life.live(&queries).unwrap();
            life.trace()
        });
        let differs = one.1.iter().zip(&other.1).find(|(one, other)| one != other);
        assert_eq!(one.0, other.0, "seed {seed}: {differs:?}");
    }
}
