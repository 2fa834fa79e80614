//! `highwater job rewind`.

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::QueryArgs;
use super::run::{job_name, starting_point, stop_on_signals, variables};
use crate::checkpoint::CheckpointStore;
use crate::error::Result;
use crate::job::progress::Progress;
use crate::job::set_back::StartingPoint;
use crate::job::settings::{Ending, Settings};
use crate::sql::submission::Submission;

const EXAMPLES: &str = "\
Examples:
  highwater job rewind queries/registrations_per_store.sql --to earliest
  highwater job rewind q.sql --name shop --to 2026-01-01T08:00:00+02:00";

/// What is done with a job that does not run.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Set a job back: what it wrote since is taken out of its tables, and the next run reads on from there
    Rewind(RewindArgs),
}

/// Arguments of `highwater job rewind`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RewindArgs {
    #[command(flatten)]
    query: QueryArgs,
    /// A time (2026-01-01, 2026-01-01T08:00:00+02:00; UTC without an offset), or the earliest records
    #[arg(long, value_name = "TIME|earliest", value_parser = starting_point)]
    to: StartingPoint,
    /// Where the job's checkpoints are: a folder, or s3://, gs://, az://
    #[arg(long, value_name = "PLACE", env = "HIGHWATER_CHECKPOINT_DIR", default_value = ".highwater/checkpoints")]
    checkpoint_dir: String,
    /// The job's name [default: the first file's name]
    #[arg(long)]
    name: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(command: JobCommand) -> Result<()> {
    let JobCommand::Rewind(args) = command;
    let name = job_name(&args.query, args.name.as_deref())?;
    let submission = Submission::read(&args.query.files, &args.query.variables())?;
    let store = CheckpointStore::at(&args.checkpoint_dir, variables(), &name)?;
    let settings = Settings { set_back: Some(args.to), ..Settings::new(&name, Ending::AtOnce, store) };
    crate::job::run::submit(submission, settings, Arc::new(Progress::default()), stop_on_signals()?).await?;
    println!("job \"{name}\" is set back; the next run reads on from there");
    Ok(())
}
