//! What a job has delivered, by what ClickHouse has: nothing else is asked, so a mistake of the job cannot hide itself.
//!
//! Rows with positions say themselves which records they are of: first and last offset, which are missing in between, and which are
//! there twice. Results say of which window and epoch they are; a mirror's rows have versions, of which repeats fold.
//!
//! Tables may be larger than memory, also the server's: positions are looked at in ranges of offsets.

use crate::error::{Error, Result};
use crate::sink::clickhouse::{ClickHouseClient, quote_identifier, quote_string};
use crate::sink::{POSITION, VERSION};

use super::copy::{There, parts_of};

/// How many rows are compared at once: the server keeps their offsets in memory.
const AT_ONCE: u64 = 20_000_000;
/// How many gaps are shown of a partition.
const SHOWN: usize = 3;

/// A table, and what has been delivered to it.
#[derive(Debug)]
pub struct Delivered {
    /// Its name with its database.
    pub table: String,
    /// What can be told.
    pub found: Found,
}

/// What can be told of a table.
#[derive(Debug)]
pub enum Found {
    /// Rows with their positions.
    Positions(Vec<Positions>),
    /// Results of windows.
    Results(Results),
    /// Rows of which the one with the greatest version counts.
    Versions {
        /// All rows.
        rows: u64,
        /// Those that are there twice with one version, and fold when parts are merged.
        folding: u64,
    },
    /// It has none of Highwater's columns.
    Nothing {
        /// All rows.
        rows: u64,
    },
    /// It is not there.
    Missing,
}

/// The rows of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i64,
    /// How many rows there are.
    pub rows: u64,
    /// How many records they are of.
    pub records: u64,
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// Rows that are there more than once, less one each: equal in all columns but the epoch in which they were made.
    pub repeats: u64,
    /// How many stretches of offsets there are without a row.
    pub gaps: u64,
    /// Some of them, each from and to.
    pub some_gaps: Vec<(i64, i64)>,
}

impl Positions {
    /// Offsets between the first and the last that have no row.
    pub fn missing(&self) -> u64 {
        (self.last - self.first + 1).max(0) as u64 - self.records.min((self.last - self.first + 1).max(0) as u64)
    }
}

/// The rows of windows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Results {
    /// How many rows there are.
    pub rows: u64,
    /// The start of the first and of the last window, as the server writes them; none without such a column.
    pub windows: Option<(String, String)>,
    /// The first and the last epoch.
    pub epochs: (u64, u64),
    /// How many epochs have rows.
    pub epoch_count: u64,
    /// Rows that are equal to another in all but the time and epoch in which they were made.
    pub repeats: u64,
    /// Rows with the same sorting key as another.
    pub same_key: u64,
    /// The sorting key.
    pub key: String,
}

impl Delivered {
    /// Rows that are there twice and stay so.
    pub fn repeats(&self) -> u64 {
        match &self.found {
            Found::Positions(partitions) => partitions.iter().map(|it| it.repeats).sum(),
            Found::Results(results) => results.repeats,
            _ => 0,
        }
    }

    /// Looks at a table. `job` leaves out the rows of other jobs, where rows say of which they are.
    pub async fn look_at(client: &ClickHouseClient, name: &str, job: Option<&str>) -> Result<Self> {
        let (database, table) = parts_of(name);
        let delivered = |table: &str, found: Found| Self { table: format!("{database}.{table}"), found };
        let Some(mut there) = There::look_up(client, database, table).await? else {
            return Ok(delivered(table, Found::Missing));
        };
        let mut table = table.to_owned();
        if there.engine == "View" {
            // Of a mirror: the rows are in the table of versions.
            let versions = format!("{table}_versions");
            if let Some(found) = There::look_up(client, database, &versions).await? {
                (there, table) = (found, versions);
            }
        }
        let place = format!("{}.{}", quote_identifier(database), quote_identifier(&table));
        // Rows with positions that were there before their table said of which job they are may be anybody's.
        let nobody = if there.has(&POSITION) { ", ''" } else { "" };
        let own = job.filter(|_| there.has(&["_job"])).map(|job| format!("_job IN ({}{nobody})", quote_string(job)));
        let look = Look { client, place, own: own.unwrap_or_else(|| "1".to_owned()) };
        let found = match () {
            () if there.has(&POSITION) => Found::Positions(look.positions(there.has(&["_epoch"])).await?),
            () if there.has(&[VERSION]) => look.versions(&there).await?,
            () if there.has(&["_job", "_epoch"]) => Found::Results(look.results(&there).await?),
            () => Found::Nothing { rows: look.number("count()").await? },
        };
        Ok(delivered(&table, found))
    }

    /// The names of all tables whose rows have positions or epochs; of those that say of which job their rows are, the job's.
    pub async fn tables(client: &ClickHouseClient, job: Option<&str>) -> Result<Vec<String>> {
        let [topic, partition, offset] = POSITION.map(quote_string);
        let sql = format!(
            "SELECT concat(database, '.', table), countIf(name = '_job') = 1 FROM system.columns \
             WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema') GROUP BY database, table \
             HAVING countIf(name IN ({topic}, {partition}, {offset})) = 3 OR countIf(name IN ('_job', '_epoch')) = 2 ORDER BY 1"
        );
        let mut names = Vec::new();
        for row in client.query_rows(&sql).await? {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            let (name, says_job) = (row.next().unwrap_or_default(), row.next().unwrap_or_default() == "1");
            let (database, table) = parts_of(&name);
            let of_job = async |job: &str| {
                let place = format!("{}.{}", quote_identifier(database), quote_identifier(table));
                let look = Look { client, place, own: format!("_job = {}", quote_string(job)) };
                look.number("count()").await
            };
            match job {
                Some(job) if says_job && of_job(job).await? == 0 => {}
                _ => names.push(name),
            }
        }
        Ok(names)
    }
}

/// A table that is asked.
struct Look<'a> {
    client: &'a ClickHouseClient,
    place: String,
    /// Which rows are the job's.
    own: String,
}

/// A line of an answer.
type Cells = Vec<Option<String>>;

impl Look<'_> {
    async fn positions(&self, have_epochs: bool) -> Result<Vec<Positions>> {
        let sql = format!(
            "SELECT toString(_topic), _partition, count(), min(_offset), max(_offset) FROM {} WHERE {} \
             GROUP BY _topic, _partition ORDER BY 1, 2",
            self.place, self.own
        );
        let mut partitions = Vec::new();
        for cells in self.client.query_rows(&sql).await? {
            let mut positions = Positions {
                topic: text(&cells, 0),
                partition: parsed(&cells, 1)?,
                rows: parsed(&cells, 2)?,
                first: parsed(&cells, 3)?,
                last: parsed(&cells, 4)?,
                ..Positions::default()
            };
            self.compare(&mut positions, have_epochs).await?;
            partitions.push(positions);
        }
        Ok(partitions)
    }

    /// Compares the rows of a partition, a range of offsets after the other.
    async fn compare(&self, of: &mut Positions, have_epochs: bool) -> Result<()> {
        let ranges = of.rows.div_ceil(AT_ONCE).max(1) as i64;
        let width = ((of.last - of.first) / ranges + 1).max(1);
        let mut before: Option<i64> = None;
        let mut from = of.first;
        while from <= of.last {
            let until = from.saturating_add(width);
            let condition = format!(
                "{} AND _topic = {} AND _partition = {} AND _offset >= {from} AND _offset < {until}",
                self.own,
                quote_string(&of.topic),
                of.partition
            );
            let sql = format!(
                "SELECT count(), uniqExact(_offset), min(_offset), max(_offset) FROM {} WHERE {condition}",
                self.place
            );
            let cells = self.one(&sql).await?;
            let (rows, records): (u64, u64) = (parsed(&cells, 0)?, parsed(&cells, 1)?);
            if rows > 0 {
                let (first, last): (i64, i64) = (parsed(&cells, 2)?, parsed(&cells, 3)?);
                if let Some(before) = before.filter(|before| before + 1 < first) {
                    of.note_gaps(1, [(before + 1, first - 1)]);
                }
                before = Some(last);
                of.records += records;
                if rows > records {
                    let columns = if have_epochs { "* EXCEPT (_epoch)" } else { "*" };
                    let distinct = format!("uniqExact(_offset, sipHash64(formatRowNoNewline('TSV', {columns})))");
                    let sql = format!("SELECT count() - {distinct} FROM {} WHERE {condition}", self.place);
                    of.repeats += parsed::<u64>(&self.one(&sql).await?, 0)?;
                }
                if ((last - first + 1) as u64) > records {
                    self.find_gaps(of, &condition).await?;
                }
            }
            from = until;
        }
        Ok(())
    }

    async fn find_gaps(&self, of: &mut Positions, condition: &str) -> Result<()> {
        let sql = format!(
            "SELECT count(), arrayStringConcat(arrayMap(gap -> concat(toString(gap.1), '-', toString(gap.2)), \
             groupArraySorted({SHOWN})((before + 1, offset - 1))), ',') FROM (\
             SELECT offset, lagInFrame(offset, 1, offset) OVER (ORDER BY offset ASC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before \
             FROM (SELECT DISTINCT _offset AS offset FROM {} WHERE {condition})) WHERE offset > before + 1",
            self.place
        );
        let cells = self.one(&sql).await?;
        let gap = |text: &str| -> Option<(i64, i64)> {
            let (from, to) = text.split_once('-')?;
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        of.note_gaps(parsed(&cells, 0)?, text(&cells, 1).split(',').filter_map(gap));
        Ok(())
    }

    async fn results(&self, there: &There) -> Result<Results> {
        let has_windows = there.has(&["window_start"]);
        let bounds = if has_windows { "toString(min(window_start)), toString(max(window_start))" } else { "'', ''" };
        let sql = format!(
            "SELECT count(), min(_epoch), max(_epoch), uniqExact(_epoch), {bounds} FROM {} WHERE {}",
            self.place, self.own
        );
        let cells = self.one(&sql).await?;
        let mut results = Results {
            rows: parsed(&cells, 0)?,
            epochs: (parsed(&cells, 1)?, parsed(&cells, 2)?),
            epoch_count: parsed(&cells, 3)?,
            windows: has_windows.then(|| (text(&cells, 4), text(&cells, 5))),
            key: there.sorting_key.clone(),
            ..Results::default()
        };
        if results.rows == 0 {
            results.windows = None;
            return Ok(results);
        }
        let is_keyed = !there.sorting_key.is_empty();
        if is_keyed {
            let distinct = format!("uniqExact(sipHash64({}))", there.sorting_key);
            results.same_key = self.number(&format!("count() - {distinct}")).await?;
        }
        if !is_keyed || results.same_key > 0 {
            let made: Vec<_> = ["updated_at", "_epoch"].into_iter().filter(|name| there.has(&[*name])).collect();
            let distinct = format!("uniqExact(sipHash64(formatRowNoNewline('TSV', * EXCEPT ({}))))", made.join(", "));
            results.repeats = self.number(&format!("count() - {distinct}")).await?;
        }
        Ok(results)
    }

    async fn versions(&self, there: &There) -> Result<Found> {
        let rows = self.number("count()").await?;
        let version = quote_identifier(VERSION);
        let folding = match there.sorting_key.is_empty() {
            true => 0,
            false => {
                let distinct = format!("uniqExact(sipHash64({}, {version}))", there.sorting_key);
                self.number(&format!("count() - {distinct}")).await?
            }
        };
        Ok(Found::Versions { rows, folding })
    }

    async fn number(&self, expression: &str) -> Result<u64> {
        parsed(&self.one(&format!("SELECT {expression} FROM {} WHERE {}", self.place, self.own)).await?, 0)
    }

    async fn one(&self, sql: &str) -> Result<Cells> {
        Ok(self.client.query_rows(sql).await?.into_iter().next().unwrap_or_default())
    }
}

impl Positions {
    fn note_gaps(&mut self, count: u64, some: impl IntoIterator<Item = (i64, i64)>) {
        self.gaps += count;
        let left = SHOWN.saturating_sub(self.some_gaps.len());
        self.some_gaps.extend(some.into_iter().take(left));
    }
}

fn text(cells: &Cells, at: usize) -> String {
    cells.get(at).cloned().flatten().unwrap_or_default()
}

fn parsed<T: std::str::FromStr>(cells: &Cells, at: usize) -> Result<T> {
    let text = text(cells, at);
    text.parse().map_err(|_| Error::internal(format!("ClickHouse answers \"{text}\" where a number was asked for")))
}
