//! What came out, for people and for scripts.

use std::fmt::Write as _;

use indicatif::HumanCount;
use serde_json::{Value, json};

use super::pairing::Skipped;

/// Values longer than this are cut in the text; JSON has them whole.
const SHOWN_CHARACTERS: usize = 60;

/// The result for a table.
#[derive(Debug, Clone, Default)]
pub struct TableReport {
    /// The source's table.
    pub table: String,
    /// Its copy.
    pub copy: String,
    /// Rows in the source, as they were counted range by range.
    pub source_rows: u64,
    /// Rows in the copy.
    pub copy_rows: u64,
    /// Ranges whose hashes were compared.
    pub ranges: u64,
    /// Ranges that differed at first.
    pub ranges_different: u64,
    /// Rows that differed at first and agreed when they were looked at again.
    pub caught_up: u64,
    /// Rows that changed each time they were looked at.
    pub unsettled: u64,
    /// Rows that differ.
    pub missing: u64,
    /// Rows of the copy that the source does not have.
    pub extra: u64,
    /// Rows that differ in some column.
    pub different: u64,
    /// Some of these rows.
    pub rows: Vec<RowReport>,
    /// Columns that were compared.
    pub columns: Vec<String>,
    /// Columns that were not.
    pub skipped: Vec<Skipped>,
    /// Things to know.
    pub notes: Vec<String>,
    /// Names of the key's columns.
    pub key: Vec<String>,
    /// Whether the search ended early, because too much differs.
    pub cut_short: bool,
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowReport {
    /// Its primary key.
    pub key: Vec<String>,
    /// How it differs.
    pub trouble: Trouble,
}

/// How a row differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It is not in the copy.
    Missing,
    /// It is not in the source.
    Extra,
    /// It is in the copy so many times.
    Repeated(usize),
    /// Columns with both values.
    Different(Vec<ColumnReport>),
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnReport {
    /// The source's name of the column.
    pub column: String,
    /// The source's value, as its canonical text.
    pub source: Option<String>,
    /// The copy's.
    pub copy: Option<String>,
}

impl TableReport {
    /// Whether everything that was compared was shown to be equal.
    pub fn is_equal(&self) -> bool {
        self.missing + self.extra + self.different + self.unsettled == 0 && !self.cut_short
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let verdict = if self.is_equal() { "equal" } else { "DIFFERENT" };
        let count = |count: u64| HumanCount(count);
        let _ = writeln!(text, "{} and {}: {verdict}", self.table, self.copy);
        let _ = writeln!(
            text,
            "  {} rows in the source, {} in the copy; {} ranges compared, {} differed at first",
            count(self.source_rows),
            count(self.copy_rows),
            count(self.ranges),
            count(self.ranges_different)
        );
        if self.caught_up > 0 {
            let _ = writeln!(
                text,
                "  {} rows differed at first and agree now: changes were on their way",
                count(self.caught_up)
            );
        }
        if self.unsettled > 0 {
            let _ = writeln!(
                text,
                "  {} rows changed each time they were looked at, so nothing can be said of them; run again, or with a shorter --settle",
                count(self.unsettled)
            );
        }
        if self.missing + self.extra + self.different > 0 {
            let _ = writeln!(
                text,
                "  {} rows missing in the copy, {} only in the copy, {} different",
                count(self.missing),
                count(self.extra),
                count(self.different)
            );
        }
        if self.cut_short {
            let _ = writeln!(text, "  there is more: the search ended early (--max-differences)");
        }
        for row in &self.rows {
            let _ = writeln!(text, "    {}", self.row_text(row));
        }
        let unnamed = (self.missing + self.extra + self.different).saturating_sub(self.rows.len() as u64);
        if unnamed > 0 {
            let _ = writeln!(text, "    … and {} more (--max-rows)", count(unnamed));
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        for skipped in &self.skipped {
            let side = if skipped.of_source { "source" } else { "copy" };
            let _ = writeln!(text, "  not compared: column \"{}\" of the {side}: {}", skipped.column, skipped.reason);
        }
        text
    }

    fn row_text(&self, row: &RowReport) -> String {
        let key: Vec<_> = self.key.iter().zip(&row.key).map(|(name, value)| format!("{name}={}", cut(value))).collect();
        let key = key.join(", ");
        match &row.trouble {
            Trouble::Missing => format!("{key}  missing in the copy"),
            Trouble::Extra => format!("{key}  only in the copy"),
            Trouble::Repeated(times) => format!("{key}  {times} times in the copy"),
            Trouble::Different(columns) => {
                let shown =
                    |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), |it| format!("{:?}", cut(it)));
                let columns = columns.iter().map(|it| {
                    format!("{}: {} in the source, {} in the copy", it.column, shown(&it.source), shown(&it.copy))
                });
                format!("{key}  {}", columns.collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// For scripts.
    pub fn to_json(&self) -> Value {
        let row = |row: &RowReport| {
            let key: serde_json::Map<_, _> =
                self.key.iter().zip(&row.key).map(|(name, value)| (name.clone(), json!(value))).collect();
            match &row.trouble {
                Trouble::Missing => json!({"key": key, "trouble": "missing"}),
                Trouble::Extra => json!({"key": key, "trouble": "extra"}),
                Trouble::Repeated(times) => json!({"key": key, "trouble": "repeated", "times": times}),
                Trouble::Different(columns) => {
                    let columns: Vec<_> = columns
                        .iter()
                        .map(|it| json!({"column": it.column, "source": it.source, "copy": it.copy}))
                        .collect();
                    json!({"key": key, "trouble": "different", "columns": columns})
                }
            }
        };
        let skipped = |it: &Skipped| {
            let side = if it.of_source { "source" } else { "copy" };
            json!({"column": it.column, "side": side, "reason": it.reason})
        };
        json!({
            "table": self.table,
            "copy": self.copy,
            "equal": self.is_equal(),
            "source_rows": self.source_rows,
            "copy_rows": self.copy_rows,
            "ranges": self.ranges,
            "ranges_different": self.ranges_different,
            "caught_up": self.caught_up,
            "unsettled": self.unsettled,
            "missing": self.missing,
            "extra": self.extra,
            "different": self.different,
            "complete": !self.cut_short,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "compared": self.columns,
            "not_compared": self.skipped.iter().map(skipped).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> TableReport {
        let column = |name: &str, source: Option<&str>, copy: Option<&str>| ColumnReport {
            column: name.to_owned(),
            source: source.map(str::to_owned),
            copy: copy.map(str::to_owned),
        };
        let row = |key: &str, trouble| RowReport { key: vec![key.to_owned()], trouble };
        TableReport {
            table: "sakila.customer".to_owned(),
            copy: "shop.customer".to_owned(),
            source_rows: 12_345,
            copy_rows: 12_344,
            ranges: 4,
            ranges_different: 2,
            caught_up: 3,
            unsettled: 1,
            missing: 1,
            extra: 1,
            different: 3,
            rows: vec![
                row("5", Trouble::Missing),
                row("6", Trouble::Extra),
                row("7", Trouble::Repeated(2)),
                row(
                    "8",
                    Trouble::Different(vec![
                        column("email", None, Some("")),
                        column("name", Some("a \"b\""), Some(&"long ".repeat(20))),
                    ]),
                ),
            ],
            columns: vec!["id".to_owned(), "email".to_owned(), "name".to_owned()],
            skipped: vec![Skipped { column: "shape".to_owned(), of_source: true, reason: "why".to_owned() }],
            notes: vec!["seconds only".to_owned()],
            key: vec!["id".to_owned()],
            cut_short: false,
        }
    }

    #[test]
    fn for_people() {
        let expected = "\
sakila.customer and shop.customer: DIFFERENT
  12,345 rows in the source, 12,344 in the copy; 4 ranges compared, 2 differed at first
  3 rows differed at first and agree now: changes were on their way
  1 rows changed each time they were looked at, so nothing can be said of them; run again, or with a shorter --settle
  1 rows missing in the copy, 1 only in the copy, 3 different
    id=5  missing in the copy
    id=6  only in the copy
    id=7  2 times in the copy
    id=8  email: NULL in the source, \"\" in the copy; name: \"a \\\"b\\\"\" in the source, \"long long long long long long long long long long long long …\" in the copy
    … and 1 more (--max-rows)
  note: seconds only
  not compared: column \"shape\" of the source: why
";
        assert_eq!(report().to_text(), expected);
        let equal =
            TableReport { table: "a.b".to_owned(), copy: "c.d".to_owned(), ranges: 1, ..TableReport::default() };
        assert_eq!(
            equal.to_text(),
            "a.b and c.d: equal\n  0 rows in the source, 0 in the copy; 1 ranges compared, 0 differed at first\n"
        );
    }

    #[test]
    fn for_scripts() {
        let json = report().to_json();
        assert_eq!(json["equal"], false);
        assert_eq!((&json["missing"], &json["extra"], &json["different"]), (&json!(1), &json!(1), &json!(3)));
        assert_eq!(json["rows"][0], json!({"key": {"id": "5"}, "trouble": "missing"}));
        assert_eq!(json["rows"][2], json!({"key": {"id": "7"}, "trouble": "repeated", "times": 2}));
        assert_eq!(json["rows"][3]["columns"][0], json!({"column": "email", "source": null, "copy": ""}));
        assert_eq!(json["not_compared"], json!([{"column": "shape", "side": "source", "reason": "why"}]));
    }

    #[test]
    fn what_is_equal() {
        let equal = TableReport { caught_up: 5, ranges_different: 1, ..TableReport::default() };
        assert!(equal.is_equal());
        for different in [
            TableReport { missing: 1, ..TableReport::default() },
            TableReport { unsettled: 1, ..TableReport::default() },
            TableReport { cut_short: true, ..TableReport::default() },
        ] {
            assert!(!different.is_equal());
        }
    }
}
