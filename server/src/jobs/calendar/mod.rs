//! Calendar events: the schedules of jobs, like `mon..fri 22:00` (`jobs-and-sync.md` §1).
//!
//! [`CalendarEvent`] parses (`parse.rs`) and tells its next time (`next.rs`); both are pure: the
//! time zone is an argument.

mod duration;
mod next;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

pub use duration::DailyDuration;
pub use parse::CalendarError;

/// A set of days and times.
#[derive(Clone, PartialEq, Eq)]
pub struct CalendarEvent {
    /// As it was written.
    text: Box<str>,
    /// Whether it is meant in UTC instead of local time.
    utc: bool,
    /// Bit 0 is Monday; no bit is any day.
    weekdays: u8,
    years: Values,
    months: Values,
    days: Values,
    hours: Values,
    minutes: Values,
    seconds: Values,
}

/// Which values a part of a date or a time may have; nothing is any.
type Values = Vec<Span>;

/// `start`, `start..end`, `start/step`, `start..end/step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: i16,
    end: i16,
    /// At least 1.
    step: i16,
}

impl Span {
    fn contains(&self, value: i16) -> bool {
        (self.start..=self.end).contains(&value) && (value - self.start) % self.step == 0
    }
}

fn allows(values: &Values, value: i16) -> bool {
    values.is_empty() || values.iter().any(|span| span.contains(value))
}

impl fmt::Display for CalendarEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for CalendarEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CalendarEvent({:?})", self.text)
    }
}
