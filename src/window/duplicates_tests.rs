//! Random rows in random slices against the definition.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, TimestampMillisecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use proptest::prelude::*;

use super::aggregate::WindowState;
use super::duplicates::{DuplicatePlan, Duplicates, Keep, POSITION_FIELDS};
use super::settled::SavedAt;
use super::watermark::END_OF_TIME;
use crate::testing::properties::properties;

/// Key, time in milliseconds, partition; the offset is the place.
type Row = (Option<i64>, i64, i32);

fn rows_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("time", time, true),
        Field::new("key", DataType::Int64, true),
        Field::new("number", DataType::Int64, false),
    ]))
}

/// Rows as they come of a slice, in an order of their own.
fn slice(rows: &[(usize, Row)]) -> RecordBatch {
    let mut fields: Vec<Field> = rows_schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.extend(POSITION_FIELDS.map(|(name, data_type)| Field::new(name, data_type, false)));
    fields.push(Field::new("count", DataType::Int64, false));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(_, row)| row.1))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|(_, row)| row.0))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(number, _)| *number as i64))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|(_, row)| row.2))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(number, _)| *number as i64))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|_| 1))),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// How many rows of a checkpoint are to be written. They are saved.
fn written(states: &[WindowState]) -> usize {
    let mut rows = 0;
    for state in states {
        let is_saved = state.saved.as_ref().is_some_and(|saved| saved.get().is_some());
        rows += if is_saved { 0 } else { state.groups.num_rows() };
        state.saved.iter().for_each(|saved| saved.set(SavedAt { number: 1, place: 0 }));
    }
    rows
}

/// Keys that come again every now and then, and others that come once: a checkpoint has what has been there since the one before.
#[test]
fn checkpoints_write_what_is_new() {
    for keep in [Keep::First, Keep::Last] {
        let plan = DuplicatePlan { keys: vec![1], time: 0, keep, within: 300_000, rows: rows_schema() };
        let mut duplicates = Duplicates::new(Arc::new(plan)).unwrap();
        let (open, rounds) = (3_000, 400);
        let all: Vec<_> = (0..open).map(|number| (number, (Some(number as i64), 0, 0))).collect();
        duplicates.pass(&[(0, slice(&all))], 1_000).unwrap();
        assert!(written(&duplicates.save().unwrap()) >= open);
        let (mut rows, mut most) = (0, 0);
        for round in 1..=rounds as i64 {
            let key = |place: i64| match place {
                0..5 => round * 5 % open as i64 + place,
                place => open as i64 + round * 10 + place,
            };
            let time = round * 1_000;
            let fresh: Vec<_> = (0..10).map(|place| (place as usize, (Some(key(place)), time, 0))).collect();
            duplicates.pass(&[(time, slice(&fresh))], time + 1_000).unwrap();
            let saved = duplicates.save().unwrap();
            rows += written(&saved);
            most = most.max(saved.iter().map(|state| state.groups.num_rows()).sum());
        }
        assert!(rows < 4 * 10 * rounds, "{keep:?}: {rows} rows were written");
        assert!(duplicates.looked_at < 4 * 10 * rounds + open, "{keep:?}: {} were looked at", duplicates.looked_at);
        assert!(most < 2 * (open + 5 * rounds) + 100, "{keep:?}: {most} rows are needed");
    }
}

/// The numbers of the rows that stay, by the definition.
fn staying(rows: &[Row], keep: Keep, within: i64) -> Vec<usize> {
    let place = |number: usize| (rows[number].1, rows[number].2, number);
    let stays = |number: &usize| {
        let is_duplicate_of = |other: usize| {
            let is_near = match keep {
                Keep::First => place(other) < place(*number) && rows[*number].1 - rows[other].1 <= within,
                Keep::Last => place(other) > place(*number) && rows[other].1 - rows[*number].1 <= within,
            };
            rows[other].0 == rows[*number].0 && is_near
        };
        !(0..rows.len()).any(is_duplicate_of)
    };
    (0..rows.len()).filter(stays).collect()
}

proptest! {
    #![proptest_config(properties(200))]

    #[test]
    fn what_stays_is_what_the_definition_says(
        rows in prop::collection::vec((prop::option::of(0..4_i64), 0..9_000_i64, 0..3_i32), 1..60),
        within in prop::sample::select(vec![1, 7, 999, 1_000, 1_500, 4_000]),
        is_last in any::<bool>(),
        steps in prop::collection::vec((1..3_000_i64, any::<bool>()), 0..8),
    ) {
        let keep = if is_last { Keep::Last } else { Keep::First };
        let plan = DuplicatePlan { keys: vec![1], time: 0, keep, within, rows: rows_schema() };
        let plan = Arc::new(plan);
        let length = DuplicatePlan::slice(within);
        let mut duplicates = Duplicates::new(Arc::clone(&plan)).unwrap();
        let mut found = Vec::new();
        let (mut watermark, mut closed_to) = (0, i64::MIN);
        let mut until: Vec<(i64, bool)> = Vec::new();
        for (step, restarts) in steps {
            watermark += step;
            until.push((watermark, restarts));
        }
        until.push((END_OF_TIME, false));
        for (watermark, restarts) in until {
            let mut slices: Vec<(i64, Vec<(usize, Row)>)> = Vec::new();
            for (number, row) in rows.iter().enumerate().rev() {
                let start = row.1.div_euclid(length) * length;
                let end = start + length;
                if end <= watermark && end > closed_to {
                    match slices.iter_mut().find(|(known, _)| *known == start) {
                        Some((_, own)) => own.push((number, *row)),
                        None => slices.push((start, vec![(number, *row)])),
                    }
                }
            }
            slices.sort_by_key(|(start, _)| *start);
            let slices: Vec<_> = slices.iter().map(|(start, rows)| (*start, slice(rows))).collect();
            for (start, end, rows) in duplicates.pass(&slices, watermark).unwrap() {
                let times = rows.column(0).as_primitive::<datafusion::arrow::datatypes::TimestampMillisecondType>();
                prop_assert!(times.values().iter().all(|time| (start..end).contains(time)));
                // What is told of late has been waited for.
                prop_assert!(times.values().iter().all(|time| *time >= closed_to.saturating_sub(plan.behind())));
                found.extend(rows.column(2).as_primitive::<Int64Type>().values().iter().map(|&number| number as usize));
            }
            closed_to = watermark;
            if restarts {
                let saved = duplicates.save().unwrap();
                written(&saved);
                duplicates = Duplicates::new(Arc::clone(&plan)).unwrap();
                duplicates.restore(&saved).unwrap();
            }
        }
        prop_assert_eq!(duplicates.held().bytes, 0, "at the end nothing is kept");
        found.sort_unstable();
        prop_assert_eq!(found, staying(&rows, keep, within));
    }
}
