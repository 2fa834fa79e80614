//! What a query leaves out, looked up: the columns of tables that declare none, and the tables of databases.
//!
//! Looking up reads the last records of topics, with a consumer of its own. What was found is part of the checkpoints, so that
//! a restart begins with the same columns and meets the same changes of them at the same places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};

use crate::change::TopicPartition;
use crate::checkpoint::{Manifest, SavedColumn, SavedRows, SavedSchemas};
use crate::error::{Error, Result};
use crate::format::infer::{RowSchema, Sample, infer};
use crate::options::Options;
use crate::source::{self, RawBatch};
use crate::sql::define::catalog::Table;
use crate::sql::query::Query;
use crate::sql::submission::{Discovered, Submission};

/// How many records of a partition are looked at.
const RECORDS: i64 = 50;
/// How long records are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A record that has columns which its table does not have.
#[derive(Debug, Clone)]
pub struct Drift {
    /// The table.
    pub table: String,
    /// Where the record is.
    pub source: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// The record.
    pub sample: Sample,
}

/// A submission and what is known beyond its text.
#[derive(Debug)]
pub struct Discovery {
    submission: Submission,
    found: Discovered,
    /// Tables that are not read any more, by name, and why.
    stopped: BTreeMap<String, String>,
    /// Topics that have records, but none with rows: heartbeats, transactions.
    without_rows: BTreeSet<String>,
    /// Whether a plan of it has run in this process.
    has_run: bool,
    /// Whether it has been looked at all.
    looked: bool,
}

impl Discovery {
    /// A submission of which nothing is known but what a checkpoint says.
    pub fn new(submission: Submission, saved: Option<&Manifest>) -> Result<Self> {
        let found = saved.and_then(|manifest| manifest.discovered.as_ref()).map(restored).transpose()?;
        Ok(Self {
            // What a checkpoint has is the plan to begin with: new tables are looked for when that runs.
            looked: found.is_some(),
            found: found.unwrap_or_default(),
            submission,
            stopped: BTreeMap::new(),
            without_rows: BTreeSet::new(),
            has_run: false,
        })
    }

    /// Whether nothing has to be looked up before there can be a plan.
    pub fn is_known(&self) -> bool {
        self.missing().is_none() && (self.looked || !self.may_grow())
    }

    /// Notes that a plan of it has run in this process.
    pub fn note_run(&mut self) {
        self.has_run = true;
    }

    /// Whether a plan of it has run in this process.
    pub fn has_run(&self) -> bool {
        self.has_run
    }

    /// What is known, for a checkpoint; nothing when nothing was left out.
    pub fn saved(&self) -> Option<SavedSchemas> {
        self.submission.is_open().then(|| saved(&self.found))
    }

    /// The tables that are not read any more, and why.
    pub fn stopped(&self) -> &BTreeMap<String, String> {
        &self.stopped
    }

    /// The query, with what is known so far.
    pub async fn compile(&self) -> Result<Query> {
        self.submission.compile(&self.found).await
    }

    /// The statements that were left out: tables with their columns, and what mirrored databases stand for.
    pub fn statements(&self) -> Result<Vec<String>> {
        let open = self.submission.open_tables();
        let tables = open.into_iter().filter_map(|table| Some(text_of(table, self.found.tables.get(&table.name)?)));
        let generated = self.submission.generated(&self.found)?.into_iter().map(|(_, text)| text);
        Ok(tables.chain(generated).collect())
    }

    /// Whether there are databases, which may get more tables at any time.
    pub fn may_grow(&self) -> bool {
        self.submission.mirrors().next().is_some()
    }

    /// The first table or database of which nothing is known yet, in words.
    pub fn missing(&self) -> Option<String> {
        let mut open = self.submission.open_tables().into_iter();
        let table = open.find(|table| !self.found.tables.contains_key(&table.name));
        let mut mirrors = self.submission.mirrors();
        let is_empty = |name: &str| self.found.databases.get(name).is_none_or(BTreeMap::is_empty);
        let database = mirrors.find(|(source, _)| is_empty(&source.name));
        let table = table.map(|table| format!("table \"{}\"", table.name));
        table.or_else(|| database.map(|(source, _)| format!("database \"{}\"", source.name)))
    }

    /// Looks up what is missing. Blocks. Returns whether something new was found.
    pub fn look(&mut self) -> Result<bool> {
        let mut is_new = false;
        self.looked = true;
        for table in self.submission.open_tables() {
            if self.found.tables.contains_key(&table.name) {
                continue;
            }
            let samples: Vec<_> = samples(&table.options, &[])?.into_values().flatten().collect();
            if let Some(rows) = infer(&table.options, &samples)? {
                self.found.tables.insert(table.name.clone(), rows);
                is_new = true;
            }
        }
        let databases: BTreeMap<&str, _> =
            self.submission.mirrors().map(|(source, _)| (source.name.as_str(), source)).collect();
        for (name, database) in databases {
            let known = self.found.databases.entry(name.to_owned()).or_default();
            let known_topics: Vec<_> = known.keys().chain(&self.without_rows).map(String::as_str).collect();
            for (topic, samples) in samples(&database.options, &known_topics)? {
                let taken = self.submission.mirrors().any(|(source, it)| source.name == name && it.takes(&topic));
                match infer(&database.options, &samples)? {
                    Some(rows) if taken => {
                        tracing::info!(
                            "topic {topic} has {} columns; it is mirrored from here on",
                            rows.columns.fields().len()
                        );
                        known.insert(topic, rows);
                        is_new = true;
                    }
                    _ => drop(self.without_rows.insert(topic)),
                }
            }
        }
        Ok(is_new)
    }

    /// Takes in the new columns of a table. Where they do not go together with the old ones, the table is not read any more.
    pub fn take_in(&mut self, drift: &Drift) -> Result<()> {
        let options = self.options_of(&drift.table);
        let Some(known) = self.rows_of(&drift.table) else {
            return Err(Error::internal(format!(
                "table \"{}\" has changed its columns, but declares them",
                drift.table
            )));
        };
        let seen = infer(&options, std::slice::from_ref(&drift.sample))?;
        match seen.map_or(Ok(known.clone()), |seen| known.merge(&seen)) {
            Ok(merged) => {
                let names = |rows: &RowSchema| -> BTreeSet<String> {
                    rows.columns
                        .fields()
                        .iter()
                        .map(|field| format!("{} {}", field.name(), field.data_type()))
                        .collect()
                };
                let new: Vec<_> = names(&merged).difference(&names(known)).cloned().collect();
                tracing::info!(
                    "table {}: new from {} offset {} on: {}",
                    drift.table,
                    drift.source,
                    drift.offset,
                    new.join(", ")
                );
                *known = merged;
            }
            Err(trouble) => {
                let message = format!(
                    "table \"{}\" is not read any further than {} offset {}: {trouble}; declare the columns of the table (STRING takes \
                     both), or mirror it anew under another name. Other tables go on",
                    drift.table, drift.source, drift.offset
                );
                tracing::error!("{message}");
                self.stopped.insert(drift.table.clone(), message);
            }
        }
        Ok(())
    }

    fn options_of(&self, table: &str) -> Options {
        let own = self.submission.open_tables().into_iter().find(|it| it.name == table).map(|it| &it.options);
        let is_of = |name: &str| table.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        let database =
            self.submission.mirrors().find(|(source, _)| is_of(&source.name)).map(|(source, _)| &source.options);
        own.or(database).cloned().unwrap_or_default()
    }

    fn rows_of(&mut self, table: &str) -> Option<&mut RowSchema> {
        if let Some(rows) = self.found.tables.get_mut(table) {
            return Some(rows);
        }
        // A table of a database is named `database.topic`.
        self.found
            .databases
            .iter_mut()
            .find_map(|(database, topics)| topics.get_mut(table.strip_prefix(database.as_str())?.strip_prefix('.')?))
    }
}

fn restored(saved: &SavedSchemas) -> Result<Discovered> {
    let column = |saved: &SavedColumn| -> Result<Field> {
        let data_type: DataType = saved.data_type.parse()?;
        let metadata = saved.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Field::new(&saved.name, data_type, saved.nullable).with_metadata(metadata))
    };
    let rows = |saved: &SavedRows| -> Result<RowSchema> {
        let columns = saved.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        Ok(RowSchema { columns: Arc::new(Schema::new(columns)), primary_key: saved.primary_key.clone() })
    };
    let all = |saved: &BTreeMap<String, SavedRows>| -> Result<BTreeMap<String, RowSchema>> {
        saved.iter().map(|(name, saved)| Ok((name.clone(), rows(saved)?))).collect()
    };
    let databases = saved.databases.iter().map(|(name, topics)| Ok((name.clone(), all(topics)?)));
    Ok(Discovered { tables: all(&saved.tables)?, databases: databases.collect::<Result<_>>()? })
}

fn saved(found: &Discovered) -> SavedSchemas {
    let column = |field: &FieldRef| SavedColumn {
        name: field.name().clone(),
        data_type: field.data_type().to_string(),
        nullable: field.is_nullable(),
        metadata: field.metadata().iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    };
    let rows = |rows: &RowSchema| SavedRows {
        columns: rows.columns.fields().iter().map(column).collect(),
        primary_key: rows.primary_key.clone(),
    };
    let all = |tables: &BTreeMap<String, RowSchema>| -> BTreeMap<String, SavedRows> {
        tables.iter().map(|(name, it)| (name.clone(), rows(it))).collect()
    };
    SavedSchemas {
        tables: all(&found.tables),
        databases: found.databases.iter().map(|(name, topics)| (name.clone(), all(topics))).collect(),
    }
}

/// The definition of a table with the columns that it leaves out.
fn text_of(table: &Table, rows: &RowSchema) -> String {
    crate::sql::define::database::create_table(
        &crate::sql::define::database::quoted(&table.name),
        rows,
        &table.options.shown(),
    )
}

/// The last records of each topic of a table, but for those of `known` topics.
fn samples(options: &Options, known: &[&str]) -> Result<BTreeMap<String, Vec<Sample>>> {
    let mut source = source::open(options)?;
    let partitions: Vec<_> = source.partitions()?.into_iter().filter(|it| !known.contains(&&*it.topic)).collect();
    let (first, end) = (source.first_offsets(&partitions)?, source.end_offsets(&partitions)?);
    let mut reader = source.reader()?;
    let mut open = BTreeMap::new();
    for partition in partitions {
        let (first, end) = (first.get(&partition).copied().unwrap_or(0), end.get(&partition).copied().unwrap_or(0));
        if end > first {
            source.assign(0, &partition, first.max(end - RECORDS))?;
            open.insert(partition, end);
        }
    }
    let started = Instant::now();
    let (mut samples, mut batches): (BTreeMap<String, Vec<Sample>>, Vec<RawBatch>) = (BTreeMap::new(), Vec::new());
    while !open.is_empty() && started.elapsed() < PATIENCE {
        reader.poll(Duration::from_millis(50), &mut batches)?;
        for batch in batches.drain(..) {
            let own = samples.entry(batch.source.topic.to_string()).or_default();
            own.extend(
                batch.iter().map(|record| Sample {
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                }),
            );
            if open.get(&batch.source).is_some_and(|&end| batch.range.to >= end) {
                open.remove(&batch.source);
            }
        }
        open.retain(|partition, _| !reader.at_end(partition));
        source.maintain()?;
    }
    Ok(samples)
}
