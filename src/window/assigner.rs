//! Event time → window.

/// Tumbling windows: `[start, start + size)`, aligned to the epoch plus an offset, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tumbling {
    /// Length in milliseconds, at least 1.
    pub size: i64,
    /// Shift of the alignment in milliseconds; may be negative.
    pub offset: i64,
}

impl Tumbling {
    /// The start of the window that an event time falls into.
    pub fn start_of(self, event_time: i64) -> i64 {
        event_time.saturating_sub(event_time.wrapping_sub(self.offset).rem_euclid(self.size))
    }

    /// The exclusive end of the window that starts at `start`; a window at the end of time ends there.
    pub fn end_of(self, start: i64) -> i64 {
        start.saturating_add(self.size)
    }

    /// Whether window bounds always fall on whole seconds.
    pub fn in_whole_seconds(self) -> bool {
        self.size % 1_000 == 0 && self.offset % 1_000 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_align_to_the_epoch_and_contain_their_events() {
        for (size, offset, event_time, start) in [
            (5, 0, 0, 0),
            (5, 0, 4, 0),
            (5, 0, 5, 5),
            (5, 0, -1, -5),
            (5, 0, -5, -5),
            (5, 2, 1, -3),
            (5, 2, 2, 2),
            (5, -1, 3, -1),
            (5, -1, 4, 4),
            (1, 0, 7, 7),
            (1_500, 0, 1_499, 0),
            (1_500, 0, 1_500, 1_500),
            (86_400_000, 0, 1_718_900_000_123, 1_718_841_600_000),
        ] {
            let windows = Tumbling { size, offset };
            assert_eq!(windows.start_of(event_time), start, "size {size}, offset {offset}, time {event_time}");
            assert!(windows.start_of(event_time) <= event_time && event_time < windows.end_of(start));
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let windows = Tumbling { size: 60_000, offset: 0 };
        assert_eq!(windows.end_of(windows.start_of(i64::MAX)), i64::MAX);
        assert_eq!(windows.start_of(i64::MIN + 1), i64::MIN);
    }
}
