//! `'connector' = 'kafka'`: rows as JSON records, each exactly once for consumers that read what is committed.
//!
//! A block is one transaction. In it the epoch and the block's token are committed as the offset of a consumer group that nobody else
//! uses, `highwater-<job>-<table>`: whoever asks for that offset after a crash knows whether the block is there. A process that starts
//! takes the transactional id over, so that what its predecessor had begun comes to its end or to nothing first.

mod producer;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::UInt8Type;

use self::producer::{Producer, ProducerConfig, Record};
use super::{Block, EMPTIED, IS_DELETED, OutputTable, Sink, TableForm, encode};
use crate::error::{Error, Result};

/// The options of this connector for tables that are written, beside `connector`, `topic`, `format` and `properties.*`.
pub const OPTIONS: &[&str] = crate::kafka_properties::WRITTEN;

/// Writes a topic.
pub struct KafkaSink {
    config: Arc<ProducerConfig>,
    /// How many leading columns are in the value.
    shown: usize,
    /// Where the columns of the key are.
    key: Vec<usize>,
    /// Whether rows that are gone are records without a value.
    has_tombstones: bool,
    /// Made anew after each failure: then what was begun is known to be there or not.
    producer: Option<Arc<Producer>>,
}

impl KafkaSink {
    /// A sink for this table.
    pub fn new(table: &OutputTable) -> Result<Self> {
        let options = &table.options;
        match options.get("format") {
            None | Some("json") => {}
            Some(other) => return Err(options.invalid("format", other, "'json' for a topic that is written")),
        }
        if table.form == TableForm::Multiset {
            return Err(Error::config(format!(
                "table \"{}\": the rows of a table without a PRIMARY KEY cannot be kept in a topic, where only a key tells them apart; \
                 declare the key, or write the changes: CHANGES(t)",
                options.table()
            )));
        }
        let shown = match table.form {
            TableForm::Mirror | TableForm::Revised => table.visible,
            _ => encode::shown(table),
        };
        let names: Vec<String> = match options.get("key.fields") {
            Some(names) => {
                names.split(';').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
            }
            None => table.key.clone(),
        };
        let place = |name: &String| {
            table.schema.index_of(name).map_err(|_| {
                options.invalid("key.fields", name, "columns of the rows that are written, separated by ';'")
            })
        };
        let key = names.iter().map(place).collect::<Result<_>>()?;
        let has_tombstones = table.form.keeps_versions();
        let config = Arc::new(ProducerConfig::new(options, &table.job, table.name())?);
        Ok(Self { config, shown, key, has_tombstones, producer: None })
    }

    async fn producer(&mut self) -> Result<Arc<Producer>> {
        if let Some(producer) = &self.producer {
            return Ok(Arc::clone(producer));
        }
        let config = Arc::clone(&self.config);
        let producer = Arc::new(blocking(move || Producer::start(config)).await?);
        self.producer = Some(Arc::clone(&producer));
        Ok(producer)
    }

    fn records(&self, block: &Block) -> Result<Vec<Record>> {
        let mut records = Vec::with_capacity(block.row_count());
        for rows in &block.rows {
            let values = lines(&encode::leading(rows, self.shown)?)?;
            let keys = match self.key.is_empty() {
                true => None,
                false => Some(lines(&rows.project(&self.key)?)?),
            };
            let gone = rows.column_by_name(IS_DELETED).filter(|_| self.has_tombstones);
            let gone = gone.map(|gone| gone.as_primitive::<UInt8Type>().clone());
            for (row, value) in values.into_iter().enumerate() {
                let gone = gone.as_ref().map_or(0, |gone| gone.value(row));
                if gone == EMPTIED {
                    tracing::warn!("{}: a truncate cannot be written to a topic; its rows stay", self.config.topic);
                    continue;
                }
                let key = keys.as_ref().map(|keys| keys[row].clone());
                records.push(Record { key, value: (gone == 0).then_some(value) });
            }
        }
        Ok(records)
    }

    async fn send(&mut self, block: &Block, again: bool) -> Result<()> {
        // After a failure nobody knows what became of it.
        let again = again || self.producer.is_none();
        let (records, epoch, token) = (self.records(block)?, block.epoch, block.token.clone());
        let producer = self.producer().await?;
        let sent = blocking(move || match again && producer.committed()?.is_some_and(|(_, last)| last == token) {
            true => Ok(()),
            false => producer.send(&records, epoch, &token),
        });
        let sent = sent.await;
        if sent.is_err() {
            self.producer = None;
        }
        sent
    }
}

/// An object for each row.
fn lines(rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let mut text = Vec::new();
    encode::json_lines(rows, &mut text)?;
    Ok(text.split(|byte| *byte == b'\n').take(rows.num_rows()).map(<[u8]>::to_vec).collect())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

#[async_trait]
impl Sink for KafkaSink {
    async fn prepare(&mut self) -> Result<()> {
        let config = Arc::clone(&self.config);
        blocking(move || config.ensure_topic()).await?;
        self.producer().await.map(drop)
    }

    async fn write(&mut self, block: &Block) -> Result<()> {
        self.send(block, false).await
    }

    async fn write_again(&mut self, block: &Block) -> Result<()> {
        self.send(block, true).await
    }

    fn check_take_out(&self, _windows_from: Option<i64>) -> Result<()> {
        Err(Error::config(format!(
            "records cannot be taken out of the topic \"{}\" again; write another topic, under another job name",
            self.config.topic
        )))
    }

    async fn check_return(&mut self, epoch: u64) -> Result<()> {
        let producer = self.producer().await?;
        match blocking(move || producer.committed()).await? {
            Some((last, _)) if last > i64::try_from(epoch).map_err(Error::internal)? => self.check_take_out(None),
            _ => Ok(()),
        }
    }
}
