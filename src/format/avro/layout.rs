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

/// The columns that are wanted of every record.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) layout: Layout,
    names: Vec<String>,
    /// Paths in the envelope; of an unwrapped row, the fields that stand for them.
    envelope: Vec<String>,
    source_time: bool,
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
    pub(super) fn new(spec: &DecodeSpec, layout: Layout) -> Self {
        let names = |schema: &datafusion::arrow::datatypes::Schema| {
            schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
        };
        let path = |path: String| match layout {
            Layout::Envelope => path,
            Layout::Unwrapped | Layout::Rows => format!("__{}", path.replace('.', "_")),
        };
        Self {
            layout,
            names: names(&spec.columns),
            envelope: names(&spec.envelope).into_iter().map(path).collect(),
            source_time: spec.source_time,
        }
    }

    fn row(&self, notes: Vec<(&'static str, Note)>) -> Wanted<'_> {
        Wanted { columns: numbered(&self.names), notes, paths: false }
    }

    fn around(&self, notes: Vec<(&'static str, Note)>) -> Wanted<'_> {
        Wanted { columns: numbered(&self.envelope), notes, paths: self.layout == Layout::Envelope }
    }

    fn source_note(&self, name: &'static str) -> Option<(&'static str, Note)> {
        self.source_time.then_some((name, Note::SourceTime))
    }
}

fn numbered(names: &[String]) -> Vec<(&str, usize)> {
    names.iter().enumerate().map(|(column, name)| (name.as_str(), column)).collect()
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
        return Kind::Row(columns.row(Vec::new()).walk(schema, schema.root), None);
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
            let mut notes = vec![("op", Note::Op)];
            notes.extend(columns.source_note("source.ts_ms"));
            let (image, around) = (columns.row(Vec::new()), columns.around(notes));
            let others = around.fields(schema, fields);
            let part = |((name, node), other): (&(String, NodeId), Field)| match name.as_str() {
                "before" => Part::Before(*node, image.walk(schema, *node)),
                "after" => Part::After(image.walk(schema, *node)),
                _ => Part::Other(other),
            };
            Kind::Envelope(fields.iter().zip(others).map(part).collect())
        }
        _ => {
            let mut notes = vec![("__op", Note::Op), ("__deleted", Note::Deleted)];
            notes.extend(columns.source_note("__source_ts_ms"));
            let around = (!columns.envelope.is_empty()).then(|| columns.around(Vec::new()).walk(schema, schema.root));
            Kind::Row(columns.row(notes).walk(schema, schema.root), around)
        }
    }
}

/// Whether a schema is one of those that Debezium writes beside the changes.
fn is_aside(name: &str) -> bool {
    name.starts_with("io.debezium.connector.")
}
