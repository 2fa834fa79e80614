//! `highwater run`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use clap::Args;
use tokio::sync::watch;

use super::QueryArgs;
use super::status::Status;
use crate::checkpoint::CheckpointStore;
use crate::error::{Error, Result};
use crate::job::memory::Memory;
use crate::job::progress::Progress;
use crate::job::running::Outcome;
use crate::job::set_back::StartingPoint;
use crate::job::settings::{Ending, Settings};
use crate::options::{parse_bytes, parse_duration};
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
    /// The memory that the job may take, such as 512MiB: reading waits, kept rows go to disk, and the job ends before its windows take more
    #[arg(long, value_name = "BYTES", value_parser = memory, env = "HIGHWATER_MEMORY")]
    memory: Option<Memory>,
    /// The memory that kept rows may take, of tables whose events do not say all; more go to disk [default: 1 GiB]
    #[arg(long, value_name = "BYTES", value_parser = bytes, env = "HIGHWATER_STATE_MEMORY")]
    state_memory: Option<usize>,
    /// Where kept rows go that have no room in memory, as long as the job runs
    #[arg(long, value_name = "FOLDER", default_value = ".highwater/state", env = "HIGHWATER_STATE_DIR")]
    state_dir: PathBuf,
    /// Serve /metrics (Prometheus), /status (JSON) and /health at this address, such as 127.0.0.1:9184
    #[arg(long, value_name = "ADDRESS", env = "HIGHWATER_METRICS")]
    metrics: Option<SocketAddr>,
    /// Forget the job's earlier checkpoints and start afresh
    #[arg(long)]
    reset_state: bool,
    /// Read again from a time (2026-01-01, 2026-01-01T08:00:00+02:00; UTC without an offset) or from the earliest records, into the same
    /// tables: what is made again is taken out of them first
    #[arg(long, value_name = "TIME|earliest", conflicts_with_all = ["reset_state", "new_generation"], value_parser = starting_point)]
    from: Option<StartingPoint>,
    /// Go on with topics that were deleted and created anew, from their beginning, into the same tables
    #[arg(long, conflicts_with = "reset_state")]
    new_generation: bool,
    /// When the newest checkpoint cannot be used, go on from the one before although what was delivered since cannot be taken out of all
    /// that the job fills, so that rows may be there twice
    #[arg(long)]
    allow_repeats: bool,
    /// How long the job may take, when it is told to stop, to deliver what it has read; the next run delivers the rest
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "25s")]
    stop_within: Duration,
    /// Say nothing but warnings and errors
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("\"{text}\" is not a duration such as 500ms, 5s or 1min"))
}

fn bytes(text: &str) -> Result<usize, String> {
    parse_bytes(text).ok_or_else(|| format!("\"{text}\" is not a number of bytes such as 512MiB or 2GiB"))
}

fn memory(text: &str) -> Result<Memory, String> {
    let memory = Memory(bytes(text)?);
    match memory < Memory::LEAST {
        true => Err("less than 128 MiB is not enough to work with".into()),
        false => Ok(memory),
    }
}

pub(super) fn starting_point(text: &str) -> Result<StartingPoint, String> {
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN);
    let local = || {
        let written = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
        let time = written.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
        time.or_else(|| text.parse().ok().map(midnight)).map(|time| time.and_utc())
    };
    let time = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()).or_else(local);
    match text {
        "earliest" => Ok(StartingPoint::Earliest),
        _ => time().map(|time| StartingPoint::Time(time.timestamp_millis())).ok_or_else(|| {
            format!("\"{text}\" is neither 'earliest' nor a time such as 2026-01-01 or 2026-01-01T08:00:00+02:00")
        }),
    }
}

impl RunArgs {
    fn settings(&self) -> Result<Settings> {
        let ending = match (self.bounded, self.until_caught_up) {
            (true, _) => Ending::Bounded,
            (_, true) => Ending::UntilCaughtUp,
            _ => Ending::Endless,
        };
        let name = job_name(&self.query, self.name.as_deref())?;
        let store = match (&self.checkpoint_dir, ending) {
            (Some(place), _) => CheckpointStore::at(place, variables(), &name)?,
            (None, Ending::Bounded) => CheckpointStore::in_memory(&name),
            (None, _) => CheckpointStore::in_folder(Path::new(CHECKPOINTS), &name)?,
        };
        let mut settings = Settings::new(name, ending, store);
        settings.lanes = self.lanes.map_or(settings.lanes, usize::from);
        settings.flush_interval = self.flush_interval;
        settings.checkpoint_interval = self.checkpoint_interval;
        if let Some(memory) = self.memory {
            settings.bound_memory(memory);
        }
        settings.state_memory = self.state_memory;
        settings.state_folder.clone_from(&self.state_dir);
        settings.reset_state = self.reset_state;
        settings.set_back = self.from;
        settings.new_generation = self.new_generation;
        settings.allow_repeats = self.allow_repeats;
        settings.stop_within = self.stop_within;
        Ok(settings)
    }
}

/// The name that a job was given, or has from its file.
pub(super) fn job_name(query: &QueryArgs, name: Option<&str>) -> Result<String> {
    let from_file = || query.files[0].file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = name.map(str::to_owned).or_else(from_file).unwrap_or_else(|| "job".into());
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(Error::config(format!("--name \"{name}\": a job's name has no slash and no dot at its start")));
    }
    Ok(name)
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
