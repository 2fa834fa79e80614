//! How a job starts: from nothing, or from what a checkpoint has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::alignment::align_together;
use super::blocking::block_in_place;
use super::cycle::Step;
use super::delivery::Deliverer;
use super::discovery::Discovery;
use super::epoch::EpochRows;
use super::generation;
use super::input::{InputPlan, by_table};
use super::lookup::SmallTables;
use super::message::{Course, ToLane};
use super::nested::NestedWindows;
use super::observing::described;
use super::opening::{opened, prepared};
use super::outputs::Outputs;
use super::progress::Progress;
use super::resting::{KeptSaves, Resting};
use super::revising::Revising;
use super::running::Job;
use super::settings::{Ending, Settings};
use super::takeover::{Passed, check_afresh, recover, take_over, warn_of_emptied};
use crate::checkpoint::Recovered;
use crate::error::Result;
use crate::sink;
use crate::sql::define::catalog::Table;
use crate::sql::query::Query;
use crate::state::Memory;
use crate::window::aggregate::InputId;

/// How many tables are created or checked at once.
const PREPARED_AT_ONCE: usize = 8;

impl Job {
    /// Starts it: everything is open and restored, and the lanes are on their way.
    pub(super) async fn start(
        query: Query,
        settings: Settings,
        progress: Arc<Progress>,
        discovery: Option<Discovery>,
    ) -> Result<Self> {
        let mut outputs = Outputs::new(&query, &settings.name)?;
        if settings.reset_state {
            settings.checkpoints.clear(settings.outside.now()).await?;
        }
        // Within a process it is the same query, whatever columns it has got.
        let is_same = discovery.as_ref().is_some_and(Discovery::has_run);
        let found = recover((!is_same).then_some((&query, &outputs)), &settings).await?;
        let (is_resumed, tables) = (found.1.is_some(), outputs.tables.clone());
        let outside = &settings.outside;
        let prepared = tables
            .into_iter()
            .map(|table| prepared(outside.sink(&table, is_resumed), table, outside.as_ref(), &progress));
        let mut sinks: Vec<Box<dyn sink::Sink>> =
            futures::stream::iter(prepared).buffered(PREPARED_AT_ONCE).try_collect().await?;
        sinks.iter().enumerate().for_each(|(number, sink)| outputs.set_limits(number, sink.limits()));
        let described = described(&query, &outputs);
        check_afresh(&found, &settings, &described, &mut sinks).await?;
        if let Some(to) = settings.set_back {
            sinks.iter().try_for_each(|sink| sink.check_take_out(to.time()))?;
        }
        let endless = settings.ending == Ending::Endless;
        let small_tables = SmallTables::load(&query, &settings.outside, &progress, endless).await?;
        let (reports_in, reports) = mpsc::channel(settings.outside.reports());
        let mut plans = Vec::new();
        let is_read = |table: &Table| !discovery.as_ref().is_some_and(|it| it.stopped().contains_key(&table.name));
        for (table, feeds) in by_table(&query.pipelines).into_iter().filter(|(table, _)| is_read(table)) {
            plans.push(InputPlan::new(&table, &feeds, &outputs, &settings.name)?);
        }
        align_together(&mut plans);
        let memory = Memory::new(settings.kept_rows(), &settings.state_folder);
        plans.iter_mut().for_each(|plan| plan.memory = Some(Arc::clone(&memory)));
        let plans: Vec<_> = plans.into_iter().map(Arc::new).collect();
        let (mut inputs, groups) = opened(&plans, &settings, &reports_in, &progress).await?;
        // Only now: a process that cannot run the job does not take it from one that does.
        let known = (!is_same).then_some((&query, &outputs));
        let passed = Passed { sinks: &mut sinks, inputs: &mut inputs };
        let (writer, recovered) = take_over(found, known, &settings, passed).await?;
        warn_of_emptied(recovered.as_ref(), &settings, &described, &sinks);
        let (fence, claim) = (writer.fence(), writer.number());
        let deliverer = Deliverer::start(&settings, writer, sinks, outputs.tables.clone(), Arc::clone(&progress));
        let (now, clock) = (settings.outside.now(), settings.outside.elapsed());
        let revising = Revising::new(&query, &outputs, now)?;
        let nested = NestedWindows::new(&query)?;
        let kept_saves = KeptSaves::new(settings.renew_after);
        let mut job = Self {
            query,
            closed_to: BTreeMap::new(),
            nested,
            outputs,
            settings,
            inputs,
            groups,
            deliverer,
            reports,
            progress,
            started_at: recovered.as_ref().map_or(now, |it| it.last.manifest.started_at),
            claim,
            went_back: recovered.as_ref().map_or(0, |it| it.last.manifest.went_back),
            // A fresh start has epochs of its own: results say which epoch they are of, and earlier runs may have left some.
            epoch: (now / 1_000) as u64,
            rows: EpochRows::default(),
            held: BTreeMap::new(),
            next_rows: EpochRows::default(),
            step: Step::Gathering,
            delivering: None,
            state_epoch: 0,
            memory,
            kept_saves,
            fence,
            saving: None,
            state_saved: clock,
            looked_around: clock,
            wants_state: true,
            truncates: BTreeSet::new(),
            reached: BTreeSet::new(),
            ends: BTreeMap::new(),
            stopping: false,
            cut_is_last: false,
            settling: false,
            has_checkpoint: false,
            described,
            delivering_since: None,
            discovered: discovery.as_ref().and_then(Discovery::saved),
            discovery,
            drifts: Vec::new(),
            replans: false,
            resting: Resting::default(),
            replay: None,
            revising,
            small_tables,
            own_reports: reports_in,
        };
        let recovered = match job.settings.set_back {
            Some(to) => Some(job.set_back(recovered, to).await?),
            None => recovered,
        };
        match recovered {
            Some(mut recovered) => {
                job.renew(&mut recovered)?;
                job.rest(&recovered);
                job.recover(&recovered).await?;
                job.state_epoch = recovered.with_state.manifest.epoch;
                match recovered.passed_over {
                    0 => job.epoch = recovered.last.manifest.epoch + 1,
                    // The server may remember the tokens of blocks that have been taken out.
                    passed_over => job.begin_anew(Some(&recovered.last.manifest), passed_over + 1),
                }
            }
            None => block_in_place(|| {
                tracing::info!(
                    "job {} starts afresh; its checkpoints are in {}",
                    job.settings.name,
                    job.settings.checkpoints.place()
                );
                let (inputs, groups) = (&mut job.inputs, &mut job.groups);
                inputs.iter_mut().try_for_each(|it| it.assign(&mut groups[it.group], None, |it| it.offset))
            })?,
        }
        job.set_out()?;
        Ok(job)
    }

    /// Notices topics that were created anew since the checkpoint.
    fn renew(&mut self, recovered: &mut Recovered) -> Result<()> {
        let inputs = &mut self.inputs;
        let find =
            || inputs.iter_mut().map(|input| input.renewed(&recovered.last.manifest)).collect::<Result<Vec<_>>>();
        let renewed: Vec<_> = block_in_place(find)?.into_iter().flatten().collect();
        generation::renew(recovered, &renewed, self.settings.new_generation)
    }

    /// Takes over what a checkpoint has of tables that are not read.
    fn rest(&mut self, recovered: &Recovered) {
        let is_read = |name: &str| self.inputs.iter().any(|input| input.name() == name);
        let is_fed = |id: InputId| self.nested.has(id) || self.inputs.iter().any(|input| input.feeds(id));
        self.resting = Resting::new(recovered, is_read, is_fed);
    }

    /// Sends the lanes on their way: without end, or up to the ends that the topics have now.
    fn set_out(&mut self) -> Result<()> {
        let is_bounded = self.settings.ending != Ending::Endless;
        for input in &mut self.inputs {
            match self.settings.ending {
                Ending::AtOnce => self.ends.extend(input.ranges().map(|(source, range)| (source, range.to))),
                _ => self.ends.extend(block_in_place(|| input.end_offsets())?),
            }
        }
        let bounds = is_bounded.then(|| self.ends.clone());
        self.order(|| ToLane::Run(Course { windows: true, rows: true, bounds: bounds.clone() }));
        // The lanes' count of epochs starts with the first cut.
        let epoch = self.epoch - 1;
        self.order(|| ToLane::Cut { epoch, with_state: None, closes: false });
        Ok(())
    }
}
