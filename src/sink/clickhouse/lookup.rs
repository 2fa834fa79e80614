//! A table of ClickHouse as a small table: its rows as text.

use super::client::{ClickHouseClient, quote_identifier};
use super::ddl::TableName;
use crate::error::Result;
use crate::options::Options;

/// How values are written, so that the decoder of JSON reads them: times in UTC, numbers as numbers. Of a table with versions, the rows
/// as they are now.
const SETTINGS: [(&str, &str); 6] = [
    ("final", "1"),
    ("date_time_output_format", "iso"),
    ("output_format_json_quote_64bit_integers", "0"),
    ("output_format_json_quote_decimals", "0"),
    ("output_format_json_quote_denormals", "0"),
    ("output_format_json_named_tuples_as_objects", "1"),
];

/// Some columns of a table, a JSON object a line.
pub async fn rows_as_json(options: &Options, columns: &[&str]) -> Result<String> {
    let client = ClickHouseClient::from_options(options)?;
    let table = TableName::from_options(options)?;
    let columns: Vec<_> = columns.iter().map(|name| quote_identifier(name)).collect();
    // Of a join that uses nothing of the rows, their number.
    let columns = if columns.is_empty() { "1 AS one".to_owned() } else { columns.join(", ") };
    client.query_lines(&format!("SELECT {columns} FROM {}", table.quoted()), &SETTINGS).await
}

/// Checks the options that it needs. Connects to nothing.
pub fn check(options: &Options) -> Result<()> {
    ClickHouseClient::from_options(options)?;
    TableName::from_options(options).map(drop)
}
