//! A table's rows in a lane, kept where its events do not say all: values that did not change, rows before.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use datafusion::arrow::array::UInt32Array;

use super::input::{InputPlan, LaneWork, Letters};
use crate::change::{ChangeBatch, DeadLetter, DeadReason, Op, TopicPartition};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::source::RawBatch;
use crate::state::images::{OPTION, needs_keeping};
use crate::state::{BeforeImages, KeyedRows, PartitionRows};

/// What happens to a mirror when its table is truncated.
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
    has_mirror: bool,
    mode: BeforeImages,
    /// `None` where nothing would be kept for: no primary key, no query that asks for it.
    rows: Option<KeyedRows>,
}

/// A batch of changes as mirrors get it.
pub struct ForMirrors {
    /// The changes, in their order.
    pub changes: Vec<ChangeBatch>,
    /// Whether the images before are all known.
    pub knows_before: bool,
    /// Whether there was a truncate that other partitions have to hear of.
    pub truncated: bool,
}

impl Keeping {
    /// For one lane of a table.
    pub fn new(plan: &InputPlan) -> Result<Self> {
        let options = &plan.table.options;
        let has_mirror =
            plan.pipelines.iter().any(|it| matches!(it.work, LaneWork::Mirror { .. } | LaneWork::Multiset { .. }));
        let mode = BeforeImages::of(options)?;
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
        Ok(Self { truncation: Truncation::of(options)?, has_mirror, mode, rows })
    }

    /// Whether rows are kept, as far as the records have told.
    pub fn is_kept(&self) -> bool {
        self.mode == BeforeImages::Kept
    }

    /// Makes changes whole. What cannot be is taken out of them, as dead letters.
    pub fn apply(&mut self, plan: &InputPlan, raw: &RawBatch, changes: &mut ChangeBatch) -> Result<Option<ForMirrors>> {
        if plan.table.primary_key.is_empty() && plan.table.has_changes() {
            // After each delete a tombstone, whose key the table does not have either.
            let is_tombstone =
                |it: &DeadLetter| it.reason == DeadReason::NullValue && it.key.is_none() && it.value.is_none();
            changes.dead_letters.retain(|it| !is_tombstone(it));
        }
        self.decide(plan, raw, changes);
        if self.truncation == Truncation::Stop && self.has_mirror {
            stop_at_truncate(plan, changes)?;
        }
        let kept = self.rows.as_mut().filter(|_| self.mode == BeforeImages::Kept);
        let ignores = self.truncation == Truncation::Ignore && changes.ops.contains(&Op::Truncate);
        let Some(rows) = kept else {
            if !changes.unavailable.is_empty() {
                let missing = changes.unavailable.clone();
                refuse_unavailable(plan, raw, changes, &missing, false)?;
            }
            // Mirrors take the changes themselves, unless there are some that are not for them.
            let for_mirrors = ignores.then(|| without_truncates(changes)).transpose()?;
            return Ok(for_mirrors.map(|it| ForMirrors { changes: vec![it], knows_before: false, truncated: false }));
        };
        let alone = plan.partitions.load(Relaxed) == 1;
        let resolved = match ignores {
            // Its rows are places in what is left; truncates lack nothing.
            true => rows.apply(&without_truncates(changes)?, alone)?,
            false => rows.apply(changes, alone)?,
        };
        let truncated = !ignores && changes.ops.contains(&Op::Truncate);
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
                refuse_unavailable(plan, raw, changes, &missing, true)?;
            }
        }
        Ok(Some(ForMirrors { changes: resolved.changes, knows_before: true, truncated }))
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
                "table {}: its events lack images, so the last image of each row is kept in memory and in checkpoints; \
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

    /// What a checkpoint must have of the rows, if they are kept.
    pub fn save(&mut self, table: &str, number: u64) -> Result<Vec<PartitionRows>> {
        match &mut self.rows {
            Some(rows) if self.mode == BeforeImages::Kept => rows.save(table, number),
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
}

fn stop_at_truncate(plan: &InputPlan, changes: &ChangeBatch) -> Result<()> {
    let Some(row) = changes.ops.iter().position(|op| *op == Op::Truncate) else { return Ok(()) };
    Err(Error::config(format!(
        "table \"{}\" was truncated ({} offset {}), and option 'truncate' is 'stop'; set it to 'apply' to empty the mirror at \
         that place, or to 'ignore' to keep its rows",
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
fn fill_from(changes: &mut ChangeBatch, filled: &datafusion::arrow::array::RecordBatch) -> Result<()> {
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
