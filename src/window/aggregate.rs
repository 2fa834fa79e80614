//! Windowed aggregation of one query on one lane: rows in, closed windows out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, TimestampMillisecondArray, UInt32Array, cast::AsArray,
};
use datafusion::arrow::compute::{prep_null_mask_filter, take, take_record_batch};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, Result};

use super::NO_EVENT_TIME;
use super::assigner::Tumbling;
use super::pane::{Pane, PaneInput, PaneLayout};
use super::stage::{Rows, Stage, evaluate, run};

/// The columns that a window adds to its rows, in order.
pub const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// What a windowed query does on a lane. Compiled once, shared by the lanes.
#[derive(Debug)]
pub struct WindowPlan {
    /// Steps before the window.
    pub before: Vec<Stage>,
    /// The windows.
    pub windows: Tumbling,
    /// The columns of the rows with the window columns added at the end.
    pub windowed: SchemaRef,
    /// Which of [`WINDOW_COLUMNS`] something refers to.
    pub used_window_columns: [bool; 3],
    /// Steps between the window and the aggregation.
    pub after: Vec<Stage>,
    /// The group keys besides the window itself.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The arguments of each aggregate.
    pub arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    /// `FILTER (WHERE …)` of each aggregate.
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Keys and accumulators.
    pub layout: Arc<PaneLayout>,
    /// How long a closed window may still change, in milliseconds.
    pub allowed_lateness: i64,
}

/// The event times of a source batch, a value per row of it, and the clocks that they met.
#[derive(Debug, Default)]
pub struct EventTimes {
    /// Milliseconds since the epoch; [`NO_EVENT_TIME`] for none.
    pub times: Vec<i64>,
    /// The clock of the partition before the row.
    pub met: Vec<i64>,
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
    /// Late rows: the columns that the aggregation reads, each with its index in the source batch and its window's start.
    pub late: Vec<(Rows, Vec<i64>)>,
    /// Rows that cannot be counted at all, by their index in the source batch.
    pub refused: Vec<(usize, Refused)>,
}

/// The state of a closed or saved window: its start and its groups.
#[derive(Debug, Clone)]
pub struct WindowState {
    /// The window's start, milliseconds since the epoch.
    pub start: i64,
    /// Keys and partial aggregates: [`PaneLayout::state_schema`].
    pub groups: RecordBatch,
}

/// The open windows of one query on one lane.
pub struct WindowAggregate {
    plan: Arc<WindowPlan>,
    open: BTreeMap<i64, Pane>,
}

impl WindowAggregate {
    /// No open windows.
    pub fn new(plan: Arc<WindowPlan>) -> Self {
        Self { plan, open: BTreeMap::new() }
    }

    /// Number of open windows.
    pub fn open_windows(&self) -> usize {
        self.open.len()
    }

    /// Counts rows into their windows. A row counts when its window's end (plus the allowed lateness) is after the clock
    /// that it met; otherwise it is late. A row on which an expression fails is refused alone, not with its batch.
    pub fn push(&mut self, rows: &Rows, times: &EventTimes, uncounted: &mut Uncounted) -> Result<()> {
        let (length, plan) = (rows.len(), Arc::clone(&self.plan));
        match plan.prepare(rows.clone(), times, uncounted) {
            Ok(Some(prepared)) => self.accumulate(&prepared),
            Ok(None) => Ok(()),
            Err(error) if length == 1 => {
                uncounted.refused.push((rows.source_row(0), Refused::Expression(error.to_string())));
                Ok(())
            }
            Err(_) => {
                let half = length / 2;
                self.push(&rows.slice(0, half), times, uncounted)?;
                self.push(&rows.slice(half, length - half), times, uncounted)
            }
        }
    }

    /// Takes out every window that ends (plus the allowed lateness) at or before the watermark.
    pub fn close(&mut self, watermark: i64) -> Result<Vec<WindowState>> {
        let mut closed = Vec::new();
        while let Some(entry) = self.open.first_entry() {
            let start = *entry.key();
            if self.plan.closes_at(start) > watermark {
                break;
            }
            closed.push(WindowState { start, groups: entry.remove().take_state()? });
        }
        Ok(closed)
    }

    /// A copy of all open windows, for a checkpoint.
    pub fn copy_state(&mut self) -> Result<Vec<WindowState>> {
        let copy = |(&start, pane): (&i64, &mut Pane)| Ok(WindowState { start, groups: pane.copy_state()? });
        self.open.iter_mut().map(copy).collect()
    }

    /// Adds saved windows to the open ones.
    pub fn restore(&mut self, windows: &[WindowState]) -> Result<()> {
        windows.iter().try_for_each(|window| self.pane(window.start)?.merge(&window.groups))
    }

    fn pane(&mut self, start: i64) -> Result<&mut Pane> {
        Ok(match self.open.entry(start) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Pane::new(&self.plan.layout)?),
        })
    }

    fn accumulate(&mut self, prepared: &Prepared) -> Result<()> {
        match &prepared.starts[..] {
            [] => Ok(()),
            [first, rest @ ..] if rest.iter().all(|start| start == first) => self.pane(*first)?.update(&prepared.input),
            starts => {
                for (start, rows) in rows_by_window(starts) {
                    let input = prepared.input.take(&rows)?;
                    self.pane(start)?.update(&input)?;
                }
                Ok(())
            }
        }
    }
}

/// Rows ready to be accumulated.
struct Prepared {
    starts: Vec<i64>,
    input: PaneInput,
}

impl WindowPlan {
    /// The watermark at which the window that starts at `start` closes for good.
    pub fn closes_at(&self, start: i64) -> i64 {
        self.windows.end_of(start).saturating_add(self.allowed_lateness)
    }

    /// Everything that can fail on a row's values, before any state changes. Reports what it leaves out only on success.
    fn prepare(&self, rows: Rows, times: &EventTimes, uncounted: &mut Uncounted) -> Result<Option<Prepared>> {
        let rows = run(&self.before, rows)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = run(&self.after, self.assign(rows, times)?)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let (rows, starts, left_out) = self.sort_out(rows, times)?;
        let prepared = match rows.is_empty() {
            true => None,
            false => Some(Prepared { input: self.input(&rows.batch)?, starts }),
        };
        uncounted.late.extend(left_out.late);
        uncounted.refused.extend(left_out.refused);
        Ok(prepared)
    }

    /// Adds the window columns.
    fn assign(&self, rows: Rows, times: &EventTimes) -> Result<Rows> {
        let length = rows.len();
        let start_of = |row: usize| {
            let time = times.times[rows.source_row(row)];
            (time != NO_EVENT_TIME).then(|| self.windows.start_of(time))
        };
        let mut columns = rows.batch.columns().to_vec();
        for (column, used) in self.used_window_columns.into_iter().enumerate() {
            let array: TimestampMillisecondArray = match (used, column) {
                (false, _) => TimestampMillisecondArray::new_null(length),
                (true, 0) => (0..length).map(start_of).collect(),
                (true, 1) => (0..length).map(|row| start_of(row).map(|start| self.windows.end_of(start))).collect(),
                (true, _) => (0..length).map(|row| start_of(row).map(|start| self.windows.end_of(start) - 1)).collect(),
            };
            let field = self.windowed.field(rows.batch.num_columns() + column);
            let DataType::Timestamp(TimeUnit::Millisecond, zone) = field.data_type() else {
                return Err(Error::internal("a window column is not a timestamp"));
            };
            columns.push(Arc::new(array.with_timezone_opt(zone.clone())));
        }
        Ok(Rows { batch: RecordBatch::try_new(Arc::clone(&self.windowed), columns)?, index: rows.index })
    }

    /// Splits rows into those that count, with the starts of their windows, and those that do not.
    fn sort_out(&self, rows: Rows, times: &EventTimes) -> Result<(Rows, Vec<i64>, Uncounted)> {
        let mut left_out = Uncounted::default();
        let (mut counted, mut starts) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        let (mut late, mut late_starts) = (Vec::new(), Vec::new());
        for row in 0..rows.len() {
            let source_row = rows.source_row(row);
            let time = times.times[source_row];
            if time == NO_EVENT_TIME {
                left_out.refused.push((source_row, Refused::NoEventTime));
                continue;
            }
            let start = self.windows.start_of(time);
            if self.closes_at(start) <= times.met[source_row] {
                late.push(row as u32);
                late_starts.push(start);
            } else {
                counted.push(row as u32);
                starts.push(start);
            }
        }
        if counted.len() == rows.len() {
            return Ok((rows, starts, left_out));
        }
        if !late.is_empty() {
            left_out.late.push((take_rows(&rows, late)?, late_starts));
        }
        Ok((take_rows(&rows, counted)?, starts, left_out))
    }

    fn input(&self, batch: &RecordBatch) -> Result<PaneInput> {
        let all = |expressions: &[Arc<dyn PhysicalExpr>]| expressions.iter().map(|it| evaluate(it, batch)).collect();
        let filter = |expression: &Option<Arc<dyn PhysicalExpr>>| {
            let Some(expression) = expression else { return Ok(None) };
            let mask = evaluate(expression, batch)?;
            let mask = mask.as_boolean();
            Ok(Some(if mask.null_count() == 0 { mask.clone() } else { prep_null_mask_filter(mask) }))
        };
        Ok(PaneInput {
            keys: all(&self.keys)?,
            arguments: self.arguments.iter().map(|it| all(it)).collect::<Result<_>>()?,
            filters: self.filters.iter().map(filter).collect::<Result<_>>()?,
            rows: batch.num_rows(),
        })
    }
}

impl PaneInput {
    fn take(&self, rows: &UInt32Array) -> Result<Self> {
        let each = |array: &ArrayRef| Ok(take(array, rows, None)?);
        let filter = |mask: &Option<BooleanArray>| {
            mask.as_ref().map(|mask| Ok(take(mask, rows, None)?.as_boolean().clone())).transpose()
        };
        Ok(Self {
            keys: self.keys.iter().map(each).collect::<Result<_>>()?,
            arguments: self.arguments.iter().map(|it| it.iter().map(each).collect()).collect::<Result<_>>()?,
            filters: self.filters.iter().map(filter).collect::<Result<_>>()?,
            rows: rows.len(),
        })
    }
}

fn take_rows(rows: &Rows, kept: Vec<u32>) -> Result<Rows> {
    let source_rows = kept.iter().map(|&row| rows.source_row(row as usize) as u32).collect::<Vec<_>>();
    let batch = take_record_batch(&rows.batch, &UInt32Array::from(kept))?;
    Ok(Rows { batch, index: Some(source_rows.into()) })
}

/// The rows of each window, windows in the order in which they first occur. Neighbouring rows mostly share a window.
fn rows_by_window(starts: &[i64]) -> Vec<(i64, UInt32Array)> {
    let mut place: HashMap<i64, usize> = HashMap::new();
    let mut windows: Vec<(i64, Vec<u32>)> = Vec::new();
    let mut current = None;
    for (row, &start) in starts.iter().enumerate() {
        let at = match current {
            Some((last, at)) if last == start => at,
            _ => *place.entry(start).or_insert_with(|| {
                windows.push((start, Vec::new()));
                windows.len() - 1
            }),
        };
        current = Some((start, at));
        windows[at].1.push(row as u32);
    }
    windows.into_iter().map(|(start, rows)| (start, rows.into())).collect()
}
