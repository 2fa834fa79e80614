//! Random queries beside a database: what a job writes window by window is what DataFusion gives of all rows at once, where the rows
//! with their windows are tables. So what a plan is cut into, and put together of, may have no part in the result.
//!
//! ```text
//! HIGHWATER_QUERIES=10000       how many queries, instead of those of `make test`
//! HIGHWATER_FIRST_QUERY=4711    where to begin
//! ```

mod grammar;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::prelude::SessionContext;
use grammar::{Grammar, Reading, Window};

use super::case::Case;
use super::cells::cells;
use super::oracle::generate::Random;
use super::run::{Manner, compile, run};

/// Queries in `make test`.
const QUERIES: u64 = 300;
/// Queries that run at a time.
const AT_A_TIME: usize = 4;
/// 2026-03-01 10:00 UTC.
const BASE: i64 = 1_772_359_200_000;

#[derive(Debug, Clone)]
struct Row {
    /// Of a change event: `c`, `u` or `d`.
    op: char,
    table: &'static str,
    partition: u64,
    id: i64,
    name: Option<&'static str>,
    value: Option<i64>,
    at: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_queries_give_what_a_database_gives_of_all_rows() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (first, count) = (number("HIGHWATER_FIRST_QUERY", 0), number("HIGHWATER_QUERIES", QUERIES));
    let next = Arc::new(AtomicU64::new(first));
    let work = |next: Arc<AtomicU64>| async move {
        loop {
            let seed = next.fetch_add(1, SeqCst);
            if seed >= first + count {
                return Ok::<(), String>(());
            }
            compare(seed).await.inspect_err(|_| next.store(u64::MAX / 2, SeqCst))?;
        }
    };
    let workers: Vec<_> = (0..AT_A_TIME).map(|_| tokio::spawn(work(Arc::clone(&next)))).collect();
    for worker in workers {
        if let Err(report) = worker.await.unwrap() {
            panic!("\n{report}");
        }
    }
}

/// One query over some rows. An error is what differs.
async fn compare(seed: u64) -> Result<(), String> {
    let random = &mut Random::new(seed);
    let mut grammar = Grammar::new(random);
    let text = grammar.query();
    let (engine, database) = (grammar.for_engine(&text), grammar.for_database(&text));
    let (reading, window, sources) = (grammar.reading, grammar.window, grammar.sources.clone());
    let mut rows = stream(reading, random);
    rows.retain(|row| sources.iter().any(|source| source.tables.contains(&row.table)));
    let there = if reading == Reading::Current { current(&rows) } else { rows.clone() };
    let tables: Vec<_> = sources.iter().map(|source| expanded(&there, &source.tables, window)).collect();
    let failed = |what: &str, error: &dyn std::fmt::Display, case: &str| {
        format!("query {seed}, {what}: {error}\n{database}\n{case}")
    };
    let expected = in_database(&database, tables).await.map_err(|error| failed("database", &error, ""))?;
    let text = case_of(&engine, &rows, reading);
    let case = Case::parse("batch.test", &text).map_err(|error| failed("case", &error, &text))?;
    let query = compile(&case).await.map_err(|error| failed("compile", &error, &text))?;
    let mut manners = Manner::all();
    manners.retain(|manner| manner.batch >= 7 || random.one_in(8));
    let manner = manners.swap_remove(random.below(manners.len() as u64) as usize);
    let came = run(&case, &query, &manner).await.map_err(|error| failed("run", &error, &text))?;
    let of = |name: &str| {
        let at = came.tables.iter().position(|table| table.name() == name).unwrap();
        let mut rows: Vec<_> = came.rows[at].iter().flat_map(|batch| cells(batch).unwrap()).collect();
        // Rows that were not counted have the positions of their records behind.
        rows.iter_mut().for_each(|row| row.truncate(came.tables[at].visible));
        rows.sort();
        rows
    };
    if expected != of("results") {
        let show = |rows: &[Vec<String>]| rows.iter().map(|row| row.join(" | ") + "\n").collect::<String>();
        let (expected, found) = (show(&expected), show(&of("results")));
        return Err(failed(&format!("{manner}"), &format!("\n--- a database has\n{expected}--- came\n{found}"), &text));
    }
    Ok(())
}

/// Rows whose times go up in each partition, so that none is late; but those of a table that changes.
fn stream(reading: Reading, random: &mut Random) -> Vec<Row> {
    let pace = random.pick(&[500, 3_000, 15_000]);
    let partitions = 1 + random.below(2);
    let mut fronts = [[0_i64; 2]; 2];
    let mut there = BTreeSet::new();
    let row = |number: u64| {
        let (table, partition) = (random.below(2) as usize, random.below(partitions));
        let front = &mut fronts[table][partition as usize];
        *front += random.below(pace) as i64;
        let (id, op) = match reading {
            Reading::Current => {
                let id = random.below(8) * partitions + partition;
                let op = if there.contains(&(table, id)) { random.pick(&['u', 'u', 'd']) } else { 'c' };
                if op == 'd' {
                    there.remove(&(table, id))
                } else {
                    there.insert((table, id))
                };
                (id, op)
            }
            Reading::Rows | Reading::Changes => (number, random.pick(&['c', 'c', 'u', 'd'])),
        };
        Row {
            op,
            table: ["t", "u"][table],
            partition,
            id: id as i64,
            name: random.pick(&[Some("a"), Some("b"), Some("c"), Some("ab"), None]),
            value: (!random.one_in(5)).then(|| random.below(21) as i64 - 10),
            at: BASE + *front,
        }
    };
    // Slow streams have more windows, each of which is planned.
    let count = if pace > 10_000 { 12 } else { 40 };
    (0..count).map(row).collect()
}

/// The rows that are there in the end.
fn current(rows: &[Row]) -> Vec<Row> {
    let mut there: BTreeMap<(&str, i64), Row> = BTreeMap::new();
    for row in rows {
        match row.op {
            'd' => drop(there.remove(&(row.table, row.id))),
            _ => drop(there.insert((row.table, row.id), row.clone())),
        }
    }
    there.into_values().collect()
}

fn case_of(select: &str, rows: &[Row], reading: Reading) -> String {
    let mut text = "=== query\n".to_owned();
    // All windows of rows that change stay open to the end.
    let (format, key, delay) = match reading {
        Reading::Rows => ("json", "", ""),
        Reading::Changes => ("debezium-json", "", ""),
        Reading::Current => ("debezium-json", "PRIMARY KEY (id) NOT ENFORCED, ", " - INTERVAL '30' DAY"),
    };
    for table in ["t", "u"] {
        let _ = writeln!(
            text,
            "CREATE TABLE {table} (id BIGINT, name STRING, value BIGINT, at TIMESTAMP(3), {key}WATERMARK FOR at AS at{delay}) \
             WITH ('connector' = 'kafka', 'topic' = '{table}', 'properties.bootstrap.servers' = 'none:9092', 'format' = '{format}');"
        );
    }
    let _ = writeln!(text, "CREATE TABLE results WITH ('connector' = 'blackhole');\nINSERT INTO results {select};\n");
    for row in rows {
        let image = serde_json::json!({"id": row.id, "name": row.name, "value": row.value, "at": row.at});
        let value = match (reading, row.op) {
            (Reading::Rows, _) => image,
            (_, 'd') => serde_json::json!({"op": "d", "before": image, "after": null}),
            (_, 'u') => serde_json::json!({"op": "u", "before": {"id": row.id}, "after": image}),
            _ => serde_json::json!({"op": "c", "before": null, "after": image}),
        };
        let _ = writeln!(text, "=== input {}\n@partition={} {value}", row.table, row.partition);
    }
    text
}

/// The rows of some tables with their windows.
fn expanded(rows: &[Row], tables: &[&str], window: Window) -> RecordBatch {
    let rows = rows.iter().filter(|row| tables.contains(&row.table));
    let rows: Vec<(&Row, (i64, i64))> =
        rows.flat_map(|row| window.of(row.at).into_iter().map(move |it| (row, it))).collect();
    let time =
        |of: fn(&(&Row, (i64, i64))) -> i64| Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(of)));
    let stamp = DataType::Timestamp(TimeUnit::Millisecond, None);
    let field = |name: &str, data_type: &DataType| Field::new(name, data_type.clone(), true);
    let fields = [
        field("id", &DataType::Int64),
        field("name", &DataType::Utf8),
        field("value", &DataType::Int64),
        field("at", &stamp),
        field("window_start", &stamp),
        field("window_end", &stamp),
    ];
    let columns: Vec<datafusion::arrow::array::ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(row, _)| row.id))),
        Arc::new(rows.iter().map(|(row, _)| row.name).collect::<StringArray>()),
        Arc::new(rows.iter().map(|(row, _)| row.value).collect::<Int64Array>()),
        time(|(row, _)| row.at),
        time(|(_, window)| window.0),
        time(|(_, window)| window.1),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns).unwrap()
}

async fn in_database(query: &str, tables: Vec<RecordBatch>) -> datafusion::error::Result<Vec<Vec<String>>> {
    let context = SessionContext::new();
    for (at, table) in tables.into_iter().enumerate() {
        context.register_batch(format!("w{at}"), table)?;
    }
    let batches = context.sql(query).await?.collect().await?;
    let mut rows: Vec<_> = batches.iter().flat_map(|batch| cells(batch).unwrap()).collect();
    rows.sort();
    Ok(rows)
}
