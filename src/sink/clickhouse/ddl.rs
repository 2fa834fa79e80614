//! The tables that Highwater creates: what each form of output looks like in ClickHouse.
//!
//! | form | tables |
//! |---|---|
//! | log, late rows, dead letters | `MergeTree`, by key and position, each row once |
//! | results | `MergeTree` by window and group, each row once |
//! | mirror without a key | `MergeTree` named `<table>_versions` with a signed count, and a view `<table>` that shows each row as often as it is there |
//! | mirror | `ReplacingMergeTree` named `<table>_versions`, and a view `<table>` that hides the machinery |
//! | early or corrected results | the same, by window and group, in the months of `window_start` |
//!
//! In every form the plain name is what an analyst queries, without FINAL.

use datafusion::arrow::datatypes::{DataType, TimeUnit};

use super::client::{quote_identifier, quote_string};
use super::types::{ChType, of_field};
use crate::error::{Error, Result};
use crate::sink::{COUNT, IS_DELETED, IS_FINAL, OutputTable, POSITION, REVISION, ROW_NUMBER, TableForm, VERSION};

/// How many inserts ClickHouse remembers by their tokens, per table.
const DEDUPLICATION_WINDOW: u32 = 10_000;

/// Strings that repeat, whatever the query.
const REPEATED: [&str; 4] = ["_topic", "_op", "_job", "reason"];

/// A table's place: database and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableName {
    pub(super) database: String,
    pub(super) table: String,
}

impl TableName {
    /// Reads the options `'table'` and `'database'`. A dot in `'table'` parts database and table unless it is quoted.
    pub(super) fn from_options(options: &crate::options::Options) -> Result<Self> {
        let text = options.required("table")?;
        let database = options.get("database");
        let parts = split_name(text).ok_or_else(|| {
            options.invalid("table", text, "a name such as 'events', 'shop.events' or '`my.shop`.events'")
        })?;
        match (database, parts.as_slice()) {
            (None, [table]) => Ok(Self { database: "default".to_owned(), table: table.clone() }),
            (Some(database), [table]) => Ok(Self { database: database.to_owned(), table: table.clone() }),
            (None, [named, table]) => Ok(Self { database: named.clone(), table: table.clone() }),
            (Some(database), [named, table]) if named == database => {
                Ok(Self { database: named.clone(), table: table.clone() })
            }
            (Some(database), [_, _]) => Err(Error::config(format!(
                "table \"{}\": option 'table' is '{text}', but option 'database' is '{database}'; give the database once",
                options.table()
            ))),
            _ => Err(options.invalid("table", text, "at most one dot (put a name with dots in backticks)")),
        }
    }

    /// The table beside it that keeps every version of a mirror's rows.
    pub(super) fn versions(&self) -> Self {
        Self { database: self.database.clone(), table: format!("{}_versions", self.table) }
    }

    /// Quoted, for SQL.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quote_identifier(&self.database), quote_identifier(&self.table))
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// `` `a.b`.c `` → `a.b`, `c`.
fn split_name(text: &str) -> Option<Vec<String>> {
    let (mut parts, mut part, mut quote) = (Vec::new(), String::new(), None);
    for character in text.trim().chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '`' | '"') if part.is_empty() => quote = Some(character),
            (None, '.') => parts.push(std::mem::take(&mut part)),
            (_, character) => part.push(character),
        }
    }
    parts.push(part);
    (quote.is_none() && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// What a query file says of the table in ClickHouse's own SQL; used when the table is created.
#[derive(Debug, Default)]
struct Own<'a> {
    engine: Option<&'a str>,
    order_by: Option<&'a str>,
    partition_by: Option<&'a str>,
}

impl<'a> Own<'a> {
    fn new(options: &'a crate::options::Options) -> Result<Self> {
        let clause = |name: &str| match options.get(name).map(str::trim) {
            Some(text) if text.is_empty() || text.contains(';') => {
                Err(options.invalid(name, text, "an expression of ClickHouse's SQL"))
            }
            text => Ok(text),
        };
        Ok(Self {
            engine: clause("clickhouse.engine")?,
            order_by: clause("clickhouse.order-by")?,
            partition_by: clause("clickhouse.partition-by")?,
        })
    }
}

/// The column that gets the time at which a row's block was made, where an option asks for one.
pub(super) fn written_at(output: &OutputTable) -> Option<&str> {
    output.options.get("clickhouse.written-at").filter(|name| output.schema.column_with_name(name).is_none())
}

/// The type that an option gives a column.
fn own_type(output: &OutputTable, column: &str, data_type: &DataType, nullable: bool) -> Result<Option<ChType>> {
    let option = format!("clickhouse.type.{column}");
    let Some(text) = output.options.get(&option) else { return Ok(None) };
    let ch_type = ChType::parse(text);
    if text.contains(';')
        || !super::types::fits(data_type, nullable, &ch_type)
        || nullable && !super::types::holds_null(&ch_type)
    {
        let given = crate::type_name::sql_name(data_type);
        let null = if nullable { "" } else { " NOT NULL" };
        return Err(output.options.invalid(
            &option,
            text,
            &format!("a type of ClickHouse that holds every {given}{null}"),
        ));
    }
    Ok(Some(ch_type))
}

/// Columns of a result that the sink fills in itself, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    IsFinal,
    Revision,
    UpdatedAt,
    Job,
    Epoch,
}

impl Extra {
    pub(super) const ALL: [Self; 5] = [Self::IsFinal, Self::Revision, Self::UpdatedAt, Self::Job, Self::Epoch];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::IsFinal => "is_final",
            Self::Revision => "revision",
            Self::UpdatedAt => "updated_at",
            Self::Job => "_job",
            Self::Epoch => "_epoch",
        }
    }

    fn ch_type(self) -> ChType {
        match self {
            Self::IsFinal => ChType::plain("UInt8"),
            Self::Revision => ChType::plain("UInt32"),
            Self::UpdatedAt => ChType::date_time64(3),
            Self::Job => ChType::plain("String").low_cardinality(),
            Self::Epoch => ChType::plain("UInt64"),
        }
    }

    /// Whether the rows of a form get it from the sink. Those of revised results say themselves whether they are final.
    fn is_of(self, form: &TableForm) -> bool {
        match form {
            TableForm::Results => true,
            TableForm::Revised => matches!(self, Self::UpdatedAt | Self::Job),
            // A position says of which record a row is, not who wrote it: several jobs may fill a table, and a topic that is created
            // anew has the same positions once more.
            TableForm::Log | TableForm::Multiset | TableForm::Late => matches!(self, Self::Job | Self::Epoch),
            // They say themselves of which job they are.
            TableForm::DeadLetters => matches!(self, Self::Epoch),
            TableForm::Mirror => false,
        }
    }

    fn comment(self) -> &'static str {
        match self {
            Self::IsFinal => "1: the window is closed and the row settled",
            Self::Revision => "how often the row was corrected",
            Self::UpdatedAt => "when the row was made",
            Self::Job => "the Highwater job that made the row",
            Self::Epoch => "the checkpoint epoch that the row belongs to",
        }
    }

    /// The Arrow type that the sink sends it as.
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::IsFinal => DataType::UInt8,
            Self::Revision => DataType::UInt32,
            Self::UpdatedAt => DataType::Timestamp(TimeUnit::Millisecond, None),
            Self::Job => DataType::Utf8,
            Self::Epoch => DataType::UInt64,
        }
    }
}

/// The extras of a form that the query did not select under the same name.
pub(super) fn extras(output: &OutputTable) -> impl Iterator<Item = Extra> + '_ {
    Extra::ALL
        .into_iter()
        .filter(|extra| extra.is_of(&output.form) && output.schema.column_with_name(extra.name()).is_none())
}

/// A column as it is created.
pub(super) struct ColumnDdl {
    pub(super) name: String,
    pub(super) ch_type: ChType,
    /// For rows that others insert; ours have every column.
    default: Option<&'static str>,
    comment: String,
}

impl ColumnDdl {
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} {}", quote_identifier(&self.name), self.ch_type);
        if let Some(default) = self.default {
            text.push_str(" DEFAULT ");
            text.push_str(default);
        }
        if !self.comment.is_empty() {
            text.push_str(" COMMENT ");
            text.push_str(&quote_string(&self.comment));
        }
        text
    }
}

/// Whether rows are of windows and groups.
fn is_result(form: &TableForm) -> bool {
    matches!(form, TableForm::Results | TableForm::Revised)
}

/// What the columns mean that revised results have besides the query's.
fn own_comment(column: &str) -> &'static str {
    match column {
        IS_FINAL => "1: the window is closed and the row settled, but for corrections by late rows",
        REVISION => "how often the row was written before",
        ROW_NUMBER => "tells rows of one window and key from each other",
        VERSION => "the greatest of a key is its current row",
        IS_DELETED => "1: the row is gone",
        _ => "",
    }
}

/// The columns of an output table with the types that they are created with, the sink's own at the end.
pub(super) fn columns(output: &OutputTable, time64: bool) -> Result<Vec<ColumnDdl>> {
    let mut columns = Vec::with_capacity(output.schema.fields().len() + Extra::ALL.len());
    let json = match output.options.get("sink.json-type") {
        None | Some("String") => false,
        Some("JSON") => true,
        Some(other) => return Err(output.options.invalid("sink.json-type", other, "'String' or 'JSON'")),
    };
    for field in output.schema.fields() {
        let name = field.name();
        let mut ch_type = of_field(field, time64, json).map_err(|why| {
            Error::config(format!(
                "table \"{}\": column \"{name}\" of type {} cannot be kept in ClickHouse: {why}",
                output.options.table(),
                field.data_type()
            ))
        })?;
        let is_result = is_result(&output.form);
        if REPEATED.contains(&name.as_str()) || is_result && output.key.contains(name) {
            ch_type = ch_type.low_cardinality();
        }
        if is_result
            && matches!(name.as_str(), "window_start" | "window_end" | "window_time")
            && matches!(field.data_type(), DataType::Timestamp(TimeUnit::Second, _))
            && !field.is_nullable()
        {
            ch_type = ChType::date_time();
        }
        if let Some(own) = own_type(output, name, field.data_type(), field.is_nullable())? {
            ch_type = own;
        }
        let mut comment = output.comments.get(name).cloned().unwrap_or_default();
        if output.form == TableForm::Revised && comment.is_empty() {
            comment = own_comment(name).to_owned();
        }
        if matches!(field.data_type(), DataType::Time32(_) | DataType::Time64(_)) && !time64 {
            let separator = if comment.is_empty() { "" } else { "; " };
            comment = format!("{comment}{separator}time of day in microseconds");
        }
        columns.push(ColumnDdl { name: name.clone(), ch_type, default: None, comment });
    }
    columns.extend(extras(output).map(|extra| ColumnDdl {
        name: extra.name().to_owned(),
        ch_type: extra.ch_type(),
        default: None,
        comment: extra.comment().to_owned(),
    }));
    columns.extend(written_at(output).map(|name| ColumnDdl {
        name: name.to_owned(),
        ch_type: ChType::plain("DateTime"),
        default: Some("now()"),
        comment: "when the row's block was made".to_owned(),
    }));
    Ok(columns)
}

/// `CREATE DATABASE`.
pub(super) fn create_database(name: &TableName) -> String {
    format!("CREATE DATABASE IF NOT EXISTS {}", quote_identifier(&name.database))
}

/// `CREATE TABLE` for the rows themselves; of a mirror, `name` is the table of versions.
pub(super) fn create_table(output: &OutputTable, name: &TableName, time64: bool) -> Result<String> {
    let columns = columns(output, time64)?;
    let find = |wanted: &str| columns.iter().find(|column| column.name == wanted);
    let order = sorting_key(output, &|name| find(name).is_some())?;
    let mut lines: Vec<String> = columns.iter().map(|column| format!("    {}", column.text())).collect();
    let is_log = !matches!(output.form, TableForm::Mirror | TableForm::Results | TableForm::Revised);
    if is_log && find(POSITION[2]).is_some() {
        lines.push(format!("    INDEX `_offset_range` {} TYPE minmax GRANULARITY 1", quote_identifier(POSITION[2])));
    }
    let own = Own::new(&output.options)?;
    let engine = match (&output.form, own.engine) {
        // Of another engine it would be no mirror; nor would any other order be its key.
        (TableForm::Mirror | TableForm::Revised, None) => {
            format!("ReplacingMergeTree({}, {})", quote_identifier(VERSION), quote_identifier(IS_DELETED))
        }
        (TableForm::Mirror | TableForm::Revised, Some(_)) => return Err(not_of_mirrors(output, "clickhouse.engine")),
        (_, own) => own.unwrap_or("MergeTree").to_owned(),
    };
    let mut sql =
        format!("CREATE TABLE IF NOT EXISTS {}\n(\n{}\n)\nENGINE = {engine}", name.quoted(), lines.join(",\n"));
    let partition = partition_column(output);
    match (own.partition_by, partition) {
        (Some(_), _) if output.form.keeps_versions() => {
            return Err(not_of_mirrors(output, "clickhouse.partition-by"));
        }
        (Some(own), _) => sql.push_str(&format!("\nPARTITION BY {own}")),
        (None, Some(partition)) => sql.push_str(&format!("\nPARTITION BY toYYYYMM({})", quote_identifier(partition))),
        (None, None) => {}
    }
    let quoted: Vec<String> = order.iter().map(|name| quote_identifier(name)).collect();
    sql.push_str(&match own.order_by {
        Some(_) if output.form.keeps_versions() => return Err(not_of_mirrors(output, "clickhouse.order-by")),
        Some(own) => format!("\nORDER BY ({own})"),
        None if quoted.is_empty() => "\nORDER BY tuple()".to_owned(),
        None => format!("\nORDER BY ({})", quoted.join(", ")),
    });
    let mut settings = Vec::new();
    let holds_null = |name: &str| find(name).is_some_and(|column| column.ch_type.is_nullable());
    // What an expression of the user's is about is not known, only whether a column could be NULL at all.
    let own_may_hold_null = (own.order_by.is_some() || own.partition_by.is_some())
        && columns.iter().any(|column| column.ch_type.is_nullable());
    if order.iter().any(|name| holds_null(name)) || partition.is_some_and(holds_null) || own_may_hold_null {
        settings.push("allow_nullable_key = 1".to_owned());
    }
    // A mirror's repeats fold by version; the token spares it the work all the same.
    settings.push(format!("non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"));
    sql.push_str(&format!("\nSETTINGS {}", settings.join(", ")));
    if !output.comment.is_empty() {
        sql.push_str(&format!("\nCOMMENT {}", quote_string(&output.comment)));
    }
    Ok(sql)
}

/// Whether the rows go into a table beside a view of its name.
pub(super) fn has_view(output: &OutputTable) -> bool {
    matches!(output.form, TableForm::Mirror | TableForm::Multiset | TableForm::Revised)
}

fn not_of_mirrors(output: &OutputTable, option: &str) -> Error {
    let what = match output.form {
        TableForm::Revised => "early or corrected results, whose rows are replaced by their window and group",
        _ => "mirrors, whose rows are replaced by their primary key",
    };
    let table = output.options.table();
    Error::config(format!("table \"{table}\": option '{option}' is not for {what}; leave it out"))
}

/// `CREATE VIEW` over a mirror's versions: current rows only, without the machinery.
pub(super) fn create_view(output: &OutputTable, name: &TableName, replace: bool) -> String {
    let fields = output.schema.fields().iter().take(output.visible).map(|field| field.name().as_str());
    let is_revised = output.form == TableForm::Revised;
    let added = if is_revised { &[IS_FINAL, REVISION, "updated_at", "_job"][..] } else { &[] };
    let added =
        added.iter().filter(|name| output.schema.fields()[..output.visible].iter().all(|it| it.name() != **name));
    let shown = fields.filter(|name| ![VERSION, IS_DELETED].contains(name)).chain(added.copied()).map(quote_identifier);
    let shown = shown.collect::<Vec<_>>().join(", ");
    let versions = name.versions().quoted();
    let rows = match output.form {
        TableForm::Multiset => {
            let count = quote_identifier(COUNT);
            format!(
                "(SELECT {shown}, sum({count}) AS _copies FROM {versions} GROUP BY {shown} HAVING _copies > 0)\n\
                 ARRAY JOIN range(toUInt64(_copies)) AS _copy"
            )
        }
        _ => format!("{versions} FINAL"),
    };
    let create = if replace { "CREATE OR REPLACE VIEW" } else { "CREATE VIEW IF NOT EXISTS" };
    let mut sql = format!("{create} {}\nAS SELECT {shown}\nFROM {rows}", name.quoted());
    if is_revised && partition_column(output).is_some() {
        // The month is a function of the key: versions of a row are all in one partition.
        sql.push_str("\nSETTINGS do_not_merge_across_partitions_select_final = 1");
    }
    if !output.comment.is_empty() {
        sql.push_str(&format!("\nCOMMENT {}", quote_string(&output.comment)));
    }
    sql
}

/// The column that tells a row's time: as the job says, or by its name.
pub(super) fn time_column(output: &OutputTable) -> Option<&str> {
    let by_name = match output.form {
        TableForm::Results | TableForm::Revised => Some("window_start"),
        TableForm::DeadLetters => Some("_timestamp"),
        _ => None,
    };
    output.event_time.as_deref().or(by_name).filter(|name| output.schema.column_with_name(name).is_some())
}

/// The column whose month parts the table. None for a mirror: the event time of a row may change, and versions of one
/// row in two partitions would never meet. The start of a window is part of its rows' key.
fn partition_column(output: &OutputTable) -> Option<&str> {
    let is_time = |name: &&str| {
        output.schema.field_with_name(name).is_ok_and(|field| {
            matches!(field.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
        })
    };
    let is_fixed = |name: &&str| match output.form {
        TableForm::Revised => output.key.iter().any(|key| key == name),
        _ => !has_view(output),
    };
    time_column(output).filter(is_fixed).filter(is_time)
}

/// The columns that rows are sorted by.
fn sorting_key(output: &OutputTable, exists: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
    let keys = output.key.iter().map(String::as_str);
    let time = time_column(output);
    let wanted: Vec<&str> = match output.form {
        TableForm::Mirror => {
            if output.key.is_empty() || !output.key.iter().all(|name| exists(name)) {
                return Err(Error::config(format!(
                    "table \"{}\": a mirror needs the primary key of its source among its columns (it has {}); \
                     declare PRIMARY KEY (…) NOT ENFORCED and select it, or insert from CHANGES(…) to keep every change",
                    output.options.table(),
                    if output.key.is_empty() { "no key".to_owned() } else { output.key.join(", ") }
                )));
            }
            keys.collect()
        }
        TableForm::Results => ["window_start", "window_end"].into_iter().chain(time).chain(keys).collect(),
        // Nothing but the key: rows that differ in anything else are versions of one.
        TableForm::Revised => keys.collect(),
        TableForm::Multiset => keys.chain(POSITION[1..].iter().copied()).collect(),
        TableForm::Log if !output.key.is_empty() => keys.chain(POSITION[1..].iter().copied()).collect(),
        TableForm::Log | TableForm::Late => time.into_iter().chain(POSITION[1..].iter().copied()).collect(),
        TableForm::DeadLetters => POSITION.to_vec(),
    };
    let mut order: Vec<String> = Vec::with_capacity(wanted.len());
    for name in wanted {
        if exists(name) && !order.iter().any(|known| known == name) {
            order.push(name.to_owned());
        }
    }
    Ok(order)
}
