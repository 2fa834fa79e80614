//! `highwater run`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::watch;

use super::QueryArgs;
use super::status::Status;
use crate::checkpoint::CheckpointStore;
use crate::error::{Error, Result};
use crate::job::progress::Progress;
use crate::job::run::Outcome;
use crate::job::settings::{Ending, Settings};
use crate::options::parse_duration;
use crate::sql::submission::{Discovered, Submission};
use crate::telemetry::say;

const EXAMPLES: &str = "\
Examples:
  highwater run queries/registrations_per_store.sql
  highwater run q.sql --set KAFKA_BROKERS=kafka:9092 --checkpoint-dir /var/lib/highwater
  highwater run q.sql --bounded              # to the present ends of the topics, then close all windows";

/// Where checkpoints are when nobody says.
pub(super) const CHECKPOINTS: &str = ".highwater/checkpoints";

/// Arguments of `highwater run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    query: QueryArgs,
    /// Read up to the ends that the topics have now, close every window, and end
    #[arg(long, conflicts_with = "until_caught_up")]
    bounded: bool,
    /// Read up to the ends that the topics have now, keep windows open for the next run, and end
    #[arg(long)]
    until_caught_up: bool,
    /// Where checkpoints are kept: a folder, or s3://, gs://, az:// [default: .highwater/checkpoints; none for --bounded]
    #[arg(long, value_name = "PLACE", env = "HIGHWATER_CHECKPOINT_DIR")]
    checkpoint_dir: Option<String>,
    /// The job's name: its checkpoints and inserts carry it [default: the first file's name]
    #[arg(long)]
    name: Option<String>,
    /// Threads per table that is read [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    lanes: Option<u16>,
    /// The longest that rows wait before they are written
    #[arg(long, default_value = "1 s", value_parser = duration)]
    flush_interval: Duration,
    /// How often the open windows are saved
    #[arg(long, default_value = "10 s", value_parser = duration)]
    checkpoint_interval: Duration,
    /// Serve /metrics (Prometheus), /status (JSON) and /health at this address, such as 127.0.0.1:9184
    #[arg(long, value_name = "ADDRESS", env = "HIGHWATER_METRICS")]
    metrics: Option<SocketAddr>,
    /// Forget the job's earlier checkpoints and start afresh
    #[arg(long)]
    reset_state: bool,
    /// Go on with topics that were deleted and created anew, from their beginning, into the same tables
    #[arg(long, conflicts_with = "reset_state")]
    new_generation: bool,
    /// Say nothing but warnings and errors
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("\"{text}\" is not a duration such as 500ms, 5s or 1min"))
}

impl RunArgs {
    fn settings(&self) -> Result<Settings> {
        let ending = match (self.bounded, self.until_caught_up) {
            (true, _) => Ending::Bounded,
            (_, true) => Ending::UntilCaughtUp,
            _ => Ending::Endless,
        };
        let from_file = || self.query.files[0].file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = self.name.clone().or_else(from_file).unwrap_or_else(|| "job".into());
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(Error::config(format!("--name \"{name}\": a job's name has no slash and no dot at its start")));
        }
        let store = match (&self.checkpoint_dir, ending) {
            (Some(place), _) => CheckpointStore::at(place, variables(), &name)?,
            (None, Ending::Bounded) => CheckpointStore::in_memory(&name),
            (None, _) => CheckpointStore::in_folder(Path::new(CHECKPOINTS), &name)?,
        };
        let mut settings = Settings::new(name, ending, store);
        settings.lanes = self.lanes.map_or(settings.lanes, usize::from);
        settings.flush_interval = self.flush_interval;
        settings.checkpoint_interval = self.checkpoint_interval;
        settings.reset_state = self.reset_state;
        settings.new_generation = self.new_generation;
        Ok(settings)
    }
}

/// The environment's variables that are text.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Runs the command.
pub(crate) async fn run(args: RunArgs) -> Result<()> {
    let settings = args.settings()?;
    let submission = Submission::read(&args.query.files, &args.query.variables())?;
    if !submission.is_open() {
        // Before anything is connected to.
        crate::job::check::check(&submission.compile(&Discovered::default()).await?, &settings.name)?;
    }
    let progress = Arc::new(Progress::default());
    if let Some(address) = args.metrics {
        let address = crate::server::serve(address, &settings.name, Arc::clone(&progress)).await?;
        tracing::info!(
            "metrics at http://{address}/metrics, for people: highwater why {} --metrics {address}",
            settings.name
        );
    }
    let stop = stop_on_signals()?;
    let status = (!args.quiet).then(|| Status::show(&settings.name, Arc::clone(&progress)));
    let started = Instant::now();
    let outcome = crate::job::run::submit(submission, settings, Arc::clone(&progress), stop).await;
    if let Some(status) = status {
        status.finish();
    }
    match outcome? {
        Outcome::Finished if !args.quiet => say(&super::status::summary(&progress, started.elapsed())),
        Outcome::Stopped if !args.quiet => {
            let summary = super::status::summary(&progress, started.elapsed());
            say(&format!("stopped, everything read is delivered\n{summary}"));
        }
        _ => {}
    }
    Ok(())
}

/// Turns true at the first SIGINT or SIGTERM. A second one ends the process at once.
pub(super) fn stop_on_signals() -> Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (stop, stopped) = watch::channel(false);
    let listen = |kind| signal(kind).map_err(|cause| Error::permanent("cannot listen for signals", cause));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::spawn(async move {
        for count in 0.. {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if count > 0 {
                std::process::exit(130);
            }
            let _ = stop.send(true);
        }
    });
    Ok(stopped)
}
