//! Time, chance and death of a simulated process: one seed, one order of events.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::testing::oracle::generate::Random;

/// Where wall clocks begin: 2026-03-01 10:00 UTC.
pub(super) const BEGINNING: i64 = 1_772_359_200_000;

/// What all parts of a simulation share. It outlives the processes in it.
#[derive(Debug)]
pub(super) struct World(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    random: Random,
    /// Time since the beginning.
    now: Duration,
    /// How far the wall clock is off, milliseconds.
    skew: i64,
    timers: BTreeMap<(Duration, u64), Waker>,
    timers_made: u64,
    /// Whether misfortunes are rarer.
    calm: bool,
    /// After how many more steps the process dies.
    steps_left: Option<u64>,
    dead: bool,
    /// Nothing is left that could ever happen.
    stuck: bool,
    /// Who waits for the end of the process.
    mourner: Option<Waker>,
    /// A hash of all that happened, and its last part in words.
    trace: u64,
    said: Vec<String>,
}

impl World {
    pub(super) fn new(random: Random) -> Arc<Self> {
        let inner = Inner {
            random,
            now: Duration::ZERO,
            skew: 0,
            timers: BTreeMap::new(),
            timers_made: 0,
            calm: false,
            steps_left: None,
            dead: false,
            stuck: false,
            mourner: None,
            trace: 0,
            said: Vec::new(),
        };
        Arc::new(Self(Mutex::new(inner)))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.inner().random.below(bound)
    }

    pub(super) fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// A misfortune.
    pub(super) fn strikes(&self, one_in: u64) -> bool {
        let factor = if self.inner().calm { 5 } else { 1 };
        self.one_in(one_in * factor)
    }

    /// A time of up to so many milliseconds.
    pub(super) fn moment(&self, most: u64) -> Duration {
        Duration::from_micros(self.below(most * 1_000))
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.inner().now
    }

    pub(super) fn wall_clock(&self) -> i64 {
        let inner = self.inner();
        BEGINNING + inner.now.as_millis() as i64 + inner.skew
    }

    /// Moves the wall clock only.
    pub(super) fn skew(&self, by: i64) {
        self.inner().skew += by;
    }

    /// Time passes in which no process runs.
    pub(super) fn pass(&self, time: Duration) {
        self.inner().now += time;
    }

    /// A new process, which dies after so many steps.
    pub(super) fn begin(&self, steps: Option<u64>) {
        let mut inner = self.inner();
        inner.timers.clear();
        (inner.steps_left, inner.dead, inner.stuck, inner.mourner) = (steps, false, false, None);
        inner.calm = steps.is_none();
    }

    /// Something that the outside would see. The process may die at it: then nothing of it has happened, and what cannot
    /// wait for ever must do nothing any more.
    pub(super) fn step(&self, what: &str) -> bool {
        let mut inner = self.inner();
        if inner.dead {
            return false;
        }
        if !what.is_empty() {
            let now = inner.now;
            inner.note(&format!("{now:?} {what}"));
        }
        if let Some(left) = &mut inner.steps_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                inner.dead = true;
                inner.note("killed");
                if let Some(mourner) = inner.mourner.take() {
                    mourner.wake();
                }
                return false;
            }
        }
        true
    }

    /// As [`Self::step`], for what can wait for ever.
    pub(super) async fn point(&self, what: &str) {
        if !self.step(what) {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when the process is dead, or when nothing will ever happen in it.
    pub(super) async fn death(&self) -> Death {
        poll_fn(|context| {
            let mut inner = self.inner();
            match (inner.dead, inner.stuck) {
                (true, _) => Poll::Ready(Death::Killed),
                (_, true) => Poll::Ready(Death::Stuck),
                _ => {
                    inner.mourner = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub(super) fn sleep(self: &Arc<Self>, time: Duration) -> impl Future<Output = ()> + Send + 'static {
        let (world, until) = (Arc::clone(self), self.elapsed() + time);
        let mut number = None;
        poll_fn(move |context| {
            let mut inner = world.inner();
            if inner.now >= until && !inner.dead {
                return Poll::Ready(());
            }
            let number = *number.get_or_insert_with(|| {
                inner.timers_made += 1;
                inner.timers_made
            });
            inner.timers.insert((until, number), context.waker().clone());
            Poll::Pending
        })
    }

    /// All wait: on to the next moment for which somebody does.
    pub(super) fn go_on(&self) {
        let mut inner = self.inner();
        let woken = match inner.timers.pop_first() {
            Some(((until, _), waker)) if !inner.dead => {
                inner.now = inner.now.max(until);
                Some(waker)
            }
            _ => {
                inner.stuck = true;
                inner.mourner.take()
            }
        };
        drop(inner);
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    pub(super) fn note(&self, what: &str) {
        self.inner().note(what);
    }

    pub(super) fn trace(&self) -> (u64, Vec<String>) {
        let inner = self.inner();
        (inner.trace, inner.said.clone())
    }
}

impl Inner {
    fn note(&mut self, what: &str) {
        for byte in what.bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.said.push(what.to_owned());
    }
}

/// How a process ended that did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    Killed,
    Stuck,
}
