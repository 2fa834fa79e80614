//! One writer: the process that was started last has the job, and those before it notice, however long they slept.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crate::crash::{Ends, Job, publish_until};
use crate::million::check;
use crate::oracle::Oracle;
use crate::run::{Running, wait_until};
use crate::topic::Topic;

/// It has ended, because this process has its job.
#[track_caller]
fn assert_gave_way(running: &mut Running, successor: u32) {
    assert_eq!(running.wait(), 2);
    let said = format!("was taken over by process {successor} on ");
    assert!(running.log().contains(&said), "{said:?} is not in\n{}", running.log());
}

#[test]
fn processes_that_take_each_others_place() {
    let topic = Topic::create("fencing", 4);
    let (job, enough) = (Job::new(&topic.name, "fencing"), AtomicBool::new(false));
    let start = || {
        let before = job.newest();
        let mut running = job.start(&[]);
        wait_until("it has the job", || job.newest() > before + 6 || running.ended().is_some());
        assert_eq!(running.ended(), None, "{}", running.log());
        running
    };
    std::thread::scope(|scope| {
        let _ends = Ends(&enough);
        scope.spawn(|| publish_until(&topic, &enough));
        // Two at once.
        let mut first = start();
        let before = job.newest();
        let second = job.start(&[]);
        assert_gave_way(&mut first, second.id());
        wait_until("the second goes on", || job.newest() > before + 20);
        // One that sleeps in the middle of its work, several times, until its numbers have been used and forgotten.
        let mut sleeping = second;
        for _ in 0..4 {
            sleeping.signal("STOP");
            let awake = start();
            let before = job.newest();
            wait_until("its numbers are forgotten", || job.newest() > before + 40);
            sleeping.signal("CONT");
            assert_gave_way(&mut sleeping, awake.id());
            sleeping = awake;
        }
        // Back before anybody has missed it: it stays.
        sleeping.signal("STOP");
        std::thread::sleep(Duration::from_millis(700));
        sleeping.signal("CONT");
        enough.store(true, SeqCst);
        assert_eq!(sleeping.stop(), 0);
    });
    job.end();
    check(&job.database, &Oracle::of(&topic.name, 3_000));
}
