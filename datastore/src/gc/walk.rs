//! Finding every index file of a store, once over (gc.md §6.2 P1).
//!
//! One walk serves for both questions: it visits namespaces, groups and snapshots as the layout
//! has them, and whatever else lies between them as well, so that an index in an odd place is
//! found and known to be odd.
//!
//! Rules carried here:
//! * ◆ A directory is listed completely before anything in it is visited: a group gives all names
//!   of its snapshots first, then the files of each.
//! * ◆ A directory that is gone when it is visited counts as *vanished*, whatever it was.
//! * ◆ Index files count with or without a manifest beside them.
//! * Permission denied ends the walk (the chunks of what cannot be seen would be deleted), but for
//!   `lost+found` at the top. A directory below `ns/` that cannot be a namespace ends it, too.
//! * Hidden directories and symbolic links are not followed.

use std::ffi::OsStr;
use std::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};

use api_types::names::{
    ArchiveType, BackupDir, BackupGroup, BackupNamespace, BackupTime, BackupType,
    MAX_NAMESPACE_DEPTH, NamespaceComponent, SnapshotPath,
};

use super::error::{GcError, GcResult, OnPath};
use super::mark::{MarkObserver, MarkStep};
use crate::task::{TaskContext, check_abort};

/// An index file that the walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundIndex {
    /// Where it is.
    pub path: PathBuf,
    /// The same below the store's directory.
    pub relative: PathBuf,
    /// Fixed or dynamic.
    pub kind: ArchiveType,
    /// The snapshot it belongs to; none outside of the expected layout.
    pub snapshot: Option<SnapshotPath>,
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Walk {
    /// Index files; within each group those of the newest snapshot first.
    pub indexes: Vec<FoundIndex>,
    /// The first few entries that were gone when they were looked at.
    pub vanished: Vec<PathBuf>,
}

/// Whether a file of that name is an index, and of which kind.
#[must_use]
pub fn index_kind(path: &Path) -> Option<ArchiveType> {
    let extension = path.extension()?;
    [ArchiveType::FixedIndex, ArchiveType::DynamicIndex]
        .into_iter()
        .find(|kind| extension == OsStr::new(kind.as_str()))
}

/// Walks the store at `base`.
pub fn walk_store(
    base: &Path,
    observer: &dyn MarkObserver,
    task: &dyn TaskContext,
) -> GcResult<Walk> {
    let mut walker = Walker {
        base,
        observer,
        task,
        walk: Walk::default(),
    };
    let root = Place::Namespace(BackupNamespace::root());
    match walker.list(base, 0)? {
        Some(entries) => walker.visit_entries(base, &root, 0, entries)?,
        None => return Err(io::Error::from(io::ErrorKind::NotFound)).on("list directory", base),
    }
    Ok(walker.walk)
}

/// Remembered for messages; the count does not matter.
const MAX_VANISHED: usize = 10;

/// What a directory is in the layout.
#[derive(Clone, Debug)]
enum Place {
    /// The store or a namespace.
    Namespace(BackupNamespace),
    /// `ns`
    Namespaces(BackupNamespace),
    /// `vm`, `ct`, `host`
    Type(BackupNamespace, BackupType),
    /// A group.
    Group(BackupNamespace, BackupGroup),
    /// A snapshot.
    Snapshot(SnapshotPath),
    /// Anything else.
    Elsewhere,
}

struct Entry {
    path: PathBuf,
    name: std::ffi::OsString,
    file_type: FileType,
}

struct Walker<'a> {
    base: &'a Path,
    observer: &'a dyn MarkObserver,
    task: &'a dyn TaskContext,
    walk: Walk,
}

impl Walker<'_> {
    fn visit(&mut self, path: &Path, place: &Place, depth: usize) -> GcResult<()> {
        match self.list(path, depth)? {
            Some(entries) => self.visit_entries(path, place, depth, entries),
            None => Ok(()),
        }
    }

    fn visit_entries(
        &mut self,
        path: &Path,
        place: &Place,
        depth: usize,
        mut entries: Vec<Entry>,
    ) -> GcResult<()> {
        self.observer.at(MarkStep::Listed(path));
        // Time strings sort as their times. A snapshot that is younger than the one it reuses is
        // read before it.
        entries.sort_by(|a, b| b.name.cmp(&a.name));
        if !matches!(place, Place::Group(..)) {
            entries.reverse();
        }
        for entry in entries {
            if entry.file_type.is_dir() {
                let Some(child) = child_place(place, &entry)? else {
                    continue;
                };
                self.visit(&entry.path, &child, depth + 1)?;
            } else if entry.file_type.is_file() {
                self.take_file(place, entry);
            }
        }
        Ok(())
    }

    fn take_file(&mut self, place: &Place, entry: Entry) {
        let Some(kind) = index_kind(&entry.path) else {
            return;
        };
        let snapshot = match place {
            Place::Snapshot(snapshot) => Some(snapshot.clone()),
            _ => None,
        };
        let relative = entry
            .path
            .strip_prefix(self.base)
            .unwrap_or(&entry.path)
            .to_path_buf();
        self.walk.indexes.push(FoundIndex {
            path: entry.path,
            relative,
            kind,
            snapshot,
        });
    }

    /// All entries of a directory; none if it is gone or need not be read.
    fn list(&mut self, path: &Path, depth: usize) -> GcResult<Option<Vec<Entry>>> {
        check_abort(self.task)?;
        match read_entries(path) {
            Ok((entries, vanished)) => {
                if vanished {
                    self.vanished(path);
                }
                Ok(Some(entries))
            }
            Err(error) => {
                if unreadable(path, depth, error)? == Unreadable::Vanished {
                    self.vanished(path);
                }
                Ok(None)
            }
        }
    }

    fn vanished(&mut self, path: &Path) {
        if self.walk.vanished.len() < MAX_VANISHED {
            self.walk.vanished.push(path.to_path_buf());
        }
    }
}

/// A directory that cannot be read, without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreadable {
    /// It is gone.
    Vanished,
    /// It belongs to the file system.
    Foreign,
}

/// Fails unless there cannot be snapshots in it.
fn unreadable(path: &Path, depth: usize, error: io::Error) -> GcResult<Unreadable> {
    if is_gone(&error) {
        return Ok(Unreadable::Vanished);
    }
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Err(error).on("list directory", path);
    }
    if depth <= 1 && path.file_name() == Some(OsStr::new("lost+found")) {
        return Ok(Unreadable::Foreign);
    }
    Err(GcError::Denied {
        path: path.to_path_buf(),
        source: error,
    })
}

/// Whether what was listed a moment ago is not there any more, or is something else now.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::StaleNetworkFileHandle
    )
}

/// The entries that have a type, and whether one vanished before it was known.
fn read_entries(path: &Path) -> io::Result<(Vec<Entry>, bool)> {
    let mut entries = Vec::new();
    let mut vanished = false;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type() {
            Ok(file_type) => {
                entries.push(Entry {
                    path: entry.path(),
                    name: entry.file_name(),
                    file_type,
                });
            }
            Err(error) if is_gone(&error) => vanished = true,
            Err(error) => return Err(error),
        }
    }
    Ok((entries, vanished))
}

/// What a directory within `place` is; none if it is not to be visited.
fn child_place(place: &Place, entry: &Entry) -> GcResult<Option<Place>> {
    let name = entry.name.to_str();
    // Below `ns/` even a hidden directory is a name that should not be there.
    if let (Place::Namespaces(ns), Some(name)) = (place, name) {
        let Ok(component) = name.parse::<NamespaceComponent>() else {
            return Err(GcError::BadNamespace {
                path: entry.path.clone(),
            });
        };
        return Ok(Some(
            ns.join(component)
                .map_or(Place::Elsewhere, Place::Namespace),
        ));
    }
    if entry.name.as_encoded_bytes().starts_with(b".") {
        return Ok(None);
    }
    let known = name.and_then(|name| match place {
        Place::Namespace(ns) if name == "ns" && ns.depth() < MAX_NAMESPACE_DEPTH => {
            Some(Place::Namespaces(ns.clone()))
        }
        Place::Namespace(ns) => {
            let ty = name.parse::<BackupType>().ok()?;
            Some(Place::Type(ns.clone(), ty))
        }
        Place::Type(ns, ty) => {
            let group = BackupGroup::new(*ty, name.parse().ok()?);
            Some(Place::Group(ns.clone(), group))
        }
        Place::Group(ns, group) => {
            let time = name.parse::<BackupTime>().ok()?;
            let dir = BackupDir::new(group.clone(), time);
            Some(Place::Snapshot(SnapshotPath::new(ns.clone(), dir)))
        }
        Place::Namespaces(_) | Place::Snapshot(_) | Place::Elsewhere => None,
    });
    Ok(Some(known.unwrap_or(Place::Elsewhere)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gc::mark::NoObserver;
    use crate::task::SilentTask;

    fn store(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        dir
    }

    fn walk(dir: &Path) -> GcResult<Walk> {
        walk_store(dir, &NoObserver, &SilentTask::new())
    }

    /// Path, and whether it is where the layout has it.
    fn found(dir: &Path) -> Vec<(String, bool)> {
        let walk = walk(dir).unwrap();
        assert_eq!(walk.vanished, [] as [PathBuf; 0]);
        let describe = |index: FoundIndex| {
            let expected = index.snapshot.map(|snapshot| snapshot.path());
            let parent = index
                .relative
                .parent()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            assert!(expected.is_none() || expected == Some(parent));
            (
                index.relative.to_str().unwrap().to_owned(),
                expected.is_some(),
            )
        };
        walk.indexes.into_iter().map(describe).collect()
    }

    const T1: &str = "2024-01-01T00:00:00Z";
    const T2: &str = "2024-01-02T00:00:00Z";

    #[test]
    fn newest_snapshots_come_first_in_each_group() {
        let dir = store(&[
            &format!("vm/100/{T1}/a.img.fidx"),
            &format!("vm/100/{T1}/b.img.fidx"),
            &format!("vm/100/{T2}/a.img.fidx"),
            &format!("vm/100/{T2}/index.json.blob"),
            &format!("ns/x/ns/y/host/h/{T1}/r.pxar.didx"),
            &format!("ct/1/{T1}/r.pxar.didx"),
        ]);
        let expected = [
            format!("ct/1/{T1}/r.pxar.didx"),
            format!("ns/x/ns/y/host/h/{T1}/r.pxar.didx"),
            format!("vm/100/{T2}/a.img.fidx"),
            format!("vm/100/{T1}/a.img.fidx"),
            format!("vm/100/{T1}/b.img.fidx"),
        ];
        assert_eq!(found(dir.path()), expected.map(|path| (path, true)));
    }

    #[test]
    fn odd_places_are_found_hidden_ones_are_not() {
        let deep = "ns/n/".repeat(MAX_NAMESPACE_DEPTH + 1);
        let odd = [
            "a.fidx".to_owned(),
            "lost+found/x.didx".to_owned(),
            format!("{deep}vm/1/{T1}/a.fidx"),
            "other/deep/er/a.didx".to_owned(),
            "vm/1/a.fidx".to_owned(),
            "vm/1/not a time/a.fidx".to_owned(),
            format!("vm/1/{T1}/sub/a.fidx"),
            "vm/a.fidx".to_owned(),
            "xx/1/a.fidx".to_owned(),
        ];
        let unseen = [
            ".chunks/aaaa/a.fidx".to_owned(),
            format!("vm/1/.{T1}/a.fidx"),
            format!("vm/1/{T1}/a.tmp_fidx"),
            format!("vm/1/{T1}/a.fidx.tmp"),
            format!("vm/1/{T1}/fidx"),
        ];
        let all: Vec<&str> = odd.iter().chain(&unseen).map(String::as_str).collect();
        let dir = store(&all);
        std::os::unix::fs::symlink(dir.path().join("a.fidx"), dir.path().join("link.fidx"))
            .unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).unwrap();
        let mut expected: Vec<_> = odd.iter().map(|path| (path.clone(), false)).collect();
        let mut found = found(dir.path());
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn names_that_are_no_namespace_end_the_walk() {
        for bad in ["ns/a b", "ns/.hidden", "ns/a/ns/ä"] {
            let dir = store(&[&format!("{bad}/x")]);
            let error = walk(dir.path()).unwrap_err();
            assert!(matches!(&error, GcError::BadNamespace { path } if path.ends_with(bad)));
        }
        // A file there is no directory, and a name that is not text is not looked at by others.
        let dir = store(&["ns/a b.txt"]);
        let raw = std::os::unix::ffi::OsStrExt::from_bytes(b"ns/\xff");
        std::fs::create_dir(dir.path().join::<&OsStr>(raw)).unwrap();
        assert_eq!(walk(dir.path()).unwrap().indexes, []);
    }

    #[test]
    fn permission_denied_ends_the_walk_except_in_lost_and_found() {
        let error = |kind| io::Error::from(kind);
        let denied = || error(io::ErrorKind::PermissionDenied);
        let group = Path::new("/store/vm/100");
        assert!(
            matches!(unreadable(group, 2, denied()), Err(GcError::Denied { path, .. }) if path == group)
        );
        let found = Path::new("/store/lost+found");
        assert_eq!(unreadable(found, 1, denied()).unwrap(), Unreadable::Foreign);
        let deeper = Path::new("/store/vm/lost+found");
        assert!(matches!(
            unreadable(deeper, 2, denied()),
            Err(GcError::Denied { .. })
        ));
        let gone = error(io::ErrorKind::NotFound);
        assert_eq!(unreadable(group, 2, gone).unwrap(), Unreadable::Vanished);
        assert!(unreadable(group, 2, error(io::ErrorKind::Other)).is_err());
    }

    #[test]
    fn a_store_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(walk(&dir.path().join("missing")).is_err());
    }
}
