//! How times and sizes are shown.

use jiff::Timestamp;

pub(crate) use crate::backup::text::{bytes, local_time};

/// A time as key files have it, shown like others.
#[must_use]
pub fn stated_time(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(time) => local_time(time.as_second()),
        Err(_) => text.to_owned(),
    }
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
        assert_eq!(stated_time("nonsense"), "nonsense");
        assert_eq!(bytes(3717), "3.63 KiB");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(percent(17_683_464_192, 270_553_174_016), 7);
        assert_eq!(percent(79_889_285_120, 270_553_174_016), 30);
        assert_eq!(percent(1, 0), 100);
    }
}
