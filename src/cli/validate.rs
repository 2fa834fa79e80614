//! `highwater validate`.

use clap::Args;

use super::QueryArgs;
use crate::error::Result;
use crate::job::discovery::Discovery;
use crate::job::input::by_table;
use crate::sql::submission::Submission;
use crate::{sink, source};

/// Arguments of `highwater validate`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  highwater validate queries/*.sql && echo fine")]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    query: QueryArgs,
    /// Also look whether topics and tables are there and fit; changes nothing in Kafka, creates missing tables
    #[arg(long)]
    connect: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &ValidateArgs) -> Result<()> {
    let submission = Submission::read(&args.query.files, &args.query.variables())?;
    let is_open = submission.is_open();
    let mut discovery = Discovery::new(submission, None)?;
    if is_open && args.connect {
        tokio::task::block_in_place(|| discovery.look())?;
        discovery.statements()?.iter().for_each(|statement| println!("{statement}"));
        if let Some(missing) = discovery.missing() {
            eprintln!("{missing} has no records yet that its columns could be known from");
        }
    } else if let Some(missing) = discovery.missing() {
        eprintln!("{missing} leaves its columns out; --connect looks them up and shows them");
        return Ok(());
    }
    let query = discovery.compile().await?;
    let outputs = crate::job::check::check(&query, "validate")?;
    if args.connect {
        for (table, _) in by_table(&query.pipelines) {
            let partitions = tokio::task::block_in_place(|| source::open(&table.options)?.partitions())?;
            eprintln!("{}: {} partitions", table.name, partitions.len());
        }
        for table in &outputs.tables {
            sink::open(table, true)?.prepare().await?;
            eprintln!("{}: fits", table.name());
        }
    }
    query.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    eprintln!("{} statements are fine", query.pipelines.len());
    Ok(())
}
