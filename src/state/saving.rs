//! Kept rows on their way into checkpoints, and back.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::arrow::row::Rows;

use super::bytes::Bytes;
use super::keyed::{CHUNK_ROWS, KeyedRows, Partition};
use super::rows_map::{Part, Save};
use crate::change::TopicPartition;
use crate::error::{Error, Result};

/// The column of saved rows that says whether windows left a row out.
const AHEAD: &str = "__highwater_ahead";

/// The rows of one partition, to be saved.
#[derive(Debug, Clone)]
pub struct PartitionRows {
    /// The table that they are of.
    pub table: String,
    /// The partition.
    pub source: TopicPartition,
    /// The row that the last change deleted, or none; then the rows: all, or those that have changed since the save before.
    pub rows: Vec<RecordBatch>,
    /// The keys that were there at the save before, and are no more.
    pub gone: Vec<RecordBatch>,
    /// Which of the rows these are.
    pub part: Part,
    /// How many changes took back a row that was not there.
    pub unmatched: u64,
}

impl PartitionRows {
    /// Whether it has no rows that the saves before do not have.
    pub fn is_empty(&self) -> bool {
        !self.part.whole && self.gone.is_empty() && self.rows.len() <= 1
    }

    /// What follows it when nothing has changed.
    #[must_use]
    pub fn unchanged(&self) -> Self {
        Self {
            rows: self.rows.iter().take(1).cloned().collect(),
            gone: Vec::new(),
            part: Part { whole: false, ..self.part },
            ..self.clone()
        }
    }
}

/// Bytes one after the other, and where each ends.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Chunk {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    fn is_full(&self) -> bool {
        self.ends.len() == CHUNK_ROWS
    }

    fn parts(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end]).collect()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl KeyedRows {
    /// What has changed of the rows of each partition since the save before, or all of them.
    pub fn save(&mut self, table: &str, save: Save) -> Result<Vec<PartitionRows>> {
        let mut partitions = std::mem::take(&mut self.partitions);
        let saved =
            partitions.iter_mut().map(|(source, partition)| self.save_partition(table, source, partition, save));
        let saved = saved.collect();
        self.partitions = partitions;
        saved
    }

    fn save_partition(
        &self,
        table: &str,
        source: &TopicPartition,
        partition: &mut Partition,
        save: Save,
    ) -> Result<PartitionRows> {
        let Partition { rows: map, deleted, ahead, unmatched } = partition;
        let has_ahead = !ahead.is_empty();
        // All batches have the same columns.
        let batch = |images: &[&[u8]], flags: &mut Vec<bool>| {
            let (rows, flags) = (self.columns(images)?, std::mem::take(flags));
            if has_ahead { with_flags(&rows, flags.into()) } else { Ok(rows) }
        };
        let deleted: Vec<&[u8]> = deleted.iter().map(AsRef::as_ref).collect();
        let mut rows = vec![batch(&deleted, &mut vec![false; deleted.len()])?];
        let mut gone = Vec::new();
        let (mut images, mut flags, mut keys) = (Chunk::default(), Vec::new(), Chunk::default());
        let mut put = |key: &[u8], image: &[u8]| {
            images.push(image);
            flags.push(has_ahead && ahead.contains(key));
            if images.is_full() {
                rows.push(batch(&images.parts(), &mut flags)?);
                images.clear();
            }
            Ok(())
        };
        let mut take = |key: &[u8]| {
            keys.push(key);
            if keys.is_full() {
                gone.push(self.key_columns(&keys.parts())?);
                keys.clear();
            }
            Ok(())
        };
        let part = map.save(save, &mut put, &mut take)?;
        if !images.ends.is_empty() {
            rows.push(batch(&images.parts(), &mut flags)?);
        }
        if !keys.ends.is_empty() {
            gone.push(self.key_columns(&keys.parts())?);
        }
        Ok(PartitionRows { table: table.to_owned(), source: source.clone(), rows, gone, part, unmatched: *unmatched })
    }

    /// Puts saved rows back: after those of the saves before, if they are not all.
    pub fn restore(&mut self, saved: &PartitionRows) -> Result<()> {
        let before = self.partitions.remove(&saved.source).filter(|_| !saved.part.whole);
        let mut partition = before.unwrap_or_default();
        partition.rows.share(self.memory.as_ref());
        (partition.unmatched, partition.deleted) = (saved.unmatched, None);
        for (number, rows) in saved.rows.iter().enumerate() {
            let flags = rows.column_by_name(AHEAD).and_then(|flags| flags.as_boolean_opt()).cloned();
            let rows = &self.conform(rows)?;
            let (keys, images) = (self.key_rows(rows)?, self.images.convert_columns(rows.columns())?);
            if number == 0 {
                partition.deleted = images.iter().next().map(|image| Bytes::from(image.data()));
                continue;
            }
            if !partition.ahead.is_empty() {
                for key in &keys {
                    partition.ahead.remove(key.data());
                }
            }
            if let Some(flags) = flags {
                let ahead = flags.values().set_indices().map(|row| keys.row(row).data().into());
                partition.ahead.extend(ahead);
            }
            for (key, image) in keys.iter().zip(images.iter()) {
                partition.rows.insert(key.data(), image.data())?;
            }
        }
        for keys in &saved.gone {
            for key in &self.saved_keys(keys)? {
                partition.rows.remove(key.data())?;
                partition.ahead.remove(key.data());
            }
        }
        self.partitions.insert(saved.source.clone(), partition);
        Ok(())
    }

    /// What has been put back is in checkpoints that the next ones build on.
    pub fn set_restored(&mut self) {
        self.partitions.values_mut().for_each(|partition| partition.rows.set_restored());
    }

    /// Saved rows with the columns of now: the table may have got more since.
    fn conform(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let column = |field: &FieldRef| match rows.column_by_name(field.name()) {
            Some(column) => Ok(cast(column, field.data_type())?),
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
        };
        let columns = self.schema.fields().iter().map(column).collect::<Result<_>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Keys as columns.
    fn key_columns(&self, keys: &[&[u8]]) -> Result<RecordBatch> {
        let parser = self.keys.parser();
        let columns = self.keys.convert_rows(keys.iter().map(|key| parser.parse(key)))?;
        let schema = Arc::new(self.schema.project(&self.key)?);
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// The keys that were saved as columns.
    fn saved_keys(&self, keys: &RecordBatch) -> Result<Rows> {
        let column = |&place: &usize| -> Result<ArrayRef> {
            let field = self.schema.field(place);
            let missing = || Error::internal(format!("saved keys have no column \"{}\"", field.name()));
            Ok(cast(keys.column_by_name(field.name()).ok_or_else(missing)?, field.data_type())?)
        };
        Ok(self.keys.convert_columns(&self.key.iter().map(column).collect::<Result<Vec<_>>>()?)?)
    }
}

fn with_flags(rows: &RecordBatch, flags: BooleanArray) -> Result<RecordBatch> {
    let flag = Arc::new(Field::new(AHEAD, DataType::Boolean, false));
    let schema = Schema::new(rows.schema_ref().fields().iter().cloned().chain([flag]).collect::<Vec<_>>());
    let flags: ArrayRef = Arc::new(flags);
    Ok(RecordBatch::try_new(Arc::new(schema), rows.columns().iter().cloned().chain([flags]).collect())?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int64Array;

    use super::*;
    use crate::change::{ChangeBatch, NO_TIME, OffsetRange, Op};
    use crate::state::Memory;

    fn source() -> TopicPartition {
        TopicPartition { topic: "x".into(), partition: 0 }
    }

    fn changes(offset: i64, events: &[(Op, i64, i64)]) -> ChangeBatch {
        let count = events.len();
        let column = |value: fn(&(Op, i64, i64)) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from(events.iter().map(value).collect::<Vec<_>>()))
        };
        let rows = RecordBatch::try_new(schema(), vec![column(|it| it.2), column(|it| it.1)]).unwrap();
        ChangeBatch {
            source: source(),
            range: OffsetRange { from: offset, to: offset + count as i64 },
            ops: events.iter().map(|it| it.0).collect(),
            offsets: (offset..).take(count).collect(),
            timestamps: vec![NO_TIME; count],
            source_times: Vec::new(),
            rows,
            before: None,
            envelope: None,
            unavailable: Vec::new(),
            dead_letters: Vec::new(),
        }
    }

    /// The key is not the first.
    fn schema() -> Arc<Schema> {
        Arc::new(Schema::new(["value", "id"].map(|name| Field::new(name, DataType::Int64, true)).to_vec()))
    }

    /// Its rows, as deletes say them.
    fn content(state: &mut KeyedRows) -> Vec<(i64, i64)> {
        let rows = state.empty(&source(), 100).unwrap();
        let column = |rows: &RecordBatch, place: usize| {
            rows.column(place).as_primitive::<datafusion::arrow::datatypes::Int64Type>().values().to_vec()
        };
        rows.iter().flat_map(|it| column(&it.rows, 1).into_iter().zip(column(&it.rows, 0))).collect()
    }

    #[test]
    fn rows_that_went_between_saves_do_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        for limit in [0, usize::MAX] {
            let fresh = || {
                let memory = Memory::new(limit, folder.path());
                KeyedRows::new(schema(), vec![1]).unwrap().within(Some(memory))
            };
            let mut state = fresh();
            let save = |state: &mut KeyedRows, number| {
                let saved = state.save("t", Save { number, renews: None }).unwrap();
                (saved[0].part.whole, saved)
            };
            state.apply(&changes(0, &[(Op::Create, 1, 10), (Op::Create, 2, 20), (Op::Create, 3, 30)]), true).unwrap();
            let (whole, first) = save(&mut state, 1);
            assert!(whole);
            state.note_ahead(&source(), b"key", Some(true));
            state.apply(&changes(3, &[(Op::Delete, 2, 20), (Op::Update, 3, 31), (Op::Create, 4, 40)]), true).unwrap();
            let (whole, second) = save(&mut state, 2);
            assert!(!whole && second[0].gone[0].num_rows() == 1 && second[0].gone[0].num_columns() == 1);
            assert!(second[0].rows[1].num_rows() == 2 && !second[0].is_empty() && second[0].unchanged().is_empty());
            let (whole, third) = save(&mut state, 3);
            assert!(!whole && third[0].is_empty());
            let mut restored = fresh();
            for rows in first.iter().chain(&second).chain(&third) {
                restored.restore(rows).unwrap();
            }
            restored.set_restored();
            let (whole, next) = save(&mut restored, 4);
            // In memory all is saved once more, on disk a stretch with all of these few.
            assert_eq!((whole, next[0].rows[1].num_rows()), (limit > 0, 3));
            assert_eq!(content(&mut restored), [(1, 10), (3, 31), (4, 40)]);
            assert_eq!(content(&mut state), [(1, 10), (3, 31), (4, 40)]);
        }
    }
}
