//! Which server the other one is.

use std::fmt;

/// Version of a server: major, minor, release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The first that has namespaces.
    pub const NAMESPACES: Self = Self(2, 2, 0);
    /// The first that says what removals have removed, and can leave protected snapshots.
    pub const REMOVAL_STATISTICS: Self = Self(3, 2, 11);

    /// Of what `GET version` gives as `version` and `release`. Only the leading digits of a
    /// release count: test builds add to them.
    #[must_use]
    pub fn of(version: &str, release: &str) -> Option<Self> {
        let (major, minor) = version.split_once('.')?;
        let digits = release.find(|c: char| !c.is_ascii_digit());
        let release = &release[..digits.unwrap_or(release.len())];
        Some(Self(
            major.parse().ok()?,
            minor.parse().ok()?,
            release.parse().ok()?,
        ))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let of = |version, release| Version::of(version, release).unwrap();
        assert!(of("2.10", "1") > Version::NAMESPACES);
        assert!(of("2.1", "9") < Version::NAMESPACES);
        assert!(of("2.2", "0") >= Version::NAMESPACES);
        assert!(of("3.2", "9") < Version::REMOVAL_STATISTICS);
        assert!(of("3.2", "11") >= Version::REMOVAL_STATISTICS);
        assert!(of("4.0", "2~bpo1") > Version::REMOVAL_STATISTICS);
        assert_eq!(of("4.2", "3").to_string(), "4.2.3");
        for (version, release) in [
            ("", "1"),
            ("4", "1"),
            ("4.2", ""),
            ("4.x", "1"),
            ("4.2", "b"),
        ] {
            assert_eq!(Version::of(version, release), None, "{version} {release}");
        }
    }
}
