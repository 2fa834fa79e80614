//! A job from start to end, plan after plan.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::blocking::block_in_place;
use super::discovery::{Discovery, Drift};
use super::lanes::Lanes;
use super::opening::ALL_TABLES;
use super::progress::Progress;
use super::report::WaitsFor;
use super::running::{Job, Outcome, told};
use super::settings::{Ending, Settings};
use super::takeover::look_up;
use crate::error::{Error, Result};
use crate::sql::query::Query;
use crate::sql::submission::Submission;

/// Runs a query until it ends or `stop` turns true. Everything read is delivered before this returns.
pub async fn run(
    query: Query,
    settings: Settings,
    progress: Arc<Progress>,
    stop: watch::Receiver<bool>,
) -> Result<Outcome> {
    Box::pin(life(query, settings, progress, stop, None)).await.map(|(end, _)| end.outcome)
}

/// Runs a submission until it ends or `stop` turns true: as [`run`], but what it leaves out is looked up first, and when that
/// changes, the job goes on with the new plan from where it stood.
pub async fn submit(
    submission: Submission,
    mut settings: Settings,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) -> Result<Outcome> {
    if std::mem::take(&mut settings.reset_state) {
        settings.checkpoints.clear(settings.outside.now()).await?;
    }
    let saved = match submission.is_open() {
        true => look_up(&settings).await?.1,
        false => None,
    };
    let mut discovery = Discovery::new(submission, saved.as_ref().map(|it| &it.last.manifest))?;
    loop {
        if !learn(&mut discovery, &settings, &progress, &mut stop).await? {
            return Ok(Outcome::Stopped);
        }
        let query = discovery.compile().await?;
        super::check::check(&query, &settings.name)?;
        query.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let settings = Settings { set_back: settings.set_back.take(), ..settings.clone() };
        let (progress, stop) = (Arc::clone(&progress), stop.clone());
        let (end, returned) = Box::pin(life(query, settings, progress, stop, Some(discovery))).await?;
        let Some(returned) = returned else { return Ok(end.outcome) };
        discovery = returned;
        discovery.note_run();
        for drift in &end.drifts {
            discovery.take_in(drift)?;
        }
        match (end.goes_on, discovery.stopped().values().next()) {
            (true, _) => {}
            (false, Some(message)) if end.outcome == Outcome::Finished => return Err(Error::config(message.clone())),
            (false, _) => return Ok(end.outcome),
        }
    }
}

/// Waits until enough is known for a plan. False when it was told to stop before.
async fn learn(
    discovery: &mut Discovery,
    settings: &Settings,
    progress: &Progress,
    stop: &mut watch::Receiver<bool>,
) -> Result<bool> {
    let mut said = false;
    loop {
        if !discovery.is_known() {
            match block_in_place(|| discovery.look()) {
                Err(error) if error.is_transient() && settings.ending == Ending::Endless => {
                    if progress.waits(WaitsFor::Source, ALL_TABLES, &error, settings.outside.now()) {
                        tracing::warn!("{error}; trying again");
                    }
                }
                looked => {
                    progress.goes_on(WaitsFor::Source, ALL_TABLES);
                    looked?;
                }
            }
        }
        let Some(missing) = discovery.missing() else { return Ok(true) };
        if settings.ending != Ending::Endless {
            return Err(Error::config(format!(
                "{missing} has no records that its columns could be known from; declare them: CREATE TABLE … (id INT, …) WITH (…)"
            )));
        }
        if !std::mem::replace(&mut said, true) {
            tracing::info!("{missing} has no records yet; waiting for the first, which tells its columns");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = told(stop) => return Ok(false),
        }
    }
}

/// How a plan of a job ended.
struct End {
    outcome: Outcome,
    /// Whether the job goes on with another plan.
    goes_on: bool,
    drifts: Vec<Drift>,
}

/// Runs one plan of a job.
async fn life(
    query: Query,
    settings: Settings,
    progress: Arc<Progress>,
    stop: watch::Receiver<bool>,
    discovery: Option<Discovery>,
) -> Result<(End, Option<Discovery>)> {
    let mut stop = stop;
    let mut job = tokio::select! {
        biased;
        job = Job::start(query, settings, progress, discovery) => job?,
        // Nothing has been read yet that a checkpoint or the topic does not have.
        () = told(&mut stop) => return Ok((End { outcome: Outcome::Stopped, goes_on: false, drifts: Vec::new() }, None)),
    };
    let outcome = job.work(stop).await;
    block_in_place(|| {
        // Lanes may be waiting to report.
        job.reports.close();
        job.groups.iter_mut().for_each(Lanes::stop);
    });
    let outcome = outcome?;
    job.deliverer.finish().await?;
    Ok((End { outcome, goes_on: job.replans, drifts: job.drifts }, job.discovery))
}
