//! The SQL of the documentation compiles, and what it calls an error is one, with the message that it shows.

use std::fs;
use std::path::Path;

use super::errors_test::message_of;

const PAGES: [&str; 6] =
    ["README.md", "docs/sql.md", "docs/emission.md", "docs/formats.md", "docs/semantics.md", "docs/clickhouse.md"];

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
