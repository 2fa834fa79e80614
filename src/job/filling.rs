//! Rows for windows in which a group has none: `FILL EMPTY WINDOWS FOR n`.
//!
//! A group that has had rows is in each of the next `n` windows too, as an aggregate over no rows gives it: count 0, sum NULL. That goes for
//! windows in which nobody has any rows, as soon as event time has passed them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, Result};
use crate::window::aggregate::{WindowPlan, WindowState};
use crate::window::assigner::Windows;
use crate::window::changed::WindowBounds;
use crate::window::pane::Pane;
use crate::window::stage::output_schema;

/// The groups of one query that were there of late.
pub(super) struct Filling {
    plan: Arc<WindowPlan>,
    /// For how many windows a group is filled in.
    most: u64,
    /// The types of each aggregate's arguments.
    arguments: Vec<Vec<DataType>>,
    /// `None` when the window is the only key.
    converter: Option<RowConverter>,
    /// In which window each group had rows last, by number.
    seen: BTreeMap<Box<[u8]>, u64>,
    /// The last window that has been closed, and its number.
    last: Option<(WindowBounds, u64)>,
}

impl Filling {
    /// No groups yet.
    pub(super) fn new(plan: &Arc<WindowPlan>, most: u64) -> Result<Self> {
        let keys = plan.layout.state_schema().fields().iter().take(plan.layout.key_count());
        let fields: Vec<_> = keys.map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) };
        let input = output_schema(&plan.after, &plan.windowed);
        let types = |arguments: &Vec<Arc<dyn PhysicalExpr>>| arguments.iter().map(|it| it.data_type(&input)).collect();
        let arguments = plan.arguments.iter().map(types).collect::<datafusion::error::Result<_>>()?;
        Ok(Self { plan: Arc::clone(plan), most, arguments, converter, seen: BTreeMap::new(), last: None })
    }

    /// The states of windows that close, and with them empty groups, also for windows without any state that event time has
    /// passed: those that end up to `passed`, or before the last one of the states.
    pub(super) fn fill(&mut self, states: Vec<WindowState>, passed: i64) -> Result<Vec<WindowState>> {
        let mut by_window: BTreeMap<WindowBounds, Vec<WindowState>> = BTreeMap::new();
        let last = self.last.map(|(window, _)| window);
        for state in states {
            // After a restart, panes that later windows share may give earlier ones once more.
            if last.is_some_and(|last| (state.start, state.end.unwrap_or(i64::MAX)) <= last) {
                continue;
            }
            by_window.entry((state.start, state.end.unwrap_or(i64::MAX))).or_default().push(state);
        }
        let mut filled = Vec::new();
        for (window, states) in by_window {
            self.pass(|next| next < window, &mut filled)?;
            let number = self.enter(window);
            let empty = self.empty_groups()?;
            filled.extend(empty.map(|groups| WindowState::new(window.0, window.1, groups)));
            for state in &states {
                self.see(&state.groups, number)?;
            }
            filled.extend(states);
        }
        let plan = Arc::clone(&self.plan);
        self.pass(|next| plan.closes_at(next.1) <= passed, &mut filled)?;
        Ok(filled)
    }

    /// Goes on through windows without rows, as long as there are groups for them.
    fn pass(&mut self, has_passed: impl Fn(WindowBounds) -> bool, filled: &mut Vec<WindowState>) -> Result<()> {
        while let Some((last, _)) = self.last.filter(|_| !self.seen.is_empty()) {
            let Some(next) = following(self.plan.windows, last).filter(|next| has_passed(*next)) else { break };
            self.enter(next);
            filled.extend(self.empty_groups()?.map(|groups| WindowState::new(next.0, next.1, groups)));
        }
        Ok(())
    }

    /// Makes a window the last, and forgets groups that were there too long ago.
    fn enter(&mut self, window: WindowBounds) -> u64 {
        let number = self.last.map_or(0, |(_, number)| number + 1);
        self.last = Some((window, number));
        self.seen.retain(|_, seen| number - *seen <= self.most);
        number
    }

    fn see(&mut self, groups: &RecordBatch, number: u64) -> Result<()> {
        if groups.num_rows() == 0 {
            return Ok(());
        }
        let Some(converter) = &self.converter else {
            self.seen.insert(Box::default(), number);
            return Ok(());
        };
        let rows = converter.convert_columns(&groups.columns()[..self.plan.layout.key_count()])?;
        for row in &rows {
            match self.seen.get_mut(row.data()) {
                Some(seen) => *seen = number,
                None => drop(self.seen.insert(row.data().into(), number)),
            }
        }
        Ok(())
    }

    fn keys(&self) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.converter else { return Ok(Vec::new()) };
        let parser = converter.parser();
        Ok(converter.convert_rows(self.seen.keys().map(|key| parser.parse(key)))?)
    }

    /// The state of no rows, of all groups.
    fn empty_groups(&self) -> Result<Option<RecordBatch>> {
        if self.seen.is_empty() {
            return Ok(None);
        }
        Pane::empty_groups(&self.plan.layout, self.keys()?, &self.arguments, self.seen.len()).map(Some)
    }

    /// All of it, for a checkpoint; `None` of nothing.
    pub(super) fn save(&self) -> Result<Option<RecordBatch>> {
        let Some(((start, end), number)) = self.last else { return Ok(None) };
        let rows = self.seen.len();
        let time = |time: i64| -> ArrayRef { Arc::new(Int64Array::from_value(time, rows)) };
        let mut columns: Vec<ArrayRef> = vec![
            time(start),
            time(end),
            Arc::new(UInt64Array::from_value(number, rows)),
            Arc::new(UInt64Array::from_iter_values(self.seen.values().copied())),
        ];
        columns.extend(self.keys()?);
        let fields = columns.iter().enumerate();
        let fields = fields.map(|(place, column)| Field::new(format!("c{place}"), column.data_type().clone(), true));
        let saved = RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)?;
        Ok((rows > 0).then_some(saved))
    }

    /// Takes over what [`Self::save`] gave.
    pub(super) fn restore(&mut self, saved: &RecordBatch) -> Result<()> {
        let damaged = || {
            Error::config(
                "what a checkpoint says of the groups to be filled in cannot be read; run once with --from earliest, or start afresh with --reset-state and empty tables",
            )
        };
        let keys = self.plan.layout.key_count();
        if saved.num_columns() != 4 + keys || saved.num_rows() == 0 {
            return Err(damaged());
        }
        let times = |column: usize| saved.column(column).as_primitive_opt::<Int64Type>().ok_or_else(damaged);
        let numbers = |column: usize| saved.column(column).as_primitive_opt::<UInt64Type>().ok_or_else(damaged);
        self.last = Some(((times(0)?.value(0), times(1)?.value(0)), numbers(2)?.value(0)));
        let seen = numbers(3)?;
        let Some(converter) = &self.converter else {
            self.seen.insert(Box::default(), seen.value(0));
            return Ok(());
        };
        let rows = converter.convert_columns(&saved.columns()[4..]).map_err(|_| damaged())?;
        for (row, &seen) in rows.iter().zip(seen.values()) {
            self.seen.insert(row.data().into(), seen);
        }
        Ok(())
    }
}

/// The window after another.
fn following(windows: Windows, (start, end): WindowBounds) -> Option<WindowBounds> {
    let next = match windows {
        Windows::Tumble(grid) => (end, grid.next(end)),
        Windows::Hop { starts, .. } => {
            let start = starts.next(start);
            (start, windows.end_after(start, start))
        }
        Windows::Cumulate { periods, .. } => match windows.end_after(start, end) {
            later if later > end => (start, later),
            _ => {
                let start = periods.next(start);
                (start, windows.end_after(start, start))
            }
        },
        Windows::Session { .. } => return None,
    };
    // At the end of time there is none.
    (next > (start, end)).then_some(next)
}
