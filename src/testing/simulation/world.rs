//! Time, chance, sleep and death of simulated processes: one seed, one order of events.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::testing::oracle::generate::Random;

/// Where wall clocks begin: 2026-03-01 10:00 UTC.
pub(super) const BEGINNING: i64 = 1_772_359_200_000;

/// In milliseconds.
const HOUR: u64 = 3_600_000;

/// More than the job lets an answer count that the job is still its own.
const ANSWER_COUNTS: Duration = Duration::from_secs(1);

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
    /// In one of so many pauses it jumps, if in any.
    jumps: Option<u64>,
    timers_made: u64,
    processes: Vec<Process>,
    /// The one that runs; the others are stopped.
    current: usize,
    /// A hash of all that happened, and its last part in words.
    trace: u64,
    said: Vec<String>,
}

#[derive(Debug, Default)]
struct Process {
    timers: BTreeMap<(Duration, u64), Waker>,
    /// Whether misfortunes are rarer.
    calm: bool,
    /// After how many more steps the process dies.
    steps_left: Option<u64>,
    /// After how many more it is stopped.
    slice_left: Option<u64>,
    dead: bool,
    stopped: bool,
    stopped_at: Duration,
    /// Nothing is left that could ever happen.
    stuck: bool,
    /// Who waits for the end of the process.
    mourner: Option<Waker>,
    /// What goes on when it is woken.
    held: Vec<Waker>,
    /// How many inserts it is about to send, having asked whether it may.
    sending: usize,
}

impl World {
    pub(super) fn new(random: Random) -> Arc<Self> {
        let inner = Inner {
            random,
            now: Duration::ZERO,
            skew: 0,
            jumps: None,
            timers_made: 0,
            processes: Vec::new(),
            current: 0,
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
        let factor = if self.inner().process().calm { 5 } else { 1 };
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

    /// Moves the wall clock only, back or forth, by hours.
    pub(super) fn skew(&self) {
        self.inner().jump();
    }

    /// Has the wall clock jump in one of so many pauses, too.
    pub(super) fn set_jumps(&self, one_in: Option<u64>) {
        self.inner().jumps = one_in;
    }

    /// Time passes in which no process runs.
    pub(super) fn pass(&self, time: Duration) {
        self.inner().now += time;
    }

    /// A new process, which dies after so many steps. The number that it has.
    pub(super) fn begin(&self, steps_left: Option<u64>, calm: bool) -> usize {
        let mut inner = self.inner();
        inner.processes.push(Process { steps_left, calm, ..Process::default() });
        inner.processes.len() - 1
    }

    /// Has a process run, until it is stopped after so many steps; the one that ran before is stopped.
    pub(super) fn turn_to(&self, process: usize, slice_left: Option<u64>) {
        let mut inner = self.inner();
        let (now, before) = (inner.now, inner.current);
        if before != process {
            inner.processes[before].stop(now);
        }
        inner.current = process;
        let process = inner.process();
        (process.slice_left, process.stopped) = (slice_left, false);
        let held = std::mem::take(&mut process.held);
        drop(inner);
        held.into_iter().for_each(Waker::wake);
    }

    /// The process that runs has ended.
    pub(super) fn end(&self) {
        let mut inner = self.inner();
        *inner.process() = Process { dead: true, ..Process::default() };
    }

    /// Whether each process that is stopped and lives will ask before it sends anything.
    pub(super) fn all_will_ask(&self) -> bool {
        let inner = self.inner();
        let will_ask = |it: &Process| it.dead || (it.sending == 0 && inner.now > it.stopped_at + ANSWER_COUNTS);
        inner.processes.iter().enumerate().all(|(number, it)| number == inner.current || will_ask(it))
    }

    /// Counts the inserts that the process has asked for and not sent.
    pub(super) fn sending(&self, more: isize) {
        let mut inner = self.inner();
        let process = inner.process();
        process.sending = process.sending.saturating_add_signed(more);
    }

    /// Something that the outside would see. The process may die at it: then nothing of it has happened, and what cannot
    /// wait for ever must do nothing any more.
    pub(super) fn step(&self, what: &str) -> bool {
        let mut inner = self.inner();
        if inner.process().dead {
            return false;
        }
        if !what.is_empty() {
            let now = inner.now;
            inner.note(&format!("{now:?} {what}"));
        }
        let now = inner.now;
        let process = inner.process();
        if let Some(left) = &mut process.steps_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                process.dead = true;
                process.mourner.take().into_iter().for_each(Waker::wake);
                inner.note("killed");
                return false;
            }
        }
        if let Some(left) = &mut process.slice_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                process.stop(now);
                inner.note("stopped");
            }
        }
        true
    }

    /// As [`Self::step`], for what can wait for ever, or until the process is woken.
    pub(super) async fn point(&self, what: &str) {
        if !self.step(what) {
            std::future::pending::<()>().await;
        }
        poll_fn(|context| if self.inner().process().holds(context) { Poll::Pending } else { Poll::Ready(()) }).await;
    }

    /// How the process has ended, if it has, or that it is stopped. Otherwise whom to wake then.
    pub(super) fn fate(&self, context: &Context<'_>) -> Option<Fate> {
        let mut inner = self.inner();
        let process = inner.process();
        process.mourner = Some(context.waker().clone());
        match (process.dead, process.stuck, process.stopped) {
            (true, ..) => Some(Fate::Killed),
            (_, true, _) => Some(Fate::Stuck),
            (_, _, true) => Some(Fate::Stopped),
            _ => None,
        }
    }

    pub(super) fn sleep(self: &Arc<Self>, time: Duration) -> impl Future<Output = ()> + Send + 'static {
        let (world, until) = (Arc::clone(self), self.elapsed() + time);
        let mut number = None;
        poll_fn(move |context| {
            let mut inner = world.inner();
            if inner.process().holds(context) {
                return Poll::Pending;
            }
            if inner.now >= until && !inner.process().dead {
                return Poll::Ready(());
            }
            let number = *number.get_or_insert_with(|| {
                inner.timers_made += 1;
                inner.timers_made
            });
            inner.process().timers.insert((until, number), context.waker().clone());
            Poll::Pending
        })
    }

    /// All wait: on to the next moment for which somebody does.
    pub(super) fn go_on(&self) {
        let mut inner = self.inner();
        if inner.processes.is_empty() || inner.process().stopped {
            return;
        }
        if inner.jumps.is_some_and(|one_in| inner.random.below(one_in) == 0) {
            inner.jump();
        }
        let process = inner.process();
        let mourner = process.mourner.take();
        let woken = match process.timers.pop_first() {
            Some(((until, _), waker)) if !process.dead => {
                inner.now = inner.now.max(until);
                Some(waker)
            }
            _ => {
                process.stuck = true;
                None
            }
        };
        drop(inner);
        // Who slept may be no more: then nobody else would come back here.
        woken.into_iter().chain(mourner).for_each(Waker::wake);
    }

    pub(super) fn note(&self, what: &str) {
        self.inner().note(what);
    }

    pub(super) fn trace(&self) -> (u64, Vec<String>) {
        let inner = self.inner();
        (inner.trace, inner.said.clone())
    }
}

impl Process {
    fn stop(&mut self, now: Duration) {
        if !self.stopped {
            (self.stopped, self.stopped_at) = (true, now);
            self.mourner.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Whether it is stopped; then it is to be woken with it.
    fn holds(&mut self, context: &Context<'_>) -> bool {
        if self.stopped {
            self.held.push(context.waker().clone());
        }
        self.stopped
    }
}

impl Inner {
    fn process(&mut self) -> &mut Process {
        &mut self.processes[self.current]
    }

    fn jump(&mut self) {
        self.skew += self.random.below(24 * HOUR) as i64 - 12 * HOUR as i64;
        let skew = self.skew;
        self.note(&format!("the wall clock jumps: {skew} ms"));
    }

    fn note(&mut self, what: &str) {
        for byte in what.bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.said.push(what.to_owned());
    }
}

/// What becomes of a process that does not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Killed,
    Stuck,
    /// For a while.
    Stopped,
}
