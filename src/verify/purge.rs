//! Deletes from a source what its archive in ClickHouse has.
//!
//! Batch by batch: rows that are old enough are read from the source, the same keys from the archive, and those that are equal
//! in every column are deleted, on the condition that the whole row is still what was compared. So a row that changes in
//! between stays, however the changes fall.

use std::time::Duration;

use super::canon::Kind;
use super::compare::trouble;
use super::copy::CopyForm;
use super::report::Trouble;
use super::rows::{Key, KeyedRows, TextRow};
use super::slice::Side;
use super::source::{Described, Source};
use super::statements::{Old, Subject};
use crate::error::{Error, Result};

/// What is purged, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The column that says how old a row is.
    pub time_column: String,
    /// Rows before this time are old: `2026-11-21 09:14:26.690734`, in UTC.
    pub before: String,
    /// Rows of a batch.
    pub batch: usize,
    /// The pause between batches.
    pub pause: Duration,
    /// Only look.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purged {
    /// Old rows that were looked at.
    pub looked_at: u64,
    /// Rows that were deleted; in a dry run, those that would have been.
    pub deleted: u64,
    /// Rows that stay: the archive does not have them.
    pub missing: u64,
    /// Rows that stay: the archive has other values.
    pub different: u64,
    /// Rows that stay: they changed after they were compared.
    pub changed: u64,
}

/// Says why a table cannot be purged, if it cannot. `keeps_deleted`: whether the copy keeps rows that the source deletes,
/// as the user or the query file says.
pub fn check(subject: &Subject, source: &Described, settings: &Settings, keeps_deleted: bool) -> Result<Old> {
    let table = &subject.table;
    if subject.copy.form != CopyForm::Changelog && !keeps_deleted {
        return Err(Error::config(format!(
            "{} follows the deletes of {table}, so purging would empty the archive as well. Archive into a changelog \
             (INSERT INTO … SELECT * FROM CHANGES(…)), or into a mirror with 'deletes' = 'ignore'; if the job that fills it is \
             set up so, or has ended for good, say --archive-keeps-deleted",
            subject.copy
        )));
    }
    if let Some(skipped) =
        subject.pairing.skipped.iter().find(|it| it.of_source && !it.reason.contains("--ignore-column"))
    {
        return Err(Error::config(format!(
            "column \"{}\" of {table} cannot be compared ({}), so its values may be nowhere else; \
             --ignore-column {} lets them go",
            skipped.column, skipped.reason, skipped.column
        )));
    }
    if let Some(key) = subject.pairing.keys().iter().find(|key| !key.kind.has_literals()) {
        return Err(Error::config(format!(
            "the primary key of {table} has the column \"{}\", and only keys of integers, dates, texts, UUIDs and bytes can be purged",
            key.source
        )));
    }
    let column = source.columns.iter().find(|column| column.name == settings.time_column).ok_or_else(|| {
        let hint = crate::error::suggestion(&settings.time_column, source.columns.iter().map(|it| it.name.as_str()));
        Error::config(format!("table {table} has no column \"{}\" (--time-column){hint}", settings.time_column))
    })?;
    if !matches!(column.kind, Some(Kind::Date | Kind::Timestamp(_))) {
        return Err(Error::config(format!(
            "column \"{}\" of {table} is {}, not a date or a timestamp (--time-column)",
            column.name, column.type_name
        )));
    }
    Ok(Old::before(subject.dialect, source, column, &settings.before))
}

/// How many rows are old.
pub async fn count(source: &mut Source, subject: &Subject, old: &Old) -> Result<u64> {
    let rows = source.rows(&subject.count_old(old)).await?;
    let text = rows.first().and_then(|row| row.first().cloned().flatten()).unwrap_or_default();
    text.parse().map_err(|_| Error::internal(format!("expected a number of rows, found \"{text}\"")))
}

/// Purges a table. `progress` is told after each batch; when it says false, there is no further one.
pub async fn purge(
    source: &mut Source,
    subject: &Subject,
    old: &Old,
    settings: &Settings,
    progress: &(dyn Fn(&Purged) -> bool + Sync),
) -> Result<Purged> {
    let mut purged = Purged::default();
    let mut after: Option<Key> = None;
    loop {
        let rows = source.rows(&subject.old_rows(old, after.as_ref(), settings.batch)).await?;
        let Some(last) = rows.last() else { break };
        after = Some(key_of(subject, last));
        let is_last = rows.len() < settings.batch;
        purge_batch(source, subject, old, settings, rows, &mut purged).await?;
        if !progress(&purged) || is_last {
            break;
        }
        if !settings.dry_run {
            tokio::time::sleep(settings.pause).await;
        }
    }
    Ok(purged)
}

async fn purge_batch(
    source: &mut Source,
    subject: &Subject,
    old: &Old,
    settings: &Settings,
    rows: Vec<TextRow>,
    purged: &mut Purged,
) -> Result<()> {
    let keys: Vec<Key> = rows.iter().map(|row| key_of(subject, row)).collect();
    let archived = subject.copy.rows(&subject.lookup(Side::Copy, &keys)).await?;
    let archived = KeyedRows::new(archived, subject.pairing.key);
    let (mut same, mut guards) = (Vec::new(), Vec::new());
    purged.looked_at += rows.len() as u64;
    for (key, mut row) in keys.into_iter().zip(rows) {
        let guard = row.pop().flatten().unwrap_or_default();
        match trouble(subject, &[row], archived.of(&key)) {
            None => {
                same.push(key);
                guards.push(guard);
            }
            Some(Trouble::Missing) => purged.missing += 1,
            Some(_) => purged.different += 1,
        }
    }
    if same.is_empty() || settings.dry_run {
        purged.deleted += same.len() as u64;
        return Ok(());
    }
    let deleted = source.execute(&subject.delete(old, &same, &guards)).await?;
    purged.deleted += deleted;
    purged.changed += (same.len() as u64).saturating_sub(deleted);
    Ok(())
}

fn key_of(subject: &Subject, row: &TextRow) -> Key {
    row.iter().take(subject.pairing.key).map(|value| value.clone().unwrap_or_default()).collect()
}
