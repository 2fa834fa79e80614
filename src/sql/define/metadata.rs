//! Columns that are declared `METADATA`: what they may be taken from, and as which types.

use datafusion::arrow::datatypes::{DataType, TimeUnit};

use crate::error::suggestion;
use crate::format::envelope;
use crate::options::Options;
use crate::type_name::sql_name;

/// A column that is taken from beside the row.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The key as it was written, such as `value.source.table`.
    pub key: String,
    /// Where it comes from.
    pub of: MetadataOf,
    /// Whether a record may be without it.
    pub nullable: bool,
}

/// What a metadata column is taken from.
#[derive(Debug, Clone, PartialEq)]
pub enum MetadataOf {
    /// The topic's name (a file's path).
    Topic,
    /// The partition's number.
    Partition,
    /// The record's offset.
    Offset,
    /// The record's timestamp.
    Timestamp,
    /// What happened to the row, as a letter.
    Op,
    /// When it happened at the source.
    SourceTime,
    /// When the record was read: `PROCTIME()`.
    ProcessingTime,
    /// A value of the envelope, or of the record itself ([`envelope`]).
    Envelope {
        /// Its path there.
        path: String,
        /// As what it is decoded.
        data_type: DataType,
    },
}

/// What a key stands for, before the column's type is looked at.
enum Known {
    /// Always there.
    Given(MetadataOf, DataType),
    /// There where the record has it.
    Found(MetadataOf, DataType),
    /// A value of the envelope of a type that only the column says.
    Path(String),
    /// The record's key, and its headers: as text, or as they are.
    Bytes(&'static str),
    Headers,
}

/// The keys that every connector has.
const OF_RECORD: [&str; 8] =
    ["topic", "partition", "offset", "timestamp", "timestamp-type", "leader-epoch", "headers", "key"];

/// What a column is taken from that is declared `data_type METADATA FROM 'key'` in a table with these options; or what is wrong, in
/// words that begin with the key.
pub fn metadata(options: &Options, key: &str, declared: &DataType) -> Result<Metadata, String> {
    let known = of_record(key).map_or_else(|| of_value(options, key), Ok)?;
    let wrong = |takes: &str| Err(format!("METADATA '{key}' is {takes}, not {}", sql_name(declared)));
    let (of, natural, nullable) = match known {
        Known::Given(of, natural) => (of, natural, false),
        Known::Found(of, natural) => (of, natural, true),
        Known::Path(path) => {
            let data_type = timed(&path, declared).unwrap_or_else(|| declared.clone());
            return Ok(envelope_value(key, &path, data_type));
        }
        Known::Bytes(path) => match declared {
            DataType::Utf8 | DataType::Binary => return Ok(envelope_value(key, path, declared.clone())),
            _ => return wrong("STRING or BYTES"),
        },
        Known::Headers => match declared {
            DataType::Utf8 => return Ok(envelope_value(key, envelope::HEADERS, declared.clone())),
            DataType::Map(entries, _) if is_text_map(entries.data_type()) => {
                return Ok(envelope_value(key, envelope::HEADERS, declared.clone()));
            }
            _ => return wrong("MAP<STRING, BYTES>, MAP<STRING, STRING> or STRING, a JSON object"),
        },
    };
    if !is_convertible(&natural, declared) {
        return wrong(&takes(&natural));
    }
    Ok(Metadata { key: key.to_owned(), of, nullable })
}

fn envelope_value(key: &str, path: &str, data_type: DataType) -> Metadata {
    let of = MetadataOf::Envelope { path: path.to_owned(), data_type };
    Metadata { key: key.to_owned(), of, nullable: true }
}

fn millis() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

fn found(path: &str, data_type: DataType) -> Known {
    Known::Found(MetadataOf::Envelope { path: path.to_owned(), data_type: data_type.clone() }, data_type)
}

fn of_record(key: &str) -> Option<Known> {
    Some(match key {
        "topic" => Known::Given(MetadataOf::Topic, DataType::Utf8),
        "partition" => Known::Given(MetadataOf::Partition, DataType::Int32),
        "offset" => Known::Given(MetadataOf::Offset, DataType::Int64),
        "timestamp" => Known::Found(MetadataOf::Timestamp, millis()),
        "timestamp-type" => found(envelope::TIMESTAMP_TYPE, DataType::Utf8),
        "leader-epoch" => found(envelope::LEADER_EPOCH, DataType::Int32),
        "headers" => Known::Headers,
        "key" => Known::Bytes(envelope::KEY),
        _ => return None,
    })
}

/// A key of the format's envelope, which is `value.` and a path.
fn of_value(options: &Options, key: &str) -> Result<Known, String> {
    let format = options.get("format").unwrap_or_default();
    let known = known_keys(options, format);
    let unknown = |remark: &str| {
        // What they all begin with would make any of them look alike.
        let bare = |key: &'static str| key.strip_prefix("value.").unwrap_or(key);
        let near = suggestion(key.strip_prefix("value.").unwrap_or(key), known.iter().copied().map(bare));
        let near = known.iter().find(|known| near.contains(&format!("\"{}\"", bare(known))));
        let hint = match near {
            Some(near) => format!("; did you mean '{near}'?"),
            None => format!("; there are {}", known.join(", ")),
        };
        Err(format!("METADATA '{key}' is not known{remark}{hint}"))
    };
    if is_unwrapped(options) && matches!(key, "value.source" | "value.source.properties") {
        return Err(format!(
            "METADATA '{key}' is not in unwrapped records; name its fields, such as 'value.source.table'"
        ));
    }
    let Some(path) = key.strip_prefix("value.").filter(|path| !path.split('.').any(str::is_empty)) else {
        return unknown("");
    };
    let value = match format {
        "maxwell-json" => of_maxwell(path),
        "canal-json" => of_canal(path),
        format if format.starts_with("debezium-") => of_debezium(path, is_unwrapped(options)),
        _ => return unknown(&format!(" to the format {format}, whose records are the row alone")),
    };
    value.map_or_else(|| unknown(&format!(" to the format {format}")), Ok)
}

fn is_unwrapped(options: &Options) -> bool {
    options.get("debezium-json.unwrapped") == Some("true")
}

fn of_debezium(path: &str, is_unwrapped: bool) -> Option<Known> {
    let source_time = || Known::Found(MetadataOf::SourceTime, millis());
    Some(match path {
        "op" => Known::Given(MetadataOf::Op, DataType::Utf8),
        "ingestion-timestamp" | "ts_ms" => found("ts_ms", millis()),
        "source.timestamp" | "source.ts_ms" => source_time(),
        "source.database" | "source.db" => found("source.db", DataType::Utf8),
        "source.schema" | "source.table" => found(path, DataType::Utf8),
        "source.properties" | "source" if !is_unwrapped => found("source", DataType::Utf8),
        "transaction.id" => found(path, DataType::Utf8),
        // The images are the table's columns, and `CHANGES(t)` has both.
        "before" | "after" | "payload" | "schema" | "source" | "source.properties" => return None,
        path if ["before.", "after.", "payload.", "schema."].iter().any(|start| path.starts_with(start)) => {
            return None;
        }
        path => Known::Path(path.to_owned()),
    })
}

fn of_maxwell(path: &str) -> Option<Known> {
    Some(match path {
        "op" => Known::Given(MetadataOf::Op, DataType::Utf8),
        "ingestion-timestamp" | "ts" => Known::Found(MetadataOf::SourceTime, millis()),
        "database" | "table" => found(path, DataType::Utf8),
        "primary-key-columns" => found("primary_key_columns", texts()),
        "data" | "old" | "type" => return None,
        path => Known::Path(path.to_owned()),
    })
}

fn of_canal(path: &str) -> Option<Known> {
    Some(match path {
        "op" => Known::Given(MetadataOf::Op, DataType::Utf8),
        "event-timestamp" | "es" => Known::Found(MetadataOf::SourceTime, millis()),
        "ingestion-timestamp" | "ts" => found("ts", millis()),
        "database" | "table" => found(path, DataType::Utf8),
        "pk-names" => found("pkNames", texts()),
        "sql-type" => found("sqlType", DataType::Utf8),
        "data" | "old" | "type" | "isDdl" => return None,
        path => Known::Path(path.to_owned()),
    })
}

fn texts() -> DataType {
    DataType::List(std::sync::Arc::new(datafusion::arrow::datatypes::Field::new_list_field(DataType::Utf8, true)))
}

/// The keys for a message.
fn known_keys(options: &Options, format: &str) -> Vec<&'static str> {
    let of_value: &[&str] = match format {
        "maxwell-json" => {
            &["value.op", "value.ingestion-timestamp", "value.database", "value.table", "value.primary-key-columns"]
        }
        "canal-json" => &[
            "value.op",
            "value.event-timestamp",
            "value.ingestion-timestamp",
            "value.database",
            "value.table",
            "value.pk-names",
            "value.sql-type",
        ],
        format if format.starts_with("debezium-") => &[
            "value.op",
            "value.ingestion-timestamp",
            "value.source.timestamp",
            "value.source.database",
            "value.source.schema",
            "value.source.table",
            "value.transaction.id",
            "value.source.properties",
        ],
        _ => &[],
    };
    let without = |key: &&&str| !is_unwrapped(options) || **key != "value.source.properties";
    OF_RECORD.iter().chain(of_value.iter().filter(without)).copied().collect()
}

/// Debezium's instants are numbers whose names say their unit: they are decoded as instants, whatever they become then.
fn timed(path: &str, declared: &DataType) -> Option<DataType> {
    let unit = match path.rsplit('_').next()? {
        "ms" => TimeUnit::Millisecond,
        "us" => TimeUnit::Microsecond,
        "ns" => TimeUnit::Nanosecond,
        _ => return None,
    };
    matches!(declared, DataType::Timestamp(..)).then(|| DataType::Timestamp(unit, Some("UTC".into())))
}

fn is_text_map(entries: &DataType) -> bool {
    let DataType::Struct(fields) = entries else { return false };
    matches!(
        (fields.first().map(|key| key.data_type()), fields.get(1).map(|value| value.data_type())),
        (Some(DataType::Utf8), Some(DataType::Utf8 | DataType::Binary))
    )
}

/// Whether every value has a place in the column.
fn is_convertible(natural: &DataType, declared: &DataType) -> bool {
    use DataType::{Int32, Int64, Timestamp, UInt64, Utf8};
    match (natural, declared) {
        (Timestamp(..), Timestamp(..) | Int64) => true,
        (Int32, Int32 | Int64 | Utf8) | (Int64, Int64 | UInt64 | Utf8) => true,
        (natural, declared) => natural == declared,
    }
}

fn takes(natural: &DataType) -> String {
    match natural {
        DataType::Timestamp(..) => "a TIMESTAMP, TIMESTAMP_LTZ or BIGINT (milliseconds)".to_owned(),
        DataType::Int32 => "INT, BIGINT or STRING".to_owned(),
        DataType::Int64 => "BIGINT, BIGINT UNSIGNED or STRING".to_owned(),
        other => sql_name(other),
    }
}
