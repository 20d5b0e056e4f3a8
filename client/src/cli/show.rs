//! How times and sizes are shown.

use api_types::human::ByteSize;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A Unix time in local time, like `Sun Nov 22 08:34:12 2026`.
#[must_use]
pub fn local_time(secs: i64) -> String {
    in_zone(secs, TimeZone::system())
}

fn in_zone(secs: i64, zone: TimeZone) -> String {
    match Timestamp::from_second(secs) {
        Ok(time) => time
            .to_zoned(zone)
            .strftime("%a %b %e %H:%M:%S %Y")
            .to_string(),
        Err(_) => secs.to_string(),
    }
}

/// A time as key files have it, shown like others.
#[must_use]
pub fn stated_time(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(time) => local_time(time.as_second()),
        Err(_) => text.to_owned(),
    }
}

/// Bytes with a unit, like `1.309 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    ByteSize::from_bytes(count).to_string()
}

/// How many per cent that is, rounded.
#[must_use]
pub fn percent(part: u64, whole: u64) -> u64 {
    let whole = u128::from(whole.max(1));
    let rounded = (u128::from(part) * 200 + whole) / (2 * whole);
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_real_client_shows_them() {
        assert_eq!(
            in_zone(1_795_336_452, TimeZone::UTC),
            "Sun Nov 22 08:34:12 2026"
        );
        assert_eq!(in_zone(0, TimeZone::UTC), "Thu Jan  1 00:00:00 1970");
        assert_eq!(in_zone(i64::MAX, TimeZone::UTC), i64::MAX.to_string());
        assert_eq!(stated_time("nonsense"), "nonsense");
        assert_eq!(bytes(3717), "3.63 KiB");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(percent(17_683_464_192, 270_553_174_016), 7);
        assert_eq!(percent(79_889_285_120, 270_553_174_016), 30);
        assert_eq!(percent(1, 0), 100);
    }
}
