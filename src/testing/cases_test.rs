//! The golden cases of Highwater itself, and those of its queries, in every manner. `HIGHWATER_CASES=retract` runs only those with that in
//! their paths.

use std::path::{Path, PathBuf};

use futures::StreamExt;

use super::case::{Case, find};
use super::check::check;
use super::run::{Manner, compile, run};

/// Cases that run at a time: with all of them at once, one that waits for many cuts would wait for all others too.
const AT_A_TIME: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cases_have_the_same_rows_in_every_manner() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut failed = Vec::new();
    let files = find(&["tests/cases", "queries/tests"].map(|folder| root.join(folder))).unwrap();
    let wanted = std::env::var("HIGHWATER_CASES").unwrap_or_default();
    let files = files.into_iter().filter(|file| file.to_string_lossy().contains(&wanted));
    let mut running = futures::stream::iter(files).map(|file| tokio::spawn(complaints(file))).buffered(AT_A_TIME);
    while let Some(case) = running.next().await {
        failed.extend(case.unwrap());
    }
    assert!(failed.is_empty(), "\n{}\n", failed.join("\n"));
}

async fn complaints(file: PathBuf) -> Vec<String> {
    let outcome = async {
        let case = Case::read(&file)?;
        let query = compile(&case).await?;
        for manner in Manner::all() {
            let complaints = check(&case, &run(&case, &query, &manner).await?)?;
            if !complaints.is_empty() {
                return Ok([vec![format!("FAIL {} ({manner})", file.display())], complaints].concat());
            }
        }
        Ok(Vec::new())
    };
    outcome.await.unwrap_or_else(|error: crate::error::Error| vec![format!("FAIL {}: {error}", file.display())])
}
