//! The files that a path means.

use std::path::{Path, PathBuf};

use crate::change::TopicPartition;
use crate::error::{Error, Result};

/// The files of a path (a file, a directory, or a pattern with `*` and `?` in its last part), sorted by name. Hidden ones and
/// those that begin with `_` are left out, as are directories in a directory.
pub(super) fn files(table: &str, path: &str) -> Result<Vec<PathBuf>> {
    let missing = |error: std::io::Error| {
        Error::permanent(format!("table \"{table}\": cannot read option 'path', {path}"), error)
    };
    let whole = Path::new(path);
    let name = whole.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (directory, pattern) = if name.contains(['*', '?']) && !whole.exists() {
        let parent = whole.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (parent, name)
    } else if whole.metadata().map_err(missing)?.is_dir() {
        (whole, "*")
    } else {
        return Ok(vec![whole.to_owned()]);
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(missing)? {
        let entry = entry.map_err(missing)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(['.', '_']) && matches(pattern.as_bytes(), name.as_bytes()) && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// A file's name as a topic.
pub(super) fn partition(path: &Path) -> Result<TopicPartition> {
    let topic = path.to_str().ok_or_else(|| Error::config(format!("the file name {} is not UTF-8", path.display())))?;
    Ok(TopicPartition { topic: topic.into(), partition: 0 })
}

/// Whether a name fits a pattern of `*` (anything) and `?` (one byte).
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, name)| matches(pattern, name))
        }
        (Some((b'?', rest)), Some((_, name))) => matches(rest, name),
        (Some((want, rest)), Some((have, name))) => want == have && matches(rest, name),
        _ => false,
    }
}
