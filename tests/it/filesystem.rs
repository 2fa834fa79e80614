//! Files in, files out: whole jobs without any service, with golden outputs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::datasource::MemTable;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use serde_json::Value;

use crate::run::{block_on, bounded, run, run_until, with_checkpoints};

/// A folder of the test's own, and its files.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        use std::io::Write;
        fs::OpenOptions::new().append(true).open(self.path(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The lines of a file, or of all files of a folder, sorted.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let path = self.path(name);
        let files: Vec<PathBuf> = match fs::read_dir(&path) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).filter(|path| !is_hidden(path)).collect(),
            Err(_) => vec![path],
        };
        let mut lines: Vec<String> = files
            .iter()
            .flat_map(|file| fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        lines.sort();
        lines
    }

    /// Replaces `{dir}`.
    pub(crate) fn sql(&self, text: &str) -> String {
        text.replace("{dir}", self.0.path().to_str().unwrap())
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

const SALES: &str = "\
{\"id\":1,\"at\":\"2026-03-01T10:00:05\",\"store\":1,\"amount\":2.5,\"note\":\"a\"}
{\"id\":2,\"at\":\"2026-03-01T10:00:59.999\",\"store\":1,\"amount\":4.0,\"note\":null}
{\"id\":3,\"at\":\"2026-03-01T10:00:30\",\"store\":2,\"amount\":1.25}
{\"id\":4,\"at\":\"2026-03-01T10:01:00\",\"store\":1,\"amount\":8.0,\"note\":\"say \\\"x\\\", then\"}
{\"id\":5,\"at\":\"2026-03-01T10:03:10\",\"store\":2,\"amount\":-1.0,\"note\":\"\"}
{\"id\":6,\"at\":\"2026-03-01T10:00:10\",\"store\":2,\"amount\":100.0,\"note\":\"late\"}
{\"id\":7,\"at\":\"2026-03-01T10:03:20\",\"store\":2,\"amount\":3.0,\"note\":\"z\"}
";

const SALES_TABLE: &str = "
CREATE TABLE sales (
  id INT, at TIMESTAMP(3), store SMALLINT, amount DOUBLE, note STRING,
  WATERMARK FOR at AS at - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = '{dir}/sales.json', 'format' = 'json');
";

#[test]
fn json_lines_in_and_out_with_windows_views_and_several_inserts() {
    let folder = Folder::new();
    folder.write("sales.json", SALES);
    let text = folder.sql(&format!(
        "{SALES_TABLE}
        CREATE VIEW big AS SELECT id, at, store, amount * 2 AS doubled FROM sales WHERE amount > 2;
        CREATE TABLE rows_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/rows.json', 'format' = 'json');
        CREATE TABLE big_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/big.json');
        CREATE TABLE windows_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/windows.json');
        CREATE TABLE having_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/having/');
        INSERT INTO rows_out SELECT id, upper(note) AS note FROM sales;
        INSERT INTO big_out SELECT * FROM big;
        INSERT INTO windows_out
        SELECT window_start, window_end, store, count(*) AS sales, sum(amount) AS amount
        FROM TUMBLE(sales, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, store;
        INSERT INTO having_out
        SELECT window_start, round(avg(amount), 2) AS mean
        FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(at), INTERVAL '2' MINUTE))
        WHERE store < 3 GROUP BY window_start, window_end HAVING count(*) > 1;"
    ));
    let progress = run(&text, bounded("golden")).unwrap();
    assert_eq!(progress.events.load(std::sync::atomic::Ordering::Relaxed), 7);
    assert_eq!(
        folder.read("out/rows.json"),
        "{\"id\":1,\"note\":\"A\"}\n{\"id\":2,\"note\":null}\n{\"id\":3,\"note\":null}\n{\"id\":4,\"note\":\"SAY \\\"X\\\", THEN\"}\n\
         {\"id\":5,\"note\":\"\"}\n{\"id\":6,\"note\":\"LATE\"}\n{\"id\":7,\"note\":\"Z\"}\n"
    );
    assert_eq!(
        folder.lines("out/big.json"),
        [
            "{\"id\":1,\"at\":\"2026-03-01T10:00:05\",\"store\":1,\"doubled\":5.0}",
            "{\"id\":2,\"at\":\"2026-03-01T10:00:59.999\",\"store\":1,\"doubled\":8.0}",
            "{\"id\":4,\"at\":\"2026-03-01T10:01:00\",\"store\":1,\"doubled\":16.0}",
            "{\"id\":6,\"at\":\"2026-03-01T10:00:10\",\"store\":2,\"doubled\":200.0}",
            "{\"id\":7,\"at\":\"2026-03-01T10:03:20\",\"store\":2,\"doubled\":6.0}",
        ]
    );
    assert_eq!(
        folder.lines("out/windows.json"),
        [
            "{\"window_start\":\"2026-03-01T10:00:00\",\"window_end\":\"2026-03-01T10:01:00\",\"store\":1,\"sales\":2,\"amount\":6.5}",
            "{\"window_start\":\"2026-03-01T10:00:00\",\"window_end\":\"2026-03-01T10:01:00\",\"store\":2,\"sales\":1,\"amount\":1.25}",
            "{\"window_start\":\"2026-03-01T10:01:00\",\"window_end\":\"2026-03-01T10:02:00\",\"store\":1,\"sales\":1,\"amount\":8.0}",
            "{\"window_start\":\"2026-03-01T10:03:00\",\"window_end\":\"2026-03-01T10:04:00\",\"store\":2,\"sales\":2,\"amount\":2.0}",
        ]
    );
    let late = folder.lines("out/windows_late.json");
    let [late] = late.as_slice() else { panic!("one row is late: {late:?}") };
    let late: Value = serde_json::from_str(late).unwrap();
    assert_eq!(late["window_start"], "2026-03-01T10:00:00");
    assert_eq!(
        (&late["store"], &late["amount"], &late["sign"], &late["_offset"]),
        (&2.into(), &100.0.into(), &1.into(), &5.into())
    );
    // (2.5 + 4 + 1.25 + 8) / 4 and (-1 + 3) / 2; the first of two minutes ends after 10:01:00 + 10 s, so nothing else is late.
    assert_eq!(
        folder.lines("out/having"),
        [
            "{\"window_start\":\"2026-03-01T10:00:00\",\"mean\":3.94}",
            "{\"window_start\":\"2026-03-01T10:02:00\",\"mean\":1.0}"
        ]
    );
    assert_eq!(folder.lines("out/having_late").len(), 1);
}

#[test]
fn csv_and_parquet_in_and_out() {
    let folder = Folder::new();
    folder.write("sales.csv", "id,at,store,amount,note\n1,2026-03-01 10:00:05,1,2.5,\"a, b\"\n2,2026-03-01T10:00:59.999,,4,\n3,2026-03-01 10:02:00,2,,\"q\"\"q\"\n");
    let columns = "id INT, at TIMESTAMP(3), store SMALLINT, amount DOUBLE, note STRING, WATERMARK FOR at AS at - INTERVAL '10' SECOND";
    let text = folder.sql(&format!(
        "CREATE TABLE sales ({columns}) WITH ('connector' = 'filesystem', 'path' = '{{dir}}/sales.csv', 'format' = 'csv');
        CREATE TABLE csv_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/rows.csv', 'format' = 'csv');
        CREATE TABLE parquet_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/rows.parquet');
        CREATE TABLE parts_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/parts', 'format' = 'parquet');
        INSERT INTO csv_out SELECT * FROM sales;
        INSERT INTO parquet_out SELECT * FROM sales;
        INSERT INTO parts_out SELECT window_start, count(*) AS n, sum(amount) AS amount
        FROM TUMBLE(sales, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end;"
    ));
    run(&text, bounded("csv")).unwrap();
    assert_eq!(
        folder.read("out/rows.csv"),
        "id,at,store,amount,note\n1,2026-03-01T10:00:05,1,2.5,\"a, b\"\n2,2026-03-01T10:00:59.999,,4.0,\n3,2026-03-01T10:02:00,2,,\"q\"\"q\"\n"
    );
    let parquet = |path: PathBuf, sql: &'static str| {
        block_on(async move {
            let context = SessionContext::new();
            context.register_parquet("t", path.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
            rows_of(context.sql(sql).await.unwrap().collect().await.unwrap())
        })
    };
    assert_eq!(
        parquet(folder.path("out/rows.parquet"), "SELECT id, at, store, amount, note FROM t ORDER BY id"),
        ["1|2026-03-01T10:00:05|1|2.5|a, b", "2|2026-03-01T10:00:59.999||4.0|", "3|2026-03-01T10:02:00|2||q\"q"]
    );
    assert_eq!(
        parquet(folder.path("out/parts/"), "SELECT window_start, n, amount FROM t ORDER BY 1"),
        ["2026-03-01T10:00:00|2|6.5", "2026-03-01T10:02:00|1|"]
    );
    // And what was written as Parquet is read again.
    let text = folder.sql(&format!(
        "CREATE TABLE sales ({columns}) WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/rows.parquet', 'format' = 'parquet');
        CREATE TABLE json_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/again.json');
        INSERT INTO json_out SELECT id, at, note FROM sales WHERE store IS NOT NULL;"
    ));
    run(&text, bounded("parquet")).unwrap();
    assert_eq!(
        folder.read("out/again.json"),
        "{\"id\":1,\"at\":\"2026-03-01T10:00:05\",\"note\":\"a, b\"}\n{\"id\":3,\"at\":\"2026-03-01T10:02:00\",\"note\":\"q\\\"q\"}\n"
    );
}

/// What has been read stays counted, windows stay open, and a run to the end closes them: as if it had been one run.
#[test]
fn windows_stay_open_until_caught_up_and_go_on_in_the_next_run() {
    let folder = Folder::new();
    let (first, second) = SALES.split_at(SALES.match_indices('\n').nth(1).unwrap().0 + 1);
    folder.write("sales.json", first);
    let text = folder.sql(&format!(
        "{SALES_TABLE}
        CREATE TABLE windows_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/windows.json');
        INSERT INTO windows_out
        SELECT window_start, store, count(*) AS sales FROM TUMBLE(sales, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, store;"
    ));
    let mut settings = with_checkpoints(bounded("caught-up"), &folder.path("checkpoints"));
    settings.ending = highwater::job::settings::Ending::UntilCaughtUp;
    run(&text, settings.clone()).unwrap();
    assert_eq!(folder.lines("out/windows.json"), [""; 0], "the window may still get rows");
    folder.append("sales.json", second);
    run(&text, settings.clone()).unwrap();
    settings.ending = highwater::job::settings::Ending::Bounded;
    run(&text, settings).unwrap();
    assert_eq!(
        folder.lines("out/windows.json"),
        [
            "{\"window_start\":\"2026-03-01T10:00:00\",\"store\":1,\"sales\":2}",
            "{\"window_start\":\"2026-03-01T10:00:00\",\"store\":2,\"sales\":1}",
            "{\"window_start\":\"2026-03-01T10:01:00\",\"store\":1,\"sales\":1}",
            "{\"window_start\":\"2026-03-01T10:03:00\",\"store\":2,\"sales\":2}",
        ]
    );
    assert_eq!(folder.lines("out/windows_late.json").len(), 1);
}

/// The rows of batches, their columns parted by bars, null as nothing.
fn rows_of(batches: Vec<RecordBatch>) -> Vec<String> {
    use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
    let mut rows = Vec::new();
    for batch in batches {
        let options = FormatOptions::default();
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|it| it.value(row).to_string()).collect::<Vec<_>>().join("|")),
        );
    }
    rows
}

/// Rows for all aggregates: values, nulls, changes of every kind; 3 files.
pub(crate) struct Events {
    ids: Vec<i32>,
    times: Vec<i64>,
    stores: Vec<i16>,
    amounts: Vec<Option<f64>>,
    units: Vec<Option<i64>>,
    flags: Vec<Option<bool>>,
    names: Vec<Option<String>>,
    prices: Vec<Option<i128>>,
    ops: Vec<&'static str>,
}

impl Events {
    pub(crate) fn new(count: usize) -> Self {
        let start = 1_772_359_200_000;
        // A generator of its own: the numbers must only be various.
        let mut state = 42_u64;
        let mut next = move |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut events = Self {
            ids: vec![],
            times: vec![],
            stores: vec![],
            amounts: vec![],
            units: vec![],
            flags: vec![],
            names: vec![],
            prices: vec![],
            ops: vec![],
        };
        for id in 0..count {
            events.ids.push(id as i32);
            events.times.push(start + next(3 * 3_600_000) as i64);
            events.stores.push(next(4) as i16);
            events.amounts.push((next(10) > 0).then(|| next(100_000) as f64 / 64.0 - 500.0));
            events.units.push((next(8) > 0).then(|| next(50) as i64));
            events.flags.push((next(6) > 0).then(|| next(3) > 0));
            events.names.push((next(7) > 0).then(|| format!("n{}", next(30))));
            events.prices.push((next(9) > 0).then(|| i128::from(next(1_000_000))));
            events.ops.push(["c", "c", "c", "u", "d", "r"][next(6) as usize]);
        }
        events
    }

    pub(crate) fn line(&self, row: usize) -> String {
        let image = serde_json::json!({
            "id": self.ids[row], "at": self.times[row], "store": self.stores[row], "amount": self.amounts[row],
            "units": self.units[row], "flag": self.flags[row], "name": self.names[row],
            "price": self.prices[row].map(|cents| format!("{}.{:02}", cents / 100, cents % 100)),
        });
        let none = Value::Null;
        let (before, after) = match self.ops[row] {
            "d" => (&image, &none),
            "u" => (&image, &image),
            _ => (&none, &image),
        };
        serde_json::json!({"before": before, "after": after, "op": self.ops[row], "source": {"ts_ms": self.times[row]}})
            .to_string()
    }

    pub(crate) fn batch(&self) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Field::new("store", DataType::Int16, true),
            Field::new("amount", DataType::Float64, true),
            Field::new("units", DataType::Int64, true),
            Field::new("flag", DataType::Boolean, true),
            Field::new("name", DataType::Utf8, true),
            Field::new("price", DataType::Decimal128(10, 2), true),
            Field::new("_op", DataType::Utf8, true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(self.ids.clone())),
            Arc::new(TimestampMillisecondArray::from(self.times.clone())),
            Arc::new(Int16Array::from(self.stores.clone())),
            Arc::new(Float64Array::from(self.amounts.clone())),
            Arc::new(Int64Array::from(self.units.clone())),
            Arc::new(BooleanArray::from(self.flags.clone())),
            Arc::new(StringArray::from(self.names.clone())),
            Arc::new(Decimal128Array::from(self.prices.clone()).with_precision_and_scale(10, 2).unwrap()),
            Arc::new(StringArray::from(self.ops.clone())),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }
}

/// Every family of DataFusion's aggregates.
pub(crate) const AGGREGATES: &str = "
  count(*) AS n, count(amount) AS n_amount, count(DISTINCT name) AS names, count(*) FILTER (WHERE _op IN ('c', 'r')) AS created,
  sum(amount) AS amount, sum(units) AS units, sum(price) AS price, sum(DISTINCT units) AS distinct_units,
  avg(amount) AS mean, avg(price) AS mean_price, avg(units) FILTER (WHERE flag) AS mean_flagged,
  min(amount) AS least, max(amount) AS most, min(name) AS first_name, max(at) AS last_at, min(price) AS least_price,
  stddev(amount) AS spread, stddev_pop(amount) AS spread_pop, var_samp(amount) AS variance, var_pop(units) AS variance_pop,
  median(amount) AS middle, median(units) AS middle_units,
  approx_distinct(name) AS about_names, approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY amount) AS p90, approx_median(units) AS about_middle,
  array_agg(id ORDER BY id) AS ids, array_agg(DISTINCT units ORDER BY units) AS unit_set,
  string_agg(name, '+' ORDER BY id DESC) AS all_names,
  first_value(name ORDER BY id) AS first_by_id, array_element(array_agg(name ORDER BY id), 2) AS second, last_value(units ORDER BY at, id) AS last_by_time,
  bool_and(flag) AS all_flags, bool_or(flag) AS any_flag,
  bit_and(units) AS and_units, bit_or(units) AS or_units, bit_xor(units) AS xor_units,
  corr(amount, units) AS correlation, covar_samp(amount, units) AS covariance, covar_pop(amount, units) AS covariance_pop,
  regr_slope(amount, units) AS slope, regr_r2(amount, units) AS fit,
  percentile_cont(0.25) WITHIN GROUP (ORDER BY amount) AS quartile";

#[test]
fn every_aggregate_equals_a_batch_query_on_any_number_of_lanes() {
    let folder = Folder::new();
    let events = Events::new(3_000);
    for file in 0..3 {
        let lines: String = (0..3_000).filter(|row| row % 3 == file).map(|row| events.line(row) + "\n").collect();
        folder.write(&format!("in/{file}.json"), &lines);
    }
    let expected = block_on(async {
        let context = SessionContext::new();
        let table = MemTable::try_new(events.batch().schema(), vec![vec![events.batch()]]).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        let sql = format!(
            "SELECT date_bin(INTERVAL '30 minutes', at) AS window_start, store, {AGGREGATES} FROM t GROUP BY 1, 2"
        );
        json_of(&context.sql(&sql).await.unwrap().collect().await.unwrap())
    });
    assert_eq!(expected.len(), 24);
    for lanes in [1, 3] {
        let text = folder.sql(&format!(
            "CREATE TABLE t (
               id INT, at TIMESTAMP(3), store SMALLINT, amount DOUBLE, units BIGINT, flag BOOLEAN, name STRING, price DECIMAL(10, 2),
               PRIMARY KEY (id), WATERMARK FOR at AS at - INTERVAL '1' DAY
             ) WITH ('connector' = 'filesystem', 'path' = '{{dir}}/in', 'format' = 'debezium-json');
             CREATE TABLE result WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/{lanes}.json');
             INSERT INTO result SELECT window_start, store, {AGGREGATES}
             FROM TUMBLE(CHANGES(t), at, INTERVAL '30' MINUTE) GROUP BY window_start, window_end, store;"
        ));
        let mut settings = bounded("aggregates");
        settings.lanes = lanes;
        run(&text, settings).unwrap();
        let found: Vec<Value> =
            folder.lines(&format!("out/{lanes}.json")).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found.len(), expected.len());
        for wanted in &expected {
            let same_group =
                |row: &&Value| row["window_start"] == wanted["window_start"] && row["store"] == wanted["store"];
            let row = found.iter().find(same_group).unwrap_or_else(|| panic!("no row for {wanted}"));
            let columns = wanted.as_object().unwrap();
            assert_eq!(row.as_object().unwrap().len(), columns.len());
            for (column, value) in columns {
                assert!(
                    is_same(column, &row[column], value),
                    "{lanes} lanes, {column} of {}/{}: {} instead of {value}",
                    wanted["window_start"],
                    wanted["store"],
                    row[column]
                );
            }
        }
    }
}

/// Equal, or as near as sums of floats in another order are. A digest may be merged otherwise.
pub(crate) fn is_same(column: &str, found: &Value, expected: &Value) -> bool {
    let tolerance = if matches!(column, "p90" | "about_middle") { 0.05 } else { 1e-9 };
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() <= tolerance * expected.abs().max(1.0),
        _ => found == expected,
    }
}

pub(crate) fn json_of(batches: &[RecordBatch]) -> Vec<Value> {
    let mut writer = datafusion::arrow::json::writer::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, datafusion::arrow::json::writer::LineDelimited>(Vec::new());
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    String::from_utf8(writer.into_inner()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Stopped in the middle and resumed with another number of lanes, files as sinks: each row once, windows as in one run.
#[test]
fn files_are_complete_after_a_stop_and_a_resume() {
    let folder = Folder::new();
    let events = Events::new(150_000);
    for file in 0..3 {
        let lines: String = (0..150_000).filter(|row| row % 3 == file).map(|row| events.line(row) + "\n").collect();
        folder.write(&format!("in/{file}.json"), &lines);
    }
    let text = |out: &str| {
        folder.sql(&format!(
            "CREATE TABLE t (id INT, at TIMESTAMP(3), store SMALLINT, PRIMARY KEY (id), WATERMARK FOR at AS at - INTERVAL '90' MINUTE)
             WITH ('connector' = 'filesystem', 'path' = '{{dir}}/in', 'format' = 'debezium-json');
             CREATE TABLE rows_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/{out}/rows/');
             CREATE TABLE windows_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/{out}/windows.json');
             INSERT INTO rows_out SELECT id, _op, _offset FROM CHANGES(t);
             INSERT INTO windows_out SELECT window_start, store, count(*) AS n, min(id) AS least
             FROM TUMBLE(CHANGES(t), at, INTERVAL '10' MINUTE) GROUP BY window_start, window_end, store;"
        ))
    };
    run(&text("whole"), bounded("whole")).unwrap();
    let mut settings = with_checkpoints(bounded("parts"), &folder.path("checkpoints"));
    settings.flush_interval = std::time::Duration::from_millis(20);
    settings.checkpoint_interval = std::time::Duration::from_millis(60);
    let mut outcomes = Vec::new();
    for (part, lanes) in [1, 3, 2, 3].into_iter().enumerate() {
        settings.lanes = lanes;
        let enough = if part == 3 { u64::MAX } else { 2_000 };
        let (outcome, _) = run_until(&text("parts"), settings.clone(), move |progress| {
            progress.events.load(std::sync::atomic::Ordering::Relaxed) >= enough
        })
        .unwrap();
        outcomes.push(outcome);
        if outcome == highwater::job::running::Outcome::Finished {
            break;
        }
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes[0], highwater::job::running::Outcome::Stopped);
    assert_eq!(*outcomes.last().unwrap(), highwater::job::running::Outcome::Finished);
    for file in ["rows", "windows.json", "windows_late.json"] {
        let (found, expected) = (folder.lines(&format!("parts/{file}")), folder.lines(&format!("whole/{file}")));
        assert!(!expected.is_empty(), "{file}");
        crate::stack::assert_same(file, &found, &expected);
    }
}

#[test]
fn avro_containers_are_read_by_their_own_schemas() {
    let folder = Folder::new();
    let write = |name: &str, fields: &str, codec, rows: Vec<Vec<(&str, apache_avro::types::Value)>>| {
        let schema = format!(r#"{{"type":"record","name":"sale","fields":[{fields}]}}"#);
        let schema = apache_avro::Schema::parse_str(&schema).unwrap();
        let mut writer = apache_avro::Writer::with_codec(&schema, Vec::new(), codec).unwrap();
        for row in rows {
            let row = row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            writer.append_value(apache_avro::types::Value::Record(row)).unwrap();
        }
        fs::create_dir_all(folder.path("in")).unwrap();
        fs::write(folder.path(name), writer.into_inner().unwrap()).unwrap();
    };
    use apache_avro::types::Value::{Int, Long, Null, String, TimestampMicros, Union};
    let at = r#"{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}"#;
    write(
        "in/a.avro",
        &format!(r#"{{"name":"id","type":"int"}},{at}"#),
        apache_avro::Codec::Snappy,
        (1..4)
            .map(|id| vec![("id", Int(id)), ("at", TimestampMicros(1_767_225_600_000_000 + i64::from(id)))])
            .collect(),
    );
    write(
        "in/b.avro",
        &format!(r#"{at},{{"name":"note","type":["null","string"]}},{{"name":"id","type":"long"}}"#),
        apache_avro::Codec::Null,
        vec![
            vec![("at", TimestampMicros(0)), ("note", Union(1, Box::new(String("n".into())))), ("id", Long(7))],
            vec![("at", TimestampMicros(1)), ("note", Union(0, Box::new(Null))), ("id", Long(1 << 40))],
        ],
    );
    let text = folder.sql(
        "CREATE TABLE sales (id INT, at TIMESTAMP(6), note STRING) WITH ('connector' = 'filesystem', 'path' = '{dir}/in', 'format' = 'avro');
        CREATE TABLE out WITH ('connector' = 'filesystem', 'path' = '{dir}/out/rows.json');
        INSERT INTO out SELECT id, at, note FROM sales;",
    );
    run(&text, bounded("avro")).unwrap();
    let mut lines = folder.lines("out/rows.json");
    lines.sort();
    assert_eq!(
        lines,
        [
            "{\"id\":1,\"at\":\"2026-01-01T00:00:00.000001\",\"note\":null}",
            "{\"id\":2,\"at\":\"2026-01-01T00:00:00.000002\",\"note\":null}",
            "{\"id\":3,\"at\":\"2026-01-01T00:00:00.000003\",\"note\":null}",
            "{\"id\":7,\"at\":\"1970-01-01T00:00:00\",\"note\":\"n\"}",
        ]
    );
}
