//! Uneven partitions in every manner: the same rows, and few windows open, because partitions that run ahead wait.

use super::case::Case;
use super::check::check;
use super::run::{Manner, compile, run};

/// A window a second, and how long each partition is in seconds.
struct Uneven<'a> {
    max_drift: &'a str,
    partitions: &'a [i64],
    /// Records in between that have no time.
    has_nulls: bool,
}

impl Uneven<'_> {
    /// The partitions one after the other, the longest first: without alignment all windows of the first are open when the
    /// second begins.
    fn case(&self) -> Case {
        let mut text = format!(
            "=== query\nCREATE TABLE t (at TIMESTAMP(3), WATERMARK FOR at AS at) WITH ('connector' = 'kafka', 'topic' = 't', \
             'properties.bootstrap.servers' = 'none:9092', 'format' = 'json', '{}' = '{}');\n\
             CREATE TABLE results WITH ('connector' = 'blackhole');\n\
             INSERT INTO results SELECT window_start, count(*) AS n FROM TUMBLE(t, at, INTERVAL '1' SECOND) GROUP BY window_start, \
             window_end;\n\n=== input t\n",
            crate::connector::MAX_DRIFT,
            self.max_drift,
        );
        let longest = self.partitions.iter().copied().max().unwrap_or_default();
        let mut expected = String::new();
        for (number, &seconds) in self.partitions.iter().enumerate() {
            for second in 0..seconds {
                text += &format!("@partition={number} {{\"at\": \"{}\"}}\n", at(second));
                if self.has_nulls && second % 5 == 0 {
                    text += &format!("-- dead no_event_time\n@partition={number} {{\"at\": null}}\n");
                }
            }
        }
        for second in 0..longest {
            let count = self.partitions.iter().filter(|&&seconds| second < seconds).count();
            expected += &format!("{} | {count}\n", at(second));
        }
        text += &format!("\n=== expected results\nwindow_start | n\n{expected}");
        Case::parse("aligned.test", &text).unwrap()
    }

    /// The most windows that were open, over all manners that read a few records at a time.
    async fn most_open_windows(&self) -> u64 {
        let case = self.case();
        let query = compile(&case).await.unwrap();
        let mut most = 0;
        let a_few = |lanes| Manner { lanes, batch: 7, saves_each: true, ..Manner::WHOLE };
        let stopped = Manner { restart_every: Some(60), ..a_few(3) };
        let crashed = Manner { crash_every: Some(5), ..a_few(3) };
        for manner in [Manner::WHOLE, a_few(1), a_few(3), stopped, crashed] {
            let came = run(&case, &query, &manner).await.unwrap_or_else(|error| panic!("{manner}: {error}"));
            let complaints = check(&case, &came).unwrap();
            assert!(complaints.is_empty(), "{manner}: {}", complaints.join("\n"));
            if manner == a_few(1) || manner == a_few(3) {
                most = most.max(came.most_open_windows);
            }
        }
        most
    }
}

fn at(second: i64) -> String {
    format!("2026-03-01T10:{:02}:{:02}", second / 60, second % 60)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn few_windows_are_open_while_a_backlog_is_read() {
    let partitions = &[200, 120, 160];
    let most = Uneven { max_drift: "2 s", partitions, has_nulls: false }.most_open_windows().await;
    let without = Uneven { max_drift: "off", partitions, has_nulls: false }.most_open_windows().await;
    // Lanes do not stand still at the same moment, so that there may be some more than follow from the drift.
    assert!(most <= 60 && without >= 190, "{most}, and {without} without alignment");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_waits_for_a_partition_without_records_or_times() {
    let most = Uneven { max_drift: "5 s", partitions: &[120, 0, 3, 0, 90], has_nulls: true }.most_open_windows().await;
    assert!(most <= 60, "{most}");
}
