//! What a topic of customers means, found out without Highwater: read by a consumer of its own, decoded by serde, late
//! rows by the rule itself, windows by a batch query.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use serde::Deserialize;

use crate::run::block_on;
use crate::stack::kafka_brokers;
use crate::topic::read_at;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    before: Option<Image<'a>>,
    #[serde(borrow)]
    after: Option<Image<'a>>,
    op: &'a str,
}

#[derive(Deserialize)]
struct Image<'a> {
    customer_id: i32,
    store_id: i32,
    #[serde(borrow)]
    email: Option<std::borrow::Cow<'a, str>>,
    create_date: i64,
}

/// A change event: its position, what happened, and the image that counts.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) op: String,
    pub(crate) customer_id: i32,
    pub(crate) store_id: i32,
    pub(crate) email: Option<String>,
    pub(crate) create_date: i64,
    /// The clock of its partition before it.
    pub(crate) met: i64,
}

/// All events of a topic, each partition in order.
pub(crate) struct Oracle {
    pub(crate) events: Vec<Event>,
    /// The positions of records that are not JSON, sorted.
    pub(crate) malformed: Vec<String>,
}

impl Oracle {
    /// Reads a topic; `delay` is that of the watermark, in milliseconds.
    pub(crate) fn of(topic: &str, delay: i64) -> Self {
        Self::at(&kafka_brokers(), topic, delay)
    }

    /// The same, from these brokers.
    pub(crate) fn at(brokers: &str, topic: &str, delay: i64) -> Self {
        let (mut events, mut malformed) = (Vec::new(), Vec::new());
        let mut clocks: BTreeMap<i32, i64> = BTreeMap::new();
        read_at(brokers, topic, |record| {
            let Some(value) = record.value else { return };
            if !value.starts_with(b"{") {
                malformed.push(format!("{}\t{}", record.partition, record.offset));
                return;
            }
            let envelope: Envelope<'_> = serde_json::from_slice(value).unwrap();
            let op = envelope.op.to_owned();
            let image = if op == "d" { envelope.before } else { envelope.after }.unwrap();
            let clock = clocks.entry(record.partition).or_insert(i64::MIN);
            events.push(Event {
                partition: record.partition,
                offset: record.offset,
                op,
                customer_id: image.customer_id,
                store_id: image.store_id,
                email: image.email.map(std::borrow::Cow::into_owned),
                create_date: image.create_date,
                met: *clock,
            });
            *clock = (*clock).max(image.create_date - delay);
        });
        malformed.sort();
        Self { events, malformed }
    }

    /// The positions of the events with one of these ops that are late for windows of `size` milliseconds.
    pub(crate) fn late(&self, size: i64, ops: &[&str]) -> Vec<String> {
        let of_query = self.events.iter().filter(|event| ops.contains(&event.op.as_str()));
        let mut late: Vec<String> = of_query
            .filter(|event| event.is_late(size))
            .map(|event| format!("{}\t{}", event.partition, event.offset))
            .collect();
        late.sort();
        late
    }

    /// The result of a batch query over the table `t` of all events, with the column `late` for windows of `size`
    /// milliseconds: rows with tabs between the columns, sorted.
    pub(crate) fn query(&self, size: i64, sql: &str) -> Vec<String> {
        let schema = Schema::new(vec![
            Field::new("partition", DataType::Int32, false),
            Field::new("offset", DataType::Int64, false),
            Field::new("op", DataType::Utf8, false),
            Field::new("customer_id", DataType::Int32, false),
            Field::new("store_id", DataType::Int32, false),
            Field::new("email", DataType::Utf8, true),
            Field::new("create_date", DataType::Timestamp(TimeUnit::Millisecond, None), false),
            Field::new("late", DataType::Boolean, false),
        ]);
        let schema = Arc::new(schema);
        let batches: Vec<RecordBatch> = self
            .events
            .chunks(8192)
            .map(|events| {
                let columns: Vec<datafusion::arrow::array::ArrayRef> = vec![
                    Arc::new(Int32Array::from_iter_values(events.iter().map(|it| it.partition))),
                    Arc::new(Int64Array::from_iter_values(events.iter().map(|it| it.offset))),
                    Arc::new(StringArray::from_iter_values(events.iter().map(|it| &it.op))),
                    Arc::new(Int32Array::from_iter_values(events.iter().map(|it| it.customer_id))),
                    Arc::new(Int32Array::from_iter_values(events.iter().map(|it| it.store_id))),
                    Arc::new(StringArray::from_iter(events.iter().map(|it| it.email.as_deref()))),
                    Arc::new(TimestampMillisecondArray::from_iter_values(events.iter().map(|it| it.create_date))),
                    Arc::new(BooleanArray::from_iter(events.iter().map(|it| Some(it.is_late(size))))),
                ];
                RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
            })
            .collect();
        let context = SessionContext::new();
        context.register_table("t", Arc::new(MemTable::try_new(schema, vec![batches]).unwrap())).unwrap();
        let results = block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() });
        let mut rows = Vec::new();
        let options = FormatOptions::default().with_null("\\N").with_timestamp_format(Some("%Y-%m-%d %H:%M:%S"));
        for batch in results {
            let columns: Vec<_> =
                batch.columns().iter().map(|it| ArrayFormatter::try_new(it, &options).unwrap()).collect();
            rows.extend(
                (0..batch.num_rows())
                    .map(|row| columns.iter().map(|it| it.value(row).to_string()).collect::<Vec<_>>().join("\t")),
            );
        }
        rows.sort();
        rows
    }

    /// The current row of each customer: identifier, store, e-mail address, sorted.
    pub(crate) fn current(&self) -> Vec<String> {
        let mut current = BTreeMap::new();
        for event in &self.events {
            match event.op.as_str() {
                "d" => current.remove(&event.customer_id),
                _ => current.insert(event.customer_id, event),
            };
        }
        let text = |event: &Event| {
            format!("{}\t{}\t{}", event.customer_id, event.store_id, event.email.as_deref().unwrap_or("\\N"))
        };
        let mut rows: Vec<String> = current.into_values().map(text).collect();
        rows.sort();
        rows
    }
}

impl Event {
    /// Whether the window that it belongs to had ended by its partition's clock.
    fn is_late(&self, size: i64) -> bool {
        self.create_date.div_euclid(size) * size + size <= self.met
    }
}
