//! How many change events a core decodes a second: `cargo bench --bench decode`.

use std::fmt::Write;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use highwater::change::{OffsetRange, TopicPartition};
use highwater::format::{DecodeSpec, decoder};
use highwater::options::Options;
use highwater::source::{RawBatch, RawRecord, RawRecords};

/// Few enough to stay in the cache, as records that just came are.
const EVENTS: usize = 8_192;

struct Events {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl RawRecords for Events {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        let value = Some(&self.text[start..self.ends[index]]);
        RawRecord { offset: index as i64, timestamp: 0, key: Some(b"k"), value }
    }
}

fn image(customer: usize) -> String {
    format!(
        "{{\"customer_id\":{customer},\"store_id\":{},\"first_name\":\"NAME{}\",\"last_name\":\"SURNAME{}\",\
         \"email\":\"NAME{customer}.SURNAME@sakilacustomer.org\",\"address_id\":{},\"active\":1,\"create_date\":{},\
         \"last_update\":\"2026-11-21T07:02:54Z\"}}",
        customer % 100,
        customer % 977,
        customer % 1_013,
        customer % 600,
        1_718_900_000_000 + customer * 10,
    )
}

/// Customers as MariaDB's connector writes them: of 100, 85 inserts, 12 updates with both images, 3 deletes.
fn events() -> Arc<Events> {
    let mut text = String::new();
    let mut ends = Vec::new();
    for event in 0..EVENTS {
        let (op, before, after) = match event % 100 {
            0..85 => ('c', "null".to_string(), image(event)),
            85..97 => ('u', image(event / 2), image(event)),
            _ => ('d', image(event), "null".to_string()),
        };
        let time = 1_795_244_611_512 + event;
        let _ = write!(
            text,
            "{{\"before\":{before},\"after\":{after},\"source\":{{\"version\":\"3.5.0.Final\",\"connector\":\"mariadb\",\
             \"name\":\"mariadb_json\",\"ts_ms\":{time},\"snapshot\":\"false\",\"db\":\"sakila\",\"sequence\":null,\
             \"ts_us\":{time}000,\"ts_ns\":{time}000000,\"table\":\"customer\",\"server_id\":0,\"gtid\":null,\
             \"file\":\"binlog.000001\",\"pos\":10243,\"row\":0,\"thread\":null,\"query\":null}},\"transaction\":null,\
             \"op\":\"{op}\",\"ts_ms\":{time},\"ts_us\":{time}642,\"ts_ns\":{time}642847}}"
        );
        ends.push(text.len());
    }
    Arc::new(Events { text: text.into_bytes(), ends })
}

fn decode(criterion: &mut Criterion) {
    let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
    let all = [
        ("customer_id", DataType::Int32),
        ("store_id", DataType::Int16),
        ("first_name", DataType::Utf8),
        ("last_name", DataType::Utf8),
        ("email", DataType::Utf8),
        ("address_id", DataType::Int32),
        ("active", DataType::Int16),
        ("create_date", millis.clone()),
        ("last_update", millis),
    ];
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let mut group = criterion.benchmark_group("debezium-json");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for (id, needed, source_time, before) in [
        ("op", &[][..], false, false),
        ("op and 2 columns", &["store_id", "create_date"], false, false),
        ("all 11", &names, true, false),
        ("all 11 and before", &names, true, true),
    ] {
        let fields = all.iter().filter(|(name, _)| needed.contains(name));
        let fields: Vec<Field> = fields.map(|(name, of)| Field::new(*name, of.clone(), true)).collect();
        let spec = DecodeSpec {
            columns: Arc::new(Schema::new(fields)),
            positions: vec![],
            declared: Arc::new(Schema::empty()),
            before,
            source_time,
            envelope: Arc::new(Schema::empty()),
        };
        let options = Options::new("customer", [("format".to_string(), "debezium-json".to_string())].into());
        let Ok(mut decoder) = decoder(&options, &spec) else { continue };
        let source = TopicPartition { topic: "customer".into(), partition: 0 };
        let batch = RawBatch::new(source, OffsetRange { from: 0, to: EVENTS as i64 }, events(), EVENTS);
        group.bench_function(id, |bencher| bencher.iter(|| decoder.decode(&batch)));
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
