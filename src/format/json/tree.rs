//! The values of an envelope that are wanted beside the row: a tree of keys, walked once.

use super::super::column::Rows;
use super::super::fault::Step;
use super::cursor::Cursor;
use super::keys::{Key, Keys};
use crate::change::NO_TIME;

/// What a value is wanted for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leaf {
    /// A column of the envelope.
    Column(usize),
    /// The change's time at its source.
    Time,
}

/// The wanted keys of one object.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    keys: Keys,
    nodes: Vec<Node>,
}

/// A wanted value, or one that has wanted values in it.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Several where one format's value is what two paths mean.
    columns: Vec<usize>,
    is_time: bool,
    inner: Option<Tree>,
}

impl Tree {
    /// The tree of these paths, which name keys from the outermost on, with dots between them.
    pub(crate) fn new<'a>(paths: impl IntoIterator<Item = (&'a str, Leaf)>) -> Option<Self> {
        let nodes = nodes(paths);
        let keys = Keys::new(nodes.iter().map(|(key, _)| *key));
        (!nodes.is_empty()).then(|| Self { keys, nodes: nodes.into_iter().map(|(_, node)| node).collect() })
    }

    /// Reads what is wanted of the object at the cursor.
    fn read(&mut self, cursor: &mut Cursor<'_>, rows: &mut Rows, time: &mut i64) -> Step<()> {
        let mut place = 0;
        Keys::open(cursor)?;
        loop {
            match self.keys.next(cursor, &mut place)? {
                Key::Field(field) => self.nodes[field].read(cursor, rows, time)?,
                Key::Other => cursor.skip_value()?,
                Key::End => return Ok(()),
            }
        }
    }
}

/// A first key, what is wanted of its value as a whole, and the paths within it.
type First<'a> = (&'a str, Node, Vec<(&'a str, Leaf)>);

/// The first keys of some paths, each with all that is wanted below it.
pub(crate) fn nodes<'a>(paths: impl IntoIterator<Item = (&'a str, Leaf)>) -> Vec<(&'a str, Node)> {
    let mut firsts: Vec<First<'_>> = Vec::new();
    for (path, leaf) in paths {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let at = firsts.iter().position(|(key, ..)| *key == first).unwrap_or_else(|| {
            firsts.push((first, Node::default(), Vec::new()));
            firsts.len() - 1
        });
        match (rest, leaf) {
            (Some(rest), leaf) => firsts[at].2.push((rest, leaf)),
            (None, Leaf::Column(column)) => firsts[at].1.columns.push(column),
            (None, Leaf::Time) => firsts[at].1.is_time = true,
        }
    }
    firsts.into_iter().map(|(key, node, inner)| (key, Node { inner: Tree::new(inner), ..node })).collect()
}

impl Node {
    /// Reads the value at the cursor, and passes it.
    pub(crate) fn read(&mut self, cursor: &mut Cursor<'_>, rows: &mut Rows, time: &mut i64) -> Step<()> {
        cursor.skip_space();
        let start = cursor.pos;
        let mut is_passed = false;
        for &column in &self.columns {
            cursor.pos = start;
            rows.read(column, cursor).map_err(|fault| fault.in_envelope())?;
            is_passed = true;
        }
        if self.is_time {
            cursor.pos = start;
            *time = millis(cursor)?;
            is_passed = true;
        }
        let is_object = cursor.bytes.get(start) == Some(&b'{');
        match &mut self.inner {
            Some(inner) if is_object => {
                cursor.pos = start;
                inner.read(cursor, rows, time)
            }
            _ if is_passed => Ok(()),
            _ => cursor.skip_value(),
        }
    }
}

/// The epoch number at the cursor, or null.
pub(crate) fn millis(cursor: &mut Cursor<'_>) -> Step<i64> {
    cursor.skip_space();
    match cursor.peek() {
        b'n' => cursor.literal("null").map(|()| NO_TIME),
        _ => Ok(cursor.integer()?.signed().unwrap_or(NO_TIME)),
    }
}
