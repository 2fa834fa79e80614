//! Truncates, on their way to the partitions that have not read them.
//!
//! A truncate is in one partition of its topic, and nothing orders it against the others but the time at which it was
//! written. So it waits until they have been read as far as they were written before it, and takes effect at the next cut.

use std::collections::BTreeMap;

use super::message::ToLane;
use super::report::WaitsFor;
use super::running::Job;
use super::settings::Ending;
use crate::error::Result;

impl Job {
    /// Has truncates applied to the partitions that have not read them, as soon as those are far enough. They have no place there
    /// but this cut, so the cut is saved with what is remembered after it.
    pub(super) fn apply_truncates(&mut self) -> Result<()> {
        let all_reached = self.all_reached();
        let nowhere = BTreeMap::new();
        for (epoch, mut truncate) in std::mem::take(&mut self.truncates) {
            let Some(input) = self.inputs.iter_mut().find(|input| input.name() == truncate.table) else { continue };
            if truncate.after.is_none() {
                match super::blocking::block_in_place(|| input.written_before(&truncate)) {
                    Ok(after) => {
                        self.progress.goes_on(WaitsFor::Source, &truncate.table);
                        truncate.after = Some(after);
                    }
                    Err(error) if error.is_transient() => {
                        let (name, now) = (&truncate.table, self.settings.outside.now());
                        if self.progress.waits(WaitsFor::Source, name, &error, now) {
                            tracing::warn!("table {name}: a truncate waits, because {error}; trying again");
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            let ends = if all_reached { &self.ends } else { &nowhere };
            let is_due = truncate.after.as_ref().is_some_and(|after| input.has_read(&truncate.topic, after, ends));
            if is_due || (all_reached && self.settings.ending == Ending::Bounded) {
                self.order(|| ToLane::Truncate(truncate.clone()));
                self.wants_state = true;
            } else {
                self.truncates.insert((epoch, truncate));
            }
        }
        Ok(())
    }
}
