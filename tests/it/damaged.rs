//! Checkpoints that are damaged, cut off or missing: the job goes on from an older one, and afterwards each row is there once.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use data_gen::events::EventsConfig;

use crate::crash::{Ends, Job, Moments, publish_until};
use crate::million::check;
use crate::oracle::Oracle;
use crate::run::wait_until;
use crate::topic::Topic;

/// The newest checkpoints of a folder, and claims among them.
pub(crate) fn newest(folder: &Path, count: usize) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-"));
    files.sort();
    files.split_off(files.len().saturating_sub(count))
}

/// A byte is changed, the end is cut off, or nothing is left of it.
pub(crate) fn damage(file: &Path, how: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    match how {
        0 => bytes[middle] ^= 4,
        1 => bytes.truncate(middle),
        _ => bytes.clear(),
    }
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn damaged_checkpoints_double_and_lose_nothing() {
    let topic = Topic::create("damaged", 4);
    let (job, mut moments, enough) = (Job::new(&topic.name, "damaged"), Moments::new(), AtomicBool::new(false));
    let start_ms = EventsConfig::default().start_ms;
    std::thread::scope(|scope| {
        let _ends = Ends(&enough);
        scope.spawn(|| publish_until(&topic, &enough));
        for round in 0..6_u64 {
            let malformed = || {
                (0..8).for_each(|number| topic.send(number % 4, Some("k"), Some(b"not json"), start_ms + 1_000));
                topic.flush();
            };
            malformed();
            let before = job.newest();
            let mut running = job.start(&[]);
            wait_until("it has got on", || job.newest() > before + 12 || running.ended().is_some());
            // Some are delivered after the checkpoint that the job goes back to.
            malformed();
            moments.pause(100, 300);
            running.kill();
            let files = newest(&job.checkpoints(), 1 + moments.below(4) as usize);
            files.iter().for_each(|file| damage(file, moments.below(3)));
            if round == 3 {
                // One that is missing is known by those after it.
                let before = newest(&job.checkpoints(), files.len() + 1).remove(0);
                std::fs::remove_file(before).unwrap();
            }
            let before = job.newest();
            let mut running = job.start(&[]);
            if round % 3 == 1 {
                // In the midst of taking out, or soon after.
                wait_until("it has the job", || job.newest() > before || running.ended().is_some());
                moments.pause(0, 150);
                running.kill();
                // What was damaged counts no more, even if it were whole again.
                running = job.start(&[]);
            }
            wait_until("it goes on", || job.newest() > before + 3 || running.ended().is_some());
            assert_eq!(running.ended(), None, "{}", running.log());
            let log = running.log();
            let said = log.matches("taken out of the tables and made again").count() as u64;
            assert!(said > round, "{log}");
            assert_eq!(running.stop(), 0);
        }
        enough.store(true, SeqCst);
    });
    job.end();
    let oracle = Oracle::of(&topic.name, 3_000);
    assert_eq!(oracle.malformed.len(), 96);
    check(&job.database, &oracle);
}

#[test]
fn what_was_damaged_and_is_whole_again_counts_no_more() {
    let topic = Topic::create("mended", 4);
    topic.generate(EventsConfig { total: 20_000, ..EventsConfig::default() }, None);
    let job = Job::new(&topic.name, "mended");
    let said = job.run(&["--until-caught-up"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    topic.generate(EventsConfig { total: 2_000, seed: 3, ..EventsConfig::default() }, None);
    let said = job.run(&["--until-caught-up"]);
    assert_eq!(said.code, Some(0), "{said:?}");

    let saved: Vec<_> =
        newest(&job.checkpoints(), 2).into_iter().map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect();
    saved.iter().for_each(|(file, _)| damage(file, 0));
    let mut running = job.start(&[]);
    let claim = job.newest();
    wait_until("it has the job", || job.newest() > claim || running.ended().is_some());
    running.kill();
    saved.iter().for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
    job.end();
    check(&job.database, &Oracle::of(&topic.name, 3_000));
}
