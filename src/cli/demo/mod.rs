//! `highwater demo`: the main job in a minute, with nothing to set up.
//!
//! ```text
//!  generator ──paced──► Kafka in this process ──► queries/registrations_per_store.sql ──► ClickHouse, or Parquet files
//!      │                                                                                        │
//!      └── the same generator again: what must come out ─────────────── compared ───────────────┘
//! ```
//!
//! The query runs twice under one name. First as it would in production, without end, until the generator is done and stops
//! it; the windows that are open then are in its checkpoint. Then bounded: it goes on from the checkpoint, reads the rest and closes all windows.

mod compare;
mod place;
mod shop;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::HumanCount;
use tokio::sync::watch;

use self::compare::compare;
use self::place::Place;
use self::shop::{Flow, Kafka, Shop};
use super::status::{Status, summary};
use crate::checkpoint::CheckpointStore;
use crate::error::{Error, Result};
use crate::job::progress::Progress;
use crate::job::settings::{Ending, Settings};
use crate::options::parse_duration;

/// Where the demo keeps what is not in ClickHouse.
const FOLDER: &str = ".highwater/demo";
const JOB: &str = "demo";

const EXAMPLES: &str = "\
Examples:
  highwater demo                                     # into ClickHouse at $CLICKHOUSE_URL or localhost:8123
  highwater demo --parquet                           # into files, without ClickHouse
  highwater demo --events 500000 --seconds 120 --window '1 min'

It drops and makes anew its own database highwater_demo, and touches nothing else in ClickHouse.";

/// Arguments of `highwater demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Changes of customers to generate
    #[arg(long, default_value_t = 80_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    events: u64,
    /// How long to take over it; 0 is as fast as it goes
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u64).range(..=86_400))]
    seconds: u64,
    /// How long a window is, in event time; the demo has 20 of them
    #[arg(long, default_value = "12 s", value_parser = window)]
    window: Duration,
    /// ClickHouse's address; without an answer there, results go to Parquet files
    #[arg(long, env = "CLICKHOUSE_URL", default_value = "http://localhost:8123", hide_env_values = true)]
    clickhouse: String,
    /// Write Parquet files, even if there is a ClickHouse
    #[arg(long)]
    parquet: bool,
    /// The folder for files and checkpoints
    #[arg(long, default_value = FOLDER, value_name = "FOLDER")]
    folder: PathBuf,
}

fn window(text: &str) -> Result<Duration, String> {
    let window = parse_duration(text).filter(|window| !window.is_zero() && window.subsec_nanos() == 0);
    window
        .filter(|window| window.as_secs() <= 86_400)
        .ok_or_else(|| format!("\"{text}\" is not whole seconds up to a day, such as 12s or 1min"))
}

/// Runs the command.
pub(crate) async fn run(args: DemoArgs) -> Result<()> {
    let kafka = Kafka::start()?;
    let shop = Arc::new(Shop::new(&args, &kafka)?);
    let place = Place::choose(&args).await?;
    println!("{}\n  results  {place}\n", shop.describe(&args));
    let checkpoints = CheckpointStore::in_folder(&args.folder.join("checkpoints"), JOB)?;

    let interrupted = super::run::stop_on_signals()?;
    let live = Settings { reset_state: true, ..Settings::new(JOB, Ending::Endless, checkpoints.clone()) };
    if !run_live(&shop, &place, &args, live, interrupted.clone()).await? {
        println!("stopped before the end: there is nothing to compare");
        return Ok(());
    }
    println!(
        "Stopped, as by Ctrl-C; open windows are in the checkpoint. The same job goes on from there, to the end of the topic:"
    );
    let query = place.query(&args, shop.brokers()).await?;
    let (progress, started) = (Arc::new(Progress::default()), Instant::now());
    let last = Settings::new(JOB, Ending::Bounded, checkpoints);
    crate::job::run::run(query, last, Arc::clone(&progress), interrupted.clone()).await?;
    println!("{}\n", indented(&summary(&progress, started.elapsed())));
    if *interrupted.borrow() {
        println!("stopped before the end: there is nothing to compare");
        return Ok(());
    }

    let expected = tokio::task::block_in_place(|| shop.expected())?;
    let found = place.read().await?;
    println!("{}", compare::last_windows(&expected, &found));
    let differences = compare(&expected, &found);
    if !differences.is_empty() {
        return Err(Error::internal(format!(
            "the results are not what was generated:\n  {}",
            differences.join("\n  ")
        )));
    }
    println!("\n{}", place.what_next());
    Ok(())
}

/// The job without end, and the generator, which stops it; false when the user did.
async fn run_live(
    shop: &Arc<Shop>,
    place: &Place,
    args: &DemoArgs,
    settings: Settings,
    interrupted: watch::Receiver<bool>,
) -> Result<bool> {
    let query = place.query(args, shop.brokers()).await?;
    query.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let (progress, started) = (Arc::new(Progress::default()), Instant::now());
    let job_ended = Arc::new(AtomicBool::new(false));
    let (stop, stopped) = watch::channel(false);
    let flow =
        Flow { progress: Arc::clone(&progress), job_ended: Arc::clone(&job_ended), interrupted: interrupted.clone() };
    let generating = {
        let shop = Arc::clone(shop);
        tokio::task::spawn_blocking(move || {
            let published = shop.publish(&flow);
            let _ = stop.send(true);
            published
        })
    };
    let status = Status::show(JOB, Arc::clone(&progress));
    let outcome = crate::job::run::run(query, settings, Arc::clone(&progress), stopped).await;
    job_ended.store(true, Relaxed);
    status.finish();
    let published = generating.await.map_err(Error::internal)?;
    outcome?;
    let generated = published?;
    if *interrupted.borrow() {
        return Ok(false);
    }
    println!(
        "Generated {} changes in {:.0} s. The job so far:",
        HumanCount(generated),
        started.elapsed().as_secs_f64()
    );
    println!("{}\n", indented(&summary(&progress, started.elapsed())));
    Ok(true)
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// A folder of the demo's, empty.
fn emptied(folder: &Path) -> Result<()> {
    let failed = |cause| Error::permanent(format!("cannot empty {}", folder.display()), cause);
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(failed(cause)),
        _ => std::fs::create_dir_all(folder).map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_whole_seconds() {
        assert_eq!(window("12 s"), Ok(Duration::from_secs(12)));
        for text in ["0 s", "1500 ms", "2 d", "x"] {
            assert!(window(text).is_err(), "{text}");
        }
    }
}
