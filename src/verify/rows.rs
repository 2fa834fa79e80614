//! Rows as both sides give them: canonical texts, NULL as `None`.

use std::collections::BTreeMap;

/// A row's values.
pub type TextRow = Vec<Option<String>>;

/// A primary key's values.
pub type Key = Vec<String>;

/// Rows by key, and how often a key came: a copy may have it twice, which a source cannot.
#[derive(Debug, Default)]
pub struct KeyedRows {
    rows: BTreeMap<Key, Vec<TextRow>>,
}

impl KeyedRows {
    /// Takes rows whose first `key` values are the key, which is left in them.
    pub fn new(rows: Vec<TextRow>, key: usize) -> Self {
        let mut keyed = Self::default();
        for row in rows {
            let values = row.iter().take(key).map(|value| value.clone().unwrap_or_default()).collect();
            keyed.rows.entry(values).or_default().push(row);
        }
        keyed
    }

    /// The rows of a key.
    pub fn of(&self, key: &Key) -> &[TextRow] {
        self.rows.get(key).map_or(&[], Vec::as_slice)
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.rows.keys()
    }
}
