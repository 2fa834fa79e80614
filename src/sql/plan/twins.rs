//! Several tables over one file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::sql::define::catalog::Script;

/// Positions and what has been written are kept by the file's path, so each further table that reads a file gets a path of its own that
/// leads to it: `a/b.json`, `a/./b.json`, `a/././b.json`, in the order of the tables' names.
pub(in crate::sql) fn tell_apart(script: &mut Script) {
    let filled: BTreeSet<String> = script.inserts.iter().filter_map(|insert| insert.target.clone()).collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (name, table) in &mut script.tables {
        let is_read =
            table.options.get("connector") == Some("filesystem") && !table.is_small() && !filled.contains(name);
        let Some(path) = table.options.get("path").filter(|path| is_read && !path.contains("://")).map(str::to_owned)
        else {
            continue;
        };
        let earlier = seen.entry(path.clone()).or_default();
        if *earlier > 0 {
            let (folder, file) =
                path.rsplit_once('/').map_or(("", path.as_str()), |(_, file)| (&path[..path.len() - file.len()], file));
            let other = format!("{folder}{}{file}", "./".repeat(*earlier));
            Arc::make_mut(table).options.set("path", &other);
        }
        *earlier += 1;
    }
}
