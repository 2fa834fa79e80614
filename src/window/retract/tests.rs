//! Rows that come and go in any order, in any pane, leave what the rows that are left give.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::physical_expr::PhysicalExpr;
use proptest::prelude::*;

use crate::sql::plan::pipeline::Work;
use crate::sql::query::load_texts;
use crate::sql::text::Variables;
use crate::testing::properties::properties;
use crate::window::aggregate::{EventTimes, WindowPlan};
use crate::window::pane::{Pane, PaneInput};
use crate::window::stage::{Rows, evaluate};

/// A row: group, number, text.
type Row = (Option<u8>, Option<i64>, Option<u8>);

const AGGREGATES: &str = "count(*) AS a, count(v) AS b, sum(v) AS c, avg(v) AS d, min(v) AS e, max(s) AS f, count(DISTINCT v) AS g, \
    sum(CAST(v + 1 AS DECIMAL(12, 2))) AS h, avg(CAST(v + 1 AS DECIMAL(12, 2))) AS i, sum(v) FILTER (WHERE v > 0) AS j, \
    max(v) FILTER (WHERE s <> 'a') AS k, array_agg(s ORDER BY s, v) AS l, array_agg(v ORDER BY v DESC NULLS LAST, s) AS m, \
    string_agg(s, '+' ORDER BY s) AS n, first_value(v ORDER BY s, v) AS o, last_value(s ORDER BY v, s) AS p, bool_and(v > 0) AS q, \
    bit_xor(v) AS r, median(v) AS t, sum(CAST(v + 2 AS DOUBLE)) AS u, stddev_pop(v) AS w, \
    percentile_cont(CAST(v AS DOUBLE), 0.25) AS x, array_agg(DISTINCT v ORDER BY v) AS y, sum(DISTINCT v) AS z, avg(v) FILTER (WHERE v > 3) AS za, \
    min(v) FILTER (WHERE v > 100) AS zb, any_value(CASE WHEN s IS NULL THEN 1 ELSE 1 END) AS zc, count(v, s) AS zd, sum(CAST(abs(v) AS BIGINT UNSIGNED)) AS ze";

/// The plans of the same query over a table and over rows that are only added.
fn plans(keys: &str) -> (Arc<WindowPlan>, Arc<WindowPlan>, SchemaRef) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let plan = |from: &str| {
        let text = format!(
            "CREATE TABLE t (id INT, k STRING, v BIGINT, s STRING, ts TIMESTAMP(3), PRIMARY KEY (id) NOT ENFORCED, \
             WATERMARK FOR ts AS ts - INTERVAL '3' SECOND) WITH ('connector' = 'filesystem', 'path' = 'x', 'format' = 'debezium-json');
             SELECT window_start, {AGGREGATES} FROM TUMBLE({from}, ts, INTERVAL '10' SECOND) GROUP BY window_start, window_end {keys};"
        );
        let query = runtime.block_on(load_texts(vec![("t.sql".into(), text)], &Variables::default())).unwrap();
        let Work::Window(windowed) = &query.pipelines[0].work else { panic!("not a window") };
        Arc::clone(&windowed.inputs[0])
    };
    let (table, added) = (plan("t"), plan("CHANGES(t)"));
    assert!(table.layout.undo().is_some() && added.layout.undo().is_none());
    let fields = [("k", DataType::Utf8), ("v", DataType::Int64), ("s", DataType::Utf8)];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
    (table, added, Arc::new(Schema::new(fields.to_vec())))
}

fn input(plan: &WindowPlan, rows: &[Row], signs: &[i8]) -> PaneInput {
    let text = |value: Option<u8>| value.map(|value| char::from(b'a' + value).to_string());
    let column = |name: &str| -> ArrayRef {
        match name {
            "k" => Arc::new(rows.iter().map(|row| text(row.0)).collect::<StringArray>()),
            "v" => Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            "s" => Arc::new(rows.iter().map(|row| text(row.2)).collect::<StringArray>()),
            _ => datafusion::arrow::array::new_null_array(
                &DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Millisecond, None),
                rows.len(),
            ),
        }
    };
    let columns = plan.windowed.fields().iter().map(|field| column(field.name())).collect();
    let schema =
        plan.windowed.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(schema)), columns).unwrap();
    let batch = crate::window::stage::run(&plan.after, Rows::all(batch)).unwrap();
    let times = EventTimes { signs: signs.to_vec(), ..EventTimes::default() };
    plan.input(&batch, &times).unwrap()
}

/// Results in the order of their groups, as text.
fn sorted(results: RecordBatch, keys: usize) -> String {
    if keys == 0 || results.num_rows() == 0 {
        return pretty_format_batches(&[results]).unwrap().to_string();
    }
    let columns: Vec<_> = results.columns()[..keys]
        .iter()
        .map(|values| SortColumn { values: Arc::clone(values), options: None })
        .collect();
    let order = lexsort_to_indices(&columns, None).unwrap();
    pretty_format_batches(&[take_record_batch(&results, &order).unwrap()]).unwrap().to_string()
}

fn row() -> impl Strategy<Value = Row> {
    let number = prop_oneof![6 => (-5_i64..6).prop_map(Some), 1 => Just(None), 1 => (0_i64..1_000).prop_map(Some)];
    (prop::option::weighted(0.8, 0_u8..3), number, prop::option::weighted(0.8, 0_u8..4))
}

proptest! {
    #![proptest_config(properties(48))]

    #[test]
    fn what_is_left_is_as_if_nothing_else_had_come(
        rows in prop::collection::vec((row(), any::<bool>(), 0_usize..3), 0..40),
        cuts in prop::collection::vec(0_usize..8, 1..12),
        with_key in any::<bool>(),
        saves in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (table, added, _) = plans(if with_key { ", k" } else { "" });
        // Every row comes; some are taken back, in another pane perhaps, and also before they come.
        let mut changes: Vec<(Row, i8, usize)> = Vec::new();
        for (row, goes, pane) in &rows {
            changes.push((*row, 1, *pane));
            if *goes {
                changes.push((*row, -1, (pane + seed as usize) % 3));
            }
        }
        let length = changes.len().max(1);
        for place in 0..changes.len() {
            changes.swap(place, (seed as usize).wrapping_mul(place + 7) % length);
        }
        let mut panes: Vec<Pane> = (0..3).map(|_| Pane::new(&table.layout).unwrap()).collect();
        let (mut at, mut cuts) = (0, cuts.iter().cycle());
        while at < changes.len() {
            let to = (at + 1 + cuts.next().unwrap()).min(changes.len());
            for (number, pane) in panes.iter_mut().enumerate() {
                let own: Vec<_> = changes[at..to].iter().filter(|change| change.2 == number).collect();
                let (rows, signs): (Vec<Row>, Vec<i8>) = own.iter().map(|change| (change.0, change.1)).unzip();
                if !rows.is_empty() {
                    pane.update(&input(&table, &rows, &signs)).unwrap();
                }
                if saves {
                    pane.copy_state().unwrap();
                }
            }
            at = to;
        }
        let mut whole = Pane::new(&table.layout).unwrap();
        for pane in &mut panes {
            whole.merge(&pane.take_state().unwrap()).unwrap();
        }
        prop_assert_eq!(whole.take_unmatched().unwrap(), None);
        // In the order in which values are given: floats are rounded as they come.
        let mut left: Vec<Row> = rows.iter().filter(|(_, goes, _)| !goes).map(|(row, ..)| *row).collect();
        left.sort_by_key(|row| row.1);
        if left.is_empty() {
            prop_assert_eq!(whole.take_results().unwrap().num_rows(), 0);
            return Ok(());
        }
        let mut expected = Pane::new(&added.layout).unwrap();
        expected.update(&input(&added, &left, &[])).unwrap();
        let keys = usize::from(with_key);
        let (whole, expected) = (whole.take_results().unwrap(), expected.take_results().unwrap());
        prop_assert_eq!(sorted(whole, keys), sorted(expected, keys));
    }
}

#[test]
fn nothing_is_left_of_groups_that_have_gone() {
    let (table, _, _) = plans(", k");
    let mut pane = Pane::new(&table.layout).unwrap();
    let row: Row = (Some(0), Some(3), Some(1));
    pane.update(&input(&table, &[row, row, (None, None, None)], &[1, -1, 1])).unwrap();
    let state = pane.copy_state().unwrap();
    assert_eq!(state.num_rows(), 1);
    assert_eq!(state.schema(), *table.layout.state_schema());
    // One more is taken back than came.
    pane.update(&input(&table, &[row], &[-1])).unwrap();
    let unmatched = pane.take_unmatched().unwrap().unwrap();
    assert_eq!(unmatched.num_rows(), 1);
    assert_eq!(pane.take_results().unwrap().num_rows(), 1);
    let all = concat_batches(&state.schema(), &[state]).unwrap();
    assert_eq!(all.num_rows(), 1);
}

/// What an expression gives for the first row, to keep the plan's arguments honest.
#[test]
fn averages_of_integers_are_given_integers() {
    let (table, added, _) = plans("");
    let of = |plan: &WindowPlan| -> DataType {
        let argument: &Arc<dyn PhysicalExpr> = &plan.arguments[3][0];
        let fields = plan.windowed.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let empty = RecordBatch::new_empty(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        let empty = crate::window::stage::run_projections(&plan.after, Rows::all(empty)).unwrap();
        evaluate(argument, &empty.batch).unwrap().data_type().clone()
    };
    assert_eq!((of(&table), of(&added)), (DataType::Int64, DataType::Float64));
}
