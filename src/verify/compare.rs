//! Ranges, halves, rows, and a second look at what differs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::{ColumnReport, RowReport, TableReport, Trouble};
use super::rows::{Key, KeyedRows, TextRow};
use super::slice::{Side, Slice};
use super::source::Source;
use super::statements::Subject;
use super::value::same;
use crate::error::{Error, Result};

/// Keys that are looked up at once.
const LOOKUP: usize = 200;
/// The most hexadecimal digits of a bucket: 16 million of them.
const MAX_DIGITS: usize = 6;

/// How tables are compared.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Rows of a range at first.
    pub range_rows: u64,
    /// Rows of a range that is fetched instead of halved.
    pub leaf_rows: u64,
    /// How long to wait before rows that differ are looked at again.
    pub settle: Duration,
    /// How often they are.
    pub looks: u32,
    /// Rows that are named in the report.
    pub max_rows: usize,
    /// Rows that differ before the search ends.
    pub max_differences: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            range_rows: 20_000,
            leaf_rows: 200,
            settle: Duration::from_secs(5),
            looks: 3,
            max_rows: 20,
            max_differences: 100_000,
        }
    }
}

/// Count and hashes of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Digest {
    rows: u64,
    keys: u64,
    hash: u64,
}

/// A row that differs: what the source had when it was looked at.
type Suspects = BTreeMap<Key, Option<TextRow>>;

/// Compares a table with its copy. `progress` is told how many rows of the source have been looked at.
pub async fn compare(
    source: &mut Source,
    subject: &Subject,
    settings: &Settings,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<TableReport> {
    let pairing = &subject.pairing;
    let report = TableReport {
        table: subject.table.to_string(),
        copy: subject.copy.to_string(),
        columns: pairing.pairs.iter().map(|pair| pair.source.clone()).collect(),
        skipped: pairing.skipped.clone(),
        notes: pairing.notes.clone(),
        key: pairing.keys().iter().map(|key| key.source.clone()).collect(),
        ..TableReport::default()
    };
    let mut comparison = Comparison { source, subject, settings, report, suspects: Suspects::new(), progress };
    if subject.ordered() > 0 {
        comparison.by_ranges().await?
    } else {
        comparison.by_buckets().await?
    }
    comparison.look_again().await?;
    Ok(comparison.report)
}

struct Comparison<'a> {
    source: &'a mut Source,
    subject: &'a Subject,
    settings: &'a Settings,
    report: TableReport,
    suspects: Suspects,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Comparison<'_> {
    /// Range after range, cut by the source's keys; the first and the last are open, for keys that only the copy has.
    async fn by_ranges(&mut self) -> Result<()> {
        let mut after = None;
        loop {
            let rest = Slice::Range { after: after.clone(), until: None };
            let until = self.cut(Side::Source, &rest, self.settings.range_rows).await?;
            let slice = Slice::Range { after, until: until.clone() };
            let digests = self.digests(&slice).await?;
            self.take(slice, digests).await?;
            if until.is_none() || self.is_enough() {
                return Ok(());
            }
            after = until;
        }
    }

    /// As many buckets as make some of the wanted size.
    async fn by_buckets(&mut self) -> Result<()> {
        let whole = Slice::Bucket(String::new());
        let (one, other) = self.digests(&whole).await?;
        let rows = one.rows.max(other.rows);
        let wanted = |digits: &usize| rows / 16_u64.pow(*digits as u32) <= self.settings.range_rows;
        let digits = (1..=MAX_DIGITS).find(wanted).unwrap_or(MAX_DIGITS);
        self.buckets_within(&whole, digits).await
    }

    async fn buckets_within(&mut self, bucket: &Slice, digits: usize) -> Result<()> {
        let of_source = self.subject.digests_of_buckets(Side::Source, bucket, digits);
        let of_copy = self.subject.digests_of_buckets(Side::Copy, bucket, digits);
        let (source, copy) = tokio::join!(self.source.rows(&of_source), self.subject.copy.rows(&of_copy));
        let mut buckets: BTreeMap<String, (Digest, Digest)> = BTreeMap::new();
        for row in source? {
            let (name, digest) = named_digest(row)?;
            buckets.entry(name).or_default().0 = digest;
        }
        for row in copy? {
            let (name, digest) = named_digest(row)?;
            buckets.entry(name).or_default().1 = digest;
        }
        for (name, digests) in buckets {
            self.take(Slice::Bucket(name), digests).await?;
            if self.is_enough() {
                break;
            }
        }
        Ok(())
    }

    /// Counts a slice, and finds the rows that differ in it.
    async fn take(&mut self, slice: Slice, digests: (Digest, Digest)) -> Result<()> {
        self.report.source_rows += digests.0.rows;
        self.report.copy_rows += digests.1.rows;
        self.report.ranges += 1;
        if digests.0 == digests.1 {
            self.compare_fetched(&slice).await?;
        } else {
            self.report.ranges_different += 1;
            self.narrow(slice, digests).await?;
        }
        (self.progress)(self.report.source_rows);
        Ok(())
    }

    /// Halves until few rows are left.
    async fn narrow(&mut self, slice: Slice, digests: (Digest, Digest)) -> Result<()> {
        let mut open = vec![(slice, digests)];
        while let Some((slice, digests)) = open.pop() {
            if self.is_enough() {
                return Ok(());
            }
            if digests.0 == digests.1 {
                self.compare_fetched(&slice).await?;
                continue;
            }
            let rows = digests.0.rows.max(digests.1.rows);
            if rows <= self.settings.leaf_rows {
                self.compare_rows(&slice).await?;
                continue;
            }
            let parts = self.parts(&slice, digests).await?;
            if parts.len() < 2 {
                self.compare_rows(&slice).await?;
                continue;
            }
            for part in parts {
                let digests = self.digests(&part).await?;
                open.push((part, digests));
            }
        }
        Ok(())
    }

    /// The halves of a range, by the keys of the side that has more; the buckets of a bucket. One part when there is no
    /// way to part it.
    async fn parts(&mut self, slice: &Slice, digests: (Digest, Digest)) -> Result<Vec<Slice>> {
        match slice {
            Slice::Bucket(name) if name.len() >= MAX_DIGITS => Ok(Vec::new()),
            Slice::Bucket(name) => Ok((0..16).map(|digit| Slice::Bucket(format!("{name}{digit:x}"))).collect()),
            Slice::Range { after, until } => {
                let (side, rows) = match digests.0.rows >= digests.1.rows {
                    true => (Side::Source, digests.0.rows),
                    false => (Side::Copy, digests.1.rows),
                };
                // Of one key prefix there is no half; nor where changes have taken the rows away.
                let middle = self.cut(side, slice, rows / 2).await?.filter(|middle| Some(middle) != until.as_ref());
                Ok(middle.map_or_else(Vec::new, |middle| {
                    let before = Slice::Range { after: after.clone(), until: Some(middle.clone()) };
                    vec![before, Slice::Range { after: Some(middle), until: until.clone() }]
                }))
            }
        }
    }

    async fn cut(&mut self, side: Side, slice: &Slice, rows: u64) -> Result<Option<Vec<String>>> {
        let sql = self.subject.cut(side, slice, rows);
        let rows = match side {
            Side::Source => self.source.rows(&sql).await?,
            Side::Copy => self.subject.copy.rows(&sql).await?,
        };
        Ok(rows.into_iter().next().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()))
    }

    async fn digests(&mut self, slice: &Slice) -> Result<(Digest, Digest)> {
        let (of_source, of_copy) = (self.subject.digest(Side::Source, slice), self.subject.digest(Side::Copy, slice));
        let (source, copy) = tokio::join!(self.source.rows(&of_source), self.subject.copy.rows(&of_copy));
        let first = |rows: Vec<TextRow>| digest(rows.first().map_or(&[], Vec::as_slice));
        Ok((first(source?)?, first(copy?)?))
    }

    /// Columns that hashes do not tell of, where the rest agrees.
    async fn compare_fetched(&mut self, slice: &Slice) -> Result<()> {
        let subject = self.subject;
        if subject.pairing.fetched().next().is_none() {
            return Ok(());
        }
        let key = subject.pairing.key;
        let (of_source, of_copy) = (subject.fetched(Side::Source, slice), subject.fetched(Side::Copy, slice));
        let (source, copy) = tokio::join!(self.source.rows(&of_source), subject.copy.rows(&of_copy));
        let (source, copy) = (KeyedRows::new(source?, key), KeyedRows::new(copy?, key));
        let kinds: Vec<_> = subject.pairing.keys().iter().chain(subject.pairing.fetched()).map(|it| it.kind).collect();
        for key in source.keys().chain(copy.keys()) {
            let agree = match (source.of(key), copy.of(key)) {
                ([one], [other]) => kinds
                    .iter()
                    .zip(one.iter().zip(other))
                    .all(|(kind, (one, other))| same(*kind, one.as_deref(), other.as_deref())),
                _ => false,
            };
            if !agree {
                // What the source has in the other columns shows when it is looked at again.
                self.suspects.insert(key.clone(), None);
            }
        }
        Ok(())
    }

    async fn compare_rows(&mut self, slice: &Slice) -> Result<()> {
        let subject = self.subject;
        let (of_source, of_copy) = (subject.rows(Side::Source, slice), subject.rows(Side::Copy, slice));
        let (source, copy) = tokio::join!(self.source.rows(&of_source), subject.copy.rows(&of_copy));
        let key = subject.pairing.key;
        let (source, copy) = (KeyedRows::new(source?, key), KeyedRows::new(copy?, key));
        for key in source.keys().chain(copy.keys()) {
            if trouble(subject, source.of(key), copy.of(key)).is_some() {
                self.suspects.insert(key.clone(), source.of(key).first().cloned());
            }
        }
        Ok(())
    }

    fn is_enough(&mut self) -> bool {
        self.report.cut_short |= self.suspects.len() >= self.settings.max_differences;
        self.report.cut_short
    }

    /// Waits, and looks at the rows that differ again, a few times: a change may be on its way. What differs to the end is
    /// reported, unless the source's row has changed since the look before.
    async fn look_again(&mut self) -> Result<()> {
        let first = self.suspects.len() as u64;
        let looks = self.settings.looks.max(1);
        for look in 1..=looks {
            if self.suspects.is_empty() {
                break;
            }
            tokio::time::sleep(self.settings.settle).await;
            let suspects = std::mem::take(&mut self.suspects);
            let keys: Vec<Key> = suspects.keys().cloned().collect();
            for some in keys.chunks(LOOKUP) {
                let (source, copy) = look_up(self.source, self.subject, some).await?;
                for key in some {
                    let Some(trouble) = trouble(self.subject, source.of(key), copy.of(key)) else { continue };
                    let now = source.of(key).first().cloned();
                    let is_settled = suspects.get(key) == Some(&now);
                    if look < looks {
                        self.suspects.insert(key.clone(), now);
                    } else if is_settled {
                        self.note(key, trouble);
                    } else {
                        self.report.unsettled += 1;
                    }
                }
            }
        }
        let report = &mut self.report;
        report.caught_up = first - report.missing - report.extra - report.different - report.unsettled;
        Ok(())
    }

    fn note(&mut self, key: &Key, trouble: Trouble) {
        let report = &mut self.report;
        match trouble {
            Trouble::Missing => report.missing += 1,
            Trouble::Extra => report.extra += 1,
            Trouble::Repeated(_) | Trouble::Different(_) => report.different += 1,
        }
        if report.rows.len() < self.settings.max_rows {
            report.rows.push(RowReport { key: key.clone(), trouble });
        }
    }
}

/// The rows of some keys on both sides. The source is asked first: what the copy has beyond it is on no way to it.
pub async fn look_up(source: &mut Source, subject: &Subject, keys: &[Key]) -> Result<(KeyedRows, KeyedRows)> {
    let of_source = source.rows(&subject.lookup(Side::Source, keys)).await?;
    let of_copy = subject.copy.rows(&subject.lookup(Side::Copy, keys)).await?;
    Ok((KeyedRows::new(of_source, subject.pairing.key), KeyedRows::new(of_copy, subject.pairing.key)))
}

/// How the rows of a key differ, if they do.
pub fn trouble(subject: &Subject, source: &[TextRow], copy: &[TextRow]) -> Option<Trouble> {
    match (source, copy) {
        ([], []) => None,
        (_, []) => Some(Trouble::Missing),
        ([], _) => Some(Trouble::Extra),
        ([one, ..], [other]) => {
            let columns: Vec<_> = subject
                .pairing
                .pairs
                .iter()
                .zip(one.iter().zip(other))
                .filter(|(pair, (one, other))| !same(pair.kind, one.as_deref(), other.as_deref()))
                .map(|(pair, (one, other))| ColumnReport {
                    column: pair.source.clone(),
                    source: one.clone(),
                    copy: other.clone(),
                })
                .collect();
            (!columns.is_empty()).then_some(Trouble::Different(columns))
        }
        (_, copies) => Some(Trouble::Repeated(copies.len())),
    }
}

fn named_digest(row: TextRow) -> Result<(String, Digest)> {
    let name = row.first().cloned().flatten().unwrap_or_default();
    Ok((name, digest(row.get(1..).unwrap_or_default())?))
}

fn digest(row: &[Option<String>]) -> Result<Digest> {
    let number = |at: usize| {
        let text = row.get(at).and_then(Option::as_deref).unwrap_or("0");
        // PostgreSQL's have a sign.
        let signed = || text.parse::<i64>().ok().map(i64::cast_unsigned);
        let number = text.parse::<u64>().ok().or_else(signed);
        number.ok_or_else(|| Error::internal(format!("expected a number as hash, found \"{text}\"")))
    };
    Ok(Digest { rows: number(0)?, keys: number(1)?, hash: number(2)? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hashes_with_and_without_a_sign_are_the_same() {
        let row = |hash: &str| [Some("3".to_owned()), Some("1".to_owned()), Some(hash.to_owned())];
        assert_eq!(digest(&row("18446744073709551615")).unwrap(), digest(&row("-1")).unwrap());
        assert_ne!(digest(&row("1")).unwrap(), digest(&row("-1")).unwrap());
        assert!(digest(&row("x")).is_err());
        assert_eq!(digest(&[]).unwrap(), Digest::default());
    }
}
