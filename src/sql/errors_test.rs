//! Wrong queries and what is said of them: `tests/data/errors/*.sql`, the expected message beside each in `.err`.
//! `UPDATE_EXPECT=1` rewrites the expected messages, for a look at the difference.

use std::fs;
use std::path::{Path, PathBuf};

use super::submission::{Discovered, Submission};
use super::text::Variables;
use crate::error::Error;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/errors")
}

/// What `highwater validate tables.sql <case>` says. The tables come first, so that places are those of a second file.
pub(super) async fn message_of(tables: Option<&str>, name: &str, source: &str) -> Result<(), Error> {
    let tables = tables.map(|tables| ("tables.sql".to_owned(), tables.to_owned()));
    let texts = tables.into_iter().chain([(name.to_owned(), source.to_owned())]).collect();
    let submission = Submission::of_texts(texts, &Variables::default())?;
    let query = submission.compile(&Discovered::default()).await?;
    crate::job::check::check(&query, "test").map(drop)
}

#[tokio::test]
async fn every_wrong_query_gets_its_message() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let tables = fs::read_to_string(folder().join("tables.sql")).unwrap();
    let mut cases: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|it| it == "sql") && !path.ends_with("tables.sql"));
    cases.sort();
    assert!(cases.len() >= 35, "the cases are in {}", folder().display());
    let mut wrong = Vec::new();
    for path in cases {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = fs::read_to_string(&path).unwrap();
        let tables = Some(tables.as_str());
        let said = match message_of(tables, &name, &source).await {
            Ok(()) => "no error".to_owned(),
            Err(error @ (Error::Sql(_) | Error::Config(_))) => error.to_string(),
            Err(error) => format!("not the user's mistake: {error}"),
        };
        let expected_path = path.with_extension("err");
        if update {
            fs::write(&expected_path, format!("{said}\n")).unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if said != expected.trim_end() || said == "no error" {
            wrong.push(format!("{name}\n  expected {}\n  but got  {said}", expected.trim_end()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
