//! Backup times: whole seconds since the epoch, named by UTC time strings of 20 characters.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;

const SECS_PER_DAY: i64 = 86_400;
/// `9999-12-31T23:59:59Z`, the last second that has a name of 20 characters.
const MAX_SECS: i64 = 253_402_300_799;
const EXPECTED: &str = "expected the form 2022-05-02T08:11:33Z";

/// Time of a snapshot, at least 1 second after the epoch and before the year 10000.
///
/// Prints as `YYYY-MM-DDTHH:MM:SSZ`, the name of the snapshot's directory. A name with second 60 is
/// accepted and printed again as it was, because the directory is found by its name only; as a
/// number it is the second that follows. serde is the number, as in the API.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupTime {
    secs: i64,
    /// The name says second 60 of the minute before `secs`.
    leap: bool,
}

impl BackupTime {
    /// Checks a number of seconds since the epoch.
    pub fn from_secs(secs: i64) -> Result<Self, ParseError> {
        if (1..=MAX_SECS).contains(&secs) {
            return Ok(Self { secs, leap: false });
        }
        Err(ParseError::new(
            "backup time",
            &secs.to_string(),
            "must be at least 1 and before the year 10000",
        ))
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.secs
    }
}

impl TryFrom<i64> for BackupTime {
    type Error = ParseError;

    fn try_from(secs: i64) -> Result<Self, ParseError> {
        Self::from_secs(secs)
    }
}

impl FromStr for BackupTime {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = |reason: &'static str| ParseError::new("backup time", text, reason);
        let fields = split_fields(text.as_bytes()).ok_or_else(|| error(EXPECTED))?;
        let [year, month, day, hour, minute, second] = fields;
        if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
            return Err(error("there is no such date"));
        }
        if hour > 23 || minute > 59 || second > 60 {
            return Err(error("there is no such time of day"));
        }
        let days = days_from_civil(year, month, day);
        let secs = days * SECS_PER_DAY + hour * 3600 + minute * 60 + second;
        if secs < 1 {
            return Err(error("must be after 1970-01-01T00:00:00Z"));
        }
        Ok(Self {
            secs,
            leap: second == 60,
        })
    }
}

impl fmt::Display for BackupTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.secs - i64::from(self.leap);
        let (year, month, day) = civil_from_days(secs.div_euclid(SECS_PER_DAY));
        let of_day = secs.rem_euclid(SECS_PER_DAY);
        let (hour, minute) = (of_day / 3600, of_day / 60 % 60);
        let second = of_day % 60 + i64::from(self.leap);
        f.pad(&format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        ))
    }
}

impl fmt::Debug for BackupTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupTime({self})")
    }
}

impl serde::Serialize for BackupTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.secs)
    }
}

impl<'de> serde::Deserialize<'de> for BackupTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secs = i64::deserialize(deserializer)?;
        Self::from_secs(secs).map_err(serde::de::Error::custom)
    }
}

/// `dddd-dd-ddTdd:dd:ddZ` as six numbers.
fn split_fields(text: &[u8]) -> Option<[i64; 6]> {
    const PATTERN: &[u8; 20] = b"0000-00-00T00:00:00Z";
    if text.len() != PATTERN.len() {
        return None;
    }
    let mut fields = [0_i64; 6];
    let mut field = 0;
    for (&byte, &pattern) in text.iter().zip(PATTERN) {
        if pattern == b'0' {
            if !byte.is_ascii_digit() {
                return None;
            }
            let value = fields.get_mut(field)?;
            *value = *value * 10 + i64::from(byte - b'0');
        } else if byte == pattern {
            field += 1;
        } else {
            return None;
        }
    }
    Some(fields)
}

fn is_leap_year(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap_year(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since the epoch of a date of the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year, and in eras of 400
/// years, after which the calendar repeats.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        for (secs, text) in [
            (1, "1970-01-01T00:00:01Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_651_479_093, "2022-05-02T08:11:33Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (MAX_SECS, "9999-12-31T23:59:59Z"),
        ] {
            let time = BackupTime::from_secs(secs).unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
    }

    #[test]
    fn second_60_keeps_its_name_and_counts_as_the_next_second() {
        let leap: BackupTime = "2016-12-31T23:59:60Z".parse().unwrap();
        let next: BackupTime = "2017-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(leap.secs(), next.secs());
        assert_eq!(leap.to_string(), "2016-12-31T23:59:60Z");
        assert_ne!(leap, next);
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for bad in [
            "",
            "2022-05-02",
            "2022-05-02T08:11:33",
            "2022-05-02T08:11:33Z\n",
            "2022-05-02t08:11:33z",
            "2022-05-02 08:11:33Z",
            "2022-05-02T08:11:33+00:00",
            "2022-5-2T8:11:33Z",
            "+022-05-02T08:11:33Z",
            "2022-13-02T08:11:33Z",
            "2022-00-02T08:11:33Z",
            "2022-02-29T08:11:33Z",
            "2100-02-29T08:11:33Z",
            "2022-05-00T08:11:33Z",
            "2022-05-02T24:11:33Z",
            "2022-05-02T08:60:33Z",
            "2022-05-02T08:11:61Z",
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "２022-05-02T08:11:3Z",
        ] {
            assert!(bad.parse::<BackupTime>().is_err(), "{bad:?}");
        }
        for bad in [0, -1, i64::MIN, MAX_SECS + 1, i64::MAX] {
            assert!(BackupTime::from_secs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn serde_is_the_number() {
        let time = BackupTime::from_secs(1_700_000_000).unwrap();
        assert_eq!(serde_json::to_string(&time).unwrap(), "1700000000");
        assert_eq!(
            serde_json::from_str::<BackupTime>("1700000000").unwrap(),
            time
        );
        assert!(serde_json::from_str::<BackupTime>("0").is_err());
    }

    proptest! {
        #[test]
        fn every_second_has_one_name(secs in 1..=MAX_SECS) {
            let time = BackupTime::from_secs(secs).unwrap();
            let text = time.to_string();
            prop_assert_eq!(text.len(), 20);
            prop_assert_eq!(text.parse::<BackupTime>().unwrap(), time);
        }

        #[test]
        fn names_sort_like_times(a in 1..=MAX_SECS, b in 1..=MAX_SECS) {
            let (a, b) = (BackupTime::from_secs(a).unwrap(), BackupTime::from_secs(b).unwrap());
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn a_name_that_parses_is_printed_again(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]Z"
        ) {
            if let Ok(time) = text.parse::<BackupTime>() {
                prop_assert_eq!(time.to_string(), text);
            }
        }
    }
}
