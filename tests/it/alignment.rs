//! Uneven partitions of a real topic: those that run ahead wait, and nothing else changes.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use chrono::DateTime;

use crate::filesystem::Folder;
use crate::run::{bounded, run};
use crate::stack::kafka_brokers;
use crate::topic::Topic;

/// How many seconds lie between two records of each partition; 0 has no records. More partitions than a lane keeps the fetched
/// records of.
const STEPS: [i64; 8] = [60, 10, 120, 30, 0, 60, 40, 60];
const WINDOWS: i64 = 10_000;
const BEGINNING: i64 = 1_767_225_600;

#[test]
fn uneven_partitions_keep_few_windows_open() {
    let topic = Topic::create("uneven", STEPS.len() as i32);
    let seconds = |partition: usize| (0..WINDOWS * 60).step_by(STEPS[partition] as usize);
    for partition in (0..STEPS.len()).filter(|&partition| STEPS[partition] > 0) {
        for (count, second) in seconds(partition).enumerate() {
            let at = DateTime::from_timestamp(BEGINNING + second, 0).unwrap();
            let value = format!("{{\"at\":\"{}\"}}", at.format("%Y-%m-%dT%H:%M:%S"));
            topic.send(partition as i32, None, Some(value.as_bytes()), (BEGINNING + second) * 1_000);
            if count % 500 == 499 {
                // Small batches, so that they can be fetched a few at a time.
                topic.flush();
            }
        }
    }
    topic.flush();
    let mut most = Vec::new();
    for (lanes, drift) in [(1, "2 min"), (3, "2 min"), (1, "off")] {
        let folder = Folder::new();
        let query = format!(
            "CREATE TABLE t (at TIMESTAMP(3), WATERMARK FOR at AS at) WITH ('connector' = 'kafka', 'topic' = '{}', 'format' = 'json',
                 'properties.bootstrap.servers' = '{}', 'scan.watermark.alignment.max-drift' = '{drift}',
                 'properties.fetch.message.max.bytes' = '20000', 'properties.queued.min.messages' = '500');
             CREATE TABLE results WITH ('connector' = 'filesystem', 'path' = '{{dir}}/results.json');
             INSERT INTO results SELECT window_start, count(*) AS n FROM TUMBLE(t, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end;",
            topic.name,
            kafka_brokers(),
        );
        let mut settings = bounded("uneven");
        settings.lanes = lanes;
        // Windows are counted at cuts.
        settings.flush_interval = Duration::from_millis(1);
        let progress = run(&folder.sql(&query), settings).unwrap();
        assert_eq!(progress.late.load(Relaxed), 0);
        assert_eq!(progress.paused.load(Relaxed), 0);
        let mut lines = folder.lines("results.json");
        lines.sort();
        let mut counts = vec![0; WINDOWS as usize];
        for partition in (0..STEPS.len()).filter(|&partition| STEPS[partition] > 0) {
            seconds(partition).for_each(|second| counts[second as usize / 60] += 1);
        }
        let line = |(window, n): (usize, i32)| {
            let start = DateTime::from_timestamp(BEGINNING + window as i64 * 60, 0).unwrap();
            format!("{{\"window_start\":\"{}\",\"n\":{n}}}", start.format("%Y-%m-%dT%H:%M:%S"))
        };
        let expected: Vec<_> = counts.into_iter().enumerate().filter(|(_, n)| *n > 0).map(line).collect();
        assert!(lines == expected, "{lanes} lanes, {drift}: {} windows, not {}", lines.len(), expected.len());
        most.push(progress.most_open_windows.load(Relaxed));
    }
    // A piece of a thousand records is of up to 2,000 windows; lanes do not stand still at the same moment.
    assert!(most[0] <= 4_000 && most[1] <= 3 * 4_000 && most[2] >= 8_000, "{most:?}");
}
