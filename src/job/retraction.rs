//! The changes of a table as rows that come and rows that are taken back, for windows over its current rows.
//!
//! Each image stands for itself: it has its own event time, so its own windows and group, and is late by itself. An update is the
//! image before, taken back, and the image after; a change that leaves a row as it was is nothing.

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::compute::interleave_record_batch;

use super::input::{EventTimeColumn, InputPlan};
use super::keeping::Keeping;
use super::letters::Letters;
use super::scan::event_times;
use crate::change::{ChangeBatch, DeadReason, NO_TIME, Op, TopicPartition};
use crate::error::Result;
use crate::state::{Was, Whole};
use crate::window::NO_EVENT_TIME;
use crate::window::aggregate::EventTimes;

/// Of the changes that took back a row which was not there, so many of each partition are dead letters, and then every …th.
const SAMPLED: (u64, u64) = (100, 1_000);

/// Whether one of so many is worth a dead letter.
pub(super) fn is_sampled(number: u64) -> bool {
    number <= SAMPLED.0 || number.is_multiple_of(SAMPLED.1)
}

/// Rows that come and go, in the order of their changes. Of a change that which comes is first: else a session might fall apart in
/// between.
pub(super) struct Signed {
    /// A row per image, with the position of its change.
    pub(super) changes: ChangeBatch,
    /// Event times, clocks and signs.
    pub(super) times: EventTimes,
    /// The place of each image's change in the batch that they came in.
    pub(super) places: Vec<u32>,
    /// How many rows were taken back that nobody knows.
    pub(super) unmatched: u64,
}

/// Where an image is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Among the rows of the changes.
    After,
    /// Among their images before.
    Before,
    /// Among the rows that were kept.
    Kept,
}

/// An image of a change, and whether it comes or goes.
#[derive(Clone, Copy)]
struct Image {
    row: u32,
    of: Place,
    place: u32,
    sign: i8,
}

impl Image {
    fn after(row: u32) -> Self {
        Self { row, of: Place::After, place: row, sign: 1 }
    }

    fn back(row: u32, of: Place, place: u32) -> Self {
        Self { row, of, place, sign: -1 }
    }
}

/// What makes rows of changes.
pub(super) struct Signing<'a> {
    pub(super) plan: &'a InputPlan,
    pub(super) event_time: &'a EventTimeColumn,
    /// The clocks that the changes met, by their places.
    pub(super) met: &'a [i64],
    /// The generation of the partition: later than the first, keys may have come from other partitions.
    pub(super) generation: u64,
}

impl Signing<'_> {
    /// Of changes whose rows before are kept.
    pub(super) fn kept(&self, whole: &Whole, keeping: &mut Keeping, letters: &mut Letters<'_>) -> Result<Signed> {
        let changes = &whole.changes;
        // A row that windows left out may be let in by a change that leaves it as it is.
        let careful =
            whole.was.contains(&Was::Same) && (keeping.has_ahead(&changes.source) || self.any_ahead(changes)?);
        let (mut unmatched, mut kept) = (0, 0);
        let mut images = Vec::with_capacity(changes.len() + whole.kept.num_rows());
        for (row, (&was, &op)) in whole.was.iter().zip(&changes.ops).enumerate() {
            let at = row as u32;
            let goes = match was {
                Was::Same if !careful => continue,
                Was::Same => Some((Place::After, at)),
                Was::Kept => {
                    kept += 1;
                    Some((Place::Kept, kept - 1))
                }
                Was::Event if self.generation > 0 => {
                    Some((if op == Op::Delete { Place::After } else { Place::Before }, at))
                }
                Was::Event | Was::Nothing => {
                    let needs = matches!(op, Op::Update | Op::Delete) && !self.plan.is_unwrapped();
                    if needs {
                        unmatched += 1;
                        let number = keeping.count_unmatched(&changes.source);
                        if is_sampled(number) {
                            let place = whole.places[row] as usize;
                            letters.add(place, DeadReason::UnmatchedRetraction, message(op, number, &changes.source));
                        }
                    }
                    None
                }
            };
            if op != Op::Delete {
                images.push(Image::after(at));
            }
            images.extend(goes.map(|(of, place)| Image::back(at, of, place)));
        }
        let mut signed = self.signed(changes, &whole.kept, &images, |row| whole.places[row as usize])?;
        signed.unmatched = unmatched;
        self.leave_out_ahead(&mut signed, Some(keeping))?;
        Ok(signed)
    }

    /// Of changes that carry the rows before.
    pub(super) fn trusted(&self, changes: &ChangeBatch, letters: &mut Letters<'_>) -> Result<Signed> {
        let has_before = |row: usize| changes.before.as_ref().is_some_and(|before| before.present[row]);
        let mut images = Vec::with_capacity(changes.len());
        for (place, &op) in changes.ops.iter().enumerate() {
            let row = place as u32;
            match op {
                Op::Read | Op::Create => images.push(Image::after(row)),
                Op::Update if has_before(place) => {
                    images.push(Image::after(row));
                    images.push(Image::back(row, Place::Before, row));
                }
                Op::Delete if self.is_whole(&changes.rows, place) => {
                    images.push(Image::back(row, Place::After, row));
                }
                Op::Update | Op::Delete => letters.add(place, DeadReason::MissingBeforeImage, self.missing()),
                Op::Truncate => letters.add(place, DeadReason::Unsupported, TRUNCATED.to_owned()),
            }
        }
        let mut signed = self.signed(changes, &changes.rows, &images, |row| row)?;
        self.leave_out_ahead(&mut signed, None)?;
        Ok(signed)
    }

    /// Of rows that are all taken back at once.
    pub(super) fn emptied(&self, deletes: &ChangeBatch, keeping: &mut Keeping) -> Result<Signed> {
        let images: Vec<Image> = (0..deletes.len() as u32).map(|row| Image::back(row, Place::After, row)).collect();
        let mut signed = self.signed(deletes, &deletes.rows, &images, |_| 0)?;
        self.leave_out_ahead(&mut signed, Some(keeping))?;
        Ok(signed)
    }

    fn signed(
        &self,
        changes: &ChangeBatch,
        kept: &RecordBatch,
        images: &[Image],
        place: impl Fn(u32) -> u32,
    ) -> Result<Signed> {
        let is_as_it_is = images.len() == changes.len() && images.iter().all(|image| image.sign > 0);
        let places: Vec<u32> = images.iter().map(|image| place(image.row)).collect();
        let mut times =
            EventTimes { met: places.iter().map(|&place| self.met[place as usize]).collect(), ..EventTimes::default() };
        let changes = match is_as_it_is {
            true => changes.clone(),
            false => {
                times.signs = images.iter().map(|image| image.sign).collect();
                pick(changes, kept, images)?
            }
        };
        times.times = event_times(&self.event_time.column.of(&changes)?, NO_EVENT_TIME)?;
        for time in &mut times.times {
            if !self.event_time.range.contains(time) {
                *time = NO_EVENT_TIME;
            }
        }
        Ok(Signed { changes, times, places, unmatched: 0 })
    }

    /// Takes the time from rows that come with one too far ahead of their records, and from those that are taken back and
    /// came so.
    fn leave_out_ahead(&self, signed: &mut Signed, keeping: Option<&mut Keeping>) -> Result<()> {
        let Signed { changes, times, places, .. } = signed;
        let comes = |row: usize| times.signs.get(row).is_none_or(|sign| *sign > 0);
        let is_ahead = |row: &usize| {
            let arrived = changes.timestamps[*row];
            comes(*row) && arrived != NO_TIME && times.times[*row] > arrived.saturating_add(self.event_time.max_future)
        };
        let ahead: Vec<usize> = (0..changes.len()).filter(is_ahead).collect();
        let source = &changes.source;
        let mut left_out = ahead.clone();
        if let Some(keeping) = keeping.filter(|keeping| !ahead.is_empty() || keeping.has_ahead(source)) {
            let keys = keeping.keys(&changes.rows)?;
            let is_ahead = |row: usize| ahead.binary_search(&row).is_ok();
            let mut note = |row: usize| {
                let was_ahead = keeping.note_ahead(source, &keys[row], comes(row).then(|| is_ahead(row)));
                left_out.extend((!comes(row) && was_ahead).then_some(row));
            };
            let mut row = 0;
            while row < changes.len() {
                // What goes was there before what comes of the same change.
                let is_pair =
                    row + 1 < changes.len() && places[row] == places[row + 1] && comes(row) && !comes(row + 1);
                if is_pair {
                    note(row + 1);
                }
                note(row);
                row += 1 + usize::from(is_pair);
            }
        }
        left_out.into_iter().for_each(|row| times.times[row] = NO_EVENT_TIME);
        Ok(())
    }

    fn any_ahead(&self, changes: &ChangeBatch) -> Result<bool> {
        let times = event_times(&self.event_time.column.of(changes)?, NO_EVENT_TIME)?;
        let is_ahead = |(time, arrived): (&i64, &i64)| {
            *arrived != NO_TIME && *time > arrived.saturating_add(self.event_time.max_future)
        };
        Ok(times.iter().zip(&changes.timestamps).any(is_ahead))
    }

    /// Whether a deleted row has more than its key.
    fn is_whole(&self, rows: &RecordBatch, row: usize) -> bool {
        let key = &self.plan.table.primary_key;
        let schema = rows.schema_ref();
        let is_other = |field: &str| !key.iter().any(|key| key == field) && !self.plan.table.is_derived(field);
        let mut others = schema.fields().iter().zip(rows.columns()).filter(|(it, _)| is_other(it.name())).peekable();
        others.peek().is_none() || others.any(|(_, column)| column.is_valid(row))
    }

    fn missing(&self) -> String {
        let way_out = match self.plan.table.primary_key.is_empty() {
            true => "set REPLICA IDENTITY FULL in PostgreSQL, binlog_row_image = FULL in MySQL",
            false => "leave out 'before-images', so that rows are kept; or set REPLICA IDENTITY FULL in PostgreSQL",
        };
        format!("the event does not say what the row was before, and nothing is kept of it; {way_out}")
    }
}

/// Why a truncate is not applied where no rows are kept.
const TRUNCATED: &str = "the table was truncated, and windows still count its rows: which they were is only known where they are kept; \
                         leave out 'before-images', or set 'truncate' = 'ignore' or 'stop'";

fn message(op: Op, number: u64, source: &TopicPartition) -> String {
    let (what, rest) = match op {
        Op::Delete => ("delete", ""),
        _ => ("update", "; the row as it is now counts"),
    };
    format!(
        "the {what} takes back a row that was not seen before (was the topic read from its beginning, is it compacted?), so nothing \
         is taken back{rest}. It is number {number} of {source}; the first {} and then every {}th are here",
        SAMPLED.0, SAMPLED.1
    )
}

fn pick(changes: &ChangeBatch, kept: &RecordBatch, images: &[Image]) -> Result<ChangeBatch> {
    let before = changes.before.as_ref().map_or(&changes.rows, |before| &before.rows);
    let indices: Vec<(usize, usize)> = images.iter().map(|image| (image.of as usize, image.place as usize)).collect();
    let each = |values: &[i64]| images.iter().map(|image| values[image.row as usize]).collect();
    Ok(ChangeBatch {
        source: changes.source.clone(),
        range: changes.range,
        ops: images.iter().map(|image| changes.ops[image.row as usize]).collect(),
        offsets: each(&changes.offsets),
        timestamps: each(&changes.timestamps),
        source_times: Vec::new(),
        rows: interleave_record_batch(&[&changes.rows, before, kept], &indices)?,
        before: None,
        envelope: None,
        unavailable: Vec::new(),
        dead_letters: Vec::new(),
    })
}
