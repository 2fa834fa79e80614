//! Checkpoints in an object store, over the network, with its conditional writes.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use highwater::checkpoint::CheckpointStore;
use highwater::job::running::Outcome;

use crate::million::{check, customers, query};
use crate::run::{Said, binary, block_on, bounded, run, run_until};
use crate::stack::{Database, s3_url, unique};

/// A folder in a bucket of the test's own.
fn store(bucket: &str, job: &str) -> CheckpointStore {
    let created = reqwest::blocking::Client::new().put(format!("{}/{bucket}", s3_url())).send().unwrap();
    assert!(created.status().is_success(), "{created:?}");
    CheckpointStore::at(&format!("s3://{bucket}/some/folder"), variables(), job).unwrap()
}

fn variables() -> [(String, String); 5] {
    [
        ("AWS_ENDPOINT_URL", s3_url().as_str()),
        ("AWS_ACCESS_KEY_ID", "any"),
        ("AWS_SECRET_ACCESS_KEY", "any"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

#[test]
fn a_job_goes_on_from_its_checkpoints_in_s3() {
    let (topic, oracle) = customers("s3", 60_000);
    let database = Database::new("s3");
    let text = query(&topic.name, &database.0);
    let bucket = unique("bucket").replace('_', "-");
    let checkpoints = store(&bucket, &database.0);
    assert!(checkpoints.place().ends_with(&format!("/some/folder/{}", database.0)), "{}", checkpoints.place());
    let settings = || {
        let mut settings = bounded(&database.0);
        settings.checkpoints = checkpoints.clone();
        settings.flush_rows = 5_000;
        settings
    };
    for part in 1..4 {
        let enough = move |progress: &highwater::job::progress::Progress| progress.events.load(Relaxed) > part * 5_000;
        let (outcome, _) = run_until(&text, settings(), enough).unwrap();
        if outcome == Outcome::Finished {
            break;
        }
    }
    // Looked at meanwhile, over the network, in pieces.
    let looked_at = |arguments: &[&str]| -> serde_json::Value {
        let place = format!("s3://{bucket}/some/folder");
        let all = [&["checkpoint"], arguments, &["--json", "--checkpoint-dir", &place]].concat();
        let said: Said = binary(all).envs(variables()).output().unwrap().into();
        assert_eq!(said.code, Some(0), "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    };
    let listed = looked_at(&["list", "--check"]);
    assert_eq!(listed[0]["job"], database.0.as_str());
    assert!(listed[0]["checkpoints"].as_array().is_some_and(|it| it.len() > 2), "{listed}");
    let shown = looked_at(&["show", &database.0]);
    assert!(shown["windows"]["open"].as_array().is_some_and(|it| it.len() == 2), "{shown}");
    let ended = run(&text, settings());
    assert!(ended.as_ref().is_ok() || ended.as_ref().is_err_and(|it| it.to_string().contains("has run to its end")));
    check(&database, &oracle);
}

#[test]
fn a_number_in_s3_is_taken_once() {
    let store = store(&unique("bucket").replace('_', "-"), "j");
    let first = block_on(store.claim(0)).unwrap();
    block_on(first.fence().check()).unwrap();
    let claims = block_on(futures::future::join_all((0..8).map(|_| store.claim(0))));
    let numbers: BTreeSet<u64> = claims.iter().map(|claim| claim.as_ref().unwrap().number()).collect();
    assert_eq!(numbers, (2..10).collect());
    let error = block_on(first.fence().check()).unwrap_err().to_string();
    assert!(error.contains("was taken over by process"), "{error}");
}

#[test]
fn what_is_no_place_for_checkpoints_is_said() {
    for place in ["s3://", "ftp://host/folder", "memory:///x", "nothing://x"] {
        let error = CheckpointStore::at(place, [], "j").unwrap_err();
        assert!(error.to_string().contains(&format!("cannot use '{place}'")), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
