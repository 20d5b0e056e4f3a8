//! Which keys below `S/.cnt/` have a place in the local tree, and which (`s3-backend.md` §1).
//!
//! A key is turned into a path only if every part of it is one of the typed names, so nothing in a
//! bucket can name a file outside the datastore. Keys that are not understood are left alone.

use api_types::names::{ArchiveName, BackupId, BackupTime, BackupType, NamespaceComponent};

/// A metadata object with a place in the local tree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TreeKey {
    /// The marker of a namespace: only a directory locally.
    Namespace,
    /// `owner` or `notes` of a group.
    GroupFile,
    /// A file of a snapshot.
    SnapshotFile(SnapshotFile),
}

/// Kinds of files of a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SnapshotFile {
    /// `.fidx` or `.didx`.
    Index,
    /// `index.json.blob`.
    Manifest,
    /// Any other blob.
    Blob,
    /// `.protected`.
    Protected,
}

impl TreeKey {
    /// Classifies a path relative to `S/.cnt/`; `None` = not understood.
    #[must_use]
    pub fn parse(relative: &str) -> Option<Self> {
        let parts: Vec<&str> = relative.split('/').collect();
        let mut rest = parts.as_slice();
        let mut depth = 0;
        while let ["ns", component, tail @ ..] = rest {
            component.parse::<NamespaceComponent>().ok()?;
            depth += 1;
            if depth > 7 {
                return None;
            }
            rest = tail;
        }
        match rest {
            [".namespace"] if depth > 0 => Some(Self::Namespace),
            [ty, id, name] => {
                parse_group(ty, id)?;
                matches!(*name, "owner" | "notes").then_some(Self::GroupFile)
            }
            [ty, id, time, name] => {
                parse_group(ty, id)?;
                time.parse::<BackupTime>().ok()?;
                SnapshotFile::parse(name).map(Self::SnapshotFile)
            }
            _ => None,
        }
    }
}

impl SnapshotFile {
    fn parse(name: &str) -> Option<Self> {
        if name == ".protected" {
            return Some(Self::Protected);
        }
        let name: ArchiveName = name.parse().ok()?;
        if name.is_manifest() {
            return Some(Self::Manifest);
        }
        use api_types::names::ArchiveType;
        Some(match name.archive_type()? {
            ArchiveType::FixedIndex | ArchiveType::DynamicIndex => Self::Index,
            ArchiveType::Blob => Self::Blob,
        })
    }
}

fn parse_group(ty: &str, id: &str) -> Option<()> {
    ty.parse::<BackupType>().ok()?;
    id.parse::<BackupId>().ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layout_of_the_specification() {
        use SnapshotFile::{Blob, Index, Manifest, Protected};
        let snapshot = |kind| Some(TreeKey::SnapshotFile(kind));
        for (path, expected) in [
            ("vm/100/owner", Some(TreeKey::GroupFile)),
            ("ns/a/ns/b/ct/101/notes", Some(TreeKey::GroupFile)),
            ("ns/a/.namespace", Some(TreeKey::Namespace)),
            (
                "vm/100/2025-07-14T14:20:02Z/index.json.blob",
                snapshot(Manifest),
            ),
            (
                "vm/100/2025-07-14T14:20:02Z/drive-scsi0.img.fidx",
                snapshot(Index),
            ),
            (
                "vm/100/2025-07-14T14:20:02Z/client.log.blob",
                snapshot(Blob),
            ),
            (
                "vm/100/2025-07-14T14:20:02Z/.protected",
                snapshot(Protected),
            ),
            (".namespace", None),
            ("vm/100/2025-07-14T14:20:02Z/x.tmp_fidx", None),
            ("vm/../owner", None),
            ("vm/100/2025-07-14/owner", None),
            ("tape/100/owner", None),
            ("ns//vm/100/owner", None),
            ("vm/100/x/y/owner", None),
        ] {
            assert_eq!(TreeKey::parse(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_understood_leaves_the_tree(path in "(ns/|\\.\\./|/|vm/|[a-z.]{1,3}/){0,6}[a-z.]{0,12}") {
            if TreeKey::parse(&path).is_some() {
                prop_assert!(path.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            }
        }
    }
}
