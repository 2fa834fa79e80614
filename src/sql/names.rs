//! Names of tables and columns: kept in the case in which they were defined (they are JSON keys), found in any case.

use std::collections::BTreeSet;

use super::catalog::{IMAGES, METADATA, Script};
use crate::window::aggregate::WINDOW_COLUMNS;

/// A set of defined names.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<String>);

impl Names {
    /// These names.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(str::to_owned).collect())
    }

    /// All names of tables, views and columns of a script, and those that windows and `CHANGES` add.
    pub(crate) fn of(script: &Script) -> Self {
        let tables = script.tables.values();
        let columns = tables.flat_map(|table| table.columns.fields().iter().map(|field| field.name().as_str()));
        let relations = script.tables.keys().chain(script.views.iter().map(|view| &view.name)).map(String::as_str);
        Self::new(columns.chain(relations).chain(METADATA).chain(IMAGES).chain(WINDOW_COLUMNS))
    }

    /// The defined name that `written` means: itself, or the only one that differs in case alone.
    pub(crate) fn resolve(&self, written: &str) -> Option<String> {
        if self.0.contains(written) {
            return Some(written.to_owned());
        }
        let mut alike = self.0.iter().filter(|name| name.eq_ignore_ascii_case(written));
        match (alike.next(), alike.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }
}
