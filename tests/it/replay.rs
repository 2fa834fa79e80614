//! A job that is set back fills the same tables again: afterwards each row is there once, as if nothing had been.

use data_gen::events::EventsConfig;

use crate::crash::{Job, Moments};
use crate::million::check;
use crate::oracle::Oracle;
use crate::topic::Topic;

#[test]
fn what_is_read_again_gives_the_same_rows() {
    let topic = Topic::create("replay", 4);
    let config = EventsConfig { total: 20_000, ..EventsConfig::default() };
    topic.generate(config.clone(), None);
    (0..40).for_each(|number| topic.send(number % 4, Some("k"), Some(b"not json"), config.start_ms + 1_000));
    topic.flush();
    let (oracle, job) = (Oracle::of(&topic.name, 3_000), Job::new(&topic.name, "replay"));
    let same = || check(&job.database, &oracle);
    job.end();
    same();

    let said = job.run(&["--bounded", "--from", "earliest"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("rows out of"), "{said:?}");
    same();

    // In the middle of a window.
    let middle = (config.start_ms + config.end_ms()) / 2 + 1_234;
    let middle = chrono::DateTime::from_timestamp_millis(middle).unwrap().to_rfc3339();
    let said = job.run(&["--bounded", "--from", &middle]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let kept = format!(
        "SELECT count() > 0 FROM {{db}}.registrations WHERE window_start < parseDateTimeBestEffort('{middle}')"
    );
    assert_eq!(job.database.ask(&kept), "1");
    same();

    // Set back without being run; then run, and killed again and again on the way.
    let mut moments = Moments::new();
    for from in ["earliest", middle.as_str()] {
        let said = job.rewind(from);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_ne!(job.database.ask("SELECT count() FROM {db}.changes"), oracle.events.len().to_string());
        for _ in 0..3 {
            let before = job.newest();
            let mut running = job.start(&["--bounded"]);
            job.wait_for_progress(&mut running, before);
            moments.pause(0, 300);
            running.kill();
        }
        job.end();
        same();
    }

    let said = job.run(&["--bounded", "--from", "2099-01-01"]);
    assert_eq!(said.code, Some(0), "after all that was read there is nothing to read again: {said:?}");
    same();
}
