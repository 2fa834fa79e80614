//! What a record is, by the schema that it was written with: a change in Debezium's envelope, or a row.

use std::sync::Arc;

use super::super::DecodeSpec;
use super::plan::{Field, Note, Walk, Wanted};
use crate::avro::schema::{NodeId, Schema};

/// What the records of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Changes in Debezium's envelope.
    Envelope,
    /// Changes as rows, as Debezium's ExtractNewRecordState makes them.
    Unwrapped,
    /// Rows that are only ever added.
    Rows,
}

/// What is wanted of every record.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) layout: Layout,
    /// Whether a record without a value is a delete.
    pub(super) tombstones_delete: bool,
    names: Vec<(String, usize)>,
    /// Columns by paths in the envelope; of an unwrapped row, by the fields that stand for them.
    envelope: Vec<(String, usize)>,
    notes: Vec<(String, Note)>,
}

/// How records of one schema are decoded.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) schema: Arc<Schema>,
    pub(super) kind: Kind,
}

/// What records of one schema are.
#[derive(Debug)]
pub(super) enum Kind {
    Envelope(Vec<Part>),
    /// A row, and of an unwrapped one what stands for its envelope.
    Row(Walk, Option<Walk>),
    /// Something of Debezium's that is no change of a row: a heartbeat, a transaction's end, a message.
    Aside,
    /// Nothing that can be read, and why.
    Unusable(String),
}

/// A field of the envelope.
#[derive(Debug)]
pub(super) enum Part {
    Before(NodeId, Walk),
    After(Walk),
    Other(Field),
}

impl Columns {
    /// `prefix` is before the names of the fields that unwrapping added to rows.
    pub(super) fn new(spec: &DecodeSpec, layout: Layout, prefix: &str, tombstones_delete: bool) -> Self {
        let names = |schema: &datafusion::arrow::datatypes::Schema| {
            schema.fields().iter().map(|field| field.name().clone()).zip(0..).collect::<Vec<_>>()
        };
        let mut notes = Vec::new();
        let mut envelope = names(&spec.envelope);
        match layout {
            Layout::Envelope => {
                notes.push(("op".to_owned(), Note::Op));
                notes.extend(spec.source_time.then(|| ("source.ts_ms".to_owned(), Note::SourceTime)));
            }
            Layout::Unwrapped => {
                notes.push((format!("{prefix}op"), Note::Op));
                notes.push((format!("{prefix}deleted"), Note::Deleted));
                let added = |(path, column): (String, usize)| added_names(prefix, &path).map(|name| (name, column));
                envelope = envelope.into_iter().flat_map(added).collect();
                let time = added_names(prefix, "source.ts_ms").map(|name| (name, Note::SourceTime));
                notes.extend(time.into_iter().take(1).filter(|_| spec.source_time));
            }
            Layout::Rows => envelope.clear(),
        }
        Self { layout, tombstones_delete, names: names(&spec.columns), envelope, notes }
    }

    fn row(&self) -> Wanted<'_> {
        Wanted { columns: borrowed(&self.names), notes: Vec::new(), paths: false }
    }

    fn around(&self) -> Wanted<'_> {
        let paths = self.layout == Layout::Envelope;
        Wanted { columns: borrowed(&self.envelope), notes: borrowed(&self.notes), paths }
    }
}

/// The names that a field of the envelope may have in an unwrapped row: Debezium leaves out `source` where it was not asked for it.
fn added_names(prefix: &str, path: &str) -> [String; 2] {
    let last = path.rsplit('.').next().unwrap_or(path);
    [format!("{prefix}{}", path.replace('.', "_")), format!("{prefix}{last}")]
}

fn borrowed<T: Copy>(names: &[(String, T)]) -> Vec<(&str, T)> {
    names.iter().map(|(name, of)| (name.as_str(), *of)).collect()
}

impl Plan {
    /// The plan for records of a schema.
    pub(super) fn new(schema: &Arc<Schema>, columns: &Columns) -> Self {
        Self { schema: Arc::clone(schema), kind: kind(schema, columns) }
    }

    /// What records without a schema to read them by come to.
    pub(super) fn unusable(words: String) -> Self {
        Self { schema: Arc::new(Schema::nothing()), kind: Kind::Unusable(words) }
    }
}

/// The type of the rows of this schema, within Debezium's envelope or without.
pub(super) fn row_of(schema: &Schema, layout: Layout) -> Option<NodeId> {
    let (node, fields) = schema.record(schema.root)?;
    if layout != Layout::Envelope {
        return Some(node);
    }
    let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, node)| *node);
    field("op")?;
    field("after").or(field("before")).and_then(|image| schema.record(image)).map(|(node, _)| node)
}

fn kind(schema: &Schema, columns: &Columns) -> Kind {
    let name = schema.name(schema.root).unwrap_or_default();
    let Some((node, fields)) = schema.record(schema.root) else {
        return Kind::Unusable("its schema is no record with fields".to_owned());
    };
    let name = if name.is_empty() { schema.name(node).unwrap_or("without a name") } else { name };
    if columns.layout == Layout::Rows {
        return Kind::Row(columns.row().walk(schema, schema.root), None);
    }
    let has_row = row_of(schema, Layout::Envelope).is_some();
    if !has_row && is_aside(name) {
        return Kind::Aside;
    }
    match columns.layout {
        Layout::Unwrapped if has_row => Kind::Unusable(format!(
            "its schema {name} is Debezium's envelope, and the table's option 'debezium-avro-confluent.unwrapped' says rows without"
        )),
        Layout::Envelope if !has_row => Kind::Unusable(format!(
            "its schema {name} is no envelope of Debezium's: it has no field \"op\", or no \"after\"; if these are the rows of \
             ExtractNewRecordState, set 'debezium-avro-confluent.unwrapped' = 'true'"
        )),
        Layout::Envelope => {
            let image = columns.row();
            let others = columns.around().fields(schema, fields);
            let part = |((name, node), other): (&(String, NodeId), Field)| match name.as_str() {
                "before" => Part::Before(*node, image.walk(schema, *node)),
                "after" => Part::After(image.walk(schema, *node)),
                _ => Part::Other(other),
            };
            Kind::Envelope(fields.iter().zip(others).map(part).collect())
        }
        _ => {
            let row = Wanted { notes: borrowed(&columns.notes), ..columns.row() };
            let around = Wanted { notes: Vec::new(), ..columns.around() };
            let around = (!columns.envelope.is_empty()).then(|| around.walk(schema, schema.root));
            Kind::Row(row.walk(schema, schema.root), around)
        }
    }
}

/// Whether a schema is one of those that Debezium writes beside the changes.
fn is_aside(name: &str) -> bool {
    name.starts_with("io.debezium.connector.")
}
