//! What the statements of a query file define.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::sql::sqlparser::ast::Query as SqlQuery;
use datafusion::sql::sqlparser::tokenizer::{Location, TokenWithSpan};

use super::computed::{Computed, Written};
use super::database::{DatabaseMirror, SourceDatabase};
use super::metadata::Metadata;
use crate::error::{Place, Result};
use crate::format::infer::RowSchema;
use crate::format::is_changelog;
use crate::options::Options;
use crate::sql::diagnose::unknown_column;
use crate::sql::plan::emission::EmitClause;

/// A `CREATE TABLE`.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, metadata among them, with declared nullability; empty when they were left out.
    pub columns: SchemaRef,
    /// The comments of its columns.
    pub comments: BTreeMap<String, String>,
    /// Those of its columns that are not in the row: what they are taken from.
    pub metadata: BTreeMap<String, Metadata>,
    /// Those that are computed from others, as they are written. Their types are in `columns` once they have been planned.
    pub written: Vec<Written>,
    /// How they are computed.
    pub computed: BTreeMap<String, Computed>,
    /// The columns of its PRIMARY KEY.
    pub primary_key: Vec<String>,
    /// Its WATERMARK clause.
    pub watermark: Option<Watermark>,
    /// Its `WITH (…)`.
    pub options: Options,
    /// Whether its columns were left out and are those of its records, new ones included.
    pub open: bool,
    /// Where its name stands.
    pub place: Place,
    /// Where the names of its options stand.
    pub option_places: BTreeMap<String, Place>,
}

/// `WATERMARK FOR column AS column - INTERVAL … [IDLE TIMEOUT INTERVAL …]`. Milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The column with the event time.
    pub column: String,
    /// How far behind the greatest event time the clock stays.
    pub delay: i64,
    /// When a silent partition counts as idle.
    pub idle_timeout: Option<i64>,
}

/// A `CREATE VIEW`.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name.
    pub name: String,
    /// What it stands for.
    pub query: Box<SqlQuery>,
    /// Its tokens, for the places of errors.
    pub tokens: Vec<TokenWithSpan>,
}

/// An `INSERT INTO … SELECT`, or a bare `SELECT`, which is printed.
#[derive(Debug, Clone)]
pub struct Insert {
    /// The table that is filled; `None` prints.
    pub target: Option<String>,
    /// Columns of the target in the order of the query's, when they are listed.
    pub columns: Vec<(String, Place)>,
    /// The query.
    pub query: Box<SqlQuery>,
    /// Where the name of its target stands; of a bare SELECT, where it begins.
    pub place: Location,
    /// Its tokens, for the places of errors.
    pub tokens: Vec<TokenWithSpan>,
    /// Its `EMIT` clause.
    pub emit: EmitClause,
}

/// Everything that a query file defines.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Tables by name.
    pub tables: BTreeMap<String, Arc<Table>>,
    /// Views, in order: a view may use those before it.
    pub views: Vec<View>,
    /// Inserts, in order.
    pub inserts: Vec<Insert>,
    /// Databases that are read, by name.
    pub databases: BTreeMap<String, SourceDatabase>,
    /// Databases that mirror them.
    pub mirrors: Vec<DatabaseMirror>,
}

/// The columns that `CHANGES(t)` adds to those of the table.
pub const METADATA: [&str; 7] = ["_op", "_source_ts", "_topic", "_partition", "_offset", "_timestamp", TRANSACTION_ID];
/// The transaction of a change, where the connector says it.
pub const TRANSACTION_ID: &str = "_transaction_id";
/// Where it is in the envelope of a change.
pub const TRANSACTION_PATH: &str = "transaction.id";
/// The image before the change, which is part of `*`: with the row's own columns, which are those after it, both images are kept.
pub const BEFORE: &str = "_before";
/// The image after the change, only on request: it has what the row's columns have.
pub const AFTER: &str = "_after";
/// The images of `CHANGES(t)`.
pub const IMAGES: [&str; 2] = [BEFORE, AFTER];

impl Table {
    /// The format of its records.
    pub fn format(&self) -> &str {
        self.options.get("format").unwrap_or("json")
    }

    /// The table with the columns of its records. What it declares itself, its key and its watermark, stays.
    pub fn with_rows(&self, rows: &RowSchema) -> Result<Self> {
        let known = || rows.columns.fields().iter().map(|field| field.name().as_str());
        let primary_key = if self.primary_key.is_empty() { rows.primary_key.clone() } else { self.primary_key.clone() };
        let is_of_row = |it: &&Watermark| !self.metadata.contains_key(&it.column);
        let watermark = self.watermark.iter().filter(is_of_row).map(|it| &it.column);
        for name in primary_key.iter().chain(watermark) {
            if !known().any(|column| column == name) {
                return Err(self.place.error(unknown_column(name, Some(&self.name), known())).into());
            }
        }
        let field = |field: &Arc<Field>| field.as_ref().clone().with_nullable(!primary_key.contains(field.name()));
        let columns = Arc::new(Schema::new(rows.columns.fields().iter().map(field).collect::<Vec<_>>()));
        Ok(Self { columns, primary_key, open: true, ..self.clone() })
    }

    /// Its columns and key.
    pub fn rows(&self) -> RowSchema {
        RowSchema { columns: Arc::clone(&self.columns), primary_key: self.primary_key.clone() }
    }

    /// What state depends on, in words: where the records are from, how they are read, and the clock.
    pub fn fingerprint(&self) -> String {
        let option = |name: &str| self.options.get(name).unwrap_or_default();
        // Where no window is of it, it is nothing that a query depends on.
        let is_declared = |it: &&Watermark| it.column != crate::sql::plan::processing_time::HIDDEN;
        let watermark = self.watermark.as_ref().filter(is_declared).map(|it| (&it.column, it.delay));
        let place = [option("topic"), option("topic-pattern"), option("path")].concat();
        let unwrapped = if option("debezium-json.unwrapped") == "true" { " unwrapped" } else { "" };
        let declared = self.metadata.iter().filter(|(column, _)| *column != crate::sql::plan::processing_time::HIDDEN);
        let metadata: Vec<_> = declared.map(|(column, it)| format!(" {column} from {}", it.key)).collect();
        let computed: Vec<_> = self.computed.iter().map(|(column, it)| format!(" {column} as {}", it.words)).collect();
        let metadata = [metadata.concat(), computed.concat()].concat();
        format!("{} {place} {}{unwrapped} {watermark:?}{metadata}", option("connector"), self.format())
    }

    /// Where its rows are, as one text: two tables at one place are one table.
    pub fn place_in_words(&self) -> String {
        let option = |name: &str| self.options.get(name).unwrap_or_default();
        let table = self.options.get("table").unwrap_or(&self.name);
        let table = match table.contains('.') {
            true => table.to_owned(),
            false => format!("{}.{table}", option("database")),
        };
        match option("connector") {
            "filesystem" => format!("filesystem {}", option("path")),
            "kafka" => {
                let topics = [option("topic"), option("topic-pattern")].concat();
                format!("kafka {} {topics}", option("properties.bootstrap.servers"))
            }
            connector => format!("{connector} {} {table}", option("url")),
        }
    }

    /// Whether its records are changes (updates, deletes) rather than rows that are only added.
    pub fn has_changes(&self) -> bool {
        is_changelog(self.format())
    }

    /// The columns of the table's current rows: all but the primary key may be missing from a change (PostgreSQL's
    /// default replica identity sends only the key of a deleted row).
    pub fn decoded_columns(&self) -> SchemaRef {
        self.columns_with(|field| self.has_changes() && !self.primary_key.contains(field.name()))
    }

    /// The columns of `CHANGES(t)`. A truncate has no row at all, so every column of the table may be null.
    pub fn change_columns(&self) -> SchemaRef {
        let row = self.columns_with(|_| self.has_changes());
        let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let metadata = [
            Field::new("_op", DataType::Utf8, false),
            Field::new("_source_ts", utc.clone(), true),
            Field::new("_topic", DataType::Utf8, false),
            Field::new("_partition", DataType::Int32, false),
            Field::new("_offset", DataType::Int64, false),
            Field::new("_timestamp", utc, true),
            Field::new(TRANSACTION_ID, DataType::Utf8, true),
        ];
        let image: Vec<_> = row.fields().iter().filter(|field| !self.is_derived(field.name())).cloned().collect();
        let images = IMAGES.map(|name| Field::new(name, DataType::Struct(image.clone().into()), true));
        let fields = row.fields().iter().cloned().chain(metadata.into_iter().chain(images).map(Arc::new));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The columns that the records are declared to have, and METADATA.
    pub fn declared_columns(&self) -> SchemaRef {
        let declared = self.columns.fields().iter().filter(|field| !self.computed.contains_key(field.name()));
        Arc::new(Schema::new(declared.cloned().collect::<Vec<_>>()))
    }

    /// The row's columns as they are decoded, metadata and computed ones not among them: what must not be null is checked per kind of change.
    pub fn nullable_columns(&self) -> SchemaRef {
        let columns = self.columns_with(|_| self.has_changes());
        let row = columns.fields().iter().filter(|field| !self.is_derived(field.name())).cloned();
        Arc::new(Schema::new(row.collect::<Vec<_>>()))
    }

    fn columns_with(&self, made_nullable: impl Fn(&Field) -> bool) -> SchemaRef {
        let relax = |field: &Arc<Field>| {
            let of_row = !self.metadata.contains_key(field.name());
            let nullable = field.is_nullable() || (of_row && made_nullable(field));
            field.as_ref().clone().with_nullable(nullable)
        };
        Arc::new(Schema::new(self.columns.fields().iter().map(relax).collect::<Vec<_>>()))
    }
}
