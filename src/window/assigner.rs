//! Event time → windows, and the panes that windows share.
//!
//! ```text
//!  HOP, slide 1, size 3:     [───────────)            a row of the third slice counts into three windows,
//!                                [───────────)        but is accumulated once, in the slice's pane;
//!                                    [───────────)    a window is the panes of its slices
//!  slices                    ├───┼───┼───┼───┼───┤
//! ```
//!
//! Which windows are open differs from row to row: a row that its clock has overtaken counts into the later ones of its
//! windows only. So a pane is of a slice *and* of the first window that its rows count into, see [`PaneKey`].

use super::calendar::{Grid, Span};

/// The windows of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Windows {
    /// One after the other.
    Tumble(Grid),
    /// One begins at every boundary; they overlap.
    Hop {
        /// Where they begin.
        starts: Grid,
        /// How long they are, at least the distance of two starts.
        size: Span,
    },
    /// Periods one after the other, with a window from the period's beginning to each of its steps.
    Cumulate {
        /// The periods.
        periods: Grid,
        /// The distance of the steps. The last ends with the period, however long it is.
        step: Span,
        /// Whether a window has only the groups that have changed since the step before.
        on_update: bool,
    },
    /// Rows of one key that are at most this many milliseconds apart.
    Session {
        /// The gap in milliseconds.
        gap: i64,
    },
}

/// What a pane is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaneKey {
    /// The start of the slice of time (of the period, in cumulating windows, which need no slices).
    pub slice: i64,
    /// The end of the first window that the rows count into; they count into all later ones that have the slice.
    pub first_end: i64,
}

impl Windows {
    /// Tumbling windows of so many milliseconds.
    pub fn tumbling(size: i64, offset: i64) -> Self {
        Self::Tumble(Grid::fixed(size, offset))
    }

    /// The pane for a row, given the time up to which windows have been closed for it; `None` when all of its windows have.
    pub fn pane_of(self, time: i64, closed_to: i64) -> Option<PaneKey> {
        match self {
            Self::Tumble(grid) => {
                let (slice, first_end) = (grid.start_of(time), grid.next(time));
                (first_end > closed_to).then_some(PaneKey { slice, first_end })
            }
            Self::Hop { starts, size: Span::Fixed(size) } if !starts.every.is_calendar() => {
                fixed_hop(starts, size, time, closed_to)
            }
            Self::Hop { starts, size } => calendar_hop(starts, size, time, closed_to),
            Self::Cumulate { periods, .. } => {
                let (slice, last) = (periods.start_of(time), periods.next(time));
                let first_end =
                    if last > closed_to { self.end_after(slice, time.max(closed_to)) } else { return None };
                Some(PaneKey { slice, first_end })
            }
            // Sessions are found with the rows around.
            Self::Session { .. } => None,
        }
    }

    /// The window that a row falls into, the last of several: of a session, the row's own. Saturates at the ends of time.
    pub fn last_window(self, time: i64) -> (i64, i64) {
        match self {
            Self::Tumble(grid) | Self::Cumulate { periods: grid, .. } => (grid.start_of(time), grid.next(time)),
            Self::Hop { starts, size } => {
                let start = starts.start_of(time);
                (start, starts.after(start, size))
            }
            Self::Session { gap } => (time, time.saturating_add(gap)),
        }
    }

    /// The first end after `time` of a window that begins at `start`, at most where its period ends.
    pub fn end_after(self, start: i64, time: i64) -> i64 {
        match self {
            Self::Tumble(grid) => grid.next(start),
            Self::Hop { starts, size } => starts.after(start, size),
            Self::Session { gap } => start.saturating_add(gap),
            Self::Cumulate { periods, step, .. } => {
                let last = periods.next(start);
                let passed = time.saturating_sub(start).max(0);
                let mut count = match step {
                    Span::Fixed(step) => passed / step + 1,
                    // A first guess that is never too far.
                    _ => (passed / step.bounds().1.max(1)).max(1),
                };
                loop {
                    let end = periods.after(start, step.times(count)).min(last);
                    if end > time || end == last {
                        return end;
                    }
                    count += 1;
                }
            }
        }
    }

    /// The start of the first window that has the slice, of overlapping windows.
    pub fn first_start_with(self, slice: i64) -> i64 {
        let Self::Hop { starts, size } = self else { return slice };
        if let (Span::Fixed(size), false) = (size, starts.every.is_calendar()) {
            return starts.next(slice.saturating_sub(size));
        }
        let mut first = starts.start_of(slice);
        loop {
            let earlier = starts.previous(first);
            if earlier >= first || starts.after(earlier, size) <= slice {
                return first;
            }
            first = earlier;
        }
    }

    /// Whether window bounds always fall on whole seconds.
    pub fn in_whole_seconds(self) -> bool {
        let whole = |span: Span| !matches!(span, Span::Fixed(millis) if millis % 1_000 != 0);
        match self {
            Self::Tumble(grid) => grid.in_whole_seconds(),
            Self::Hop { starts: grid, size: span } | Self::Cumulate { periods: grid, step: span, .. } => {
                grid.in_whole_seconds() && whole(span)
            }
            Self::Session { .. } => false,
        }
    }

    /// The greatest length that a window can have, in milliseconds. A session may be longer: this is one row's.
    pub fn longest(self) -> i64 {
        match self {
            Self::Tumble(grid) | Self::Cumulate { periods: grid, .. } => grid.every.bounds().1,
            Self::Hop { size, .. } => size.bounds().1,
            Self::Session { gap } => gap,
        }
    }

    /// Whether they follow a calendar.
    pub fn is_calendar(self) -> bool {
        match self {
            Self::Tumble(grid) | Self::Hop { starts: grid, .. } | Self::Cumulate { periods: grid, .. } => {
                grid.every.is_calendar()
            }
            Self::Session { .. } => false,
        }
    }

    /// How many panes a window is made of, at most.
    pub fn panes_per_window(self) -> i64 {
        let Self::Hop { starts, size } = self else { return 1 };
        let (every, size) = (starts.every.bounds(), size.bounds());
        match starts.every {
            Span::Fixed(every) if size.0 % every != 0 => 2 * (size.0 / every) + 1,
            Span::Fixed(every) => size.0 / every,
            _ => (size.1 + every.0 - 1) / every.0.max(1),
        }
    }
}

/// A window ends wherever one begins, `size % slide` later: the slices lie between all these.
fn fixed_hop(starts: Grid, size: i64, time: i64, closed_to: i64) -> Option<PaneKey> {
    let Span::Fixed(slide) = starts.every else { return None };
    let start = starts.start_of(time);
    let cut = start.saturating_add(size % slide);
    let slice = if time < cut { start } else { cut };
    let first_end = starts.next(time.max(closed_to).saturating_sub(size)).saturating_add(size);
    (first_end <= start.saturating_add(size)).then_some(PaneKey { slice, first_end })
}

fn calendar_hop(starts: Grid, size: Span, time: i64, closed_to: i64) -> Option<PaneKey> {
    let mut start = starts.start_of(time);
    let (mut slice, mut first_end) = (start, None);
    loop {
        let end = starts.after(start, size);
        if end <= time {
            slice = slice.max(end);
            break;
        }
        if end > closed_to {
            first_end = Some(end);
        }
        let earlier = starts.previous(start);
        if earlier >= start {
            break;
        }
        start = earlier;
    }
    first_end.map(|first_end| PaneKey { slice, first_end })
}

impl std::fmt::Display for Windows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tumble(grid) => write!(f, "TUMBLE of {}", grid.every)?,
            Self::Hop { starts, size } => write!(f, "HOP of {size} every {}", starts.every)?,
            Self::Cumulate { periods, step, .. } => write!(f, "CUMULATE of {} in steps of {step}", periods.every)?,
            Self::Session { gap } => write!(f, "SESSION with a gap of {}", Span::Fixed(*gap))?,
        }
        match self {
            Self::Tumble(grid) | Self::Hop { starts: grid, .. } | Self::Cumulate { periods: grid, .. } => {
                if grid.offset != 0 {
                    let sign = if grid.offset < 0 { "-" } else { "" };
                    write!(f, ", shifted by {sign}{}", Span::Fixed(grid.offset))?;
                }
                if grid.every.is_calendar() {
                    write!(f, " in {}", grid.zone)?;
                }
            }
            Self::Session { .. } => {}
        }
        if let Self::Cumulate { on_update: true, .. } = self {
            write!(f, ", groups that changed")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::properties::properties;

    /// All windows that have a time, by the definitions, from a first start that is early enough.
    fn naive(windows: Windows, time: i64) -> Vec<(i64, i64)> {
        let mut all = Vec::new();
        match windows {
            Windows::Tumble(grid) => all.push((grid.start_of(time), grid.next(time))),
            Windows::Hop { starts, size } => {
                let mut start = starts.start_of(time - 2 * size.bounds().1);
                while start <= time {
                    all.push((start, starts.after(start, size)));
                    start = starts.next(start);
                }
            }
            Windows::Cumulate { periods, step, .. } => {
                let (start, last) = (periods.start_of(time), periods.next(time));
                let mut end = start;
                for count in 1.. {
                    if end == last {
                        break;
                    }
                    end = periods.after(start, step.times(count)).min(last);
                    all.push((start, end));
                }
            }
            Windows::Session { .. } => {}
        }
        all.retain(|&(start, end)| start <= time && time < end);
        all
    }

    fn windows() -> impl Strategy<Value = Windows> {
        let zone = prop::sample::select(vec!["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia"]);
        let amounts = (1_i64..9, 1_i64..9, -100_000_000_i64..100_000_000);
        (0_usize..7, amounts, zone).prop_map(|(kind, (less, more, offset), zone)| {
            let grid = |every| Grid { every, offset, zone: zone.parse().unwrap() };
            match kind {
                0 => Windows::Tumble(grid(Span::Days(more))),
                1 => Windows::Hop { starts: grid(Span::Fixed(less * 700)), size: Span::Fixed(less * 700 + more * 900) },
                2 => Windows::Hop { starts: grid(Span::Fixed(less * 500)), size: Span::Fixed(less * 500 * more) },
                3 => Windows::Hop { starts: grid(Span::Days(less)), size: Span::Days(less + more) },
                4 => Windows::Hop { starts: grid(Span::Days(1)), size: Span::Months(1) },
                5 => Windows::Cumulate {
                    periods: grid(Span::Fixed(less * more * 500)),
                    step: Span::Fixed(less * 500),
                    on_update: false,
                },
                _ => Windows::Cumulate { periods: grid(Span::Months(1)), step: Span::Days(more), on_update: false },
            }
        })
    }

    proptest! {
        #![proptest_config(properties(2_000))]

        #[test]
        fn a_row_counts_into_exactly_its_open_windows(
            windows in windows(),
            time in -2_000_000_000_000_i64..2_000_000_000_000,
            closed in prop_oneof![-40_000_i64..40_000, -4_000_000_000_i64..4_000_000_000],
        ) {
            let closed_to = time + closed;
            let all = naive(windows, time);
            let mut open: Vec<_> = all.iter().copied().filter(|&(_, end)| end > closed_to).collect();
            let pane = windows.pane_of(time, closed_to);
            prop_assert_eq!(pane.is_some(), !open.is_empty());
            prop_assert_eq!(Some(&windows.last_window(time)), all.iter().max_by_key(|&&(start, end)| (end, start)));
            if let Some(pane) = pane {
                prop_assert_eq!(pane.first_end, open.iter().map(|it| it.1).min().unwrap());
                // The windows that the pane says it is in, which a window finds by the pane's key.
                prop_assert!(pane.slice <= time);
                let mut found: Vec<_> = naive(windows, pane.slice.max(windows.first_start_with(pane.slice)));
                found.retain(|&(_, end)| end >= pane.first_end);
                if let Windows::Cumulate { .. } = windows {
                    let mut end = pane.first_end;
                    found = vec![(pane.slice, end)];
                    while windows.end_after(pane.slice, end) > end {
                        end = windows.end_after(pane.slice, end);
                        found.push((pane.slice, end));
                    }
                }
                found.sort_unstable();
                open.sort_unstable();
                prop_assert_eq!(found, open);
            }
        }
    }

    #[test]
    fn a_late_row_has_a_pane_of_its_own() {
        let hop = Windows::Hop { starts: Grid::fixed(5, 0), size: Span::Fixed(10) };
        assert_eq!(hop.pane_of(3, i64::MIN), Some(PaneKey { slice: 0, first_end: 5 }));
        assert_eq!(hop.pane_of(3, 5), Some(PaneKey { slice: 0, first_end: 10 }));
        assert_eq!(hop.pane_of(3, 10), None);
        assert_eq!(Windows::tumbling(5, 0).pane_of(3, 5), None);
        let cumulate = Windows::Cumulate { periods: Grid::fixed(10, 0), step: Span::Fixed(2), on_update: false };
        assert_eq!(cumulate.pane_of(3, 7), Some(PaneKey { slice: 0, first_end: 8 }));
        assert_eq!(cumulate.pane_of(3, 10), None);
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let hop = Windows::Hop { starts: Grid::fixed(60_000, 0), size: Span::Fixed(90_000) };
        for windows in [Windows::tumbling(60_000, 0), hop] {
            for time in [i64::MIN + 1, i64::MAX] {
                windows.pane_of(time, i64::MIN);
                windows.last_window(time);
            }
        }
    }
}
