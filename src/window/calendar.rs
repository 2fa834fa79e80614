//! Where windows may begin: every so many milliseconds, or by the calendar of a time zone.
//!
//! A day in Berlin has 23, 24 or 25 hours, and a month 28 to 31 days: boundaries of the calendar are counted in local
//! time and turned into instants. All instants are milliseconds since the epoch.

use chrono::{Datelike, MappedLocalTime, Months, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

const DAY: i64 = 86_400_000;
/// Calendars are good for the years 1 to 9999.
pub const CALENDAR_YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Span {
    /// Milliseconds.
    Fixed(i64),
    /// Days of the calendar.
    Days(i64),
    /// Weeks of the calendar, which begin on Mondays.
    Weeks(i64),
    /// Months of the calendar.
    Months(i64),
}

impl Span {
    /// Whether its length depends on where it begins.
    pub fn is_calendar(self) -> bool {
        !matches!(self, Self::Fixed(_))
    }

    /// Whether it is longer than nothing.
    pub fn is_positive(self) -> bool {
        let (Self::Fixed(amount) | Self::Days(amount) | Self::Weeks(amount) | Self::Months(amount)) = self;
        amount > 0
    }

    /// The least and the greatest length in milliseconds that it can have; days may lose or win hours.
    pub fn bounds(self) -> (i64, i64) {
        let days =
            |least: i64, most: i64| (least.saturating_mul(DAY) - DAY, most.saturating_mul(DAY).saturating_add(DAY));
        match self {
            Self::Fixed(millis) => (millis, millis),
            Self::Days(days_) => days(days_, days_),
            Self::Weeks(weeks) => days(weeks.saturating_mul(7), weeks.saturating_mul(7)),
            Self::Months(months) => days(months.saturating_mul(28), months.saturating_mul(31)),
        }
    }

    /// So many times as long.
    pub fn times(self, count: i64) -> Self {
        match self {
            Self::Fixed(millis) => Self::Fixed(millis.saturating_mul(count)),
            Self::Days(days) => Self::Days(days.saturating_mul(count)),
            Self::Weeks(weeks) => Self::Weeks(weeks.saturating_mul(count)),
            Self::Months(months) => Self::Months(months.saturating_mul(count)),
        }
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |amount: &i64| if *amount == 1 { "" } else { "s" };
        match self {
            Self::Fixed(millis) => {
                let units =
                    [("day", DAY), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000), ("millisecond", 1)];
                let fits = |(_, unit): &&(&str, i64)| millis % unit == 0;
                let (name, unit) = units.iter().find(fits).unwrap_or(&units[4]);
                let amount = (millis / unit).abs();
                write!(f, "{amount} {name}{}", plural(&amount))
            }
            Self::Days(days) => write!(f, "{days} day{}", plural(days)),
            Self::Weeks(weeks) => write!(f, "{weeks} week{}", plural(weeks)),
            Self::Months(months) => write!(f, "{months} month{}", plural(months)),
        }
    }
}

/// Boundaries, one [`Span`] after the other: fixed ones align to the epoch, days to 1970-01-01, weeks to Mondays, months to
/// January 1970, each shifted by an offset (in local time for those of the calendar).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// The distance of two boundaries, above zero.
    pub every: Span,
    /// Shift of the alignment in milliseconds; may be negative.
    pub offset: i64,
    /// Whose calendar.
    pub zone: Tz,
}

impl Grid {
    /// Boundaries every so many milliseconds.
    pub fn fixed(every: i64, offset: i64) -> Self {
        Self { every: Span::Fixed(every), offset, zone: Tz::UTC }
    }

    /// The last boundary at or before a time.
    pub fn start_of(self, time: i64) -> i64 {
        match self.every {
            Span::Fixed(every) => time.saturating_sub(time.wrapping_sub(self.offset).rem_euclid(every)),
            _ => self.boundary(self.index(time)),
        }
    }

    /// The first boundary after a time.
    pub fn next(self, time: i64) -> i64 {
        match self.every {
            Span::Fixed(every) => self.start_of(time).saturating_add(every),
            _ => {
                let mut index = self.index(time) + 1;
                while self.boundary(index) <= time && CALENDAR_YEARS.contains(&time) {
                    index += 1;
                }
                self.boundary(index)
            }
        }
    }

    /// The last boundary before a time.
    pub fn previous(self, time: i64) -> i64 {
        self.start_of(time.saturating_sub(1))
    }

    /// What lies a span after a boundary.
    pub fn after(self, boundary: i64, span: Span) -> i64 {
        if let Span::Fixed(millis) = span {
            return boundary.saturating_add(millis);
        }
        let local = naive(self.local(boundary));
        let moved = match span {
            Span::Months(months) => u32::try_from(months).ok().and_then(|it| local.checked_add_months(Months::new(it))),
            Span::Days(days) => TimeDelta::try_days(days).and_then(|it| local.checked_add_signed(it)),
            Span::Weeks(weeks) => TimeDelta::try_weeks(weeks).and_then(|it| local.checked_add_signed(it)),
            Span::Fixed(_) => None,
        };
        moved.map_or(i64::MAX, |local| self.instant(local))
    }

    /// Whether all boundaries fall on whole seconds.
    pub fn in_whole_seconds(self) -> bool {
        let every = if let Span::Fixed(every) = self.every { every } else { 0 };
        every % 1_000 == 0 && self.offset % 1_000 == 0
    }

    /// The number of the last calendar boundary at or before a time. Clocks that are put back repeat local times, and days may
    /// be missing, so what the local time says is only where to begin.
    fn index(self, time: i64) -> i64 {
        let time = time.clamp(*CALENDAR_YEARS.start(), *CALENDAR_YEARS.end());
        let local = self.local(time).saturating_sub(self.offset);
        let days = local.div_euclid(DAY);
        let mut index = match self.every {
            Span::Weeks(weeks) => (days + 3).div_euclid(weeks.saturating_mul(7)),
            Span::Months(months) => month_of(days).div_euclid(months),
            Span::Days(every) | Span::Fixed(every) => days.div_euclid(every),
        };
        while self.boundary(index + 1) <= time {
            index += 1;
        }
        while self.boundary(index) > time {
            index -= 1;
        }
        index
    }

    fn boundary(self, index: i64) -> i64 {
        let days = match self.every {
            Span::Weeks(weeks) => index.saturating_mul(weeks.saturating_mul(7)) - 3,
            Span::Months(months) => first_day_of(index.saturating_mul(months)),
            Span::Days(every) | Span::Fixed(every) => index.saturating_mul(every),
        };
        self.instant(naive(days.saturating_mul(DAY).saturating_add(self.offset)))
    }

    /// Local time as milliseconds since 1970-01-01 00:00 on local clocks.
    fn local(self, time: i64) -> i64 {
        time.saturating_add(i64::from(self.zone.offset_from_utc_datetime(&naive(time)).fix().local_minus_utc()) * 1_000)
    }

    /// The instant of a local time: the first of two where clocks are put back; where they are put forward over it, as much
    /// later.
    fn instant(self, local: NaiveDateTime) -> i64 {
        match self.zone.from_local_datetime(&local) {
            MappedLocalTime::Single(instant) | MappedLocalTime::Ambiguous(instant, _) => instant.timestamp_millis(),
            MappedLocalTime::None => {
                let before = local.checked_sub_signed(TimeDelta::days(1)).unwrap_or(local);
                let offset = self.zone.offset_from_utc_datetime(&before).fix().local_minus_utc();
                local.and_utc().timestamp_millis() - i64::from(offset) * 1_000
            }
        }
    }
}

/// A local time, kept to the years that calendars are good for, with room for a window on both sides.
fn naive(millis: i64) -> NaiveDateTime {
    let room = 3_000 * 366 * DAY;
    let millis = millis.clamp(CALENDAR_YEARS.start() - room, CALENDAR_YEARS.end() + room);
    chrono::DateTime::from_timestamp_millis(millis).unwrap_or_default().naive_utc()
}

/// Months since January 1970 of a day since 1970-01-01.
fn month_of(days: i64) -> i64 {
    let date = naive(days.saturating_mul(DAY)).date();
    (i64::from(date.year()) - 1970) * 12 + i64::from(date.month0())
}

/// The first day of a month, as days since 1970-01-01.
fn first_day_of(month: i64) -> i64 {
    let (year, month) = (1970 + month.div_euclid(12), month.rem_euclid(12));
    let date = i32::try_from(year).ok().and_then(|year| NaiveDate::from_ymd_opt(year, month as u32 + 1, 1));
    match date {
        Some(date) => date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis().div_euclid(DAY),
        None if year < 1970 => i64::MIN / DAY,
        None => i64::MAX / DAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::testing::properties::properties;

    fn at(text: &str) -> i64 {
        chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    fn grid(every: Span, offset: i64, zone: &str) -> Grid {
        Grid { every, offset, zone: zone.parse().unwrap() }
    }

    const HOUR: i64 = 3_600_000;

    #[test]
    fn fixed_boundaries_align_to_the_epoch() {
        for (every, offset, time, start) in [
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
            (DAY, 0, 1_718_900_000_123, 1_718_841_600_000),
        ] {
            let grid = Grid::fixed(every, offset);
            assert_eq!(grid.start_of(time), start, "every {every}, offset {offset}, time {time}");
            assert!(time < grid.next(time) && grid.next(time) == start + every);
        }
        assert_eq!(Grid::fixed(60_000, 0).next(i64::MAX), i64::MAX, "the ends of time do not overflow");
        assert_eq!(Grid::fixed(60_000, 0).start_of(i64::MIN + 1), i64::MIN);
    }

    #[test]
    fn days_in_berlin_have_23_and_25_hours() {
        let days = grid(Span::Days(1), 0, "Europe/Berlin");
        let spring = days.start_of(at("2026-03-29T12:00:00+02:00"));
        assert_eq!(spring, at("2026-03-29T00:00:00+01:00"));
        assert_eq!(days.next(spring) - spring, 23 * HOUR);
        let autumn = days.start_of(at("2026-10-25T02:30:00+01:00"));
        assert_eq!(autumn, at("2026-10-25T00:00:00+02:00"));
        assert_eq!(days.next(autumn) - autumn, 25 * HOUR);
        assert_eq!(days.previous(autumn), at("2026-10-24T00:00:00+02:00"));
    }

    #[test]
    fn weeks_begin_on_mondays_and_months_on_the_first() {
        let weeks = grid(Span::Weeks(1), 0, "America/New_York");
        assert_eq!(weeks.start_of(at("2026-11-01T12:00:00-05:00")), at("2026-10-26T00:00:00-04:00"));
        assert_eq!(weeks.next(at("2026-11-01T12:00:00-05:00")), at("2026-11-02T00:00:00-05:00"));
        let months = grid(Span::Months(1), 0, "Europe/Berlin");
        assert_eq!(months.start_of(at("2024-02-29T23:59:59+01:00")), at("2024-02-01T00:00:00+01:00"));
        assert_eq!(months.next(at("2024-02-29T23:59:59+01:00")), at("2024-03-01T00:00:00+01:00"));
        let quarters = grid(Span::Months(3), 0, "UTC");
        assert_eq!(quarters.start_of(at("1969-12-31T00:00:00Z")), at("1969-10-01T00:00:00Z"));
        assert_eq!(grid(Span::Months(12), 0, "UTC").next(at("2026-05-01T00:00:00Z")), at("2027-01-01T00:00:00Z"));
    }

    #[test]
    fn offsets_are_of_local_time() {
        // The business day begins at six, in summer and in winter.
        let days = grid(Span::Days(1), 6 * HOUR, "Europe/Berlin");
        assert_eq!(days.start_of(at("2026-07-01T05:59:00+02:00")), at("2026-06-30T06:00:00+02:00"));
        assert_eq!(days.start_of(at("2026-01-01T06:00:00+01:00")), at("2026-01-01T06:00:00+01:00"));
    }

    #[test]
    fn missing_midnights_and_missing_days() {
        // Clocks went from 00:00 to 01:00: the day began at one.
        let days = grid(Span::Days(1), 0, "America/Sao_Paulo");
        assert_eq!(days.start_of(at("2018-11-04T12:00:00-02:00")), at("2018-11-04T01:00:00-02:00"));
        // And from 24:00 back to 23:00: the day before had 25 hours.
        let start = days.start_of(at("2018-02-17T23:30:00-03:00"));
        assert_eq!((start, days.next(start) - start), (at("2018-02-17T00:00:00-02:00"), 25 * HOUR));
        // Samoa left out 2011-12-30.
        let days = grid(Span::Days(1), 0, "Pacific/Apia");
        let last = days.start_of(at("2011-12-29T12:00:00-10:00"));
        assert_eq!(days.next(last), at("2011-12-31T00:00:00+14:00"));
        assert_eq!(days.previous(days.next(last)), last);
    }

    #[test]
    fn a_month_after_the_31st_is_the_end_of_the_next() {
        let days = grid(Span::Days(1), 0, "UTC");
        assert_eq!(days.after(at("2026-01-31T00:00:00Z"), Span::Months(1)), at("2026-02-28T00:00:00Z"));
        assert_eq!(days.after(at("2026-01-31T00:00:00Z"), Span::Weeks(1)), at("2026-02-07T00:00:00Z"));
    }

    proptest! {
        #![proptest_config(properties(256))]

        #[test]
        fn every_time_lies_between_two_boundaries_that_follow_each_other(
            time in prop_oneof![-5_000_000_000_000_i64..5_000_000_000_000, any::<i64>()],
            offset in -3 * DAY..3 * DAY,
            amount in 1_i64..40,
            unit in 0_usize..4,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"]),
        ) {
            let every = [Span::Fixed(amount * 7_001), Span::Days(amount), Span::Weeks(amount), Span::Months(amount)][unit];
            let grid = grid(every, offset, zone);
            let (start, next) = (grid.start_of(time), grid.next(time));
            if CALENDAR_YEARS.contains(&time) {
                prop_assert!(start <= time && time < next);
                prop_assert_eq!(grid.start_of(next - 1), start);
                prop_assert_eq!(grid.start_of(start), start);
                prop_assert_eq!(grid.start_of(next), next);
                prop_assert_eq!(grid.previous(next), start);
            }
        }
    }
}
