//! Key → image: the rows of one partition.

use std::borrow::Cow;

use datafusion::common::HashMap;
use datafusion::common::hash_map::EntryRef;

use super::bytes::Bytes;
use crate::error::Result;

/// A key and its image.
pub type Keyed = (Bytes, Bytes);

/// The last image of each key.
#[derive(Debug, Default)]
pub struct RowsMap {
    rows: HashMap<Bytes, Bytes>,
}

impl RowsMap {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The image of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(self.rows.get(key).map(|image| Cow::Borrowed(image.as_ref())))
    }

    /// Puts an image in the place of the one before, and returns that.
    pub fn insert(&mut self, key: &[u8], image: &[u8]) -> Result<Option<Bytes>> {
        Ok(match self.rows.entry_ref(key) {
            // The key is there already: no second copy of it.
            EntryRef::Occupied(mut entry) => Some(entry.insert(image.into())),
            EntryRef::Vacant(entry) => {
                entry.insert_with_key(key.into(), image.into());
                None
            }
        })
    }

    /// Takes a row out.
    pub fn remove(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.rows.remove(key))
    }

    /// Shows every row, in no particular order.
    pub fn each(&self, mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.rows.iter().try_for_each(|(key, image)| visit(key, image))
    }

    /// Takes all rows out, ordered by their keys.
    pub fn take_sorted(&mut self) -> Result<Vec<Keyed>> {
        let mut rows: Vec<Keyed> = std::mem::take(&mut self.rows).into_iter().collect();
        rows.sort_unstable_by(|(one, _), (other, _)| one[..].cmp(other));
        Ok(rows)
    }
}
