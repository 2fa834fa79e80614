//! `highwater test`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use futures::StreamExt;

use crate::error::{Error, Result};
use crate::testing::case::{Case, find};
use crate::testing::check::check;
use crate::testing::run::{Manner, compile, run as run_case};
use crate::testing::update::update;

/// Arguments of `highwater test`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  highwater test queries/tests\n  highwater test queries/tests --filter registrations --update"
)]
pub(crate) struct TestArgs {
    /// Files that end in .test, and folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only cases whose path contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write what came into the files, as what is expected from now on
    #[arg(long)]
    update: bool,
    /// Run each case in many ways that must give the same rows: batches, lanes, restarts, crashes
    #[arg(long)]
    thorough: bool,
    /// Cases at a time [default: one per core]
    #[arg(long, value_name = "N")]
    jobs: Option<std::num::NonZero<usize>>,
    /// Also say what each case shows, and how long it took
    #[arg(long, short)]
    verbose: bool,
}

/// How a case ended.
enum Ended {
    Right,
    Updated,
    Wrong(Vec<String>),
}

/// Runs the command: exit code 1 when a case failed.
pub(crate) async fn run(args: TestArgs) -> Result<ExitCode> {
    let mut files = find(&args.paths)?;
    if let Some(filter) = &args.filter {
        files.retain(|file| file.to_string_lossy().contains(filter.as_str()));
        if files.is_empty() {
            return Err(Error::config(format!("no case has \"{filter}\" in its path")));
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.map_or(cores, std::num::NonZero::get);
    let (update, thorough) = (args.update, args.thorough);
    let running = files.into_iter().map(|file| async move {
        let started = Instant::now();
        let task = tokio::spawn(run_file(file.clone(), update, thorough));
        let ended = task.await.map_err(Error::internal).and_then(|ended| ended);
        (file, ended, started.elapsed())
    });
    let mut running = futures::stream::iter(running).buffered(jobs);
    let (mut count, mut failed, mut details) = (0, 0, Vec::new());
    while let Some((file, ended, took)) = running.next().await {
        count += 1;
        let (word, complaints, title) = match ended {
            Ok((Ended::Right, title)) => ("ok", Vec::new(), title),
            Ok((Ended::Updated, title)) => ("updated", Vec::new(), title),
            Ok((Ended::Wrong(complaints), title)) => ("FAILED", complaints, title),
            Err(error) => ("FAILED", vec![error.to_string()], String::new()),
        };
        match args.verbose {
            true => println!("{word:7} {}  {} ({} ms)", file.display(), title, took.as_millis()),
            false => println!("{word:7} {}", file.display()),
        }
        if word == "FAILED" {
            failed += 1;
            details.push(format!("\n{}\n{}", file.display(), complaints.join("\n")));
        }
    }
    details.iter().for_each(|detail| println!("{detail}"));
    match failed {
        0 => println!("\n{count} cases are right"),
        _ => println!(
            "\n{failed} of {count} cases failed; where the new rows are right, --update writes them into the files"
        ),
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Runs a case and says how it ended, and what it shows.
async fn run_file(file: PathBuf, updates: bool, thorough: bool) -> Result<(Ended, String)> {
    let mut case = Case::read(&file)?;
    let query = compile(&case).await?;
    let mut updated = false;
    if updates {
        let text = update(&case, &run_case(&case, &query, &Manner::WHOLE).await?)?;
        updated = text.trim_end() != case.lines.join("\n").trim_end();
        if updated {
            std::fs::write(&file, &text)
                .map_err(|cause| Error::permanent(format!("cannot write {}", file.display()), cause))?;
            case = Case::parse(&case.file, &text)?;
        }
    }
    let title = case.title().to_owned();
    for manner in if thorough { Manner::all() } else { vec![Manner::WHOLE] } {
        let mut complaints = check(&case, &run_case(&case, &query, &manner).await?)?;
        if !complaints.is_empty() {
            if thorough {
                complaints.insert(0, format!("in this manner: {manner}"));
            }
            return Ok((Ended::Wrong(complaints), title));
        }
    }
    Ok((if updated { Ended::Updated } else { Ended::Right }, title))
}
