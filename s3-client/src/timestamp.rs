//! The three timestamp forms of S3, by hand: ISO 8601 in bodies, IMF-fixdate in headers, and the
//! compact form of signatures.

const DAYS_BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const SECS_PER_DAY: i64 = 86_400;

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Seconds since the epoch of a UTC date and time; `None` when a field is out of range.
fn seconds(year: i64, month: i64, day: i64, time: (i64, i64, i64)) -> Option<i64> {
    let (hour, minute, second) = time;
    let month_index = usize::try_from(month - 1)
        .ok()
        .filter(|&index| index < 12)?;
    let in_range = (1..=9999).contains(&year)
        && (1..=days_in_month(year, month)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second); // 60: a leap second
    if !in_range {
        return None;
    }
    let past = year - 1;
    let leap_day = i64::from(month > 2 && is_leap(year));
    // Days since 0001-01-01, then since 1970-01-01.
    let days = past * 365 + past / 4 - past / 100
        + past / 400
        + DAYS_BEFORE_MONTH[month_index]
        + leap_day
        + day
        - 1
        - 719_162;
    Some(days * SECS_PER_DAY + hour * 3600 + minute * 60 + second)
}

/// Year, month and day of a day number since the epoch (years 1 to 9999, clamped).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.clamp(-719_162, 2_932_896);
    // Start at an estimate that is never too late, then step.
    let mut year = (days + 719_162) / 366 + 1;
    let start_of =
        |year: i64| seconds(year, 1, 1, (0, 0, 0)).map_or(i64::MAX, |s| s / SECS_PER_DAY);
    while year < 9999 && start_of(year + 1) <= days {
        year += 1;
    }
    let mut day = days - start_of(year);
    let mut month = 1;
    while month < 12 && day >= days_in_month(year, month) {
        day -= days_in_month(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn time_of_day(text: &str) -> Option<(i64, i64, i64)> {
    if text.len() != 8 || text.get(2..3)? != ":" || text.get(5..6)? != ":" {
        return None;
    }
    Some((
        number(text.get(..2)?)?,
        number(text.get(3..5)?)?,
        number(text.get(6..)?)?,
    ))
}

/// Parses `2025-07-14T14:20:02[.123](Z|+00:00)` into milliseconds since the epoch.
#[must_use]
pub fn parse_iso8601_millis(text: &str) -> Option<i64> {
    let text = text.trim();
    let rest = text
        .strip_suffix('Z')
        .or_else(|| text.strip_suffix("+00:00"))?;
    let (date, clock) = rest.split_once('T')?;
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let valid_fraction = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    if !valid_fraction {
        return None;
    }
    let millis = number(&format!("{:0<3}", fraction.get(..3).unwrap_or(fraction)))?;
    let secs = seconds(
        number(year)?,
        number(month)?,
        number(day)?,
        time_of_day(clock)?,
    )?;
    Some(secs * 1000 + millis)
}

/// Parses `Wed, 12 Oct 2009 17:50:00 GMT` into seconds since the epoch.
///
/// The weekday must be one but need not fit: the documentation of AWS itself has wrong ones.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<i64> {
    if text.len() != 29 || !text.is_ascii() {
        return None;
    }
    let separators = [
        (3, ","),
        (4, " "),
        (7, " "),
        (11, " "),
        (16, " "),
        (25, " "),
    ];
    let well_formed = separators
        .iter()
        .all(|&(at, what)| text.get(at..=at) == Some(what));
    if !well_formed || !WEEKDAYS.contains(&text.get(..3)?) || text.get(26..)? != "GMT" {
        return None;
    }
    let month = MONTHS
        .iter()
        .position(|&name| Some(name) == text.get(8..11))?;
    seconds(
        number(text.get(12..16)?)?,
        i64::try_from(month).ok()? + 1,
        number(text.get(5..7)?)?,
        time_of_day(text.get(17..25)?)?,
    )
}

/// Formats seconds since the epoch as `20130524T000000Z`, the form of `x-amz-date`.
#[must_use]
pub fn format_amz_date(unix_secs: i64) -> String {
    let (year, month, day) = civil(unix_secs.div_euclid(SECS_PER_DAY));
    let second = unix_secs.rem_euclid(SECS_PER_DAY);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Formats seconds since the epoch as `2025-07-14T14:20:02Z`.
#[must_use]
pub fn format_iso8601(unix_secs: i64) -> String {
    let (year, month, day) = civil(unix_secs.div_euclid(SECS_PER_DAY));
    let second = unix_secs.rem_euclid(SECS_PER_DAY);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn iso_forms() {
        let base = 1_752_502_802_000;
        for (text, expected) in [
            ("2025-07-14T14:20:02Z", Some(base)),
            ("2025-07-14T14:20:02.000Z", Some(base)),
            ("2025-07-14T14:20:02.5Z", Some(base + 500)),
            ("2025-07-14T14:20:02.123456789Z", Some(base + 123)),
            ("2025-07-14T14:20:02+00:00", Some(base)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000)),
            ("1900-02-29T00:00:00Z", None),
            ("2025-07-14T14:20:60Z", Some(base + 58_000)),
            ("2025-07-14T14:20:61Z", None),
            ("2025-13-14T14:20:02Z", None),
            ("2025-00-14T14:20:02Z", None),
            ("2025-07-14T14:20:02.Z", None),
            ("2025-07-14T14:20:02", None),
            ("2025-07-14T14:20:02+02:00", None),
            ("2025-7-14T14:20:02Z", None),
            ("+025-07-14T14:20:02Z", None),
            ("2025-07-14 14:20:02Z", None),
            ("", None),
            ("ünïcödé-T:Z", None),
        ] {
            assert_eq!(parse_iso8601_millis(text), expected, "{text}");
        }
    }

    #[test]
    fn http_dates() {
        for (text, expected) in [
            ("Fri, 24 May 2013 00:00:00 GMT", Some(1_369_353_600)),
            // The weekday of AWS's own example is wrong.
            ("Wed, 12 Oct 2009 17:50:00 GMT", Some(1_255_369_800)),
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
            ("fri, 24 May 2013 00:00:00 GMT", None),
            ("Fri, 24 may 2013 00:00:00 GMT", None),
            ("Fri, 24 May 2013 00:00:00 CET", None),
            ("Fri, 24 May 2013 00:00:00 GM", None),
            ("Fri, 31 Jun 2013 00:00:00 GMT", None),
            ("Fri, 24 May 2013 24:00:00 GMT", None),
            ("", None),
        ] {
            assert_eq!(parse_http_date(text), expected, "{text}");
        }
    }

    #[test]
    fn formats() {
        assert_eq!(format_amz_date(1_369_353_600), "20130524T000000Z");
        assert_eq!(format_amz_date(1_768_464_930), "20260115T081530Z");
        assert_eq!(format_amz_date(0), "19700101T000000Z");
        assert_eq!(format_iso8601(1_752_502_802), "2025-07-14T14:20:02Z");
    }

    proptest! {
        #[test]
        fn iso_round_trip(secs in -62_135_596_800_i64..253_402_300_800) {
            prop_assert_eq!(parse_iso8601_millis(&format_iso8601(secs)), Some(secs * 1000));
        }

        #[test]
        fn parsers_never_panic(text in "\\PC{0,40}") {
            let _ = parse_iso8601_millis(&text);
            let _ = parse_http_date(&text);
        }
    }
}
