//! A lane's part in the alignment of partitions: which of its own wait, and which the others wait for.

use std::time::Duration;

use super::lane::Lane;
use crate::change::TopicPartition;
use crate::error::Result;
use crate::source::RawBatch;

/// How often clocks are compared.
const INTERVAL: Duration = Duration::from_millis(2);
/// How many records are read between two looks at the others, where a partition comes near its limit.
pub(super) const PIECE: usize = 1_000;
/// The same, far from the limit: about what is fetched at a time.
const LONG_PIECE: usize = 16_000;

impl Lane {
    /// Says which partitions have something to read, and lets those go on that the others have come near.
    pub(super) fn align(&mut self) -> Result<()> {
        let now = self.outside.elapsed();
        if now < self.aligned + INTERVAL || self.partitions.values().all(|partition| partition.track.is_none()) {
            return Ok(());
        }
        self.aligned = now;
        let alignments = || self.tables.iter().map(|table| table.plan.alignment.as_ref());
        let laggards: Vec<_> = alignments().map(|it| it.and_then(|alignment| alignment.laggards())).collect();
        for (name, partition) in &self.partitions {
            let (Some(track), Some(laggards)) = (&partition.track, laggards[partition.table]) else { continue };
            // The others are in nobody's way.
            if partition.clock.time() < laggards {
                let is_held = || self.held.iter().any(|batch| batch.source == *name);
                track.set_counts(!partition.at_bound && (is_held() || self.reader.has_rest(name)));
            }
        }
        let waits = self.course.as_ref().is_some_and(|course| course.windows);
        let limit = |alignment: &super::alignment::Alignment| if waits { alignment.limit() } else { i64::MAX };
        let limits: Vec<_> = alignments().map(|it| it.map_or(i64::MAX, |alignment| limit(alignment))).collect();
        let mut goes_on = false;
        for (name, partition) in &mut self.partitions {
            if partition.clock.time() <= limits[partition.table]
                && let Some(since) = partition.paused.take()
            {
                // Its silence meanwhile was none of its own.
                partition.last_arrival += (self.outside.now() - since).max(0);
                self.reader.resume(name)?;
                self.progress.count_paused(-1);
                goes_on = true;
            }
        }
        if goes_on { self.take_in_held() } else { Ok(()) }
    }

    /// Works on a batch: in pieces, where its partition may have to wait for others.
    pub(super) fn take_in(&mut self, batch: RawBatch) -> Result<()> {
        let mut rest = Some(batch);
        while let Some(mut batch) = rest.take() {
            let Some(partition) = self.partitions.get(&batch.source).filter(|it| it.track.is_some()) else {
                return self.take_in_piece(batch);
            };
            let (name, before) = (batch.source.clone(), partition.clock.time());
            rest = batch.split_after(partition.piece);
            self.take_in_piece(batch)?;
            self.wait_if_ahead(&name, before, rest.is_some())?;
        }
        Ok(())
    }

    /// Lets a partition wait whose clock has come too far.
    fn wait_if_ahead(&mut self, name: &TopicPartition, before: i64, has_rest: bool) -> Result<()> {
        let waits = self.course.as_ref().is_some_and(|course| course.windows);
        let Some(partition) = self.partitions.get_mut(name).filter(|it| waits && it.paused.is_none()) else {
            return Ok(());
        };
        let Some(alignment) = &self.tables[partition.table].plan.alignment else { return Ok(()) };
        let (limit, clock) = (alignment.limit(), partition.clock.time());
        let step = clock.saturating_sub(before).saturating_mul(4);
        partition.piece =
            if clock.saturating_add(step) < limit { (partition.piece * 2).min(LONG_PIECE) } else { PIECE };
        if clock > limit && (has_rest || self.reader.has_rest(name)) {
            partition.paused = Some(self.outside.now());
            self.reader.pause(name)?;
            self.progress.count_paused(1);
        }
        Ok(())
    }
}
