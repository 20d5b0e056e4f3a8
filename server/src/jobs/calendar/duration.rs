//! Times of the day on days of the week: `mon..fri 8:00-17:30` (`jobs-and-sync.md` §2).

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;

use super::CalendarError;
use super::parse::Parser;

/// A part of the days of some weekdays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyDuration {
    text: Box<str>,
    /// Bit 0 is Monday; no bit is any day.
    weekdays: u8,
    /// Minutes of the day; the end is outside.
    start: i16,
    end: i16,
}

impl DailyDuration {
    /// Whether a local time is in it.
    #[must_use]
    pub fn contains(&self, at: DateTime) -> bool {
        let day = at.date().weekday().to_monday_zero_offset();
        let is_day = self.weekdays == 0 || self.weekdays & (1 << day) != 0;
        let minute = i16::from(at.hour()) * 60 + i16::from(at.minute());
        is_day && (self.start..self.end).contains(&minute)
    }
}

impl FromStr for DailyDuration {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        let (weekdays, start, end) = Parser::new(text).daily_duration()?;
        Ok(Self {
            text: text.into(),
            weekdays,
            start,
            end,
        })
    }
}

impl fmt::Display for DailyDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_time_is_in_it_or_not() {
        // 2026-01-05 is a Monday.
        let contains = |text: &str, day: i8, hour: i8, minute: i8| {
            let duration: DailyDuration = text.parse().unwrap();
            duration.contains(date(2026, 1, day).at(hour, minute, 0, 0))
        };
        assert!(contains("8-12", 5, 8, 0) && contains("8-12", 10, 11, 59));
        assert!(!contains("8-12", 5, 12, 0) && !contains("8-12", 5, 7, 59));
        assert!(contains("mon..fri 8:00-17:30", 9, 17, 29));
        assert!(!contains("mon..fri 8:00-17:30", 10, 9, 0));
        assert!(contains("sat,sun 0 - 23:59", 11, 0, 0));
        assert!(!contains("5-5", 5, 5, 0));
        for bad in ["", "22-6", "8", "8-", "8:60-9", "24-25", "8-9 x", "8-9-10"] {
            assert!(bad.parse::<DailyDuration>().is_err(), "{bad}");
        }
    }
}
