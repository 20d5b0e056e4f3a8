use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

fn event(text: &str) -> CalendarEvent {
    text.parse().unwrap()
}

fn secs(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

/// The next times in UTC, printed.
fn after(text: &str, last: &str, count: usize) -> Vec<String> {
    let event = event(text);
    let mut last = secs(last);
    (0..count)
        .map_while(|_| {
            last = event.next_after(last, &TimeZone::UTC)?;
            Some(Timestamp::from_second(last).unwrap().to_string())
        })
        .collect()
}

#[test]
fn what_must_parse_does() {
    for text in [
        "daily",
        "02:30",
        "*:0/15",
        "mon..fri 22:00",
        "sat 18:15",
        "mon,wed *-*-* 8..18/2:00",
        "*-1..7 00:00",
        "2025-*-1/10",
        "8..17,22:0/15",
        "hourly UTC",
        "hourlyUTC",
        "sat *-1..7 15:00",
        "Sun",
        "sat..mon,Wednesday",
        "30",
        "1:2:3",
        "*",
        "semi-annually",
    ] {
        assert_eq!(event(text).to_string(), text);
    }
}

#[test]
fn what_must_not_parse_does_not() {
    for text in [
        "",
        " ",
        "UTC",
        "Daily",
        "daily x",
        "moo",
        "mon, tue",
        "mon..",
        "25:00",
        "1:60",
        "5..3",
        "13-1",
        "1-32",
        "2200-1-1",
        "1-1-1-1",
        "1:2:3:4",
        "~-1",
        "12:00 Europe/Berlin",
        "1:2.5",
        "99999",
        "*/",
        "-1",
        "mon 1:2 x",
        &"1,".repeat(300),
    ] {
        assert!(text.parse::<CalendarEvent>().is_err(), "{text:?}");
    }
    let error = "mon 1:2 x"
        .parse::<CalendarEvent>()
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("unable to parse calendar event at ' x' - "),
        "{error}"
    );
}

#[test]
fn the_next_time_is_after_the_last() {
    assert_eq!(
        after("*:0/15", "2025-01-01T10:15:00Z", 3),
        [
            "2025-01-01T10:30:00Z",
            "2025-01-01T10:45:00Z",
            "2025-01-01T11:00:00Z"
        ]
    );
    assert_eq!(
        after("mon..fri 22:00", "2025-01-03T22:00:00Z", 1),
        ["2025-01-06T22:00:00Z"]
    );
    assert_eq!(
        after("30", "2025-01-01T10:30:00Z", 1),
        ["2025-01-01T11:30:00Z"]
    );
    assert_eq!(
        after("sat..mon", "2025-01-01T00:00:00Z", 4).join(" "),
        "2025-01-04T00:00:00Z 2025-01-05T00:00:00Z 2025-01-06T00:00:00Z 2025-01-11T00:00:00Z"
    );
    assert_eq!(
        after("sat *-1..7 15:00", "2025-01-04T15:00:00Z", 1),
        ["2025-02-01T15:00:00Z"]
    );
    assert_eq!(
        after("2025-*-1/10", "2025-12-21T00:00:00Z", 3),
        ["2025-12-31T00:00:00Z"]
    );
    assert_eq!(
        after("8..18/5:00:30", "2025-01-01T13:00:30Z", 2),
        ["2025-01-01T18:00:30Z", "2025-01-02T08:00:30Z"]
    );
}

#[test]
fn words() {
    let from = "2025-02-05T10:20:30Z";
    for (word, next) in [
        ("minutely", "2025-02-05T10:21:00Z"),
        ("hourly", "2025-02-05T11:00:00Z"),
        ("daily", "2025-02-06T00:00:00Z"),
        ("weekly", "2025-02-10T00:00:00Z"),
        ("monthly", "2025-03-01T00:00:00Z"),
        ("quarterly", "2025-04-01T00:00:00Z"),
        ("semiannually", "2025-07-01T00:00:00Z"),
        ("yearly", "2026-01-01T00:00:00Z"),
    ] {
        assert_eq!(after(word, from, 1), [next], "{word}");
    }
}

#[test]
fn some_times_never_come() {
    assert!(after("2-30", "2025-01-01T00:00:00Z", 1).is_empty());
    assert!(after("2001-1-1", "2025-01-01T00:00:00Z", 1).is_empty());
    assert_eq!(event("daily").next_after(i64::MAX, &TimeZone::UTC), None);
}

#[test]
fn leap_days_come_again() {
    assert_eq!(
        after("2-29", "2025-01-01T00:00:00Z", 1),
        ["2028-02-29T00:00:00Z"]
    );
}

#[test]
fn clocks_that_change() {
    // Central Europe by rule, so that no time zone database is needed.
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let next = |text: &str, last: &str| {
        let next = event(text).next_after(secs(last), &berlin).unwrap();
        Timestamp::from_second(next).unwrap().to_string()
    };
    // 2:30 does not exist on 30 March 2025.
    assert_eq!(next("2:30", "2025-03-29T12:00:00Z"), "2025-03-30T01:30:00Z");
    assert_eq!(
        next("2:30 UTC", "2025-03-29T12:00:00Z"),
        "2025-03-30T02:30:00Z"
    );
    // 2:30 stands twice on 26 October: it happens once.
    let first = next("2:30", "2025-10-25T12:00:00Z");
    assert_eq!(first, "2025-10-26T00:30:00Z");
    assert_eq!(next("2:30", &first), "2025-10-27T01:30:00Z");
}

proptest! {
    #[test]
    fn nothing_panics_and_times_only_grow(text in "[a-z0-9*:,./ -]{0,20}", last in 0_i64..7_000_000_000) {
        if let Ok(event) = text.parse::<CalendarEvent>()
            && let Some(next) = event.next_after(last, &TimeZone::UTC)
        {
            prop_assert!(next > last);
        }
    }
}

#[test]
fn a_step_of_nothing_is_only_the_beginning() {
    let zone = TimeZone::UTC;
    for (text, same) in [("*/0", "0"), ("*:3/0", "*:3"), ("*/0:30", "0:30")] {
        let next = |text: &str| {
            text.parse::<CalendarEvent>()
                .unwrap()
                .next_after(1_700_000_000, &zone)
        };
        assert_eq!(next(text), next(same), "{text}");
    }
}
