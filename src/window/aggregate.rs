//! Windowed aggregation of one query on one lane: rows in, closed windows out.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, UInt32Array};

use crate::change::TopicPartition;
use crate::error::{Error, Result};

use super::NO_EVENT_TIME;
use super::assigner::PaneKey;
use super::changed::{EVERYTHING, WindowBounds};
use super::plan::Prepared;
pub use super::plan::{GroupingSet, WINDOW_COLUMNS, WindowPlan};
use super::session::Sessions;
use super::session_state::{Brief, SessionPlan};
use super::settled::Saved;
use super::slices::Slices;
use super::stage::{Rows, Stage, evaluate, run};
use super::watermark::BEGINNING_OF_TIME;

/// The event times of a source batch, a value per row of it, and the clocks that they met.
#[derive(Debug, Clone, Default)]
pub struct EventTimes {
    /// Milliseconds since the epoch; [`NO_EVENT_TIME`] for none.
    pub times: Vec<i64>,
    /// The clock of the partition before the row.
    pub met: Vec<i64>,
    /// 1 for a row that comes, -1 for one that is taken back; empty when all come.
    pub signs: Vec<i8>,
    /// The partition and the offsets of the rows, where a query asks for them.
    pub positions: Option<(i32, Vec<i64>)>,
}

impl EventTimes {
    /// The signs of some rows.
    pub(super) fn signs_of(&self, rows: &Rows) -> Option<Vec<i8>> {
        (!self.signs.is_empty()).then(|| (0..rows.len()).map(|row| self.signs[rows.source_row(row)]).collect())
    }

    /// The positions of some rows, as [`POSITION_FIELDS`](super::duplicates::POSITION_FIELDS).
    pub(super) fn positions_of(&self, rows: &Rows) -> Result<[ArrayRef; 2]> {
        let Some((partition, offsets)) = &self.positions else {
            return Err(Error::internal("rows that are deduplicated have no positions"));
        };
        let offsets = (0..rows.len()).map(|row| offsets[rows.source_row(row)]);
        let partitions = Int32Array::from_value(*partition, rows.len());
        Ok([Arc::new(partitions), Arc::new(Int64Array::from_iter_values(offsets))])
    }
}

/// A row that could not be counted: its index in the source batch and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It has no event time.
    NoEventTime,
    /// An expression failed on it.
    Expression(String),
}

/// What became of the rows that were not counted.
#[derive(Debug, Default)]
pub struct Uncounted {
    /// Late rows: the columns that the aggregation reads, each with its index in the source batch; and the last window of
    /// each.
    pub late: Vec<(Rows, Vec<(i64, i64)>)>,
    /// Rows that cannot be counted at all, by their index in the source batch.
    pub refused: Vec<(usize, Refused)>,
}

/// Which windows of a job: those of an input of a pipeline, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputId {
    /// The pipeline, by its number in the job.
    pub pipeline: usize,
    /// Its input.
    pub input: usize,
}

/// A part of the state of a closed window, or a saved pane.
#[derive(Debug, Clone)]
pub struct WindowState {
    /// The start of the window or slice, milliseconds since the epoch. Fragments of sessions have theirs in the columns.
    pub start: i64,
    /// The window's end; of a saved pane, the end of the first window that it is in (its start, when it has what a period's closed
    /// windows had). `None` in checkpoints of before windows overlapped.
    pub end: Option<i64>,
    /// Keys and partial aggregates: [`PaneLayout::state_schema`](super::pane::PaneLayout::state_schema).
    pub groups: RecordBatch,
    /// The keys of groups that have changed since the window before, where only those are wanted.
    pub changed: Option<RecordBatch>,
    /// Of a saved state that changes no more, where it is saved; `None` of others.
    pub saved: Option<Saved>,
}

impl WindowState {
    /// Groups of a window or pane.
    pub fn new(start: i64, end: i64, groups: RecordBatch) -> Self {
        Self { start, end: Some(end), groups, changed: None, saved: None }
    }
}

/// What open windows hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Memory, as far as it is known.
    pub bytes: usize,
    /// Panes or stretches of sessions.
    pub panes: usize,
    /// Groups in all of them.
    pub groups: usize,
    /// The watermark at which the first of them closes; of sessions, before which none does.
    pub closes_next: Option<i64>,
}

impl AddAssign for Held {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.panes += other.panes;
        self.groups += other.groups;
        self.closes_next = [self.closes_next, other.closes_next].into_iter().flatten().min();
    }
}

/// The open windows of one query on one lane.
pub struct WindowAggregate {
    plan: Arc<WindowPlan>,
    open: Open,
    /// The watermark at which windows were closed last.
    closed_to: i64,
}

enum Open {
    Slices(Box<Slices>),
    Sessions(Box<Sessions>, Arc<SessionPlan>),
}

impl WindowAggregate {
    /// No open windows.
    pub fn new(plan: Arc<WindowPlan>) -> Result<Self> {
        let open = match &plan.sessions {
            Some(sessions) => Open::Sessions(Box::new(Sessions::new(&plan, sessions)?), Arc::clone(sessions)),
            None => Open::Slices(Box::new(Slices::new(&plan))),
        };
        Ok(Self { plan, open, closed_to: BEGINNING_OF_TIME })
    }

    /// Whether results of windows that may still change are wanted.
    pub fn revises(&self) -> bool {
        self.plan.revises
    }

    /// Whether its windows are made of panes, which several may have; sessions are not.
    pub fn shares_panes(&self) -> bool {
        matches!(self.open, Open::Slices(_))
    }

    /// What there is of open windows. Quick: a look at each pane, not at its groups.
    pub fn held(&self) -> Held {
        match &self.open {
            Open::Slices(slices) => Held { closes_next: slices.closes_next(), ..slices.held() },
            Open::Sessions(sessions, _) => Held { closes_next: sessions.closes_next(), ..sessions.held() },
        }
    }

    /// Counts rows of a partition into their windows. A row counts into those of its windows whose end (plus the allowed lateness)
    /// is after the clock that it met; where that is none, it is late. A row on which an expression fails is refused
    /// alone, not with its batch. The rows go through the steps `before` the window first.
    pub fn push(
        &mut self,
        before: &[Stage],
        rows: &Rows,
        times: &EventTimes,
        source: &TopicPartition,
        uncounted: &mut Uncounted,
    ) -> Result<()> {
        // A table that was left behind, because nothing came, meets what the others have closed.
        if times.met.iter().any(|met| *met < self.closed_to) {
            let mut raised = times.clone();
            raised.met.iter_mut().for_each(|met| *met = self.closed_to.max(*met));
            return self.count(before, rows, &raised, source, uncounted);
        }
        self.count(before, rows, times, source, uncounted)
    }

    fn count(
        &mut self,
        before: &[Stage],
        rows: &Rows,
        times: &EventTimes,
        source: &TopicPartition,
        uncounted: &mut Uncounted,
    ) -> Result<()> {
        let (length, plan) = (rows.len(), Arc::clone(&self.plan));
        let failed = match &mut self.open {
            Open::Slices(slices) => match plan.prepare(before, rows.clone(), times, uncounted) {
                Ok(Some(prepared)) => return accumulate(slices, &prepared),
                Ok(None) => return Ok(()),
                Err(error) => error,
            },
            Open::Sessions(sessions, session_plan) => {
                match prepare_sessions(&plan, session_plan, before, rows.clone(), times) {
                    Ok(Some(prepared)) => {
                        return count_sessions(&plan, sessions, prepared, times, source, uncounted);
                    }
                    Ok(None) => return Ok(()),
                    Err(error) => error,
                }
            }
        };
        if length == 1 {
            uncounted.refused.push((rows.source_row(0), Refused::Expression(failed.to_string())));
            return Ok(());
        }
        let half = length / 2;
        self.count(before, &rows.slice(0, half), times, source, uncounted)?;
        self.count(before, &rows.slice(half, length - half), times, source, uncounted)
    }

    /// The states of every window that ends (plus the allowed lateness) at or before the watermark; of sessions, fragments,
    /// which go through [`super::session_join`].
    pub fn close(&mut self, watermark: i64) -> Result<Vec<WindowState>> {
        self.closed_to = self.closed_to.max(watermark);
        match &mut self.open {
            Open::Slices(slices) => slices.close(watermark),
            Open::Sessions(sessions, _) => sessions.close(watermark),
        }
    }

    /// The windows that have changed since they were last asked for; of sessions, one that stands for all.
    pub fn changed(&mut self) -> Vec<WindowBounds> {
        match &mut self.open {
            Open::Slices(slices) => slices.changed(),
            Open::Sessions(sessions, _) if sessions.has_changed => vec![EVERYTHING],
            Open::Sessions(..) => Vec::new(),
        }
    }

    /// What [`Self::close`] gives; and what there is of these windows, and of all that end at or before the watermark for the first
    /// time, as far as they stay open.
    pub fn close_and_peek(
        &mut self,
        wanted: &[WindowBounds],
        watermark: i64,
    ) -> Result<(Vec<WindowState>, Vec<WindowState>)> {
        let peeked = match &mut self.open {
            Open::Slices(slices) => slices.peek(wanted, watermark)?,
            Open::Sessions(..) => Vec::new(),
        };
        let closed = self.close(watermark)?;
        match &mut self.open {
            Open::Sessions(sessions, _) if !wanted.is_empty() => {
                sessions.has_changed = false;
                Ok((closed, sessions.copy()?))
            }
            _ => Ok((closed, peeked)),
        }
    }

    #[cfg(test)]
    pub(super) fn sessions(&self) -> Option<&Sessions> {
        match &self.open {
            Open::Sessions(sessions, _) => Some(sessions),
            Open::Slices(_) => None,
        }
    }

    /// The fragments of sessions here that are of one session with some that have left.
    pub fn neighbours(&self, left: &[Brief]) -> Vec<Brief> {
        match &self.open {
            Open::Slices(_) => Vec::new(),
            Open::Sessions(sessions, _) => sessions.neighbours(left),
        }
    }

    /// A copy of all open windows, for a checkpoint.
    pub fn copy_state(&mut self) -> Result<Vec<WindowState>> {
        match &mut self.open {
            Open::Slices(slices) => slices.copy_state(),
            Open::Sessions(sessions, _) => sessions.share(),
        }
    }

    /// Adds saved windows to the open ones; of sessions, the fragments of the partitions that are `own`.
    pub fn restore(&mut self, windows: &[WindowState], own: &dyn Fn(&TopicPartition) -> bool) -> Result<()> {
        match &mut self.open {
            Open::Slices(slices) => slices.restore(windows),
            Open::Sessions(sessions, _) => sessions.restore(windows, own),
        }
    }
}

fn accumulate(slices: &mut Slices, prepared: &Prepared<PaneKey>) -> Result<()> {
    match &prepared.panes[..] {
        [] => Ok(()),
        [first, rest @ ..] if rest.iter().all(|pane| pane == first) => slices.update(*first, &prepared.input),
        panes => {
            for (pane, rows) in rows_by_pane(panes) {
                slices.update(pane, &prepared.input.take(&rows)?)?;
            }
            Ok(())
        }
    }
}

/// Rows before the aggregation, and all that is known of them without looking at sessions.
struct PreparedSessions {
    /// The rows that sessions are made of.
    all: Rows,
    keys: Vec<ArrayRef>,
    /// Those that the aggregation reads.
    kept: Rows,
    /// Which of all rows each of them is of.
    places: Vec<usize>,
    /// The same, evaluated.
    input: super::pane::PaneInput,
}

fn prepare_sessions(
    plan: &WindowPlan,
    sessions: &SessionPlan,
    before: &[Stage],
    rows: Rows,
    times: &EventTimes,
) -> Result<Option<PreparedSessions>> {
    let all = run(before, rows)?;
    if all.is_empty() {
        return Ok(None);
    }
    let keys = sessions.keys.iter().map(|key| evaluate(key, &all.batch)).collect::<Result<_>>()?;
    let windowed = plan.add_window_columns(all.clone(), times)?;
    let kept = run(&plan.after, Rows::all(windowed.batch))?;
    let kept = if kept.is_empty() { kept.slice(0, 0) } else { kept };
    let places: Vec<usize> = (0..kept.len()).map(|row| kept.source_row(row)).collect();
    let index = places.iter().map(|&place| all.source_row(place) as u32).collect::<Vec<_>>();
    let kept = Rows { batch: kept.batch, index: Some(index.into()) };
    let input = match kept.is_empty() {
        true => super::pane::PaneInput { keys: vec![], arguments: vec![], filters: vec![], signs: None, rows: 0 },
        false => plan.input(&kept, times)?,
    };
    Ok(Some(PreparedSessions { all, keys, kept, places, input }))
}

/// Sessions are made of all rows of the window's input, also of those that WHERE leaves out after it.
fn count_sessions(
    plan: &WindowPlan,
    sessions: &mut Sessions,
    prepared: PreparedSessions,
    times: &EventTimes,
    source: &TopicPartition,
    uncounted: &mut Uncounted,
) -> Result<()> {
    let PreparedSessions { all, keys, kept, places, input } = prepared;
    let time = |row: usize| {
        let row = all.source_row(row);
        let sign = times.signs.get(row).copied().unwrap_or(1);
        (times.times[row] != NO_EVENT_TIME).then(|| (times.times[row], times.met[row], sign))
    };
    let ids = sessions.assign(source, &keys, (0..all.len()).map(time))?;
    if kept.is_empty() {
        return Ok(());
    }
    // Rows come in their order; those without a time are not asked for.
    let mut counted = Vec::with_capacity(kept.len());
    let mut next = 0;
    let of_kept = |source_row: usize, _: i64, _: i64| {
        while kept.source_row(next) < source_row {
            next += 1;
        }
        let row = next;
        next += 1;
        let id = ids[places[row]];
        if id.is_some() {
            counted.push(row as u32);
        }
        id
    };
    let (rows, ids, left_out) = plan.sort_out(kept.clone(), times, of_kept)?;
    uncounted.late.extend(left_out.late);
    uncounted.refused.extend(left_out.refused);
    match rows.len() {
        0 => Ok(()),
        all if all == input.rows => sessions.update(&ids, input),
        _ => sessions.update(&ids, input.take(&UInt32Array::from(counted))?),
    }
}

/// The rows of each pane, panes in the order in which they first occur. Neighbouring rows mostly share a pane.
fn rows_by_pane(panes: &[PaneKey]) -> Vec<(PaneKey, UInt32Array)> {
    let mut place: HashMap<PaneKey, usize> = HashMap::new();
    let mut found: Vec<(PaneKey, Vec<u32>)> = Vec::new();
    let mut current = None;
    for (row, &pane) in panes.iter().enumerate() {
        let at = match current {
            Some((last, at)) if last == pane => at,
            _ => *place.entry(pane).or_insert_with(|| {
                found.push((pane, Vec::new()));
                found.len() - 1
            }),
        };
        current = Some((pane, at));
        found[at].1.push(row as u32);
    }
    found.into_iter().map(|(pane, rows)| (pane, rows.into())).collect()
}
