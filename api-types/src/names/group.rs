//! Backup types and groups.

use std::fmt;
use std::str::FromStr;

use super::{BackupId, BackupNamespace};
use crate::ParseError;
use crate::macros::{named_enum, serde_as_string};

named_enum! {
    /// What was backed up. The order is that of listings.
    BackupType, "backup type" {
        /// A container.
        Ct = "ct",
        /// A physical host or anything else that runs the client itself.
        Host = "host",
        /// A virtual machine.
        Vm = "vm",
    }
}

/// All snapshots of one thing: `vm/100`. Ordered by type, then by id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupGroup {
    /// Kind of the thing.
    pub ty: BackupType,
    /// Its id within the kind.
    pub id: BackupId,
}

impl BackupGroup {
    /// A group of checked parts.
    #[must_use]
    pub const fn new(ty: BackupType, id: BackupId) -> Self {
        Self { ty, id }
    }

    /// Path relative to the namespace: `vm/100`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.ty.as_str(), self.id.as_str())
    }
}

impl FromStr for BackupGroup {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (ty, id) = text.split_once('/').ok_or_else(|| {
            ParseError::new(
                "backup group",
                text,
                "expected the form TYPE/ID, like vm/100",
            )
        })?;
        let in_group = |e: ParseError| {
            ParseError::new("backup group", text, format!("{}: {}", e.what, e.reason))
        };
        Ok(Self {
            ty: ty.parse().map_err(in_group)?,
            id: id.parse().map_err(in_group)?,
        })
    }
}

impl fmt::Display for BackupGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.path())
    }
}

impl fmt::Debug for BackupGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupGroup({self})")
    }
}

serde_as_string!(BackupGroup, "a backup group");

/// A group with its namespace, printed as the path below the datastore: `ns/a/vm/100`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupPath {
    /// The namespace.
    pub ns: BackupNamespace,
    /// The group in it.
    pub group: BackupGroup,
}

impl GroupPath {
    /// A path of checked parts.
    #[must_use]
    pub const fn new(ns: BackupNamespace, group: BackupGroup) -> Self {
        Self { ns, group }
    }

    /// Path relative to the datastore.
    #[must_use]
    pub fn path(&self) -> String {
        self.ns.path_of(&self.group.path())
    }
}

impl FromStr for GroupPath {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (ns, rest) = BackupNamespace::split_path(text)?;
        Ok(Self {
            ns,
            group: rest.parse()?,
        })
    }
}

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.path())
    }
}

impl fmt::Debug for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupPath({self})")
    }
}

serde_as_string!(GroupPath, "the path of a backup group");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_sort_by_type_then_id() {
        let mut groups: Vec<BackupGroup> =
            ["vm/99", "host/z", "vm/100", "ct/200", "host/10", "vm/9"]
                .iter()
                .map(|group| group.parse().unwrap())
                .collect();
        groups.sort();
        let sorted: Vec<String> = groups.iter().map(ToString::to_string).collect();
        assert_eq!(
            sorted,
            ["ct/200", "host/10", "host/z", "vm/9", "vm/99", "vm/100"]
        );
    }

    #[test]
    fn malformed_groups_are_refused() {
        for bad in [
            "",
            "vm",
            "vm/",
            "/100",
            "VM/100",
            "vm/100/",
            "vm/../x",
            "ns/a/vm/100",
            "vm/.x",
        ] {
            assert!(bad.parse::<BackupGroup>().is_err(), "{bad:?}");
        }
        let error = "vm/a b".parse::<BackupGroup>().unwrap_err().to_string();
        assert!(
            error.starts_with("invalid backup group \"vm/a b\": backup id: "),
            "{error}"
        );
    }

    #[test]
    fn group_paths() {
        for good in ["vm/100", "ns/a/vm/100", "ns/ns/ns/vm/host/vm"] {
            assert_eq!(good.parse::<GroupPath>().unwrap().path(), good);
        }
        for bad in ["", "ns/a", "ns/a/", "a/vm/100", "ns/a//vm/100", "ns/vm/100"] {
            assert!(bad.parse::<GroupPath>().is_err(), "{bad:?}");
        }
    }
}
