//! Times of files, at the full resolution of the file system.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::FileStat;
use nix::sys::time::TimeSpec;

use crate::env::Env;

/// A time of a file: seconds since the epoch and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileTime {
    secs: i64,
    nanos: u32,
}

impl FileTime {
    /// A whole second.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }

    /// A millisecond.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        let nanos = u32::try_from(millis.rem_euclid(1000))
            .unwrap_or(0)
            .saturating_mul(1_000_000);
        Self {
            secs: millis.div_euclid(1000),
            nanos,
        }
    }

    /// The wall clock.
    #[must_use]
    pub fn now(env: &Env) -> Self {
        Self::from_millis(env.unix_millis())
    }

    /// Last access.
    #[must_use]
    pub fn accessed(metadata: &Metadata) -> Self {
        Self::from_parts(metadata.atime(), metadata.atime_nsec())
    }

    /// Last modification.
    #[must_use]
    pub fn modified(metadata: &Metadata) -> Self {
        Self::from_parts(metadata.mtime(), metadata.mtime_nsec())
    }

    /// Last access, of an entry of an open directory.
    #[must_use]
    pub fn accessed_at(stat: &FileStat) -> Self {
        Self::from_parts(stat.st_atime, stat.st_atime_nsec)
    }

    /// Last modification, of an entry of an open directory.
    #[must_use]
    pub fn modified_at(stat: &FileStat) -> Self {
        Self::from_parts(stat.st_mtime, stat.st_mtime_nsec)
    }

    fn from_parts(secs: i64, nanos: i64) -> Self {
        Self {
            secs,
            nanos: u32::try_from(nanos).unwrap_or(0),
        }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.secs()
            .saturating_mul(1000)
            .saturating_add(i64::from(self.nanos() / 1_000_000))
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.secs
    }

    /// Nanoseconds within the second.
    #[must_use]
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    pub(crate) fn to_timespec(self) -> TimeSpec {
        TimeSpec::new(self.secs, i64::from(self.nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_before_the_epoch_keep_positive_nanoseconds() {
        let time = FileTime::from_millis(-1);
        assert_eq!((time.secs(), time.nanos()), (-1, 999_000_000));
        assert!(time < FileTime::from_secs(0));
        assert_eq!(
            FileTime::now(&Env::seeded(1, 1000)),
            FileTime::from_secs(1000)
        );
    }
}
