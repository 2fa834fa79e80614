//! The golden cases of Highwater itself, and those of its queries, in every manner. `HIGHWATER_CASES=retract` runs only those with that in
//! their paths.

use std::path::{Path, PathBuf};

use super::case::{Case, find};
use super::check::check;
use super::run::{Manner, compile, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cases_have_the_same_rows_in_every_manner() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut failed = Vec::new();
    let files = find(&["tests/cases", "queries/tests"].map(|folder| root.join(folder))).unwrap();
    let wanted = std::env::var("HIGHWATER_CASES").unwrap_or_default();
    let files: Vec<_> = files.into_iter().filter(|file| file.to_string_lossy().contains(&wanted)).collect();
    let running: Vec<_> = files.into_iter().map(|file| tokio::spawn(complaints(file))).collect();
    for case in running {
        failed.extend(case.await.unwrap());
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
