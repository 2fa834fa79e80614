//! The SQL of the documentation compiles and runs, and what it calls an error is one, with the message that it shows.

use std::fs;
use std::path::Path;

use super::errors_test::message_of;
use crate::testing::case::Case;
use crate::testing::run::{Manner, compile, run};

const PAGES: [&str; 6] =
    ["README.md", "docs/sql.md", "docs/emission.md", "docs/formats.md", "docs/semantics.md", "docs/clickhouse.md"];

/// Records for the tables that most examples read.
const RECORDS: [(&str, &str); 2] = [
    (
        "clicks",
        r#"{"page": "/", "visitor": 1, "seen": "2026-03-01T10:00:00"}
{"page": "/cart", "visitor": 2, "seen": "2026-03-01T10:00:04"}
{"page": null, "visitor": null, "seen": "2026-03-01T10:00:02"}
{"page": "/", "visitor": 2, "seen": "2026-03-01T10:07:00"}
{"page": "/", "visitor": 2, "seen": "2026-03-01T10:01:00"}"#,
    ),
    (
        "customer",
        r#"{"op": "c", "before": null, "after": {"customer_id": 1, "store_id": 1, "email": "a@b.c", "create_date": 1772359200000}, "source": {"ts_ms": 1}}
{"op": "u", "before": {"customer_id": 1, "store_id": 1, "email": "a@b.c", "create_date": 1772359200000}, "after": {"customer_id": 1, "store_id": 2, "email": null, "create_date": 1772359200000}, "source": {"ts_ms": 2}}
{"op": "c", "before": null, "after": {"customer_id": 2, "store_id": 1, "email": null, "create_date": 1772359800000}, "source": {"ts_ms": 3}}
{"op": "d", "before": {"customer_id": 1, "store_id": 2, "email": null, "create_date": 1772359200000}, "after": null, "source": {"ts_ms": 4}}"#,
    ),
];

/// A fenced block: the line of its fence, what follows the three backticks, and its text.
struct Block {
    line: usize,
    kind: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in page.lines().enumerate() {
        if let Some(kind) = line.strip_prefix("```") {
            open = !open;
            if open {
                blocks.push(Block { line: number + 1, kind: kind.trim().to_owned(), text: String::new() });
            }
        } else if open && let Some(block) = blocks.last_mut() {
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    assert!(!open, "a block is not closed");
    blocks
}

/// Blocks of kind `sql tables` define what later `sql` blocks of the page use; `sql` blocks stand for themselves beside
/// them; `sql error` blocks fail with the text of the block that follows.
#[tokio::test]
async fn the_sql_of_the_pages_compiles() {
    for page in PAGES {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let blocks = blocks(&text);
        let mut tables = String::new();
        let mut tried = 0;
        for (at, block) in blocks.iter().enumerate() {
            let place = format!("{page}:{}", block.line);
            match block.kind.as_str() {
                "sql tables" => tables.push_str(&block.text),
                "sql" => {
                    let outcome = message_of(Some(&tables), &place, &block.text).await;
                    let outcome = outcome.map_err(|error| error.to_string());
                    let only_defines = outcome.as_ref().is_err_and(|message| {
                        // What is left out is looked up by a run.
                        message.contains("has no INSERT INTO") || message.contains("declares no columns")
                    });
                    assert!(outcome.is_ok() || only_defines, "{place}: {outcome:?}");
                    tried += 1;
                }
                "sql error" => {
                    let said =
                        message_of(Some(&tables), "query.sql", &block.text).await.map_err(|error| error.to_string());
                    let shown = blocks.get(at + 1).map(|block| block.text.trim_end().to_owned());
                    assert_eq!(said.err(), shown, "{place}");
                    tried += 1;
                }
                _ => {}
            }
        }
        assert!(tried > 0, "{page} has SQL to try");
    }
}

/// Each example is run by the real job, to its end.
#[tokio::test(flavor = "multi_thread")]
async fn the_sql_of_the_pages_runs() {
    let mut ran = 0;
    for page in PAGES {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let mut tables = String::new();
        for block in blocks(&text) {
            match block.kind.as_str() {
                "sql tables" => tables.push_str(&block.text),
                "sql" => ran += usize::from(runs(&format!("{page}:{}", block.line), &tables, &block.text).await),
                _ => {}
            }
        }
    }
    assert!(ran > 45, "{ran} examples were run");
}

/// False for what a run has to look up first, and for what only defines.
async fn runs(place: &str, tables: &str, block: &str) -> bool {
    if block.contains("CREATE DATABASE") {
        return false;
    }
    let text = format!("An example.\n\n=== query\n{tables}{block}");
    let Ok(query) = compile(&Case::parse(place, &text).unwrap()).await else { return false };
    let read: Vec<&str> = query.pipelines.iter().flat_map(|pipeline| pipeline.table_names()).collect();
    let known = RECORDS.iter().filter(|(table, _)| read.contains(table));
    let inputs: String = known.map(|(table, records)| format!("\n=== input {table}\n{records}\n")).collect();
    let case = Case::parse(place, &format!("{text}{inputs}")).unwrap();
    let came = run(&case, &query, &Manner::WHOLE).await;
    assert!(came.is_ok(), "{place}: {}", came.unwrap_err());
    true
}
