//! A table that a job reads: its source, where each partition stands, its watermark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::input::{InputPlan, LaneWork};
use super::lanes::Lanes;
use super::message::{Assignment, PartitionState, ToLane};
use super::outside::Outside;
use super::settings::{Ending, Settings};
use crate::change::{OffsetRange, TopicPartition};
use crate::checkpoint::{Manifest, Position, Truncate};
use crate::error::Result;
use crate::source::Source;
use crate::window::aggregate::InputId;
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
    /// The generation of the versions of what is read from now on.
    generation: u64,
    /// What tells its topics from others of their names.
    topic_ids: BTreeMap<String, String>,
    /// The greatest clock that a partition has had.
    greatest_clock: i64,
    /// Whether the run ends with all windows closed: then a partition that has been read to its bound holds none back.
    closes_at_the_end: bool,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    range: OffsetRange,
    clock: i64,
    generation: u64,
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
        let watermark = TableWatermark::new(BEGINNING_OF_TIME, (!is_bounded && !plan.reads_clock).then_some(idle));
        let closes_at_the_end = settings.ending == Ending::Bounded;
        let outside = Arc::clone(&settings.outside);
        let generation = options.parse("generation", 0_u16, "a number up to 65535")?.into();
        Ok(Self {
            plan,
            group,
            place,
            source,
            outside,
            watermark,
            standing: BTreeMap::new(),
            generation,
            topic_ids: BTreeMap::new(),
            greatest_clock: BEGINNING_OF_TIME,
            closes_at_the_end,
        })
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.plan.table.name
    }

    /// Whether its rows are counted into these windows.
    pub fn feeds(&self, input: InputId) -> bool {
        self.plan.pipelines.iter().any(|it| it.input() == Some(input))
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
        self.topic_ids = self.ask_topic_ids(&partitions)?;
        let reached = saved.values().map(|position| position.generation).max().unwrap_or(self.generation);
        // Keys have moved to the new partitions, and between the old ones.
        self.generation = if saved.is_empty() || fresh.is_empty() { reached } else { self.raised(reached) };
        for partition in partitions {
            let (from, clock, generation) = match saved.get(&partition) {
                Some(position) => (replay_from(position), position.clock, position.generation),
                None => (started.get(&partition).copied().unwrap_or(0), BEGINNING_OF_TIME, self.generation),
            };
            self.give(lanes, &partition, from, clock, generation)?;
        }
        Ok(())
    }

    /// Gives partitions that have appeared since to the lanes with the fewest. Returns whether there were any.
    pub fn notice_partitions(&mut self, lanes: &mut Lanes) -> Result<bool> {
        let fresh: Vec<_> =
            self.source.partitions()?.into_iter().filter(|it| !self.standing.contains_key(it)).collect();
        let first = self.source.first_offsets(&fresh)?;
        if !fresh.is_empty() {
            let ids = self.ask_topic_ids(&fresh)?;
            self.topic_ids.extend(ids);
            let had: BTreeSet<_> = self.standing.keys().map(|partition| Arc::clone(&partition.topic)).collect();
            if fresh.iter().any(|partition| had.contains(&partition.topic)) {
                self.generation = self.raised(self.generation);
            }
        }
        for partition in &fresh {
            tracing::info!("partition {partition} has appeared; reading it from its beginning");
            let from = first.get(partition).copied().unwrap_or(0);
            self.give(lanes, partition, from, self.watermark.time(), self.generation)?;
        }
        Ok(!fresh.is_empty())
    }

    /// The next generation, with a word for those who will need it.
    fn raised(&self, generation: u64) -> u64 {
        let next = generation + 1;
        tracing::info!(
            "table {}: its topic has more partitions, so keys have changed theirs; versions in mirrors are of generation {next} \
             from here on (a job that starts afresh into the same mirror needs 'generation' = '{next}')",
            self.name()
        );
        next
    }

    /// The order that gives all its partitions the generation of the table.
    pub fn generation(&self) -> ToLane {
        ToLane::Generation { table: self.place, generation: self.generation }
    }

    /// Whether all partitions have it already.
    pub fn has_generation(&self) -> bool {
        self.standing.values().all(|standing| standing.generation == self.generation)
    }

    /// The ids of its topics that were found when they were first read.
    pub fn topic_ids(&self) -> &BTreeMap<String, String> {
        &self.topic_ids
    }

    /// The ids of the topics of these partitions, asked for now.
    pub fn ask_topic_ids(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<String, String>> {
        let topics: BTreeSet<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
        self.source.topic_ids(&topics.into_iter().map(str::to_owned).collect::<Vec<_>>())
    }

    /// Its partitions now.
    pub fn partitions(&mut self) -> Result<Vec<TopicPartition>> {
        self.source.partitions()
    }

    /// Where these partitions end now.
    pub fn ends_of(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.source.end_offsets(partitions)
    }

    /// Where these partitions begin now.
    pub fn first_of(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.source.first_offsets(partitions)
    }

    /// The first record of each of these partitions that was written at a time or later.
    pub fn written_from(&mut self, partitions: &[TopicPartition], time: i64) -> Result<BTreeMap<TopicPartition, i64>> {
        self.source.offsets_after(partitions, time.saturating_sub(1))
    }

    /// The generation of versions that nothing has raised yet.
    pub fn first_generation(&self) -> u64 {
        self.generation
    }

    fn give(
        &mut self,
        lanes: &mut Lanes,
        partition: &TopicPartition,
        from: i64,
        clock: i64,
        generation: u64,
    ) -> Result<()> {
        let track = self.plan.alignment.as_ref().map(|alignment| alignment.join(clock));
        let assignment = Assignment { table: self.place, partition: partition.clone(), from, clock, generation, track };
        let lane = lanes.assign(assignment)?;
        self.source.assign(lane, partition, from)?;
        self.standing.insert(partition.clone(), Standing { range: OffsetRange { from, to: from }, clock, generation });
        self.plan.partitions.store(self.standing.len(), Relaxed);
        Ok(())
    }

    /// Whether the topic of a truncate has other partitions than the one that had it.
    pub fn has_beside(&self, truncate: &Truncate) -> bool {
        let mut partitions = self.standing.keys();
        partitions.any(|it| *it.topic == *truncate.topic && it.partition != truncate.partition)
    }

    /// Where what was written before a truncate ends in the other partitions of its topic.
    pub fn written_before(&mut self, truncate: &Truncate) -> Result<BTreeMap<i32, i64>> {
        let is_other = |it: &&TopicPartition| *it.topic == *truncate.topic && it.partition != truncate.partition;
        let others: Vec<_> = self.standing.keys().filter(is_other).cloned().collect();
        let Some(at) = truncate.timestamp else { return Ok(BTreeMap::new()) };
        let ends = self.source.offsets_after(&others, at)?;
        Ok(ends.into_iter().map(|(partition, end)| (partition.partition, end)).collect())
    }

    /// Whether these offsets of a topic's partitions had been read up to at the last cut, or are within these ends.
    pub fn has_read(&self, topic: &str, after: &BTreeMap<i32, i64>, ends: &BTreeMap<TopicPartition, i64>) -> bool {
        self.standing.iter().filter(|(partition, _)| *partition.topic == *topic).all(|(partition, standing)| {
            let read = standing.range.to.max(ends.get(partition).copied().unwrap_or(i64::MIN));
            after.get(&partition.partition).is_none_or(|after| read >= *after)
        })
    }

    /// Takes in where a lane's partitions stand at a cut.
    pub fn note_cut(&mut self, partitions: &[PartitionState]) {
        for state in partitions {
            // The lane reads other tables, too.
            let Some(standing) = self.standing.get_mut(&state.partition) else { continue };
            standing.range = OffsetRange { from: standing.range.to, to: state.range.to };
            standing.clock = state.clock;
            standing.generation = state.generation;
            self.greatest_clock = greater(self.greatest_clock, state.clock);
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
            self.standing.insert(partition, Standing { range, clock: position.clock, generation: position.generation });
        }
        let saved = manifest.watermarks.get(self.name()).copied();
        self.raise_watermark(saved.unwrap_or(BEGINNING_OF_TIME));
    }

    /// How far event time has come in the partition that is ahead of all others.
    pub fn greatest_clock(&self) -> i64 {
        self.greatest_clock
    }

    /// Takes over the clocks of a saved cut.
    pub fn note_clocks(&mut self, manifest: &Manifest) {
        let own = manifest.positions.iter().filter(|it| it.table == self.name());
        self.greatest_clock = own.map(|it| it.clock).fold(self.greatest_clock, greater);
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
            generation: standing.generation,
            topic_id: self.topic_ids.get(&*partition.topic).cloned(),
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

    /// Whether all of it has been read and nothing comes: then it holds up nobody else.
    pub fn is_idle(&self) -> bool {
        self.watermark.held_by(self.outside.now()).is_none()
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

/// The greater of two clocks. At the end of a run clocks are put to the end of time, which no event has brought.
fn greater(one: i64, other: i64) -> i64 {
    if other == END_OF_TIME { one } else { one.max(other) }
}
