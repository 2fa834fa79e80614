//! A table that a job reads: its source, where each partition stands, its watermark.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::input::{InputPlan, LaneWork};
use super::lanes::Lanes;
use super::message::{Assignment, PartitionState};
use super::outside::Outside;
use super::settings::{Ending, Settings};
use crate::change::{OffsetRange, TopicPartition};
use crate::checkpoint::{Manifest, Position};
use crate::error::Result;
use crate::source::Source;
use crate::window::watermark::{BEGINNING_OF_TIME, END_OF_TIME, IdleRules, PartitionReport, TableWatermark};

/// A table being read.
pub struct TableInput {
    /// What its lanes do.
    pub plan: Arc<InputPlan>,
    /// Which lanes read it, by their place in the job.
    pub group: usize,
    /// Its place in those lanes.
    place: usize,
    source: Box<dyn Source>,
    outside: Arc<dyn Outside>,
    watermark: TableWatermark,
    /// Where each partition stood at the last cut, and at the one before.
    standing: BTreeMap<TopicPartition, Standing>,
    /// Whether the run ends with all windows closed: then a partition that has been read to its bound holds none back.
    closes_at_the_end: bool,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    range: OffsetRange,
    clock: i64,
}

impl TableInput {
    /// A table that the lanes of `group` read, at this place in them.
    pub fn new(
        plan: Arc<InputPlan>,
        source: Box<dyn Source>,
        (group, place): (usize, usize),
        settings: &Settings,
    ) -> Result<Self> {
        let options = &plan.table.options;
        let is_bounded = settings.ending != Ending::Endless;
        let timeout =
            plan.table.watermark.as_ref().and_then(|it| it.idle_timeout).map(|it| Duration::from_millis(it as u64));
        let idle = IdleRules {
            idle_timeout: options.duration("idle-timeout", timeout.unwrap_or(Duration::from_secs(30)))?.as_millis()
                as i64,
            idle_close: options.duration("idle-close", Duration::from_secs(60))?.as_millis() as i64,
        };
        let watermark = TableWatermark::new(BEGINNING_OF_TIME, (!is_bounded).then_some(idle));
        let closes_at_the_end = settings.ending == Ending::Bounded;
        let outside = Arc::clone(&settings.outside);
        Ok(Self { plan, group, place, source, outside, watermark, standing: BTreeMap::new(), closes_at_the_end })
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.plan.table.name
    }

    /// Whether a pipeline, by its number in the job, reads it.
    pub fn feeds(&self, pipeline: usize) -> bool {
        self.plan.pipelines.iter().any(|it| it.number == pipeline)
    }

    /// Whether some query counts its rows into windows.
    pub fn has_windows(&self) -> bool {
        self.plan.pipelines.iter().any(|pipeline| matches!(pipeline.work, LaneWork::Window { .. }))
    }

    /// Gives all partitions to the lanes: from where the checkpoint stood, or from where the table says. `replay_from`
    /// says which offset of a saved position reading begins at.
    pub fn assign(
        &mut self,
        lanes: &mut Lanes,
        saved: Option<&Manifest>,
        replay_from: impl Fn(&Position) -> i64,
    ) -> Result<()> {
        let saved: BTreeMap<TopicPartition, &Position> = saved
            .into_iter()
            .flat_map(|manifest| &manifest.positions)
            .filter(|position| position.table == self.name())
            .map(|position| (position.source(), position))
            .collect();
        let partitions = self.source.partitions()?;
        let fresh: Vec<_> = partitions.iter().filter(|it| !saved.contains_key(it)).cloned().collect();
        let started = match saved.is_empty() {
            true => self.source.start_offsets(&fresh)?,
            // Partitions that were added while the job was away are read from their beginning, as if it had been there.
            false => self.source.first_offsets(&fresh)?,
        };
        for partition in partitions {
            let (from, clock) = match saved.get(&partition) {
                Some(position) => (replay_from(position), position.clock),
                None => (started.get(&partition).copied().unwrap_or(0), BEGINNING_OF_TIME),
            };
            self.give(lanes, &partition, from, clock)?;
        }
        Ok(())
    }

    /// Gives partitions that have appeared since to the lanes with the fewest. Returns whether there were any.
    pub fn notice_partitions(&mut self, lanes: &mut Lanes) -> Result<bool> {
        let fresh: Vec<_> =
            self.source.partitions()?.into_iter().filter(|it| !self.standing.contains_key(it)).collect();
        let first = self.source.first_offsets(&fresh)?;
        for partition in &fresh {
            tracing::info!("partition {partition} has appeared; reading it from its beginning");
            let from = first.get(partition).copied().unwrap_or(0);
            self.give(lanes, partition, from, self.watermark.time())?;
        }
        Ok(!fresh.is_empty())
    }

    fn give(&mut self, lanes: &mut Lanes, partition: &TopicPartition, from: i64, clock: i64) -> Result<()> {
        let lane = lanes.assign(Assignment { table: self.place, partition: partition.clone(), from, clock })?;
        self.source.assign(lane, partition, from)?;
        self.standing.insert(partition.clone(), Standing { range: OffsetRange { from, to: from }, clock });
        Ok(())
    }

    /// Takes in where a lane's partitions stand at a cut.
    pub fn note_cut(&mut self, partitions: &[PartitionState]) {
        for state in partitions {
            // The lane reads other tables, too.
            let Some(standing) = self.standing.get_mut(&state.partition) else { continue };
            standing.range = OffsetRange { from: standing.range.to, to: state.range.to };
            standing.clock = state.clock;
            let is_done = self.closes_at_the_end && state.at_bound;
            let clock = if is_done { END_OF_TIME } else { state.clock };
            let report = PartitionReport { clock, at_end: state.at_end, last_arrival: state.last_arrival };
            self.watermark.report(state.partition.clone(), report);
        }
    }

    /// Sets where the partitions stood at a saved cut, after its epoch has been repeated.
    pub fn stand_at(&mut self, manifest: &Manifest) {
        for position in manifest.positions.iter().filter(|it| it.table == self.name()).cloned().collect::<Vec<_>>() {
            let partition = position.source();
            let range = OffsetRange { from: position.offset, to: position.offset };
            self.standing.insert(partition, Standing { range, clock: position.clock });
        }
        let saved = manifest.watermarks.get(self.name()).copied();
        self.raise_watermark(saved.unwrap_or(BEGINNING_OF_TIME));
    }

    /// Its watermark for the lanes that read it.
    pub fn closing(&self, watermark: i64) -> (usize, i64) {
        (self.place, watermark)
    }

    /// What the epoch read of each partition.
    pub fn ranges(&self) -> impl Iterator<Item = (TopicPartition, OffsetRange)> + '_ {
        self.standing.iter().map(|(partition, standing)| (partition.clone(), standing.range))
    }

    /// Where each partition stands, for a checkpoint.
    pub fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        self.standing.iter().map(|(partition, standing)| Position {
            table: self.name().to_owned(),
            topic: partition.topic.to_string(),
            partition: partition.partition,
            from: standing.range.from,
            offset: standing.range.to,
            clock: standing.clock,
        })
    }

    /// Moves the watermark on and returns it. At the end of a bounded run it goes to the end of time.
    pub fn advance_watermark(&mut self, at_the_end: bool) -> i64 {
        if at_the_end {
            self.raise_watermark(END_OF_TIME);
        }
        self.watermark.advance(self.outside.now())
    }

    fn raise_watermark(&mut self, time: i64) {
        let everywhere = PartitionReport { clock: time, at_end: false, last_arrival: self.outside.now() };
        let partitions: Vec<_> = self.standing.keys().cloned().collect();
        if time > self.watermark.time() {
            partitions.into_iter().for_each(|partition| self.watermark.report(partition, everywhere));
            self.watermark.advance(self.outside.now());
        }
    }

    /// Where the watermark stands.
    pub fn watermark(&self) -> i64 {
        self.watermark.time()
    }

    /// The offsets after the last records that its partitions have now.
    pub fn end_offsets(&mut self) -> Result<BTreeMap<TopicPartition, i64>> {
        let partitions: Vec<_> = self.standing.keys().cloned().collect();
        self.source.end_offsets(&partitions)
    }

    /// The same, as far as it is known without asking.
    pub fn known_ends(&self) -> BTreeMap<TopicPartition, i64> {
        let partitions: Vec<_> = self.standing.keys().cloned().collect();
        self.source.known_ends(&partitions)
    }

    /// How many records there are between where the last cut was and these ends.
    pub fn lag(&self, ends: &BTreeMap<TopicPartition, i64>) -> u64 {
        let behind = |(partition, standing): (&TopicPartition, &Standing)| {
            ends.get(partition).map_or(0, |end| (end - standing.range.to).max(0))
        };
        self.standing.iter().map(behind).sum::<i64>() as u64
    }

    /// Lets the source's client library work.
    pub fn maintain(&mut self) -> Result<()> {
        self.source.maintain()
    }

    /// Tells the outside how far has been delivered.
    pub fn commit(&mut self, manifest_positions: &[Position]) -> Result<()> {
        let own = manifest_positions.iter().filter(|position| position.table == self.plan.table.name);
        let offsets = own.map(|it| (it.source(), it.offset));
        self.source.commit(&offsets.collect())
    }
}
