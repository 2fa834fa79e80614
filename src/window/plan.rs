//! What a windowed query does with rows, before any state changes.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, TimestampMillisecondArray, UInt32Array, cast::AsArray,
};
use datafusion::arrow::compute::{prep_null_mask_filter, take, take_record_batch};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, Result};

use super::NO_EVENT_TIME;
use super::aggregate::{EventTimes, Refused, Uncounted};
use super::assigner::{PaneKey, Windows};
use super::pane::{PaneInput, PaneLayout};
use super::session_state::SessionPlan;
use super::stage::{Rows, Stage, evaluate, run};

/// The columns that a window adds to its rows, in order.
pub const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// What a windowed query does on a lane. Compiled once, shared by the lanes.
#[derive(Debug)]
pub struct WindowPlan {
    /// The windows.
    pub windows: Windows,
    /// How sessions are found and kept, when the windows are sessions.
    pub sessions: Option<Arc<SessionPlan>>,
    /// The columns of the rows with the window columns added at the end.
    pub windowed: SchemaRef,
    /// Which of [`WINDOW_COLUMNS`] something refers to. Only tumbling windows have them before the aggregation.
    pub used_window_columns: [bool; 3],
    /// Steps between the window and the aggregation.
    pub after: Vec<Stage>,
    /// The group keys besides the window itself.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Whether each row's position is a key too: rows that are deduplicated are told apart by it.
    pub positions: bool,
    /// The arguments of each aggregate.
    pub arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    /// `FILTER (WHERE …)` of each aggregate.
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Keys and accumulators. With several grouping sets, groups are kept by all keys together and summed up at close.
    pub layout: Arc<PaneLayout>,
    /// `GROUPING SETS`, `ROLLUP`, `CUBE`: the sets; empty without.
    pub grouping_sets: Vec<GroupingSet>,
    /// How long a closed window may still change, in milliseconds.
    pub allowed_lateness: i64,
    /// Whether results are also wanted of windows that may still change: then it is noted which have.
    pub revises: bool,
}

/// One of several groupings of the same rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupingSet {
    /// Which of the plan's keys it groups by; the others are null in its groups.
    pub keys: Vec<bool>,
    /// DataFusion's number of the set, from which `grouping(…)` is computed.
    pub id: u64,
}

/// Rows ready to be accumulated, with what they are accumulated in.
pub(super) struct Prepared<K> {
    pub(super) panes: Vec<K>,
    pub(super) input: PaneInput,
}

impl WindowPlan {
    /// The watermark at which a window that ends at `end` closes for good.
    pub fn closes_at(&self, end: i64) -> i64 {
        end.saturating_add(self.allowed_lateness)
    }

    /// Everything that can fail on a row's values, before any state changes. Reports what it leaves out only on success.
    pub(super) fn prepare(
        &self,
        before: &[Stage],
        rows: Rows,
        times: &EventTimes,
        uncounted: &mut Uncounted,
    ) -> Result<Option<Prepared<PaneKey>>> {
        let rows = run(before, rows)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = run(&self.after, self.add_window_columns(rows, times)?)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut recent = Recent::default();
        let pane_of = |_: usize, time: i64, met: i64| {
            recent.pane_of(self.windows, time, met.saturating_sub(self.allowed_lateness))
        };
        let (rows, panes, left_out) = self.sort_out(rows, times, pane_of)?;
        let prepared = match rows.is_empty() {
            true => None,
            false => Some(Prepared { input: self.input(&rows, times)?, panes }),
        };
        uncounted.late.extend(left_out.late);
        uncounted.refused.extend(left_out.refused);
        Ok(prepared)
    }

    /// Adds the window columns.
    pub(super) fn add_window_columns(&self, rows: Rows, times: &EventTimes) -> Result<Rows> {
        let length = rows.len();
        let bounds = |row: usize| {
            let time = times.times[rows.source_row(row)];
            (time != NO_EVENT_TIME).then(|| self.windows.last_window(time))
        };
        let mut columns = rows.batch.columns().to_vec();
        let is_known = matches!(self.windows, Windows::Tumble(_));
        for (column, used) in self.used_window_columns.into_iter().enumerate() {
            let array: TimestampMillisecondArray = match (used && is_known, column) {
                (false, _) => TimestampMillisecondArray::new_null(length),
                (true, 0) => (0..length).map(|row| bounds(row).map(|(start, _)| start)).collect(),
                (true, 1) => (0..length).map(|row| bounds(row).map(|(_, end)| end)).collect(),
                (true, _) => (0..length).map(|row| bounds(row).map(|(_, end)| end - 1)).collect(),
            };
            let field = self.windowed.field(rows.batch.num_columns() + column);
            let DataType::Timestamp(TimeUnit::Millisecond, zone) = field.data_type() else {
                return Err(Error::internal("a window column is not a timestamp"));
            };
            columns.push(Arc::new(array.with_timezone_opt(zone.clone())));
        }
        Ok(Rows { batch: RecordBatch::try_new(Arc::clone(&self.windowed), columns)?, index: rows.index })
    }

    /// Splits rows into those that count, with what they count into, and those that do not. `pane_of` is given a row's place in
    /// its source batch, its time and the clock that it met; it says `None` of a late row.
    pub(super) fn sort_out<K>(
        &self,
        rows: Rows,
        times: &EventTimes,
        mut pane_of: impl FnMut(usize, i64, i64) -> Option<K>,
    ) -> Result<(Rows, Vec<K>, Uncounted)> {
        let mut left_out = Uncounted::default();
        let (mut counted, mut panes) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        let (mut late, mut late_windows) = (Vec::new(), Vec::new());
        for row in 0..rows.len() {
            let source_row = rows.source_row(row);
            let time = times.times[source_row];
            if time == NO_EVENT_TIME {
                left_out.refused.push((source_row, Refused::NoEventTime));
                continue;
            }
            match pane_of(source_row, time, times.met[source_row]) {
                Some(pane) => {
                    counted.push(row as u32);
                    panes.push(pane);
                }
                None => {
                    late.push(row as u32);
                    late_windows.push(self.windows.last_window(time));
                }
            }
        }
        if counted.len() == rows.len() {
            return Ok((rows, panes, left_out));
        }
        if !late.is_empty() {
            left_out.late.push((take_rows(&rows, late)?, late_windows));
        }
        Ok((take_rows(&rows, counted)?, panes, left_out))
    }

    pub(super) fn input(&self, rows: &Rows, times: &EventTimes) -> Result<PaneInput> {
        let batch = &rows.batch;
        let all = |expressions: &[Arc<dyn PhysicalExpr>]| {
            expressions.iter().map(|it| evaluate(it, batch)).collect::<Result<Vec<_>>>()
        };
        let filter = |expression: &Option<Arc<dyn PhysicalExpr>>| {
            let Some(expression) = expression else { return Ok(None) };
            let mask = evaluate(expression, batch)?;
            let mask = mask.as_boolean();
            Ok(Some(if mask.null_count() == 0 { mask.clone() } else { prep_null_mask_filter(mask) }))
        };
        let mut keys: Vec<ArrayRef> = all(&self.keys)?;
        if self.positions {
            keys.extend(times.positions_of(rows)?);
        }
        Ok(PaneInput {
            keys,
            arguments: self.arguments.iter().map(|it| all(it)).collect::<Result<_>>()?,
            filters: self.filters.iter().map(filter).collect::<Result<_>>()?,
            signs: times.signs_of(rows),
            rows: batch.num_rows(),
        })
    }
}

/// The pane of the row before. Neighbouring rows mostly share one, and to find a calendar's is work.
#[derive(Default)]
struct Recent {
    /// The times that have this pane when nothing is closed.
    times: std::ops::Range<i64>,
    pane: Option<PaneKey>,
}

impl Recent {
    fn pane_of(&mut self, windows: Windows, time: i64, closed_to: i64) -> Option<PaneKey> {
        if !self.times.contains(&time) || self.pane.is_none() {
            let pane = windows.pane_of(time, i64::MIN)?;
            let until = match windows {
                Windows::Hop { starts, .. } => pane.first_end.min(starts.next(time)),
                _ => pane.first_end,
            };
            // Paired slices of fixed windows are cut in between, which the ends of windows say.
            let from = if self.pane == Some(pane) { self.times.start.min(time) } else { time };
            (self.times, self.pane) = (from..until, Some(pane));
        }
        self.pane.filter(|pane| pane.first_end > closed_to).or_else(|| windows.pane_of(time, closed_to))
    }
}

impl PaneInput {
    pub(super) fn take(&self, rows: &UInt32Array) -> Result<Self> {
        let each = |array: &ArrayRef| Ok(take(array, rows, None)?);
        let filter = |mask: &Option<BooleanArray>| {
            mask.as_ref().map(|mask| Ok(take(mask, rows, None)?.as_boolean().clone())).transpose()
        };
        Ok(Self {
            keys: self.keys.iter().map(each).collect::<Result<_>>()?,
            arguments: self.arguments.iter().map(|it| it.iter().map(each).collect()).collect::<Result<_>>()?,
            filters: self.filters.iter().map(filter).collect::<Result<_>>()?,
            signs: self.signs.as_ref().map(|signs| rows.values().iter().map(|&row| signs[row as usize]).collect()),
            rows: rows.len(),
        })
    }
}

fn take_rows(rows: &Rows, kept: Vec<u32>) -> Result<Rows> {
    let source_rows = kept.iter().map(|&row| rows.source_row(row as usize) as u32).collect::<Vec<_>>();
    let batch = take_record_batch(&rows.batch, &UInt32Array::from(kept))?;
    Ok(Rows { batch, index: Some(source_rows.into()) })
}
