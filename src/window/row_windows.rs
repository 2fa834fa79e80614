//! Windows of single rows, for queries that aggregate nothing: each row with the bounds of its window, or of each of its windows.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMillisecondArray, UInt32Array};
use datafusion::arrow::compute::{cast, take_record_batch};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMillisecondType};

use super::assigner::Windows;
use super::plan::WINDOW_COLUMNS;
use super::stage::Rows;
use crate::error::{Error, Result};

/// Adds [`WINDOW_COLUMNS`] to rows.
#[derive(Debug, Clone)]
pub struct RowWindows {
    /// The windows; not sessions, which single rows do not have.
    pub windows: Windows,
    /// The column with the event time.
    pub time: usize,
    /// The columns of the rows with the window's at the end.
    pub schema: SchemaRef,
}

impl RowWindows {
    /// The rows, each as often as it has windows, in the order of these.
    pub fn add(&self, rows: Rows) -> Result<Rows> {
        let times = milliseconds(rows.batch.column(self.time))?;
        if times.null_count() > 0 {
            return Err(Error::NoEventTime);
        }
        let mut picked: Vec<u32> = Vec::with_capacity(rows.len());
        let mut bounds = Vec::with_capacity(rows.len());
        for (row, &time) in times.values().iter().enumerate() {
            let before = bounds.len();
            self.windows.of_row(time, &mut bounds);
            picked.extend(std::iter::repeat_n(row as u32, bounds.len() - before));
        }
        let (batch, index) = match self.windows {
            Windows::Tumble(_) => (rows.batch, rows.index),
            _ => {
                let index: UInt32Array = picked.iter().map(|&row| Some(rows.source_row(row as usize) as u32)).collect();
                (take_record_batch(&rows.batch, &UInt32Array::from(picked))?, Some(index))
            }
        };
        let mut columns = batch.columns().to_vec();
        let first = columns.len();
        for bound in 0..WINDOW_COLUMNS.len() {
            let values = bounds.iter().map(|&(start, end)| [start, end, i64::saturating_sub(end, 1)][bound]);
            let DataType::Timestamp(TimeUnit::Millisecond, zone) = self.schema.field(first + bound).data_type() else {
                return Err(Error::internal("a window column is not a timestamp"));
            };
            let array = TimestampMillisecondArray::from_iter_values(values).with_timezone_opt(zone.clone());
            columns.push(Arc::new(array));
        }
        Ok(Rows { batch: RecordBatch::try_new(Arc::clone(&self.schema), columns)?, index })
    }
}

/// A column of times in milliseconds since the epoch.
pub fn milliseconds(column: &ArrayRef) -> Result<TimestampMillisecondArray> {
    let DataType::Timestamp(_, zone) = column.data_type() else {
        return Err(Error::internal("an event time is not a timestamp"));
    };
    let column = cast(column, &DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))?;
    Ok(column.as_primitive::<TimestampMillisecondType>().clone())
}

impl Windows {
    /// Appends the windows that a row is in, in the order of their starts and ends. Of a session, what the row has alone.
    pub fn of_row(self, time: i64, windows: &mut Vec<(i64, i64)>) {
        match self {
            Self::Tumble(_) | Self::Session { .. } => windows.push(self.last_window(time)),
            Self::Hop { starts, size } => {
                let first = windows.len();
                let mut start = starts.start_of(time);
                loop {
                    let end = starts.after(start, size);
                    if end <= time {
                        break;
                    }
                    windows.push((start, end));
                    let earlier = starts.previous(start);
                    if earlier >= start {
                        break;
                    }
                    start = earlier;
                }
                windows[first..].reverse();
            }
            Self::Cumulate { .. } => {
                let (start, last) = self.last_window(time);
                let mut end = self.end_after(start, time);
                while end < last {
                    windows.push((start, end));
                    let next = self.end_after(start, end);
                    end = if next > end { next } else { last };
                }
                windows.push((start, last));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::calendar::{Grid, Span};

    fn windows_of(windows: Windows, time: i64) -> Vec<(i64, i64)> {
        let mut found = Vec::new();
        windows.of_row(time, &mut found);
        found
    }

    #[test]
    fn a_row_is_in_each_of_its_windows_once() {
        let hop = Windows::Hop { starts: Grid::fixed(2, 0), size: Span::Fixed(5) };
        assert_eq!(windows_of(hop, 4), [(0, 5), (2, 7), (4, 9)]);
        assert_eq!(windows_of(hop, 5), [(2, 7), (4, 9)]);
        assert_eq!(windows_of(hop, -1), [(-4, 1), (-2, 3)]);
        let cumulate = Windows::Cumulate { periods: Grid::fixed(6, 0), step: Span::Fixed(2), on_update: false };
        assert_eq!(windows_of(cumulate, 0), [(0, 2), (0, 4), (0, 6)]);
        assert_eq!(windows_of(cumulate, 4), [(0, 6)]);
        assert_eq!(windows_of(Windows::tumbling(5, 0), 9), [(5, 10)]);
    }

    #[test]
    fn the_ends_of_time_end() {
        let hop = Windows::Hop { starts: Grid::fixed(2, 0), size: Span::Fixed(5) };
        for time in [i64::MIN + 1, i64::MAX] {
            windows_of(hop, time);
        }
    }
}
