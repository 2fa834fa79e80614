//! `'connector' = 'print'`: rows on standard output. For trying a query.

use std::io::Write;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;

use super::{Block, OutputTable, Sink, encode};
use crate::error::{Error, Result};

/// The options of this connector, beside `connector`.
pub const OPTIONS: &[&str] = &["print.format", "print-identifier"];

/// Prints a line a row, `name> {…}`, or a table a block. After a crash rows may be printed again.
#[derive(Debug)]
pub struct PrintSink {
    name: String,
    tables: bool,
    columns: usize,
}

impl PrintSink {
    /// A printer of this table.
    pub fn new(table: &OutputTable) -> Result<Self> {
        let options = &table.options;
        let tables = match options.get("print.format") {
            None | Some("json") => false,
            Some("table") => true,
            Some(other) => return Err(options.invalid("print.format", other, "'json' or 'table'")),
        };
        let name = options.get("print-identifier").unwrap_or(options.table()).to_owned();
        Ok(Self { name, tables, columns: encode::shown(table) })
    }

    fn text(&self, block: &Block) -> Result<Vec<u8>> {
        let rows =
            block.rows.iter().map(|rows| encode::leading(rows, self.columns)).collect::<Result<Vec<RecordBatch>>>()?;
        let mut text = Vec::new();
        if self.tables {
            let rows = rows.iter().map(encode::with_long_times).collect::<Result<Vec<_>>>()?;
            let table = pretty_format_batches(&rows)?;
            text.extend_from_slice(format!("{}>\n{table}\n", self.name).as_bytes());
            return Ok(text);
        }
        let mut lines = Vec::new();
        for rows in &rows {
            encode::json_lines(rows, &mut lines)?;
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            text.extend_from_slice(self.name.as_bytes());
            text.extend_from_slice(b"> ");
            text.extend_from_slice(line);
        }
        Ok(text)
    }
}

#[async_trait]
impl Sink for PrintSink {
    async fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, block: &Block) -> Result<()> {
        if block.row_count() == 0 {
            return Ok(());
        }
        let text = self.text(block)?;
        let mut out = std::io::stdout().lock();
        out.write_all(&text).and_then(|()| out.flush()).map_err(|error| {
            Error::permanent(format!("cannot print the rows of \"{}\" to standard output", self.name), error)
        })
    }

    async fn write_again(&mut self, block: &Block) -> Result<()> {
        self.write(block).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{block, table};
    use super::*;

    #[test]
    fn rows_are_lines_or_tables() {
        let json = PrintSink::new(&table("print", &[])).unwrap();
        assert_eq!(
            String::from_utf8(json.text(&block("b", 1)).unwrap()).unwrap(),
            "t> {\"id\":1,\"at\":\"2024-06-20T16:13:20\",\"name\":\"ann\"}\nt> {\"id\":2,\"at\":\"2024-06-20T16:13:20.125\",\"name\":null}\n"
        );
        let pretty = PrintSink::new(&table("print", &[("print.format", "table")])).unwrap();
        let text = String::from_utf8(pretty.text(&block("b", 1)).unwrap()).unwrap();
        assert!(text.starts_with("t>\n+") && text.contains("| ann") && !text.contains("_offset"), "{text}");
        assert!(PrintSink::new(&table("print", &[("print.format", "xml")])).is_err());
    }
}
