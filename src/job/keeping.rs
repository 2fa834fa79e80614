//! A table's rows in a lane, kept where its events do not say all: values that did not change, rows before.
//! Windows over a table always keep them, if it has a key: what is counted must be taken back exactly, whatever comes twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use datafusion::arrow::array::{RecordBatch, UInt32Array};

use super::input::{InputPlan, LaneWork};
use super::letters::Letters;
use crate::change::{ChangeBatch, DeadLetter, DeadReason, Op, TopicPartition};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::source::RawBatch;
use crate::state::images::{OPTION, needs_keeping};
use crate::state::{BeforeImages, KeyedRows, PartitionRows, Save, Whole};

/// What happens to a mirror, or to windows, when their table is truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncation {
    /// Its rows are taken away.
    Apply,
    /// They stay.
    Ignore,
    /// The job ends.
    Stop,
}

impl Truncation {
    /// What a table's options say.
    pub fn of(options: &Options) -> Result<Self> {
        match options.get("truncate") {
            None | Some("apply") => Ok(Self::Apply),
            Some("ignore") => Ok(Self::Ignore),
            Some("stop") => Ok(Self::Stop),
            Some(other) => Err(options.invalid("truncate", other, "'apply', 'ignore' or 'stop'")),
        }
    }
}

/// Whether a table's rows are kept, and the rows.
#[derive(Debug)]
pub struct Keeping {
    truncation: Truncation,
    /// Whether a query has the table's current rows.
    follows_rows: bool,
    mode: BeforeImages,
    /// `None` where nothing would be kept for: no primary key, no query that asks for it.
    rows: Option<KeyedRows>,
}

/// A batch of changes as the queries get it that have the table's current rows.
pub struct ForRows {
    /// The changes, in their order.
    pub changes: Vec<Whole>,
    /// Whether the images before are all known.
    pub knows_before: bool,
    /// Whether there was a truncate that other partitions have to hear of.
    pub truncated: bool,
}

impl ForRows {
    /// The changes for mirrors: with the images before, as far as they are known.
    pub fn for_mirrors(&self) -> Result<Vec<&ChangeBatch>> {
        let of = |whole| if self.knows_before { Whole::paired(whole) } else { Ok(&whole.changes) };
        self.changes.iter().map(of).collect()
    }
}

impl Keeping {
    /// For one lane of a table.
    pub fn new(plan: &InputPlan) -> Result<Self> {
        let options = &plan.table.options;
        let has_mirror =
            plan.pipelines.iter().any(|it| matches!(it.work, LaneWork::Mirror { .. } | LaneWork::Multiset { .. }));
        let has_windows = plan.takes_back();
        let mode = match BeforeImages::of(options)? {
            BeforeImages::Auto if has_windows => BeforeImages::Kept,
            mode => mode,
        };
        let columns = &plan.decode.columns;
        let key: Option<Vec<usize>> =
            plan.table.primary_key.iter().map(|name| columns.index_of(name).ok()).collect::<Option<_>>();
        let key = key.filter(|key| !key.is_empty() && plan.table.has_changes());
        let rows = match (key, mode) {
            (Some(key), BeforeImages::Kept) => Some(key),
            (Some(key), BeforeImages::Auto) if has_mirror => Some(key),
            _ => None,
        };
        let rows = rows.map(|key| KeyedRows::new(std::sync::Arc::clone(columns), key)).transpose()?;
        let rows = rows.map(|rows| rows.within(plan.memory.clone()));
        let mode = if rows.is_some() { mode } else { BeforeImages::Trusted };
        Ok(Self { truncation: Truncation::of(options)?, follows_rows: has_mirror || has_windows, mode, rows })
    }

    /// Whether rows are kept, as far as the records have told.
    pub fn is_kept(&self) -> bool {
        self.mode == BeforeImages::Kept
    }

    /// Makes changes whole. What cannot be is taken out of them, as dead letters.
    pub fn apply(&mut self, plan: &InputPlan, raw: &RawBatch, changes: &mut ChangeBatch) -> Result<Option<ForRows>> {
        if plan.table.primary_key.is_empty() && plan.table.has_changes() {
            // After each delete a tombstone, whose key the table does not have either.
            let is_tombstone =
                |it: &DeadLetter| it.reason == DeadReason::NullValue && it.key.is_none() && it.value.is_none();
            changes.dead_letters.retain(|it| !is_tombstone(it));
        }
        self.decide(plan, raw, changes);
        if self.truncation == Truncation::Stop && self.follows_rows {
            stop_at_truncate(plan, changes)?;
        }
        let kept = self.rows.as_mut().filter(|_| self.mode == BeforeImages::Kept);
        let ignores = self.truncation == Truncation::Ignore && changes.ops.contains(&Op::Truncate);
        let Some(rows) = kept else {
            if !changes.unavailable.is_empty() {
                let missing = changes.unavailable.clone();
                refuse_unavailable(plan, raw, changes, &missing, false)?;
            }
            // The changes themselves are taken, unless there are some that are not to be.
            let others_of = |changes: &ChangeBatch| {
                let places: Vec<u32> = others(changes).collect();
                Ok::<_, Error>(Whole::told(without_truncates(changes)?, places))
            };
            let whole = ignores.then(|| others_of(changes)).transpose()?;
            return Ok(whole.map(|it| ForRows { changes: vec![it], knows_before: false, truncated: false }));
        };
        let alone = plan.partitions.load(Relaxed) == 1;
        let resolved = match ignores {
            // Its rows are places in what is left; truncates lack nothing.
            true => rows.apply(&without_truncates(changes)?, alone)?,
            false => rows.apply(changes, alone)?,
        };
        let truncated = !ignores && changes.ops.contains(&Op::Truncate);
        let mut whole = resolved.changes;
        if ignores {
            let others: Vec<u32> = others(changes).collect();
            let places = whole.iter_mut().flat_map(|whole| &mut whole.places);
            places.for_each(|place| *place = others[*place as usize]);
        }
        if !changes.unavailable.is_empty() {
            match ignores {
                true => fill_from(changes, &resolved.filled)?,
                false => changes.rows = resolved.filled,
            }
            let missing = match ignores {
                true => places_with_truncates(changes, &resolved.missing),
                false => resolved.missing,
            };
            changes.unavailable.clear();
            if !missing.is_empty() {
                let rows: BTreeSet<u32> = missing.iter().map(|&(row, _)| row).collect();
                let places = whole.iter_mut().flat_map(|whole| &mut whole.places);
                places.for_each(|place| *place -= rows.range(..*place).count() as u32);
                refuse_unavailable(plan, raw, changes, &missing, true)?;
            }
        }
        Ok(Some(ForRows { changes: whole, knows_before: true, truncated }))
    }

    /// The first record that has a row tells.
    fn decide(&mut self, plan: &InputPlan, raw: &RawBatch, changes: &ChangeBatch) {
        if self.mode != BeforeImages::Auto {
            return;
        }
        let Some(value) = changes.offsets.first().and_then(|&offset| raw.record_at(offset)).and_then(|it| it.value)
        else {
            return;
        };
        let keeps = needs_keeping(&plan.table.options, plan.table.format(), value);
        self.mode = if keeps { BeforeImages::Kept } else { BeforeImages::Trusted };
        if keeps {
            tracing::info!(
                "table {}: its events lack images, so the last image of each row is kept (in memory, beyond --state-memory on disk, and in checkpoints); \
                 with REPLICA IDENTITY FULL set '{OPTION}' = 'trusted'",
                plan.table.name
            );
        }
    }

    /// Applies the truncate of another partition of the topic, which stands at this offset.
    pub fn empty(&mut self, source: &TopicPartition, offset: i64) -> Result<Vec<ChangeBatch>> {
        match &mut self.rows {
            Some(rows) if self.mode == BeforeImages::Kept => rows.empty(source, offset),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether there are rows in a partition that windows left out, because their times were too far ahead.
    pub fn has_ahead(&self, source: &TopicPartition) -> bool {
        self.rows.as_ref().is_some_and(|rows| rows.has_ahead(source))
    }

    /// See [`KeyedRows::note_ahead`].
    pub fn note_ahead(&mut self, source: &TopicPartition, key: &[u8], after: Option<bool>) -> bool {
        self.rows.as_mut().is_some_and(|rows| rows.note_ahead(source, key, after))
    }

    /// The keys of rows, as bytes.
    pub fn keys(&self, rows: &RecordBatch) -> Result<Vec<Box<[u8]>>> {
        let Some(kept) = &self.rows else { return Ok(Vec::new()) };
        Ok(kept.key_rows(rows)?.iter().map(|key| key.data().into()).collect())
    }

    /// Counts a change that took back a row which was not there; returns which it was, from 1.
    pub fn count_unmatched(&mut self, source: &TopicPartition) -> u64 {
        self.rows.as_mut().map_or(1, |rows| rows.count_unmatched(source))
    }

    /// What a checkpoint must have of the rows, if they are kept.
    pub fn save(&mut self, table: &str, save: Save) -> Result<Vec<PartitionRows>> {
        match &mut self.rows {
            Some(rows) if self.mode == BeforeImages::Kept => rows.save(table, save),
            _ => Ok(Vec::new()),
        }
    }

    /// Notes that rows were kept.
    pub fn set_kept(&mut self) {
        if self.rows.is_some() {
            self.mode = BeforeImages::Kept;
        }
    }

    /// Puts the rows of a partition back.
    pub fn restore(&mut self, saved: &PartitionRows) -> Result<()> {
        self.rows.as_mut().map_or(Ok(()), |rows| rows.restore(saved))
    }

    /// See [`KeyedRows::set_restored`].
    pub fn set_restored(&mut self) {
        self.rows.iter_mut().for_each(KeyedRows::set_restored);
    }
}

fn stop_at_truncate(plan: &InputPlan, changes: &ChangeBatch) -> Result<()> {
    let Some(row) = changes.ops.iter().position(|op| *op == Op::Truncate) else { return Ok(()) };
    Err(Error::config(format!(
        "table \"{}\" was truncated ({} offset {}), and option 'truncate' is 'stop'; set it to 'apply' to take its rows away at \
         that place, or to 'ignore' to keep them",
        plan.table.name, changes.source, changes.offsets[row]
    )))
}

fn others(changes: &ChangeBatch) -> impl Iterator<Item = u32> + '_ {
    (0..changes.len()).filter(|&row| changes.ops[row] != Op::Truncate).map(|row| row as u32)
}

fn without_truncates(changes: &ChangeBatch) -> Result<ChangeBatch> {
    changes.take(&UInt32Array::from_iter_values(others(changes)))
}

fn places_with_truncates(changes: &ChangeBatch, places: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let rows: Vec<u32> = others(changes).collect();
    places.iter().map(|&(row, column)| (rows[row as usize], column)).collect()
}

/// Puts filled rows in the place of those that are no truncates.
fn fill_from(changes: &mut ChangeBatch, filled: &RecordBatch) -> Result<()> {
    let mut next = 0;
    let indices: Vec<(usize, usize)> = (0..changes.len())
        .map(|row| {
            if changes.ops[row] == Op::Truncate {
                return (0, row);
            }
            next += 1;
            (1, next - 1)
        })
        .collect();
    changes.rows = datafusion::arrow::compute::interleave_record_batch(&[&changes.rows, filled], &indices)?;
    Ok(())
}

/// Takes rows out whose left-out values nobody knows. Never the placeholder, never a silent null.
fn refuse_unavailable(
    plan: &InputPlan,
    raw: &RawBatch,
    changes: &mut ChangeBatch,
    missing: &[(u32, u32)],
    kept: bool,
) -> Result<()> {
    let missing: BTreeMap<u32, u32> = missing.iter().rev().copied().collect();
    let mut letters = Letters::new(raw, changes);
    for (&row, &column) in &missing {
        let column = plan.decode.columns.field(column as usize).name();
        let way_out = match (kept, plan.table.primary_key.is_empty()) {
            (true, _) => {
                "its row was not seen before (its key may have changed, in a topic of several partitions): read the topic from its beginning, \
                 or set REPLICA IDENTITY FULL on the table"
                    .to_owned()
            }
            (false, true) => "set REPLICA IDENTITY FULL on the table".to_owned(),
            (false, false) => {
                format!("set '{OPTION}' = 'kept' on table \"{}\", or REPLICA IDENTITY FULL in PostgreSQL", plan.table.name)
            }
        };
        let message = format!("the event leaves out column \"{column}\", which did not change; {way_out}");
        letters.add(row as usize, DeadReason::MissingBeforeImage, message);
    }
    let kept = (0..changes.len() as u32).filter(|row| !missing.contains_key(row));
    let kept = UInt32Array::from_iter_values(kept);
    *changes = ChangeBatch { dead_letters: letters.into_letters(), ..changes.take(&kept)? };
    Ok(())
}
