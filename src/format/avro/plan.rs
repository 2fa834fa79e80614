//! What to do with each field of a writer's record, made once per schema: most are passed over.

use super::super::column::Rows;
use super::super::fault::{Fault, Step};
use super::value;
use crate::avro::datum::Datum;
use crate::avro::schema::{NodeId, Schema, Shape};
use crate::change::NO_TIME;

/// The walk over a record, or over whichever record a union holds.
#[derive(Debug)]
pub(super) struct Walk {
    /// The type of the value that is walked.
    pub(super) of: NodeId,
    records: Vec<(NodeId, Vec<Field>)>,
}

/// A field of the record.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) node: NodeId,
    /// The column that takes the value.
    column: Option<usize>,
    note: Option<Note>,
    /// What is wanted of a record within.
    inner: Option<Walk>,
}

/// What a decoder wants to know beside the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    Op,
    Deleted,
    SourceTime,
}

/// What it learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Notes {
    /// The letter; 0 where there is none.
    pub(super) op: u8,
    pub(super) deleted: bool,
    pub(super) source_time: i64,
}

impl Notes {
    pub(super) const NONE: Self = Self { op: 0, deleted: false, source_time: NO_TIME };
}

/// What is wanted of a record: columns by name (by dotted path, of records within), and notes by name.
pub(super) struct Wanted<'a> {
    /// The name of each column.
    pub(super) columns: Vec<(&'a str, usize)>,
    pub(super) notes: Vec<(&'a str, Note)>,
    /// Whether a dot in a name means a field of a record within.
    pub(super) paths: bool,
}

impl Wanted<'_> {
    /// The walk over records of this type.
    pub(super) fn walk(&self, schema: &Schema, of: NodeId) -> Walk {
        let branches = match &schema.node(of).shape {
            Shape::Union(branches) => branches.clone(),
            _ => vec![of],
        };
        let records = branches.into_iter().filter_map(|node| match &schema.node(node).shape {
            Shape::Record(fields) => Some((node, self.fields(schema, fields))),
            _ => None,
        });
        Walk { of, records: records.collect() }
    }

    /// What to do with each of these fields.
    pub(super) fn fields(&self, schema: &Schema, fields: &[(String, NodeId)]) -> Vec<Field> {
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        let of = |(name, node): &(String, NodeId)| {
            let exact = self.columns.iter().find(|(wanted, _)| wanted == name);
            let column = exact
                .or_else(|| self.columns.iter().find(|(wanted, _)| matching(wanted, &names) == Some(name.as_str())));
            let note = self.notes.iter().find(|(wanted, _)| wanted == name);
            Field {
                node: *node,
                column: column.map(|(_, column)| *column),
                note: note.map(|(_, note)| *note),
                inner: self.within(name).map(|wanted| wanted.walk(schema, *node)),
            }
        };
        fields.iter().map(of).collect()
    }

    /// What is wanted of the record in a field.
    fn within(&self, field: &str) -> Option<Wanted<'_>> {
        let rest = |path: &&str| -> Option<usize> {
            let rest = path.strip_prefix(field)?.strip_prefix('.')?;
            Some(path.len() - rest.len())
        };
        let columns: Vec<_> = self
            .columns
            .iter()
            .filter(|_| self.paths)
            .filter_map(|(path, column)| Some((&path[rest(path)?..], *column)))
            .collect();
        let notes: Vec<_> = self.notes.iter().filter_map(|(path, note)| Some((&path[rest(path)?..], *note))).collect();
        (!columns.is_empty() || !notes.is_empty()).then_some(Wanted { columns, notes, paths: true })
    }
}

/// The field that a column takes its values from: the one of its name, or of its name as Kafka Connect's
/// `field.name.adjustment.mode=avro` writes it.
pub(super) fn matching<'n>(column: &str, fields: &[&'n str]) -> Option<&'n str> {
    let find = |name: &str| fields.iter().copied().find(|field| *field == name);
    find(column).or_else(|| {
        let legal = |(place, c): (usize, char)| match c {
            'a'..='z' | 'A'..='Z' | '_' => c,
            '0'..='9' if place > 0 => c,
            _ => '_',
        };
        let adjusted: String = column.chars().enumerate().map(legal).collect();
        find(&adjusted).or_else(|| {
            let digits_kept: String = column.chars().map(|c| legal((1, c))).collect();
            find(&format!("_{digits_kept}")).filter(|_| column.starts_with(|c: char| c.is_ascii_digit()))
        })
    })
}

impl Walk {
    /// Walks the value that comes; `false` if it is null.
    pub(super) fn run(&self, schema: &Schema, datum: &mut Datum<'_>, rows: &mut Rows, notes: &mut Notes) -> Step<bool> {
        let at = datum.pos;
        let node = datum.resolve(schema, self.of)?;
        let Some((_, fields)) = self.records.iter().find(|(record, _)| *record == node) else {
            return match &schema.node(node).shape {
                Shape::Null => Ok(false),
                _ => Err(Fault::malformed(at, "the value is no record")),
            };
        };
        for field in fields {
            field.run(schema, datum, rows, notes)?;
        }
        Ok(true)
    }

    /// Type and place of the value of a column in the record that comes; for messages.
    pub(super) fn find(&self, schema: &Schema, datum: &mut Datum<'_>, column: usize) -> Option<(NodeId, usize)> {
        let node = datum.resolve(schema, self.of).ok()?;
        let (_, fields) = self.records.iter().find(|(record, _)| *record == node)?;
        for field in fields {
            if field.column == Some(column) {
                return Some((field.node, datum.pos));
            }
            if let Some(inner) = &field.inner
                && let Some(found) = inner.find(schema, &mut datum.clone(), column)
            {
                return Some(found);
            }
            datum.skip(schema, field.node).ok()?;
        }
        None
    }
}

impl Field {
    #[inline]
    pub(super) fn run(&self, schema: &Schema, datum: &mut Datum<'_>, rows: &mut Rows, notes: &mut Notes) -> Step<()> {
        let at = datum.pos;
        let mut is_read = false;
        if let Some(column) = self.column {
            let slot = rows.open(column)?;
            value::read(schema, self.node, datum, slot).map_err(|fault| fault.in_column(column))?;
            is_read = true;
        }
        if let Some(note) = self.note {
            datum.pos = at;
            note.read(schema, self.node, datum, notes)?;
            is_read = true;
        }
        if let Some(inner) = &self.inner {
            datum.pos = at;
            inner.run(schema, datum, rows, notes)?;
            is_read = true;
        }
        if !is_read {
            datum.skip(schema, self.node)?;
        }
        Ok(())
    }
}

impl Note {
    /// Reads the value at the cursor as this note; one of another type is no note.
    fn read(self, schema: &Schema, node: NodeId, datum: &mut Datum<'_>, notes: &mut Notes) -> Step<()> {
        let node = datum.resolve(schema, node)?;
        match (self, &schema.node(node).shape) {
            (Self::Op, Shape::String) => {
                let at = datum.pos;
                notes.op = match datum.bytes()? {
                    [letter @ (b'c' | b'r' | b'u' | b'd' | b't' | b'm')] => *letter,
                    _ => return Err(Fault::malformed(at, "\"op\" is none of c, r, u, d, t, m")),
                };
            }
            (Self::Op, Shape::Enum(symbols)) => {
                notes.op = symbols[datum.index(symbols.len())?].bytes().next().unwrap_or(0);
            }
            (Self::Deleted, Shape::String) => notes.deleted = datum.bytes()? == b"true",
            (Self::Deleted, Shape::Boolean) => notes.deleted = datum.boolean()?,
            (Self::SourceTime, Shape::Long | Shape::Int) => notes.source_time = datum.long()?,
            _ => datum.skip(schema, node)?,
        }
        Ok(())
    }
}
