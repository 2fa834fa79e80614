//! Opens what a job reads and what it writes, and waits for what does not answer yet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::blocking::block_in_place;
use super::input::InputPlan;
use super::lanes::Lanes;
use super::message::FromLane;
use super::outside::Outside;
use super::progress::Progress;
use super::report::WaitsFor;
use super::settings::{Ending, Settings};
use super::table_input::TableInput;
use crate::error::Result;
use crate::sink;

/// What is waited for while none of the sources has been opened.
pub(super) const ALL_TABLES: &str = "the tables that are read";

/// Opens the tables' sources. A job without an end waits for what does not answer yet.
pub(super) async fn opened(
    plans: &[Arc<InputPlan>],
    settings: &Settings,
    reports: &mpsc::Sender<FromLane>,
    progress: &Arc<Progress>,
) -> Result<(Vec<TableInput>, Vec<Lanes>)> {
    let mut pause = Duration::from_millis(200);
    loop {
        match block_in_place(|| open_inputs(plans, settings, reports, progress)) {
            Err(error) if error.is_transient() && settings.ending == Ending::Endless => {
                if progress.waits(WaitsFor::Source, ALL_TABLES, &error, settings.outside.now()) {
                    tracing::warn!("{error}; trying again in {pause:?}");
                }
            }
            opened => {
                progress.goes_on(WaitsFor::Source, ALL_TABLES);
                return opened;
            }
        }
        settings.outside.sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// Opens the tables' sources and starts their lanes: tables of one connection share them.
fn open_inputs(
    plans: &[Arc<InputPlan>],
    settings: &Settings,
    reports: &mpsc::Sender<FromLane>,
    progress: &Arc<Progress>,
) -> Result<(Vec<TableInput>, Vec<Lanes>)> {
    let options: Vec<_> = plans.iter().map(|plan| &plan.table.options).collect();
    let (mut inputs, mut groups, mut first_lane) = (Vec::new(), Vec::new(), 0);
    for members in settings.outside.groups(&options) {
        let plans: Vec<_> = members.iter().map(|&member| Arc::clone(&plans[member])).collect();
        let options: Vec<_> = plans.iter().map(|plan| &plan.table.options).collect();
        let mut sources = settings.outside.sources(&options)?;
        let mut partitions = 0;
        for source in &mut sources {
            partitions += source.partitions()?.len();
        }
        let count = settings.lanes.clamp(1, partitions.max(1));
        let readers = (0..count).map(|_| sources[0].reader()).collect::<Result<_>>()?;
        let lanes = Lanes::start(&plans, readers, first_lane, reports, progress, &settings.outside)?;
        first_lane += count;
        for (place, (plan, source)) in plans.into_iter().zip(sources).enumerate() {
            inputs.push(TableInput::new(plan, source, (groups.len(), place), settings)?);
        }
        groups.push(lanes);
    }
    Ok((inputs, groups))
}

/// A table's sink, ready to be written to.
pub(super) async fn prepared(
    sink: Result<Box<dyn sink::Sink>>,
    table: sink::OutputTable,
    outside: &dyn Outside,
    progress: &Progress,
) -> Result<Box<dyn sink::Sink>> {
    let mut sink = sink?;
    prepare(sink.as_mut(), &table, outside, progress).await?;
    progress.goes_on(WaitsFor::Target, table.name());
    Ok(sink)
}

async fn prepare(
    sink: &mut dyn sink::Sink,
    table: &sink::OutputTable,
    outside: &dyn Outside,
    progress: &Progress,
) -> Result<()> {
    let mut pause = Duration::from_millis(200);
    loop {
        match sink.prepare().await {
            Err(error) if error.is_transient() => {
                if progress.waits(WaitsFor::Target, table.name(), &error, outside.now()) {
                    tracing::warn!("table {}: {error}; trying again in {pause:?}", table.options.table());
                }
                outside.sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(10));
            }
            outcome => return outcome,
        }
    }
}
