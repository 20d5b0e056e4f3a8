//! Text to calendar event.

use std::str::FromStr;

use super::{CalendarEvent, Span, Values};

/// Longest text that is looked at.
const MAX_LEN: usize = 256;
/// One more than the last year.
const END_OF_TIME: i16 = 2200;

/// Why a text is no calendar event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse calendar event at '{at}' - {reason}")]
pub struct CalendarError {
    /// The text from where it went wrong.
    pub at: String,
    /// What was expected.
    pub reason: String,
}

type Result<T> = std::result::Result<T, CalendarError>;

fn error<T>(at: &str, reason: impl Into<String>) -> Result<T> {
    Err(CalendarError {
        at: at.to_owned(),
        reason: reason.into(),
    })
}

/// Words for whole events.
const KEYWORDS: &[(&str, &str)] = &[
    ("minutely", "*:*"),
    ("hourly", "*:0"),
    ("daily", "0:0"),
    ("weekly", "mon 0:0"),
    ("monthly", "*-1 0:0"),
    ("quarterly", "1,4,7,10-1 0:0"),
    ("semiannually", "1,7-1 0:0"),
    ("semi-annually", "1,7-1 0:0"),
    ("yearly", "1-1 0:0"),
    ("annually", "1-1 0:0"),
];

const DAYS: &[&str] = &[
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

impl FromStr for CalendarEvent {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_LEN {
            return error("", format!("longer than {MAX_LEN} bytes"));
        }
        let trimmed = text.trim();
        let (spec, utc) = match trimmed.strip_suffix("UTC") {
            Some(spec) => (spec.trim_end(), true),
            None => (trimmed, false),
        };
        let spec = KEYWORDS
            .iter()
            .find_map(|(word, meaning)| (*word == spec).then_some(*meaning))
            .unwrap_or(spec);
        Parser { rest: spec }.event(text, utc)
    }
}

/// What is left to read.
pub(super) struct Parser<'a> {
    rest: &'a str,
}

/// The limits of a part of a date or a time.
#[derive(Clone, Copy)]
struct Limits {
    name: &'static str,
    min: i16,
    max: i16,
}

const YEAR: Limits = limits("year", 0, END_OF_TIME - 1);
const MONTH: Limits = limits("month", 1, 12);
const DAY: Limits = limits("day", 1, 31);
const HOUR: Limits = limits("hour", 0, 23);
const MINUTE: Limits = limits("minute", 0, 59);
const SECOND: Limits = limits("second", 0, 59);

const fn limits(name: &'static str, min: i16, max: i16) -> Limits {
    Limits { name, min, max }
}

impl<'a> Parser<'a> {
    /// Nothing of the text is read.
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.trim() }
    }

    /// `[weekdays] hour[:minute]-hour[:minute]`: the days, and the minutes where it begins and ends.
    pub(super) fn daily_duration(mut self) -> Result<(u8, i16, i16)> {
        let weekdays = self.weekdays()?;
        self.spaces();
        let start = self.minute_of_day()?;
        self.spaces();
        self.expect("-")?;
        self.spaces();
        let at = self.rest;
        let end = self.minute_of_day()?;
        if end < start {
            return error(at, "it ends before it begins");
        }
        if !self.rest.is_empty() {
            return error(self.rest, "trailing text");
        }
        Ok((weekdays, start, end))
    }

    fn minute_of_day(&mut self) -> Result<i16> {
        let hour = self.number(HOUR)?;
        let minute = if self.take(":") {
            self.number(MINUTE)?
        } else {
            0
        };
        Ok(hour * 60 + minute)
    }

    fn event(mut self, text: &str, utc: bool) -> Result<CalendarEvent> {
        if self.rest.is_empty() {
            return error("", "it is empty");
        }
        let zero = vec![Span::one(0)];
        let mut event = CalendarEvent {
            text: text.into(),
            utc,
            weekdays: self.weekdays()?,
            years: Values::new(),
            months: Values::new(),
            days: Values::new(),
            hours: zero.clone(),
            minutes: zero.clone(),
            seconds: zero,
        };
        self.spaces();
        if self.is_date() {
            self.date(&mut event)?;
            self.spaces();
        }
        if !self.rest.is_empty() {
            self.time(&mut event)?;
        }
        if !self.rest.is_empty() {
            return error(self.rest, "trailing text");
        }
        Ok(event)
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// `day`, `day..day`, with commas; none is 0.
    fn weekdays(&mut self) -> Result<u8> {
        let mut set = 0;
        if !self.rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Ok(set);
        }
        loop {
            let first = self.weekday()?;
            let last = if self.take("..") {
                self.weekday()?
            } else {
                first
            };
            // It may go round the end of the week.
            let length = (last + 7 - first) % 7;
            for day in first..=first + length {
                set |= 1 << (day % 7);
            }
            if !self.take(",") {
                return Ok(set);
            }
        }
    }

    fn weekday(&mut self) -> Result<u8> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let lower = word.to_ascii_lowercase();
        let found = (0u8..)
            .zip(DAYS)
            .find(|(_, day)| **day == lower || day.get(..3) == Some(lower.as_str()));
        let Some((index, _)) = found else {
            return error(self.rest, "expected a day of the week");
        };
        self.rest = rest;
        Ok(index)
    }

    /// Whether a date comes next: only a date has a minus.
    fn is_date(&self) -> bool {
        let word = self.rest.split_whitespace().next().unwrap_or_default();
        word.contains('-')
    }

    fn date(&mut self, event: &mut CalendarEvent) -> Result<()> {
        // The year can be left out: how many parts there are is seen by counting.
        let word = self.rest.split_whitespace().next().unwrap_or_default();
        if word.matches('-').count() > 1 {
            event.years = self.values(YEAR)?;
            self.expect("-")?;
        }
        event.months = self.values(MONTH)?;
        self.expect("-")?;
        event.days = self.values(DAY)?;
        Ok(())
    }

    fn time(&mut self, event: &mut CalendarEvent) -> Result<()> {
        let colons = self.rest.matches(':').count();
        if colons == 0 {
            // A number alone is the minute of each hour.
            event.hours = Values::new();
        } else {
            event.hours = self.values(HOUR)?;
            self.expect(":")?;
        }
        event.minutes = self.values(MINUTE)?;
        if self.take(":") {
            event.seconds = self.values(SECOND)?;
        }
        Ok(())
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.take(token) {
            Ok(())
        } else {
            error(self.rest, format!("expected '{token}'"))
        }
    }

    fn values(&mut self, limits: Limits) -> Result<Values> {
        if self.take("*") {
            if !self.take("/") {
                return Ok(Values::new());
            }
            return Ok(vec![match self.number(limits)? {
                0 => Span::one(limits.min),
                step => Span::new(limits.min, limits.max, step),
            }]);
        }
        let mut values = Values::new();
        loop {
            values.push(self.span(limits)?);
            if !self.take(",") {
                return Ok(values);
            }
        }
    }

    fn span(&mut self, limits: Limits) -> Result<Span> {
        let at = self.rest;
        let start = self.number(limits)?;
        let end = self.take("..").then(|| self.number(limits)).transpose()?;
        if end.is_some_and(|end| end < start) {
            return error(at, "the range ends before it begins");
        }
        if !self.take("/") {
            return Ok(Span::new(start, end.unwrap_or(start), 1));
        }
        match self.number(limits)? {
            0 => Ok(Span::one(start)),
            step => Ok(Span::new(start, end.unwrap_or(limits.max), step)),
        }
    }

    fn number(&mut self, limits: Limits) -> Result<i16> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        match digits.parse::<i16>() {
            Ok(number) if number <= limits.max => {
                self.rest = rest;
                Ok(number)
            }
            Ok(_) => error(self.rest, format!("{} is over {}", limits.name, limits.max)),
            Err(_) => error(
                self.rest,
                format!("expected a number for the {}", limits.name),
            ),
        }
    }
}

impl Span {
    fn new(start: i16, end: i16, step: i16) -> Self {
        Self {
            start,
            end,
            step: step.max(1),
        }
    }

    fn one(value: i16) -> Self {
        Self::new(value, value, 1)
    }
}
