//! `highwater test` as a user meets it. What cases can say is tested beside the runner.

use std::fs;
use std::path::Path;

use crate::run::highwater;

const CASE: &str = "\
Clicks of a page.

=== query
CREATE TABLE clicks (page STRING, seen TIMESTAMP(3), WATERMARK FOR seen AS seen)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'properties.bootstrap.servers' = '${KAFKA_BROKERS:-none:9092}', 'format' = 'json');
CREATE TABLE results WITH ('connector' = 'clickhouse', 'url' = 'http://none:8123', 'table' = '${DATABASE}.clicks');
INSERT INTO results
SELECT window_start, page, count(*) AS clicks FROM TUMBLE(clicks, seen, INTERVAL '10' SECOND) GROUP BY window_start, window_end, page;
=== set DATABASE = shop

=== input clicks
{\"page\": \"a\", \"seen\": \"2026-03-01T10:00:00\"}
# Another window.
{\"page\": \"a\", \"seen\": \"2026-03-01T10:00:10\"}
{\"page\": \"a\", \"seen\": \"2026-03-01T10:00:01\"}
-- dead no_event_time
{\"page\": \"b\", \"seen\": \"2026-03-01T10:00:10\"}

=== expected
# The page alone and how often.
page | clicks
a    | 2
b    | 1
";

fn in_folder(case: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cases")).unwrap();
    let file = folder.path().join("cases/clicks.test");
    fs::write(&file, case).unwrap();
    let path = folder.path().to_str().unwrap();
    let said = highwater(["test", path].iter().chain(arguments));
    let shown = said.out.replace(&format!("{path}/"), "") + &said.err;
    (said.code, shown, fs::read_to_string(&file).unwrap())
}

#[test]
fn what_differs_is_shown_and_written_on_demand() {
    let (code, shown, file) = in_folder(CASE, &[]);
    let expected = "\
FAILED  cases/clicks.test

cases/clicks.test
cases/clicks.test:19: results: 1 missing (-), 2 not expected (+), 1 right
    page | clicks
  + a    | 1
  + a    | 1
  - a    | 2
cases/clicks.test:15:1: this record came late, it is in \"results_late\"; mark it: -- late
cases/clicks.test:17:1: this record is marked as dead, but it is no dead letter

1 of 1 cases failed; where the new rows are right, --update writes them into the files
";
    assert_eq!(shown, expected);
    assert_eq!((code, file.as_str()), (Some(1), CASE));

    let (code, shown, file) = in_folder(CASE, &["--update", "--verbose"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.starts_with("updated cases/clicks.test  Clicks of a page. ("), "{shown}");
    let updated = CASE
        .replace(
            "{\"page\": \"a\", \"seen\": \"2026-03-01T10:00:01\"}",
            "-- late\n{\"page\": \"a\", \"seen\": \"2026-03-01T10:00:01\"}",
        )
        .replace("-- dead no_event_time\n", "")
        .replace("a    | 2\nb    | 1\n", "a    | 1\na    | 1\nb    | 1\n");
    assert_eq!(file, updated);
    let (code, shown, _) = in_folder(&updated, &["--thorough", "--jobs", "1"]);
    assert_eq!((code, shown.as_str()), (Some(0), "ok      cases/clicks.test\n\n1 cases are right\n"));
}

#[test]
fn mistakes_in_a_case_have_their_places() {
    for (from, to, expected) in [
        (
            "=== expected\n",
            "=== expected resluts\n",
            "cases/clicks.test:19:1: the query fills no table \"resluts\"; there are results, results_late, dead_letters; did you mean \"results\"?",
        ),
        (
            "page | clicks",
            "page | click",
            "cases/clicks.test:19:1: table \"results\" has no column \"click\"; it has window_start, page, clicks; did you mean \"clicks\"?",
        ),
        (
            "=== input clicks",
            "=== input click",
            "cases/clicks.test:12:1: the query does not read \"click\"; it reads clicks; did you mean \"clicks\"?",
        ),
        ("count(*)", "cuont(*)", "cases/clicks.test:8:28: function \"cuont\" is not known"),
        (
            "=== set DATABASE = shop\n",
            "=== set X = Y\n",
            "cases/clicks.test:6:95: variable DATABASE is not set; add a line === set DATABASE = VALUE to the case, or write",
        ),
    ] {
        let (code, shown, _) = in_folder(&CASE.replace(from, to), &[]);
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    let nothing = highwater(["test", Path::new(env!("CARGO_MANIFEST_DIR")).join("src").to_str().unwrap()]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.err.contains("has no cases; they are files that end in .test"), "{}", nothing.err);
}
