//! Rows as people read and write them: a heading, then a line a row, columns parted by bars.
//!
//! A cell is its value as text; `NULL` is null. Text that could be taken for something else is written as a JSON string.

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::Result;

/// A heading and rows of cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// What stands for null.
pub const NULL: &str = "NULL";

/// The cells of a batch, row by row.
pub fn cells(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let columns = batch.columns().iter().map(column_cells).collect::<Result<Vec<_>>>()?;
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect())
}

fn column_cells(column: &ArrayRef) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null(NULL);
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let floats = column.as_primitive_opt::<Float64Type>();
    let small = column.as_primitive_opt::<Float32Type>();
    let is_text = matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let cell = |row: usize| match (column.is_null(row), floats) {
        (true, _) => NULL.to_owned(),
        (false, Some(floats)) => float(floats.value(row)),
        (false, None) if small.is_some() => small.map_or_else(String::new, |small| format!("{}", small.value(row))),
        (false, None) => match formatter.value(row).to_string() {
            text if is_text && text == NULL => format!("\"{NULL}\""),
            text => quoted(text),
        },
    };
    Ok((0..column.len()).map(cell).collect())
}

/// To twelve digits: sums of the same numbers in another order differ in the last ones.
pub(super) fn float(value: f64) -> String {
    let rounded = format!("{value:.11e}").parse().unwrap_or(value);
    if rounded == 0.0 { "0".into() } else { format!("{rounded}") }
}

/// A cell of a column of this type in the one way in which it is written here: a DOUBLE may be written 5, 5.0 or 5e0.
pub(super) fn number_of(cell: &str, data_type: &DataType) -> String {
    match (data_type, cell.parse::<f64>()) {
        (DataType::Float64, Ok(value)) => float(value),
        (DataType::Float32, Ok(value)) => format!("{}", value as f32),
        _ => cell.to_owned(),
    }
}

fn quoted(text: String) -> String {
    let is_plain = !text.is_empty()
        && text.trim() == text
        && !text.starts_with(['"', '#', '=', '-'])
        && !text.contains(|letter: char| letter == '|' || letter.is_control());
    let is_number = || text.starts_with('-') && text[1..].starts_with(|digit: char| digit.is_ascii_digit());
    if is_plain || (is_number() && !text.contains('|')) { text } else { serde_json::Value::from(text).to_string() }
}

/// Reads a table; `None` when there is none. An error has its line, from 0.
pub(super) fn parse_table(lines: &[String]) -> Result<Option<Table>, (usize, String)> {
    let mut table: Option<Table> = None;
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        let cells = split(line).map_err(|message| (at, message))?;
        match &mut table {
            None => table = Some(Table { columns: cells, rows: Vec::new() }),
            Some(table) if cells.len() == table.columns.len() => table.rows.push(cells),
            Some(table) => {
                return Err((at, format!("the row has {} columns, the heading {}", cells.len(), table.columns.len())));
            }
        }
    }
    Ok(table)
}

/// The cells of a line, each in the one way in which it is written.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        let end = if rest.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let text = values.next().and_then(std::result::Result::ok);
            let text =
                text.ok_or_else(|| format!("a cell that begins with \" is a JSON string, but this is none: {rest}"))?;
            let end = values.byte_offset();
            cells.push(if text == NULL { format!("\"{NULL}\"") } else { quoted(text) });
            end
        } else {
            let end = rest.find('|').unwrap_or(rest.len());
            cells.push(rest[..end].trim().to_owned());
            end
        };
        rest = rest[end..].trim_start();
        match rest.strip_prefix('|') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(cells),
            None => return Err(format!("after a string comes | or the end of the line, not {rest}")),
        }
    }
}

/// A table's lines, in columns. `signs` stand before the rows, if there are any.
pub fn lines(columns: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([columns[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join(" | ").trim_end().to_owned()
    };
    [columns.to_vec()].iter().chain(rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, StringArray};

    use super::*;

    #[test]
    fn cells_are_read_as_they_are_written() {
        let texts =
            ["plain", "", " a", "a|b", "\"", "NULL", "two\nlines", "# no comment", "-- no mark", "-5", "=== no"];
        let texts: ArrayRef = Arc::new(StringArray::from_iter(texts.into_iter().map(Some).chain([None])));
        let floats: ArrayRef =
            Arc::new(Float64Array::from_iter((0..12).map(|it| (it > 0).then_some(0.1 * f64::from(it)))));
        let batch = RecordBatch::try_from_iter_with_nullable([("a", texts, true), ("b", floats, true)]).unwrap();
        let rows = cells(&batch).unwrap();
        assert_eq!(rows[3], ["\"a|b\"", "0.3"], "0.30000000000000004");
        assert_eq!((rows[0][1].as_str(), rows[5][0].as_str(), rows[11][0].as_str()), ("NULL", "\"NULL\"", "NULL"));
        let columns = vec!["a".to_owned(), "b".to_owned()];
        let parsed = parse_table(&lines(&columns, &rows)).unwrap().unwrap();
        assert_eq!(parsed, Table { columns, rows });
    }

    #[test]
    fn doubles_are_written_in_any_way() {
        let same = |cell: &str| number_of(cell, &DataType::Float64);
        assert_eq!([same("5"), same("5.0"), same("5e0"), same("-0.0"), same("x")], ["5", "5", "5", "0", "x"]);
        assert_eq!(number_of("2.50", &DataType::Float32), "2.5");
        assert_eq!(number_of("5.0", &DataType::Utf8), "5.0");
    }

    #[test]
    fn a_broken_cell_is_refused() {
        assert!(split("\"a | b").unwrap_err().starts_with("a cell that begins with \" is a JSON string"));
        assert_eq!(split("\"a\" b").unwrap_err(), "after a string comes | or the end of the line, not b");
    }
}
