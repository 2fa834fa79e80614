//! `highwater verify --purge-archived`.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::Format;
use super::targets::Target;
use crate::cli::print_result;
use crate::cli::run::{duration, stop_on_signals};
use crate::error::{Error, Result};
use crate::verify::purge::{Purged, Settings, check, count, purge};
use crate::verify::source::{Described, Source};
use crate::verify::statements::Subject;

/// Arguments of a purge.
#[derive(Debug, Args)]
#[command(next_help_heading = "Purging")]
pub(super) struct PurgeArgs {
    /// Delete rows from the source that the archive in ClickHouse has, value by value
    #[arg(long, requires = "older_than")]
    purge_archived: bool,
    /// Only rows that are older than this
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "time_column")]
    older_than: Option<Duration>,
    /// The column that says how old a row is, a date or a timestamp in UTC
    #[arg(long, value_name = "COLUMN", requires = "purge_archived")]
    time_column: Option<String>,
    /// Rows that are deleted at once
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// The pause between batches
    #[arg(long, default_value = "100 ms", value_parser = duration)]
    pause: Duration,
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// The job that fills the archive leaves the source's deletes out, or will never run again
    #[arg(long)]
    archive_keeps_deleted: bool,
}

impl PurgeArgs {
    /// Whether rows are to be deleted, or counted that could be.
    pub(super) fn is_asked_for(&self) -> bool {
        self.purge_archived
    }

    /// Whether the source is changed.
    pub(super) fn writes(&self) -> bool {
        self.purge_archived && !self.dry_run
    }

    /// Refuses before anything is read what would be refused later.
    pub(super) fn check(&self) -> Result<()> {
        if self.writes() && !self.yes && !std::io::stdin().is_terminal() {
            return Err(Error::config(
                "--purge-archived asks before it deletes, and there is no terminal to ask at; add --yes, or --dry-run",
            ));
        }
        Ok(())
    }

    /// Purges one table, after asking, and says what was done.
    pub(super) async fn purge(
        &self,
        source: &mut Source,
        subject: &Subject,
        described: &Described,
        target: &Target,
        format: Format,
    ) -> Result<Value> {
        let (Some(older_than), Some(time_column)) = (self.older_than, self.time_column.clone()) else {
            return Err(Error::config("--purge-archived needs --older-than and --time-column"));
        };
        let before = chrono::Duration::from_std(older_than).ok().and_then(|age| Utc::now().checked_sub_signed(age));
        let before = before.ok_or_else(|| Error::config("--older-than is longer ago than there are dates"))?;
        let settings = Settings {
            time_column,
            before: before.format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
            batch: usize::from(self.batch),
            pause: self.pause,
            dry_run: self.dry_run,
        };
        let old = check(subject, described, &settings, self.archive_keeps_deleted || target.keeps_deleted)?;
        let rows = count(source, subject, &old).await?;
        let what = format!(
            "{}: {} rows with {} before {} UTC",
            subject.table,
            HumanCount(rows),
            settings.time_column,
            &settings.before[..19]
        );
        if self.writes() && rows > 0 && !self.yes && !asked(&what, source.place(), &subject.copy.to_string())? {
            eprintln!("nothing is deleted");
            return Ok(to_json(subject, &settings, &Purged::default()));
        }
        let stopped = stop_on_signals()?;
        let purged = purge(source, subject, &old, &settings, &|_| !*stopped.borrow()).await?;
        if format == Format::Text {
            let stopped = if *stopped.borrow() { "  stopped before the end; the rest is as it was\n" } else { "" };
            print_result(&format!("{what}\n{}{stopped}", to_text(&purged, subject, self.dry_run)))?;
        }
        Ok(to_json(subject, &settings, &purged))
    }
}

fn asked(what: &str, place: &str, archive: &str) -> Result<bool> {
    eprint!("{what}. Delete those from {place} that are equal in {archive}? [y/N] ");
    let failed = |cause| Error::permanent("cannot ask", cause);
    std::io::stderr().flush().map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn to_text(purged: &Purged, subject: &Subject, dry_run: bool) -> String {
    let verb = if dry_run { "would be deleted" } else { "deleted" };
    let mut text = format!("  {} {verb}: equal in {}\n", HumanCount(purged.deleted), subject.copy);
    for (rows, why) in [
        (purged.missing, "not in the archive"),
        (purged.different, "different in the archive"),
        (purged.changed, "changed after they were compared"),
    ] {
        if rows > 0 {
            text.push_str(&format!("  {} kept: {why}\n", HumanCount(rows)));
        }
    }
    text
}

fn to_json(subject: &Subject, settings: &Settings, purged: &Purged) -> Value {
    json!({
        "table": subject.table.to_string(),
        "copy": subject.copy.to_string(),
        "before": settings.before,
        "dry_run": settings.dry_run,
        "looked_at": purged.looked_at,
        "deleted": purged.deleted,
        "kept": { "missing": purged.missing, "different": purged.different, "changed": purged.changed },
    })
}
