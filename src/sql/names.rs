//! Names of tables and columns: kept in the case in which they were defined (they are JSON keys), found in any case.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::{DataType, Fields};

use super::define::catalog::{IMAGES, METADATA, Script};
use crate::window::aggregate::WINDOW_COLUMNS;

/// Adds the names of columns and of the fields inside them.
fn add<'a>(fields: &'a Fields, names: &mut Vec<&'a str>) {
    for field in fields {
        names.push(field.name());
        match field.data_type() {
            DataType::Struct(inner) => add(inner, names),
            DataType::List(item) => {
                if let DataType::Struct(inner) = item.data_type() {
                    add(inner, names);
                }
            }
            _ => {}
        }
    }
}

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
        let mut columns = Vec::new();
        tables.for_each(|table| add(table.columns.fields(), &mut columns));
        let relations = script.tables.keys().chain(script.views.iter().map(|view| &view.name)).map(String::as_str);
        Self::new(columns.into_iter().chain(relations).chain(METADATA).chain(IMAGES).chain(WINDOW_COLUMNS))
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
