//! When an event happens next.

use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::TimeZone;
use jiff::{Span as Duration, Timestamp, ToSpan};

use super::{CalendarEvent, allows};

/// How often the search adjusts before it says "never".
const MAX_STEPS: u32 = 1000;
/// Seconds of a local hour that may stand twice, and a little.
const MAX_REPEATED: u32 = 2 * 3600;
/// The first day after the last year that can be named.
const END: Date = date(2200, 1, 1);

impl CalendarEvent {
    /// The first time of the event after `last` (seconds since the epoch), or never.
    ///
    /// Local times that do not exist (clocks go forward) move by the gap, those that exist twice
    /// are the first, as in the C library.
    #[must_use]
    pub fn next_after(&self, last: i64, local: &TimeZone) -> Option<i64> {
        let zone = if self.utc { &TimeZone::UTC } else { local };
        let start = Timestamp::from_second(last.checked_add(1)?).ok()?;
        let mut at = zone.to_datetime(start);
        // A local time that stands twice: what was found may lie before `last`; look further.
        for _ in 0..MAX_REPEATED {
            let found = self.first_from(at)?;
            let seconds = zone
                .to_ambiguous_timestamp(found)
                .compatible()
                .ok()?
                .as_second();
            if seconds > last {
                return Some(seconds);
            }
            at = found.checked_add(1.second()).ok()?;
        }
        None
    }

    /// The first civil time of the event at or after `from`.
    fn first_from(&self, from: DateTime) -> Option<DateTime> {
        let mut at = from;
        for _ in 0..MAX_STEPS {
            if at.date() >= END {
                return None;
            }
            let day = at.date();
            if !allows(&self.years, day.year()) {
                at = next_day(Date::new(day.year(), 12, 31).ok()?)?;
            } else if !allows(&self.months, i16::from(day.month())) {
                at = next_day(day.last_of_month())?;
            } else if !self.allows_day(day) {
                at = next_day(day)?;
            } else if let Some(time) = self.first_time(at.time()) {
                return Some(day.to_datetime(time));
            } else {
                at = next_day(day)?;
            }
        }
        None
    }

    fn allows_day(&self, day: Date) -> bool {
        let bit = day.weekday().to_monday_zero_offset();
        let weekday = self.weekdays == 0 || self.weekdays >> bit & 1 == 1;
        weekday && allows(&self.days, i16::from(day.day()))
    }

    /// The first time of the day at or after `from`.
    fn first_time(&self, from: Time) -> Option<Time> {
        for hour in from.hour()..24 {
            if !allows(&self.hours, i16::from(hour)) {
                continue;
            }
            let same_hour = hour == from.hour();
            for minute in if same_hour { from.minute() } else { 0 }..60 {
                if !allows(&self.minutes, i16::from(minute)) {
                    continue;
                }
                let same_minute = same_hour && minute == from.minute();
                let seconds = if same_minute { from.second() } else { 0 }..60;
                for second in seconds {
                    if allows(&self.seconds, i16::from(second)) {
                        return Time::new(hour, minute, second, 0).ok();
                    }
                }
            }
        }
        None
    }
}

/// Midnight after this day.
fn next_day(day: Date) -> Option<DateTime> {
    let step: Duration = 1.day();
    Some(day.checked_add(step).ok()?.to_datetime(Time::midnight()))
}
