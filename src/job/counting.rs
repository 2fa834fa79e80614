//! A lane's part in windows: rows are counted, those that come late go on, and rows of tables are taken back.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;

use super::input::{LaneWork, OutputRef};
use super::keeping::ForRows;
use super::lane::Lane;
use super::letters::Letters;
use super::message::{Course, ReadBefore};
use super::retraction::{Signed, Signing};
use super::{limits, rows};
use crate::change::{ChangeBatch, NO_TIME};
use crate::error::{Error, Result};
use crate::window::aggregate::{EventTimes, Refused, Uncounted};
use crate::window::stage::Rows;

/// Late rows on their way, each batch with the offsets of its rows.
pub(super) struct Late {
    output: OutputRef,
    rows: Vec<(RecordBatch, Vec<i64>)>,
}

impl Lane {
    /// Counts the rows of changes into the windows of a pipeline. Returns those that cannot be counted, and late rows with the output
    /// that they are for.
    pub(super) fn count(
        &mut self,
        (table, number): (usize, usize),
        changes: &ChangeBatch,
        times: &EventTimes,
    ) -> Result<(Vec<(usize, Refused)>, Late)> {
        let table = &mut self.tables[table];
        let pipeline = &table.plan.pipelines[number];
        let (LaneWork::Window { stages, late, late_columns, .. }, Some(aggregate)) =
            (&pipeline.work, &mut table.windows[number])
        else {
            return Err(Error::internal("rows are counted without windows"));
        };
        let mut uncounted = Uncounted::default();
        let read = times.times.first().copied().unwrap_or(NO_TIME);
        let rows = Rows::all(pipeline.scan.rows_read_at(changes, read)?);
        aggregate.push(stages, &rows, times, &changes.source, &mut uncounted)?;
        let mut sent = Vec::new();
        for (rows, windows) in uncounted.late {
            let (rows, windows) = match &self.read_before {
                Some(before) => without_those_read(before, changes, rows, windows)?,
                None => (rows, windows),
            };
            let offsets = (0..rows.len()).map(|row| changes.offsets[rows.source_row(row)]).collect();
            let made = rows::late_rows(&rows, &windows, late_columns, &times.signs, changes, &late.schema)?;
            sent.push((made, offsets));
        }
        Ok((uncounted.refused, Late { output: late.clone(), rows: sent }))
    }

    /// Sends late rows. What the late table cannot hold is a dead letter, where its record is at hand.
    pub(super) fn send_late(
        &mut self,
        changes: &ChangeBatch,
        late: Late,
        mut letters: Option<&mut Letters<'_>>,
    ) -> Result<()> {
        for (rows, offsets) in late.rows {
            self.progress.count_late(&changes.source, rows.num_rows());
            let rows = match &mut letters {
                Some(letters) => limits::hold(rows, &late.output, |row| offsets[row], letters)?,
                None => limits::part(rows, &late.output.limits)?.0,
            };
            self.send(late.output.number, changes, rows)?;
        }
        Ok(())
    }

    /// Feeds the windows over a table's current rows.
    #[expect(clippy::too_many_arguments, reason = "all that is known of a batch")]
    pub(super) fn feed_signed(
        &mut self,
        number: usize,
        changes: &ChangeBatch,
        whole: Option<&ForRows>,
        times: &EventTimes,
        generation: u64,
        course: &Course,
        letters: &mut Letters<'_>,
    ) -> Result<()> {
        let plan = Arc::clone(&self.tables[number].plan);
        let Some(event_time) = &plan.event_time else { return Ok(()) };
        let signing = Signing { plan: &plan, event_time, met: &times.met, generation };
        let keeping = &mut self.tables[number].keeping;
        let mut all = Vec::new();
        match whole {
            Some(whole) if whole.knows_before => {
                for whole in &whole.changes {
                    all.push(signing.kept(whole, keeping, letters)?);
                }
            }
            Some(whole) => {
                for whole in &whole.changes {
                    let mut signed = signing.trusted(&whole.changes, letters)?;
                    signed.places.iter_mut().for_each(|place| *place = whole.places[*place as usize]);
                    all.push(signed);
                }
            }
            None => all.push(signing.trusted(changes, letters)?),
        }
        for signed in all.iter().filter(|signed| !signed.changes.is_empty() || signed.unmatched > 0) {
            if course.rows && signed.unmatched > 0 {
                self.progress.count_unmatched(signed.unmatched);
            }
            self.count_signed(number, signed, course.rows, Some((&mut *letters, changes)))?;
        }
        Ok(())
    }

    /// Counts rows that come and go into all windows over the table. A row that could not be counted when it came is not
    /// taken back either, and nobody is told again.
    pub(super) fn count_signed(
        &mut self,
        number: usize,
        signed: &Signed,
        sends: bool,
        mut letters: Option<(&mut Letters<'_>, &ChangeBatch)>,
    ) -> Result<()> {
        let plan = Arc::clone(&self.tables[number].plan);
        let takes_back = (0..plan.pipelines.len()).filter(|&pipeline| plan.pipelines[pipeline].takes_back());
        for pipeline in takes_back {
            let (mut refused, late) = self.count((number, pipeline), &signed.changes, &signed.times)?;
            refused.retain(|(row, _)| signed.times.signs.get(*row).is_none_or(|sign| *sign > 0));
            refused.iter_mut().for_each(|(row, _)| *row = signed.places[*row] as usize);
            if let Some((letters, changes)) = &mut letters {
                letters.refuse(refused, changes);
            }
            if sends {
                self.send_late(&signed.changes, late, letters.as_mut().map(|(letters, _)| &mut **letters))?;
            }
        }
        Ok(())
    }
}

/// Leaves out the late rows that are in the late table already.
fn without_those_read(
    before: &ReadBefore,
    changes: &ChangeBatch,
    rows: Rows,
    windows: Vec<(i64, i64)>,
) -> Result<(Rows, Vec<(i64, i64)>)> {
    let is_new = |(row, window): (usize, &(i64, i64))| {
        !before.has(&changes.source, changes.offsets[rows.source_row(row)], *window)
    };
    let new: Vec<bool> = windows.iter().enumerate().map(is_new).collect();
    let windows = windows.into_iter().zip(&new).filter(|(_, new)| **new).map(|(window, _)| window).collect();
    Ok((rows.filter(&new.into())?, windows))
}
