//! `highwater why`: how a job is, in sentences. From the job itself when it runs, else from its last checkpoint.

mod running;
mod stopped;

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::checkpoint::{Place, manifest_json, newest, state, windows_json};
use super::print_result;
use crate::error::{Error, Result};
use crate::job::lane::now;
use crate::job::report::Report;

const EXAMPLES: &str = "\
Examples:
  highwater why registrations_per_store                                  # asks the job at 127.0.0.1:9184
  highwater why registrations_per_store --metrics box:9184
  highwater why registrations_per_store --checkpoint-dir s3://bucket/folder
  watch highwater why registrations_per_store

A running job answers when it was started with --metrics. Of one that does not, the last checkpoint tells.";

/// How long the job may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `highwater why`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WhyArgs {
    /// The job's name
    job: String,
    /// The address at which the job serves its metrics, as `run --metrics` has it
    #[arg(long, value_name = "ADDRESS", env = "HIGHWATER_METRICS", default_value = "127.0.0.1:9184")]
    metrics: String,
    #[command(flatten)]
    place: Place,
    /// What is known as JSON, without sentences
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &WhyArgs) -> Result<()> {
    let why_not = match ask(&args.metrics).await {
        Ok(report) if report.job == args.job => {
            return match args.json {
                true => {
                    let report = serde_json::to_value(report).map_err(Error::internal)?;
                    print_result(&format!("{:#}\n", json!({ "running": report })))
                }
                false => print_result(&text(running::sentences(&report))),
            };
        }
        Ok(report) => format!("the job at {} is another one, \"{}\"", args.metrics, report.job),
        Err(why_not) => why_not,
    };
    let Some(found) = newest(&args.place, &args.job).await? else {
        return Err(Error::config(format!(
            "nothing is known of job \"{}\": {why_not}, and there is no checkpoint of it in {}; is the name right, was it started with \
             --metrics, and where are its checkpoints (--checkpoint-dir)?",
            args.job,
            args.place.shown()
        )));
    };
    let state = state(&found).await?;
    match args.json {
        true => {
            let manifest = manifest_json(&found.outline.manifest)?;
            let windows = state.as_ref().map(windows_json).unwrap_or_else(|why| json!({ "unknown": why }));
            let value = json!({ "running": null, "why_not": why_not, "checkpoint": manifest, "windows": windows });
            print_result(&format!("{value:#}\n"))
        }
        false => print_result(&text(stopped::sentences(&found.outline.manifest, state.as_ref(), &why_not, now()))),
    }
}

fn text(sentences: Vec<String>) -> String {
    sentences.into_iter().map(|sentence| format!("{sentence}\n")).collect()
}

/// Asks a job how it is; or why it cannot be asked.
async fn ask(address: &str) -> std::result::Result<Report, String> {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().map_err(|error| error.to_string())?;
    let answer =
        async { client.get(format!("http://{address}/status")).send().await?.error_for_status()?.text().await };
    let text = answer.await.map_err(|error| match error.is_connect() {
        true => format!("nobody answers at {address}"),
        false => format!("{address} does not answer as a job does: {}", error.without_url()),
    })?;
    serde_json::from_str(&text)
        .map_err(|error| format!("{address} answers, but not as this version's jobs do: {error}"))
}
