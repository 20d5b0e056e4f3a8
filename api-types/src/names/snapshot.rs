//! Snapshots: one backup of a group at one time.

use std::fmt;
use std::str::FromStr;

use super::{BackupGroup, BackupNamespace, BackupTime, GroupPath};
use crate::ParseError;
use crate::macros::serde_as_string;

/// A snapshot within its namespace: `vm/100/2022-05-02T08:11:33Z`. Ordered by group, then time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupDir {
    /// The group it belongs to.
    pub group: BackupGroup,
    /// When the backup was made.
    pub time: BackupTime,
}

impl BackupDir {
    /// A snapshot of checked parts.
    #[must_use]
    pub const fn new(group: BackupGroup, time: BackupTime) -> Self {
        Self { group, time }
    }

    /// Path relative to the namespace.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.group, self.time)
    }
}

impl FromStr for BackupDir {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let expected = "expected the form TYPE/ID/TIME, like vm/100/2022-05-02T08:11:33Z";
        let (group, time) = text
            .rsplit_once('/')
            .ok_or_else(|| ParseError::new("snapshot", text, expected))?;
        let in_snapshot =
            |e: ParseError| ParseError::new("snapshot", text, format!("{}: {}", e.what, e.reason));
        Ok(Self {
            group: group.parse().map_err(in_snapshot)?,
            time: time.parse().map_err(in_snapshot)?,
        })
    }
}

impl fmt::Display for BackupDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.path())
    }
}

impl fmt::Debug for BackupDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupDir({self})")
    }
}

serde_as_string!(BackupDir, "a snapshot");

/// A snapshot with its namespace, printed as the path below the datastore:
/// `ns/a/vm/100/2022-05-02T08:11:33Z`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotPath {
    /// The namespace.
    pub ns: BackupNamespace,
    /// The snapshot in it.
    pub dir: BackupDir,
}

impl SnapshotPath {
    /// A path of checked parts.
    #[must_use]
    pub const fn new(ns: BackupNamespace, dir: BackupDir) -> Self {
        Self { ns, dir }
    }

    /// Path relative to the datastore.
    #[must_use]
    pub fn path(&self) -> String {
        self.ns.path_of(&self.dir.path())
    }

    /// The group that holds the snapshot.
    #[must_use]
    pub fn group_path(&self) -> GroupPath {
        GroupPath::new(self.ns.clone(), self.dir.group.clone())
    }
}

impl FromStr for SnapshotPath {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (ns, rest) = BackupNamespace::split_path(text)?;
        Ok(Self {
            ns,
            dir: rest.parse()?,
        })
    }
}

impl fmt::Display for SnapshotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.path())
    }
}

impl fmt::Debug for SnapshotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotPath({self})")
    }
}

serde_as_string!(SnapshotPath, "the path of a snapshot");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_form_is_read_back() {
        for good in [
            "vm/100/2022-05-02T08:11:33Z",
            "ns/a/vm/100/2022-05-02T08:11:33Z",
            "ns/a/ns/b/host/web.example/2022-05-02T08:11:33Z",
        ] {
            let path: SnapshotPath = good.parse().unwrap();
            assert_eq!(path.path(), good);
        }
        let path: SnapshotPath = "ns/a/ns/b/vm/100/2022-05-02T08:11:33Z".parse().unwrap();
        assert_eq!(path.ns.to_string(), "a/b");
        assert_eq!(path.dir.group.to_string(), "vm/100");
        assert_eq!(path.group_path().path(), "ns/a/ns/b/vm/100");
        assert_eq!(path.dir.time.secs(), 1_651_479_093);
    }

    #[test]
    fn malformed_paths_are_refused() {
        for bad in [
            "",
            "vm/100",
            "vm/100/",
            "vm/100/latest",
            "vm/100/2022-05-02T08:11:33Z/",
            "/vm/100/2022-05-02T08:11:33Z",
            "a/vm/100/2022-05-02T08:11:33Z",
            "ns/../vm/100/2022-05-02T08:11:33Z",
            "vm/a/b/2022-05-02T08:11:33Z",
        ] {
            assert!(bad.parse::<SnapshotPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn snapshots_of_a_group_sort_by_time() {
        let older: BackupDir = "vm/100/2022-05-02T08:11:33Z".parse().unwrap();
        let newer: BackupDir = "vm/100/2023-01-01T00:00:00Z".parse().unwrap();
        let other: BackupDir = "vm/99/2024-01-01T00:00:00Z".parse().unwrap();
        assert!(other < older && older < newer);
    }
}
