//! Checkpoints that build on each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};

use super::{Checkpoint, CheckpointStore, FORMAT_VERSION, Manifest, State};
use crate::change::TopicPartition;
use crate::state::PartitionRows;
use crate::state::rows_map::Part;

fn batch(values: &[i64]) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap()
}

fn checkpoint(epoch: u64, rows_epochs: &[u64], part: Part) -> Checkpoint {
    let keyed = PartitionRows {
        table: "t".into(),
        source: TopicPartition { topic: "x".into(), partition: 0 },
        rows: vec![batch(&[]), batch(&[epoch as i64])],
        gone: Vec::new(),
        part,
        unmatched: 0,
    };
    Checkpoint {
        manifest: Manifest {
            version: FORMAT_VERSION,
            job: "j".into(),
            started_at: 0,
            epoch,
            made_at: 0,
            fingerprints: Vec::new(),
            positions: Vec::new(),
            watermarks: BTreeMap::new(),
            closed: BTreeMap::new(),
            intents: Vec::new(),
            state_epoch: epoch,
            rows_epochs: rows_epochs.to_vec(),
            truncates: Vec::new(),
            discovered: None,
            finished: false,
        },
        state: Some(State { keyed: vec![keyed], ..State::default() }),
        rows: Vec::new(),
    }
}

/// The checkpoints whose rows a start gets.
async fn found(store: &CheckpointStore) -> Vec<i64> {
    let recovered = store.recover().await.unwrap().unwrap();
    let first = |rows: &PartitionRows| {
        let column = rows.rows[1].column(0);
        datafusion::arrow::array::cast::AsArray::as_primitive::<datafusion::arrow::datatypes::Int64Type>(column)
            .value(0)
    };
    recovered.with_state.state.unwrap().keyed.iter().map(first).collect()
}

#[tokio::test]
async fn what_a_checkpoint_builds_on_is_kept_and_comes_back_with_it() {
    let store = CheckpointStore::in_memory("j");
    let whole = |epoch| Part { whole: true, since: Some(epoch) };
    let after = |epoch| Part { whole: false, since: Some(epoch) };
    store.save(&checkpoint(1, &[], whole(1))).await.unwrap();
    for epoch in 2..40 {
        let earlier: Vec<u64> = (1..epoch).collect();
        store.save(&checkpoint(epoch, &earlier, after(1))).await.unwrap();
    }
    assert_eq!(found(&store).await, (1..40).collect::<Vec<_>>(), "far more than are kept otherwise");
    // From here on they build on another.
    store.save(&checkpoint(40, &[], whole(40))).await.unwrap();
    assert_eq!(found(&store).await, [40]);
    for epoch in 41..60 {
        let earlier: Vec<u64> = (40..epoch).collect();
        store.save(&checkpoint(epoch, &earlier, after(40))).await.unwrap();
    }
    assert_eq!(found(&store).await, (40..60).collect::<Vec<_>>());
    assert!(store.load(39).await.unwrap().is_err(), "nothing needs it any more");
    // Without one of them those that build on it cannot be used.
    store.delete(50).await.unwrap();
    assert_eq!(found(&store).await, (40..50).collect::<Vec<_>>());
}
