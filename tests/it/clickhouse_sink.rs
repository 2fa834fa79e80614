//! The ClickHouse sink against a real server: tables, exactness, repeats.
#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use datafusion::arrow::array::*;
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::*;
use highwater::change::{OffsetRange, TopicPartition};
use highwater::options::Options;
use highwater::sink::clickhouse::{ClickHouseClient, ClickHouseSink, query_id, quote_identifier};
use highwater::sink::{Block, IS_DELETED, OutputTable, POSITION, Sink, TableForm, VERSION};

static NUMBER: AtomicU32 = AtomicU32::new(0);

fn client() -> ClickHouseClient {
    ClickHouseClient::new(&crate::stack::clickhouse_url(), None, None).expect("the stack's URL is one")
}

async fn ask(sql: &str) -> String {
    client().query_tsv(sql).await.expect(sql).trim_end().to_owned()
}

/// A database of the test's own, dropped when the test goes well.
struct Database(String);

impl Database {
    async fn new() -> Self {
        let name = format!("sink_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        ask(&format!("DROP DATABASE IF EXISTS {name}")).await;
        Self(name)
    }

    async fn create(self) -> Self {
        ask(&format!("CREATE DATABASE {}", self.0)).await;
        self
    }

    fn output(&self, table: &str, form: TableForm, fields: Vec<Field>) -> OutputTable {
        let visible = fields.iter().filter(|field| !POSITION.contains(&field.name().as_str())).count();
        let values = [("url", crate::stack::clickhouse_url()), ("table", format!("{}.`{table}`", self.0))];
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        OutputTable {
            options: Options::new(table, values),
            form,
            schema: Arc::new(Schema::new(fields)),
            visible,
            key: Vec::new(),
            event_time: None,
            comments: BTreeMap::new(),
            comment: String::new(),
            evolves: false,
            job: "it's a job".to_owned(),
        }
    }

    async fn drop(self) {
        ask(&format!("DROP DATABASE {}", self.0)).await;
    }
}

async fn prepared(output: &OutputTable) -> ClickHouseSink {
    let mut sink = ClickHouseSink::new(output).expect("a sink");
    sink.prepare().await.expect("prepared");
    sink
}

fn block(token: &str, rows: Vec<RecordBatch>) -> Block {
    Block { rows, token: token.to_owned(), ranges: Vec::new(), epoch: 7, made_at: 1_700_000_000_123 }
}

fn log_fields() -> Vec<Field> {
    vec![
        Field::new("id", DataType::Int32, false),
        Field::new("email", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("_op", DataType::Utf8, false),
        Field::new(POSITION[0], DataType::Utf8, false),
        Field::new(POSITION[1], DataType::Int32, false),
        Field::new(POSITION[2], DataType::Int64, false),
    ]
}

/// Rows of one partition; `time` gives the event time of an offset.
fn log_rows(offsets: std::ops::Range<i64>, time: impl Fn(i64) -> Option<i64>) -> RecordBatch {
    let rows = offsets.clone().count();
    RecordBatch::try_new(
        Arc::new(Schema::new(log_fields())),
        vec![
            Arc::new(Int32Array::from_iter_values(offsets.clone().map(|offset| offset as i32))),
            Arc::new(StringArray::from_iter(offsets.clone().map(|o| (o % 3 > 0).then(|| format!("c{o}@example.org"))))),
            Arc::new(TimestampMillisecondArray::from_iter(offsets.clone().map(time))),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n("c", rows))),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n("shop.customer", rows))),
            Arc::new(Int32Array::from_value(3, rows)),
            Arc::new(Int64Array::from_iter_values(offsets)),
        ],
    )
    .expect("rows")
}

fn log_output(database: &Database) -> OutputTable {
    let mut output = database.output("changes", TableForm::Log, log_fields());
    output.key = vec!["id".to_owned()];
    output.event_time = Some("at".to_owned());
    output.comments.insert("email".to_owned(), "where it's sent".to_owned());
    output.comment = "every change".to_owned();
    output
}

const JANUARY: i64 = 1_704_067_200_000;
const DAY: i64 = 86_400_000;

#[tokio::test]
async fn a_log_is_created_written_and_checked() {
    let database = Database::new().await;
    let output = log_output(&database);
    let mut sink = prepared(&output).await;
    sink.write(&block("j/changes/3:0-100", vec![log_rows(0..60, |_| Some(JANUARY)), log_rows(60..100, |_| None)]))
        .await
        .expect("written");
    let table = format!("{}.changes", database.0);
    assert_eq!(ask(&format!("SELECT count(), countIf(at IS NULL), max(_offset) FROM {table}")).await, "100\t40\t99");
    let engine = ask(&format!(
        "SELECT engine, sorting_key, partition_key, comment FROM system.tables WHERE database = '{}'",
        database.0
    ))
    .await;
    assert_eq!(engine, "MergeTree\tid, _partition, _offset\ttoYYYYMM(at)\tevery change");
    let comment = format!("SELECT comment FROM system.columns WHERE database = '{}' AND name = 'email'", database.0);
    assert_eq!(ask(&comment).await, "where it\\'s sent");
    // A second run finds what the first made.
    let mut sink = prepared(&output).await;
    sink.write(&block("j/changes/3:100-101", vec![log_rows(100..101, |_| Some(JANUARY))])).await.expect("written");
    assert_eq!(ask(&format!("SELECT count() FROM {table}")).await, "101");
    database.drop().await;
}

/// However the rows were cut into batches: what was cut at 8,192 rows may be cut elsewhere when a block is made again.
#[tokio::test]
async fn the_same_token_leaves_one_copy() {
    let database = Database::new().await;
    let mut sink = prepared(&log_output(&database)).await;
    let rows = log_rows(0..500, |o| Some(JANUARY + o * DAY));
    for cut in [100, 250, 499, 500] {
        let cut = vec![rows.slice(0, cut), rows.slice(cut, 500 - cut)];
        sink.write(&block("j/changes/3:0-500", cut)).await.expect("written");
    }
    assert_eq!(ask(&format!("SELECT count(), uniqExact(_offset) FROM {}.changes", database.0)).await, "500\t500");
    // Identical rows under another token are other rows: only the token counts, never the content.
    sink.write(&block("j/changes/another", vec![rows])).await.expect("written");
    assert_eq!(ask(&format!("SELECT count() FROM {}.changes", database.0)).await, "1000");
    // A mirror, which is not parted, and more rows than the server takes for a block by itself.
    let output = mirror_output(&database);
    let mut sink = prepared(&output).await;
    for _ in 0..2 {
        let rows = mirror_rows(&output, &[(1, "ann", 0, 0), (2, "bob", 1, 0)]);
        sink.write(&block("j/customer", vec![rows.slice(0, 1), rows.slice(1, 1)])).await.expect("written");
        sink.write(&block("j/customer", vec![rows])).await.expect("written");
    }
    assert_eq!(ask(&format!("SELECT count() FROM {}.customer_versions", database.0)).await, "2");
    database.drop().await;
}

/// What a crash can leave behind: nothing, all, the first chunks of a block, some of its months.
#[tokio::test]
async fn a_block_is_written_again_after_a_crash() {
    let database = Database::new().await;
    let output = log_output(&database);
    drop(prepared(&output).await);
    let table = format!("{}.changes", database.0);
    // No help from the server's memory of tokens: the rows themselves must say it.
    ask(&format!("ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 0")).await;
    // Positions of two months and of the NULLs lie within each other.
    let time = |offset: i64| match offset % 3 {
        0 => Some(JANUARY),
        1 => Some(JANUARY + 40 * DAY),
        _ => None,
    };
    let rows = log_rows(0..900, time);
    let whole = block("j/changes/3:0-900", vec![rows.slice(0, 350), rows.slice(350, 550)]);
    let count = format!("SELECT count(), uniqExact(_offset) FROM {table}");

    // Absent, then present.
    let mut sink = prepared(&output).await.with_chunk_rows(100);
    sink.write_again(&whole).await.expect("absent");
    assert_eq!(ask(&count).await, "900\t900");
    sink.write_again(&whole).await.expect("present");
    assert_eq!(ask(&count).await, "900\t900");

    // Partly: of January the first two chunks of three, of February none, of NULL all.
    let remove = [
        "ALTER TABLE {t} DELETE WHERE at IS NOT NULL AND toYYYYMM(at) = 202401 AND _offset >= 600 SETTINGS mutations_sync = 2",
        "ALTER TABLE {t} DELETE WHERE at IS NOT NULL AND toYYYYMM(at) = 202402 SETTINGS mutations_sync = 2",
    ];
    for sql in remove {
        ask(&sql.replace("{t}", &table)).await;
    }
    assert_eq!(ask(&count).await, "500\t500");
    sink.write_again(&whole).await.expect("partly");
    assert_eq!(ask(&count).await, "900\t900");

    // The ranges of the block say the same as its rows.
    let mut ranged = whole.clone();
    let source = TopicPartition { topic: "shop.customer".into(), partition: 3 };
    ranged.ranges =
        vec![(source.clone(), OffsetRange { from: 0, to: 400 }), (source, OffsetRange { from: 400, to: 900 })];
    sink.write_again(&ranged).await.expect("present");
    assert_eq!(ask(&count).await, "900\t900");

    // A single chunk of which rows were deleted since stays as it is.
    let mut sink = prepared(&output).await;
    ask(&format!("ALTER TABLE {table} DELETE WHERE _offset < 30 SETTINGS mutations_sync = 2")).await;
    sink.write_again(&whole).await.expect("present");
    assert_eq!(ask(&count).await, "870\t870");
    database.drop().await;
}

/// A server that dies between the parts of one insert: the token is known for the months that it wrote, and only there.
#[tokio::test]
async fn a_token_is_remembered_by_month() {
    let database = Database::new().await;
    let mut sink = prepared(&log_output(&database)).await;
    let month = |offset: i64| Some(JANUARY + offset / 100 * 31 * DAY);
    for (token, again) in [("j/a", false), ("j/b", true)] {
        ask(&format!("TRUNCATE TABLE {}.changes", database.0)).await;
        sink.write(&block(token, vec![log_rows(0..100, month)])).await.expect("January");
        let whole = block(token, vec![log_rows(0..300, month)]);
        if again {
            sink.write_again(&whole).await.expect("the rest");
        } else {
            sink.write(&whole).await.expect("the rest");
        }
        let count = format!("SELECT count(), uniqExact(_offset) FROM {}.changes", database.0);
        assert_eq!(ask(&count).await, "300\t300", "{token}");
    }
    database.drop().await;
}

/// A client that goes away in the middle leaves all of a chunk or nothing, and a repeat completes it.
#[tokio::test]
async fn an_insert_that_is_cut_off() {
    let database = Database::new().await;
    let output = log_output(&database);
    let batches: Vec<RecordBatch> = (0..10)
        .map(|batch| log_rows(batch * 20_000..(batch + 1) * 20_000, |offset| Some(JANUARY + offset % 3 * 31 * DAY)))
        .collect();
    let table = format!("{}.changes", database.0);
    let (mut nothing, mut all) = (0, 0);
    for step in 0..16_u64 {
        let mut sink = prepared(&output).await;
        ask(&format!("ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 0")).await;
        ask(&format!("TRUNCATE TABLE {table}")).await;
        let rows = block(&format!("j/{step}"), batches.clone());
        let limit = std::time::Duration::from_millis(10 + step * step * 3);
        let in_time = tokio::time::timeout(limit, sink.write(&rows)).await.is_ok();
        drop(sink);
        let mut sink = prepared(&output).await;
        sink.write_again(&rows).await.expect("completed");
        let count = ask(&format!("SELECT count(), uniqExact(_offset) FROM {table}")).await;
        assert_eq!(count, "200000\t200000", "after {limit:?}");
        if in_time { all += 1 } else { nothing += 1 }
    }
    println!("cut off {nothing} times, in time {all} times");
    database.drop().await;
}

/// An insert of rows 0 to `rows` of partition 3 that takes a second for each, as a predecessor's with this token.
fn slow_insert(
    database: &Database,
    token: &str,
    rows: u32,
    settings: &str,
) -> tokio::task::JoinHandle<highwater::error::Result<String>> {
    let slow = format!(
        "INSERT INTO {}.changes (id, at, _op, _topic, _partition, _offset, _job, _epoch) SELECT number, \
         toDateTime64('2024-01-01', 3, 'UTC'), 'c', 'shop.customer', 3, number + sleepEachRow(1), 'it\\'s a job', 7 FROM numbers({rows}) SETTINGS max_block_size = 1{settings}",
        database.0
    );
    let id = query_id(token);
    tokio::spawn(async move { client().query_with(&slow, &[("query_id", &id)]).await })
}

/// An insert of a predecessor that still runs is waited for, and then its rows are found.
#[tokio::test]
async fn a_running_insert_is_waited_for() {
    let database = Database::new().await;
    let mut sink = prepared(&log_output(&database)).await;
    let token = format!("{}/3:0-2", database.0);
    let predecessor = slow_insert(&database, &token, 2, "");
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    let started = std::time::Instant::now();
    sink.write_again(&block(&token, vec![log_rows(0..2, |_| Some(JANUARY))])).await.expect("present");
    println!("waited {:?}", started.elapsed());
    predecessor.await.expect("no panic").expect("inserted");
    let count = format!("SELECT count(), uniqExact(_offset) FROM {}.changes", database.0);
    assert_eq!(ask(&count).await, "2\t2");
    database.drop().await;
}

/// One whose process sleeps would run for minutes: its successor has it killed, and sends what is missing.
#[tokio::test]
async fn an_insert_of_a_process_that_sleeps_is_killed() {
    let database = Database::new().await;
    let mut sink = prepared(&log_output(&database)).await;
    let token = format!("{}/3:0-2", database.0);
    let predecessor = slow_insert(&database, &token, 60, ", min_insert_block_size_rows = 1000");
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    let started = std::time::Instant::now();
    sink.write_again(&block(&token, vec![log_rows(0..2, |_| Some(JANUARY))])).await.expect("present");
    assert!(started.elapsed().as_secs() < 40, "{:?}", started.elapsed());
    let error = predecessor.await.expect("no panic").expect_err("killed").to_string();
    assert!(error.contains("QUERY_WAS_CANCELLED"), "{error}");
    let count = format!("SELECT count(), uniqExact(_offset) FROM {}.changes", database.0);
    assert_eq!(ask(&count).await, "2\t2");
    database.drop().await;
}

/// Into a table that has no positions: rows that come again are other rows.
#[tokio::test]
async fn two_blocks_of_the_same_content_both_count() {
    let database = Database::new().await.create().await;
    ask(&format!(
        "CREATE TABLE {}.changes (id Int64, email Nullable(String), at Nullable(DateTime64(3, 'UTC')), _op String) ENGINE = MergeTree ORDER BY id \
         SETTINGS non_replicated_deduplication_window = 1000",
        database.0
    ))
    .await;
    let output = log_output(&database);
    let mut sink = prepared(&output).await;
    for token in ["0-2", "2-4"] {
        let block = block(&format!("{}/3:{token}", database.0), vec![log_rows(0..2, |_| Some(JANUARY))]);
        sink.write(&block).await.expect("written");
        sink.write_again(&block).await.expect("known by its token");
    }
    assert_eq!(ask(&format!("SELECT count() FROM {}.changes", database.0)).await, "4");
    database.drop().await;
}

/// Late rows and dead letters: as a log, whatever else they carry.
#[tokio::test]
async fn late_rows_and_dead_letters() {
    let database = Database::new().await;
    let fields = vec![
        Field::new("_timestamp", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("value", DataType::Binary, true),
        Field::new(POSITION[0], DataType::Utf8, false),
        Field::new(POSITION[1], DataType::Int32, false),
        Field::new(POSITION[2], DataType::Int64, false),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(vec![Some(JANUARY), None])),
        Arc::new(StringArray::from(vec!["malformed", "no_event_time"])),
        Arc::new(BinaryArray::from(vec![Some(&b"\xff{"[..]), None])),
        Arc::new(StringArray::from(vec!["o'topic", "o'topic"])),
        Arc::new(Int32Array::from(vec![0, 1])),
        Arc::new(Int64Array::from(vec![5, 5])),
    ];
    for (table, form, event_time) in
        [("late", TableForm::Late, Some("_timestamp")), ("dead", TableForm::DeadLetters, None)]
    {
        let mut output = database.output(table, form, fields.clone());
        output.event_time = event_time.map(str::to_owned);
        let mut sink = prepared(&output).await;
        ask(&format!("ALTER TABLE {}.{table} MODIFY SETTING non_replicated_deduplication_window = 0", database.0))
            .await;
        let rows = block("j/late", vec![RecordBatch::try_new(output.schema.clone(), columns.clone()).expect("rows")]);
        sink.write(&rows).await.expect("written");
        sink.write_again(&rows).await.expect("present");
        let sql = format!("SELECT count(), uniqExact(_partition), min(hex(value)) FROM {}.{table}", database.0);
        assert_eq!(ask(&sql).await, "2\t2\tFF7B");
        drop(prepared(&output).await);
    }
    database.drop().await;
}

/// All jobs of a database share its dead letters: those of another job at the same positions are not one's own.
#[tokio::test]
async fn jobs_that_share_dead_letters() {
    let database = Database::new().await;
    let mut fields = log_fields();
    fields.push(Field::new("_job", DataType::Utf8, false));
    for job in ["first", "second"] {
        let mut output = database.output("dead", TableForm::DeadLetters, fields.clone());
        output.job = job.to_owned();
        let mut sink = prepared(&output).await;
        let mut columns = log_rows(0..10, |_| Some(JANUARY)).columns().to_vec();
        columns.push(Arc::new(StringArray::from(vec![job; 10])));
        let rows = RecordBatch::try_new(output.schema.clone(), columns).expect("rows");
        for _ in 0..2 {
            sink.write_again(&block(&format!("{job}/dead/3:0-10"), vec![rows.clone()])).await.expect("written");
        }
    }
    let sql = format!("SELECT _job, count() FROM {}.dead GROUP BY _job ORDER BY _job", database.0);
    assert_eq!(ask(&sql).await, "first\t10\nsecond\t10");
    database.drop().await;
}

fn result_fields() -> Vec<Field> {
    vec![
        Field::new("window_start", DataType::Timestamp(TimeUnit::Second, None), false),
        Field::new("window_end", DataType::Timestamp(TimeUnit::Second, None), false),
        Field::new("store", DataType::Utf8, true),
        Field::new("registrations", DataType::Int64, false),
    ]
}

fn result_rows(from: i64, windows: i64) -> RecordBatch {
    let starts = || (0..windows).map(|window| from + window * 60);
    RecordBatch::try_new(
        Arc::new(Schema::new(result_fields())),
        vec![
            Arc::new(TimestampSecondArray::from_iter_values(starts())),
            Arc::new(TimestampSecondArray::from_iter_values(starts().map(|start| start + 60))),
            Arc::new(StringArray::from_iter(starts().map(|start| (start % 120 > 0).then_some("north")))),
            Arc::new(Int64Array::from_iter_values(0..windows)),
        ],
    )
    .expect("rows")
}

fn results_output(database: &Database) -> OutputTable {
    let mut output = database.output("registrations", TableForm::Results, result_fields());
    output.key = ["window_start", "window_end", "store"].map(str::to_owned).to_vec();
    output.event_time = Some("window_start".to_owned());
    output
}

#[tokio::test]
async fn results_carry_what_they_are() {
    let database = Database::new().await;
    let output = results_output(&database);
    let mut sink = prepared(&output).await;
    let first = block("j/registrations/7", vec![result_rows(1_704_067_200, 10)]);
    sink.write(&first).await.expect("written");
    let table = format!("{}.registrations", database.0);
    ask(&format!("ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 0")).await;
    sink.write_again(&first).await.expect("present");
    assert_eq!(
        ask(&format!("SELECT count(), sum(registrations), any(is_final), any(revision), any(updated_at), any(_job), any(_epoch) FROM {table}")).await,
        "10\t45\t1\t0\t2023-11-14 22:13:20.123\tit\\'s a job\t7"
    );
    let types = ask(&format!("SELECT name, type FROM system.columns WHERE database = '{}'", database.0)).await;
    for line in
        ["window_start\tDateTime(\\'UTC\\')", "store\tLowCardinality(Nullable(String))", "_job\tLowCardinality(String)"]
    {
        assert!(types.contains(line), "{types}");
    }
    // Other windows of the same epoch, and the same windows of another epoch, are other rows.
    sink.write_again(&block("j/registrations/7/b", vec![result_rows(1_704_070_800, 5)])).await.expect("absent");
    let mut other = block("j/registrations/8", vec![result_rows(1_704_067_200, 10)]);
    other.epoch = 8;
    sink.write_again(&other).await.expect("absent");
    assert_eq!(ask(&format!("SELECT count() FROM {table}")).await, "25");
    // The sink says what its columns cannot hold, and refuses it all the same: nothing is moved in silence.
    let limits = sink.limits();
    let old = result_rows(-60, 1);
    let refused: Vec<String> = limits.refused(&old).map(|(limit, rows)| limit.message(&old, rows[0])).collect();
    assert_eq!(
        refused,
        ["column \"window_start\": 1969-12-31T23:59:00 has no place in the type DateTime('UTC') \
          (make it a DateTime64(0, 'UTC'))"]
    );
    let error = sink.write(&block("j/old", vec![old])).await.expect_err("before 1970").to_string();
    assert!(error.contains("-60 of column \"window_start\""), "{error}");
    database.drop().await;
}

fn mirror_output(database: &Database) -> OutputTable {
    let fields = vec![
        Field::new("id", DataType::Int32, false),
        Field::new("name", DataType::Utf8, true),
        Field::new(VERSION, DataType::UInt64, false),
        Field::new(IS_DELETED, DataType::UInt8, false),
    ];
    let mut output = database.output("customer", TableForm::Mirror, fields);
    output.visible = 2;
    output.key = vec!["id".to_owned()];
    output.comment = "the customers".to_owned();
    output
}

fn mirror_rows(output: &OutputTable, rows: &[(i32, &str, u64, u8)]) -> RecordBatch {
    RecordBatch::try_new(
        output.schema.clone(),
        vec![
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.2))),
            Arc::new(UInt8Array::from_iter_values(rows.iter().map(|row| row.3))),
        ],
    )
    .expect("rows")
}

#[tokio::test]
async fn a_mirror_shows_current_rows_under_the_plain_name() {
    let database = Database::new().await;
    let output = mirror_output(&database);
    let mut sink = prepared(&output).await;
    let first =
        block("j/customer/0:0-3", vec![mirror_rows(&output, &[(1, "ann", 0, 0), (2, "bob", 1, 0), (3, "cy", 2, 0)])]);
    let second =
        block("j/customer/0:3-6", vec![mirror_rows(&output, &[(1, "anne", 3, 0), (2, "bob", 4, 1), (2, "rob", 5, 0)])]);
    let third = block("j/customer/0:6-7", vec![mirror_rows(&output, &[(3, "cy", 6, 1)])]);
    sink.write(&first).await.expect("written");
    sink.write(&second).await.expect("written");
    sink.write(&third).await.expect("written");
    sink.write_again(&first).await.expect("sent again");
    sink.write_again(&second).await.expect("sent again");
    let view = format!("SELECT * FROM {}.customer ORDER BY id", database.0);
    assert_eq!(ask(&view).await, "1\tanne\n2\trob");
    let kinds =
        format!("SELECT name, engine, comment FROM system.tables WHERE database = '{}' ORDER BY name", database.0);
    assert_eq!(
        ask(&kinds).await,
        "customer\tView\tthe customers\ncustomer_versions\tReplacingMergeTree\tthe customers"
    );
    // Found again by the next run, and mended if the view was dropped.
    drop(prepared(&output).await);
    ask(&format!("DROP VIEW {}.customer", database.0)).await;
    drop(prepared(&output).await);
    assert_eq!(ask(&view).await, "1\tanne\n2\trob");
    database.drop().await;
}

#[tokio::test]
async fn a_mirror_into_tables_that_users_made() {
    let database = Database::new().await.create().await;
    let output = mirror_output(&database);
    let table = format!("{}.customer", database.0);
    ask(&format!(
        "CREATE TABLE {table} (id Int64, name LowCardinality(Nullable(String)), _version UInt64, _is_deleted UInt8) \
         ENGINE = ReplacingMergeTree(_version, _is_deleted) ORDER BY id"
    ))
    .await;
    let mut sink = prepared(&output).await;
    sink.write(&block("j/1", vec![mirror_rows(&output, &[(1, "ann", 0, 0), (1, "anne", 3, 0)])]))
        .await
        .expect("written");
    assert_eq!(ask(&format!("SELECT id, name FROM {table} FINAL")).await, "1\tanne");
    ask(&format!("DROP TABLE {table} SYNC")).await;
    ask(&format!("CREATE TABLE {table} (id Int64) ENGINE = MergeTree ORDER BY id")).await;
    let error = ClickHouseSink::new(&output).expect("a sink").prepare().await.expect_err("a plain table").to_string();
    for other in ["a view over something else", "versions that keep none"] {
        ask(&format!("DROP TABLE {table} SYNC")).await;
        ask(&match other {
            "a view over something else" => format!("CREATE VIEW {table} AS SELECT 1 AS id"),
            _ => format!("CREATE TABLE {table}_versions (id Int64) ENGINE = MergeTree ORDER BY id"),
        })
        .await;
        let error = ClickHouseSink::new(&output).expect("a sink").prepare().await.expect_err(other).to_string();
        assert!(error.contains("cannot be part of a mirror"), "{error}");
    }
    assert!(error.contains("has the engine MergeTree and cannot be part of a mirror"), "{error}");
    database.drop().await;
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_shown_side_by_side() {
    let database = Database::new().await.create().await;
    let table = format!("{}.changes", database.0);
    ask(&format!(
        "CREATE TABLE {table} (id Int16, email String, at DateTime64(0, 'UTC'), note String MATERIALIZED 'x', \
         _op LowCardinality(String)) ENGINE = MergeTree ORDER BY tuple()"
    ))
    .await;
    let mut output = log_output(&database);
    let mut fields = log_fields();
    fields.insert(4, Field::new("note", DataType::Utf8, false));
    fields.insert(4, Field::new("extra", DataType::Boolean, false));
    output.visible = 6;
    output.schema = Arc::new(Schema::new(fields));
    let error = ClickHouseSink::new(&output).expect("a sink").prepare().await.expect_err("it does not fit");
    let place = crate::stack::clickhouse_url();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(
        error.to_string(),
        format!(
            "the ClickHouse table {table} at {place} does not fit the query\n\
             \x20 column  the query gives                 the table has       \n\
             \x20 id      Int32                           Int16                 holds other values\n\
             \x20 email   Nullable(String)                String                cannot hold NULL and has no DEFAULT\n\
             \x20 at      Nullable(DateTime64(3, 'UTC'))  DateTime64(0, 'UTC')  holds other values\n\
             \x20 extra   Bool                            -                     no such column\n\
             \x20 note    String                          String MATERIALIZED   computed by the table, cannot be written\n\
             computed columns and columns of the sorting key cannot be altered: change the query, \
             or give the option 'table' another name, which Highwater then creates"
        )
    );
    // The statement that it proposes mends the table.
    ask(&format!("ALTER TABLE {table} DROP COLUMN note")).await;
    let mut fields = log_fields();
    fields.insert(4, Field::new("extra", DataType::Boolean, false));
    output.visible = 5;
    output.schema = Arc::new(Schema::new(fields));
    let error = ClickHouseSink::new(&output).expect("a sink").prepare().await.expect_err("still").to_string();
    let remedy = error.lines().find_map(|line| line.strip_prefix("run ")).expect("a statement");
    ask(remedy).await;
    drop(prepared(&output).await);
    database.drop().await;
}

/// A table that a user made is written as it is: wider types, defaults, no positions.
#[tokio::test]
async fn a_table_of_the_users_own() {
    let database = Database::new().await.create().await;
    let table = format!("{}.changes", database.0);
    ask(&format!(
        "CREATE TABLE {table} (seen DateTime DEFAULT now(), at DateTime64(6, 'UTC') DEFAULT '2000-01-01 00:00:00', id Int64, \
         email LowCardinality(Nullable(String)), _op String) ENGINE = MergeTree PARTITION BY id % 4 ORDER BY id \
         SETTINGS non_replicated_deduplication_window = 100"
    ))
    .await;
    let mut sink = prepared(&log_output(&database)).await;
    let rows = block("j/own", vec![log_rows(0..9, |offset| (offset != 4).then_some(JANUARY))]);
    sink.write(&rows).await.expect("written");
    sink.write_again(&rows).await.expect("by its token");
    assert_eq!(
        ask(&format!("SELECT count(), sum(id), countIf(email IS NULL), toString(min(at)), max(at) FROM {table}")).await,
        "9\t36\t3\t2000-01-01 00:00:00.000000\t2024-01-01 00:00:00.000000"
    );
    database.drop().await;
}

#[tokio::test]
async fn a_block_over_many_months() {
    let database = Database::new().await;
    let mut sink = prepared(&log_output(&database)).await;
    // 1,800 days: 60 months before and after 1970, and 300 of the years around 9990.
    let rows = log_rows(0..7_200, |offset| {
        Some((offset - 1_800) * DAY + if offset % 2 == 0 { 0 } else { 251_000_000_000_000 })
    });
    let started = std::time::Instant::now();
    sink.write(&block("j/months", vec![rows.slice(0, 4_000), rows.slice(4_000, 3_200)])).await.expect("written");
    let table = format!("{}.changes", database.0);
    let parts =
        ask(&format!("SELECT uniqExact(partition_id) FROM system.parts WHERE active AND database = '{}'", database.0))
            .await;
    println!("{parts} months in {:?}", started.elapsed());
    assert!(parts.parse::<u32>().expect("a number") > 400, "{parts}");
    assert_eq!(ask(&format!("SELECT count(), uniqExact(_offset) FROM {table}")).await, "7200\t7200");
    ask(&format!("ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 0")).await;
    sink.write_again(&block("j/months", vec![rows])).await.expect("present");
    assert_eq!(ask(&format!("SELECT count(), uniqExact(_offset) FROM {table}")).await, "7200\t7200");
    database.drop().await;
}

#[tokio::test]
async fn names_are_only_names() {
    let database = Database::new().await;
    let evil = ["a`; DROP TABLE x; --", "it's", "b\\c", "d.e", "f\"g", "h i\n", "select", "\u{1f40b}", "tab\t", "?"];
    let fields: Vec<Field> = evil.iter().map(|name| Field::new(*name, DataType::Int32, false)).collect();
    let mut output = database.output("t; DROP TABLE x.y", TableForm::Log, fields);
    output.key = evil.iter().map(|name| (*name).to_owned()).collect();
    output.comment = "it's\\ a `comment`".to_owned();
    for name in evil {
        output.comments.insert(name.to_owned(), name.to_owned());
    }
    let columns: Vec<ArrayRef> =
        (0..evil.len()).map(|value| Arc::new(Int32Array::from_value(value as i32, 2)) as ArrayRef).collect();
    let rows = RecordBatch::try_new(output.schema.clone(), columns).expect("rows");
    let mut sink = prepared(&output).await;
    sink.write(&block("j/it's? & = %/x\n", vec![rows])).await.expect("written");
    for (value, name) in evil.iter().enumerate() {
        let sql = format!(
            "SELECT sum({}) FROM {}.{}",
            quote_identifier(name),
            database.0,
            quote_identifier("t; DROP TABLE x.y")
        );
        assert_eq!(ask(&sql).await, (2 * value).to_string(), "{name}");
    }
    let own = "name NOT IN ('_job', '_epoch')";
    let sql = format!("SELECT comment FROM system.columns WHERE database = '{}' AND {own}", database.0);
    let comments = client().query_rows(&sql).await.expect("comments");
    let comments: Vec<String> = comments.into_iter().filter_map(|mut row| row.remove(0)).collect();
    assert_eq!(comments, evil);
    drop(prepared(&output).await);
    database.drop().await;
}

/// Every type with its extremes and NULL: what is read back is what was written.
#[tokio::test]
async fn every_type_reads_back_exactly() {
    let decimal = |digits: &str| digits.parse::<i128>().expect("digits");
    let nines = "9".repeat(76);
    let dictionary: DictionaryArray<Int32Type> = [Some("x"), None, Some("x")].into_iter().collect();
    let (point, inner) = (
        Fields::from(vec![
            Field::new("x", DataType::Int64, false),
            Field::new("inner", DataType::Struct(vec![Field::new("s", DataType::Utf8, false)].into()), true),
        ]),
        StructArray::new(
            vec![Field::new("s", DataType::Utf8, false)].into(),
            vec![Arc::new(StringArray::from(vec!["a", "b", "c"]))],
            Some(NullBuffer::from(vec![false, true, true])),
        ),
    );
    let structs = StructArray::new(
        point,
        vec![Arc::new(Int64Array::from(vec![i64::MIN, 5, 6])), Arc::new(inner)],
        Some(NullBuffer::from(vec![true, false, true])),
    );
    let lists = ListArray::new(
        Arc::new(Field::new("item", DataType::Struct(vec![Field::new("v", DataType::Utf8View, true)].into()), true)),
        OffsetBuffer::new(vec![0, 2, 2, 3].into()),
        Arc::new(StructArray::new(
            vec![Field::new("v", DataType::Utf8View, true)].into(),
            vec![Arc::new(StringViewArray::from(vec![Some("p"), None, Some("a string of more than twelve bytes")]))],
            None,
        )),
        Some(NullBuffer::from(vec![true, false, true])),
    );
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    maps.keys().append_value("k");
    maps.values().append_null();
    maps.append(true).expect("a map");
    maps.append(true).expect("a map");
    maps.append(true).expect("a map");
    let columns: Vec<(&str, ArrayRef, &str)> = vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])), "true|\\N|false"),
        ("i8", Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)])), "-128|\\N|127"),
        ("i16", Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)])), "-32768|\\N|32767"),
        ("i32", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])), "-2147483648|\\N|2147483647"),
        (
            "i64",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
            "-9223372036854775808|\\N|9223372036854775807",
        ),
        ("u8", Arc::new(UInt8Array::from(vec![Some(0), None, Some(u8::MAX)])), "0|\\N|255"),
        ("u16", Arc::new(UInt16Array::from(vec![Some(0), None, Some(u16::MAX)])), "0|\\N|65535"),
        ("u32", Arc::new(UInt32Array::from(vec![Some(0), None, Some(u32::MAX)])), "0|\\N|4294967295"),
        ("u64", Arc::new(UInt64Array::from(vec![Some(0), None, Some(u64::MAX)])), "0|\\N|18446744073709551615"),
        (
            "f32",
            Arc::new(Float32Array::from(vec![Some(f32::MIN_POSITIVE), None, Some(f32::NAN)])),
            "1.1754944e-38|\\N|nan",
        ),
        ("f64", Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(f64::NEG_INFINITY)])), "-0|\\N|-inf"),
        (
            "f64b",
            Arc::new(Float64Array::from(vec![Some(f64::MAX), None, Some(5e-324)])),
            "1.7976931348623157e308|\\N|5e-324",
        ),
        (
            "d9",
            Arc::new(
                Decimal32Array::from(vec![Some(999_999_999), None, Some(-1)])
                    .with_precision_and_scale(9, 2)
                    .expect("fits"),
            ),
            "9999999.99|\\N|-0.01",
        ),
        (
            "d38",
            Arc::new(
                Decimal128Array::from(vec![Some(decimal(&nines[..38])), None, Some(-decimal(&nines[..38]))])
                    .with_precision_and_scale(38, 10)
                    .expect("fits"),
            ),
            "9999999999999999999999999999.9999999999|\\N|-9999999999999999999999999999.9999999999",
        ),
        (
            "d76",
            Arc::new(
                Decimal256Array::from(vec![
                    Some(i256::from_string(&nines).expect("digits")),
                    None,
                    Some(i256::MINUS_ONE),
                ])
                .with_precision_and_scale(76, 38)
                .expect("fits"),
            ),
            "99999999999999999999999999999999999999.99999999999999999999999999999999999999|\\N|-0.00000000000000000000000000000000000001",
        ),
        ("text", Arc::new(StringArray::from(vec![Some(""), None, Some("ä\u{1f40b}")])), "|\\N|ä\u{1f40b}"),
        ("large", Arc::new(LargeStringArray::from(vec![Some("l"), None, Some("")])), "l|\\N|"),
        (
            "view",
            Arc::new(StringViewArray::from(vec![Some("short"), None, Some("more than twelve bytes")])),
            "short|\\N|more than twelve bytes",
        ),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\x00"[..]), None, Some(b"")])), "\\0|\\N|"),
        (
            "byteview",
            Arc::new(BinaryViewArray::from(vec![Some(&b"b"[..]), None, Some(b"more than twelve bytes")])),
            "b|\\N|more than twelve bytes",
        ),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some(b"ab"), None, Some(b"\x00c")].into_iter(),
                    2,
                )
                .expect("fixed"),
            ),
            "ab|\\N|\\0c",
        ),
        ("dictionary", Arc::new(dictionary), "x|\\N|x"),
        ("date", Arc::new(Date32Array::from(vec![Some(-25_567), None, Some(120_529)])), "1900-01-01|\\N|2299-12-31"),
        ("date64", Arc::new(Date64Array::from(vec![Some(0), None, Some(86_400_000)])), "1970-01-01|\\N|1970-01-02"),
        ("t0", Arc::new(Time32SecondArray::from(vec![Some(0), None, Some(86_399)])), "00:00:00|\\N|23:59:59"),
        (
            "t3",
            Arc::new(Time32MillisecondArray::from(vec![Some(1), None, Some(86_399_999)])),
            "00:00:00.001|\\N|23:59:59.999",
        ),
        (
            "t6",
            Arc::new(Time64MicrosecondArray::from(vec![Some(-3_020_399_000_001), None, Some(3_020_399_000_001)])),
            "-838:59:59.000001|\\N|838:59:59.000001",
        ),
        (
            "t9",
            Arc::new(Time64NanosecondArray::from(vec![Some(1), None, Some(86_399_999_999_999)])),
            "00:00:00.000000001|\\N|23:59:59.999999999",
        ),
        (
            "s",
            Arc::new(TimestampSecondArray::from(vec![Some(-62_135_596_800), None, Some(253_402_300_799)])),
            "0001-01-01 00:00:00|\\N|9999-12-31 23:59:59",
        ),
        (
            "ms",
            Arc::new(
                TimestampMillisecondArray::from(vec![Some(-1), None, Some(253_402_300_799_999)])
                    .with_timezone("+02:00"),
            ),
            "1969-12-31 23:59:59.999|\\N|9999-12-31 23:59:59.999",
        ),
        (
            "us",
            Arc::new(
                TimestampMicrosecondArray::from(vec![
                    Some(-62_135_596_800_000_000),
                    None,
                    Some(253_402_300_799_999_999),
                ])
                .with_timezone("Europe/Berlin"),
            ),
            "0001-01-01 00:00:00.000000|\\N|9999-12-31 23:59:59.999999",
        ),
        (
            "ns",
            Arc::new(TimestampNanosecondArray::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
            "1677-09-21 00:12:43.145224192|\\N|2262-04-11 23:47:16.854775807",
        ),
        ("list", Arc::new(lists), "[('p'),(NULL)]|[]|[('a string of more than twelve bytes')]"),
        ("struct", Arc::new(structs), "(-9223372036854775808,(NULL))|(NULL,(NULL))|(6,('c'))"),
        ("map", Arc::new(maps.finish()), "{'k':NULL}|{}|{}"),
    ];
    let database = Database::new().await;
    let mut fields = vec![Field::new("n", DataType::Int32, false)];
    fields.extend(columns.iter().map(|(name, array, _)| Field::new(*name, array.data_type().clone(), true)));
    let mut output = database.output("types", TableForm::Log, fields);
    output.key = vec!["n".to_owned()];
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![0, 1, 2]))];
    arrays.extend(columns.iter().map(|(_, array, _)| Arc::clone(array)));
    let rows = RecordBatch::try_new(output.schema.clone(), arrays).expect("rows");
    let mut sink = prepared(&output).await;
    // Slices carry their offsets along.
    sink.write(&block("j/types", vec![rows.slice(0, 1), rows.slice(1, 2)])).await.expect("written");
    for (name, _, expected) in &columns {
        let sql = format!("SELECT {} FROM {}.types ORDER BY n", quote_identifier(name), database.0);
        let read = client().query_tsv(&sql).await.expect("read").strip_suffix('\n').expect("rows").replace('\n', "|");
        assert_eq!(&read.replace("\\'", "'"), expected, "{name}");
    }
    // Dates that ClickHouse takes as points in time only, in a table that they part, and others.
    let days = vec![2_932_896, -719_528, 19_782, 120_530, -25_568];
    let dates = || {
        let nullable: Date32Array = days.iter().map(|day| (*day > 0).then_some(*day)).collect();
        let columns: [(&str, ArrayRef); 2] =
            [("d", Arc::new(Date32Array::from(days.clone()))), ("n", Arc::new(nullable))];
        RecordBatch::try_from_iter(columns).expect("rows")
    };
    let fields = vec![Field::new("d", DataType::Date32, false), Field::new("n", DataType::Date32, true)];
    let mut output = database.output("dates", TableForm::Log, fields);
    output.event_time = Some("d".to_owned());
    let mut sink = prepared(&output).await;
    sink.write(&block("j/dates", vec![dates()])).await.expect("written");
    assert_eq!(
        ask(&format!("SELECT d, n, toYear(d) FROM {}.dates ORDER BY d", database.0)).await,
        "0000-01-01\t\\N\t0\n1899-12-31\t\\N\t1899\n2024-02-29\t2024-02-29\t2024\n2300-01-01\t2300-01-01\t2300\n\
         9999-12-31\t9999-12-31\t9999"
    );
    // Sent again it is still there once: in the partitions of its far months, too.
    let mut again = prepared(&output).await;
    again.write_again(&block("j/dates", vec![dates()])).await.expect("found");
    assert_eq!(ask(&format!("SELECT count() FROM {}.dates", database.0)).await, "5");
    for (target, expected) in
        [("DateTime64(0, 'UTC')", "0000-01-01 00:00:00\t9999-12-31 00:00:00"), ("String", "0000-01-01\t9999-12-31")]
    {
        let output = database.output("other", TableForm::Log, vec![Field::new("d", DataType::Date32, false)]);
        ask(&format!("DROP TABLE IF EXISTS {0}.other SYNC", database.0)).await;
        ask(&format!("CREATE TABLE {}.other (d {target}) ENGINE = MergeTree ORDER BY d", database.0)).await;
        let mut sink = prepared(&output).await;
        sink.write(&block("j/other", vec![dates().project(&[0]).expect("a column")])).await.expect("written");
        assert_eq!(ask(&format!("SELECT min(d), max(d) FROM {}.other", database.0)).await, expected);
    }
    database.drop().await;
}

#[tokio::test]
async fn troubles_say_where_and_whether_they_pass() {
    let database = Database::new().await;
    let mut output = log_output(&database);
    let mut sink = prepared(&output).await;
    ask(&format!("DROP TABLE {}.changes SYNC", database.0)).await;
    let error = sink.write(&block("j/no-table", vec![log_rows(0..9, |_| None)])).await.expect_err("no table");
    assert!(
        !error.is_transient() && error.to_string().contains(&format!("{}.changes at http://", database.0)),
        "{error}"
    );
    let mut values: BTreeMap<String, String> = output
        .options
        .names()
        .filter_map(|name| Some((name.to_owned(), output.options.get(name)?.to_owned())))
        .collect();
    values.insert("url".to_owned(), "http://ann:secret@127.0.0.1:9".to_owned());
    output.options = Options::new("changes", values.clone());
    let error = ClickHouseSink::new(&output).expect("a sink").prepare().await.expect_err("nobody there");
    assert!(error.is_transient() && error.to_string().contains("http://127.0.0.1:9: network error"), "{error}");
    assert!(error.to_string().contains("refused") && !error.to_string().contains("secret"), "{error}");
    values.insert("url".to_owned(), crate::stack::clickhouse_url().replace("http://", "http://ann:secret@"));
    output.options = Options::new("changes", values);
    let error = ClickHouseSink::new(&output).expect("a sink").prepare().await.expect_err("wrong password");
    assert!(!error.is_transient() && !error.to_string().contains("secret"), "{error}");
    ask(&format!("DROP DATABASE IF EXISTS {}", database.0)).await;
}

#[tokio::test]
async fn a_million_rows() {
    let database = Database::new().await;
    let batches: Vec<RecordBatch> =
        (0..128).map(|batch| log_rows(batch * 8_192..(batch + 1) * 8_192, |offset| Some(JANUARY + offset))).collect();
    for compression in ["lz4", "none"] {
        let mut output = log_output(&database);
        let mut values: BTreeMap<String, String> = output
            .options
            .names()
            .filter_map(|name| Some((name.to_owned(), output.options.get(name)?.to_owned())))
            .collect();
        values.insert("sink.compression".to_owned(), compression.to_owned());
        output.options = Options::new("changes", values);
        let mut sink = prepared(&output).await;
        ask(&format!("TRUNCATE TABLE {}.changes", database.0)).await;
        let started = std::time::Instant::now();
        sink.write(&block(&format!("j/million/{compression}"), batches.clone())).await.expect("written");
        let seconds = started.elapsed().as_secs_f64();
        println!("{compression}: {:.0} rows/s", 1_048_576.0 / seconds);
        let inserted = format!(
            "SELECT count(), (SELECT count() FROM system.parts WHERE active AND database = '{0}') FROM {0}.changes",
            database.0
        );
        assert_eq!(ask(&inserted).await, "1048576\t1");
    }
    database.drop().await;
}
