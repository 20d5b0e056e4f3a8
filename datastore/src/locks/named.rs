#![allow(
    clippy::disallowed_methods,
    reason = "lock files are empty and mean nothing once their holders are gone"
)]
//! Locks of groups, snapshots and manifests (datastore-layout.md §7.2).
//!
//! `flock` on files below a run-time directory, with upstream's names, so that both servers
//! exclude each other. A lock file may be deleted while it is held (its subject is gone); whoever
//! got the old file notices that it is no longer the one at the path.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use api_types::names::{BackupDir, BackupGroup, BackupNamespace};
use api_types::upid::unit_escape;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use tokio_util::sync::CancellationToken;

use crate::atomic_file::random_characters;
use crate::env::Env;
use crate::local_error::{AtPath, LocalError, LocalResult, found};
use crate::task::Aborted;

/// How long an update of a manifest waits for another one.
pub const MANIFEST_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two attempts to take a lock that is waited for.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

const LOCK_FILE_MODE: u32 = 0o660;

/// The lock of all metadata. Neither a group nor a namespace can have its name.
const METADATA: &str = ".metadata";

/// The named locks of one datastore.
#[derive(Clone, Debug)]
pub struct NamedLocks {
    dir: PathBuf,
    env: Env,
}

impl NamedLocks {
    /// Locks below `dir`, upstream's `/run/proxmox-backup/locks/<store>`. Created on demand.
    #[must_use]
    pub fn new(dir: PathBuf, env: Env) -> Self {
        Self { dir, env }
    }

    /// The directory of the lock files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The exclusive lock of a group; fails at once if it is held.
    pub fn group(&self, ns: &BackupNamespace, group: &BackupGroup) -> LocalResult<LockFile> {
        let path = self.path(ns, &group.to_string());
        LockFile::acquire("group", path, FlockArg::LockExclusiveNonblock)
    }

    /// The exclusive lock of a snapshot; fails at once if it is held in any way.
    pub fn snapshot_exclusive(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
    ) -> LocalResult<LockFile> {
        let path = self.path(ns, &dir.to_string());
        LockFile::acquire("snapshot", path, FlockArg::LockExclusiveNonblock)
    }

    /// The shared lock of a snapshot; fails at once if it is held exclusively.
    pub fn snapshot_shared(&self, ns: &BackupNamespace, dir: &BackupDir) -> LocalResult<LockFile> {
        let path = self.path(ns, &dir.to_string());
        LockFile::acquire("snapshot", path, FlockArg::LockSharedNonblock)
    }

    /// The shared lock of all metadata; fails at once if it is held exclusively.
    pub fn metadata_shared(&self) -> LocalResult<LockFile> {
        let path = self.dir.join(METADATA);
        LockFile::acquire("metadata", path, FlockArg::LockSharedNonblock)
    }

    /// The exclusive lock of all metadata; fails at once if it is held in any way.
    pub fn metadata_exclusive(&self) -> LocalResult<LockFile> {
        let path = self.dir.join(METADATA);
        LockFile::acquire("metadata", path, FlockArg::LockExclusiveNonblock)
    }

    /// The exclusive lock of a snapshot's manifest; fails at once if it is held.
    pub fn try_manifest(&self, ns: &BackupNamespace, dir: &BackupDir) -> LocalResult<LockFile> {
        let path = self.path(ns, &format!("{dir}/.index.json.lck"));
        LockFile::acquire("manifest", path, FlockArg::LockExclusiveNonblock)
    }

    /// The exclusive lock of a snapshot's manifest, waiting for it for up to
    /// [`MANIFEST_LOCK_TIMEOUT`].
    pub async fn manifest(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
        cancel: &CancellationToken,
    ) -> LocalResult<LockFile> {
        self.manifest_within(MANIFEST_LOCK_TIMEOUT, ns, dir, cancel)
            .await
    }

    /// The same, waiting for up to `timeout`.
    pub async fn manifest_within(
        &self,
        timeout: Duration,
        ns: &BackupNamespace,
        dir: &BackupDir,
        cancel: &CancellationToken,
    ) -> LocalResult<LockFile> {
        wait_for(&self.env, timeout, cancel, || self.try_manifest(ns, dir)).await
    }

    /// File of the lock with the relative path `name` (without namespace).
    fn path(&self, ns: &BackupNamespace, name: &str) -> PathBuf {
        let namespace = ns.to_string().replace('/', ":");
        let directory = if namespace.is_empty() {
            self.dir.clone()
        } else {
            self.dir.join(namespace)
        };
        directory.join(file_name(name))
    }
}

/// Escaped file name of a lock; a long one goes into the directory `hashed`, by its digest.
fn file_name(name: &str) -> PathBuf {
    let escaped = unit_escape(name.as_bytes());
    if escaped.len() < 255 {
        return PathBuf::from(escaped);
    }
    // The escaping is pure ASCII, so these cuts fall between characters.
    let (first, last) = (&escaped[..80], &escaped[escaped.len() - 80..]);
    let hash = hex::encode(openssl::sha::sha256(name.as_bytes()));
    Path::new("hashed").join(format!("{first}...{last}-{hash}"))
}

/// Repeats `attempt` while the lock is held by somebody else.
pub(super) async fn wait_for<T, F>(
    env: &Env,
    timeout: Duration,
    cancel: &CancellationToken,
    mut attempt: F,
) -> LocalResult<T>
where
    F: FnMut() -> LocalResult<T>,
{
    let deadline = env.now() + timeout;
    loop {
        match attempt() {
            Err(error) if error.is_busy() && env.now() < deadline => {}
            result => return result,
        }
        tokio::select! {
            biased;
            () = env.sleep(RETRY_PAUSE) => {}
            () = cancel.cancelled() => return Err(Aborted.into()),
        }
    }
}

/// A held lock; released when dropped.
#[derive(Debug)]
pub struct LockFile {
    // Closing the descriptor releases the lock.
    file: Flock<File>,
    path: PathBuf,
}

impl LockFile {
    /// The exclusive lock of `what`, by a file at `path`; fails at once if it is held.
    pub(crate) fn try_exclusive(what: &'static str, path: PathBuf) -> LocalResult<Self> {
        Self::acquire(what, path, FlockArg::LockExclusiveNonblock)
    }

    fn acquire(what: &'static str, path: PathBuf, mode: FlockArg) -> LocalResult<Self> {
        let file = flock(what, open_or_create(&path)?, &path, mode)?;
        let held = file.metadata().at("stat lock file", &path)?;
        let current = found(path.symlink_metadata()).at("stat lock file", &path)?;
        match current {
            Some(current) if (current.dev(), current.ino()) == (held.dev(), held.ino()) => {
                Ok(Self { file, path })
            }
            _ => Err(LocalError::Changed { what, path }),
        }
    }

    /// Deletes the lock's file and releases it: for the lock of something that was removed.
    pub fn remove(self) -> LocalResult<()> {
        found(std::fs::remove_file(&self.path)).at("remove lock file", &self.path)?;
        drop(self.file);
        Ok(())
    }

    /// The lock's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

pub(super) fn flock(
    what: &'static str,
    file: File,
    path: &Path,
    mode: FlockArg,
) -> LocalResult<Flock<File>> {
    match Flock::lock(file, mode) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => Err(LocalError::Busy {
            what,
            path: path.to_path_buf(),
        }),
        Err((_, errno)) => Err(errno).at("lock", path),
    }
}

/// Opens a lock file for appending, creating it and its directories if missing.
pub(super) fn open_or_create(path: &Path) -> LocalResult<File> {
    // Each round either opens the file, makes it, or finds that another task did or undid so.
    for _ in 0..100 {
        if let Some(file) = found(open_existing(path)).at("open lock file", path)? {
            return Ok(file);
        }
        create_lock_file(path)?;
    }
    Err(LocalError::refused(
        "open lock file",
        path,
        "other tasks keep removing it",
    ))
}

fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Makes the file appear with its final mode: a temporary file, linked to the name unless that
/// exists by now.
fn create_lock_file(path: &Path) -> LocalResult<()> {
    let Some(parent) = path.parent() else {
        return Err(LocalError::refused(
            "create lock file",
            path,
            "the path has no directory",
        ));
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .at("create lock directory", parent)?;
    // A short name of its own: the lock's name may be as long as names can be.
    let unique = format!(".tmp-{}-{}", std::process::id(), random_characters());
    let temp = parent.join(unique);
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temp);
    let file = created.at("create lock file", &temp)?;
    let linked = file
        .set_permissions(Permissions::from_mode(LOCK_FILE_MODE))
        .and_then(|()| std::fs::hard_link(&temp, path));
    found(std::fs::remove_file(&temp)).at("remove temporary lock file", &temp)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.at("create lock file", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks() -> (tempfile::TempDir, NamedLocks) {
        let dir = tempfile::tempdir().unwrap();
        let locks = NamedLocks::new(dir.path().join("locks/store"), Env::seeded(1, 1000));
        (dir, locks)
    }

    fn ns(text: &str) -> BackupNamespace {
        text.parse().unwrap()
    }

    fn snapshot() -> BackupDir {
        "vm/100/2022-05-02T08:11:33Z".parse().unwrap()
    }

    fn relative(lock: &LockFile, locks: &NamedLocks) -> String {
        lock.path()
            .strip_prefix(locks.dir())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn files_have_upstream_s_names_and_modes() {
        let (_dir, locks) = locks();
        let (root, nested) = (ns(""), ns("a/b"));
        let group = locks.group(&root, &snapshot().group).unwrap();
        assert_eq!(relative(&group, &locks), "vm-100");
        let in_ns = locks.group(&nested, &snapshot().group).unwrap();
        assert_eq!(relative(&in_ns, &locks), "a:b/vm-100");
        let exclusive = locks.snapshot_exclusive(&root, &snapshot()).unwrap();
        let expected = r"vm-100-2022\x2d05\x2d02T08\x3a11\x3a33Z";
        assert_eq!(relative(&exclusive, &locks), expected);
        let manifest = locks.try_manifest(&root, &snapshot()).unwrap();
        assert_eq!(
            relative(&manifest, &locks),
            format!("{expected}-.index.json.lck")
        );
        assert_eq!(manifest.path().metadata().unwrap().mode() & 0o7777, 0o660);
        assert_eq!(
            locks.dir().read_dir().unwrap().count(),
            4,
            "no temporary files are left"
        );
    }

    #[test]
    fn a_namespace_may_have_any_name() {
        let (_dir, locks) = locks();
        for name in ["metadata", "_metadata", "m.metadata"] {
            let held = locks.group(&ns(name), &snapshot().group).unwrap();
            assert!(locks.metadata_exclusive().is_ok(), "{name}");
            drop(held);
        }
        let shared = locks.metadata_shared().unwrap();
        assert!(locks.metadata_exclusive().unwrap_err().is_busy());
        drop(shared);
    }

    #[test]
    fn long_names_are_hashed() {
        let (_dir, locks) = locks();
        let short: BackupGroup = format!("vm/{}", "x".repeat(251)).parse().unwrap();
        let lock = locks.group(&ns(""), &short).unwrap();
        assert_eq!(relative(&lock, &locks).len(), 254);
        let long: BackupGroup = format!("vm/{}", "x".repeat(252)).parse().unwrap();
        let lock = locks.group(&ns(""), &long).unwrap();
        let hash = hex::encode(openssl::sha::sha256(long.to_string().as_bytes()));
        let (first, last) = ("x".repeat(77), "x".repeat(80));
        assert_eq!(
            relative(&lock, &locks),
            format!("hashed/vm-{first}...{last}-{hash}")
        );
        assert!(locks.group(&ns(""), &long).unwrap_err().is_busy());
    }

    #[test]
    fn shared_and_exclusive_exclude_each_other() {
        let (_dir, locks) = locks();
        let root = ns("");
        let shared = locks.snapshot_shared(&root, &snapshot()).unwrap();
        let second = locks.snapshot_shared(&root, &snapshot()).unwrap();
        let busy = locks.snapshot_exclusive(&root, &snapshot()).unwrap_err();
        assert!(
            busy.is_busy() && busy.to_string().contains("snapshot lock"),
            "{busy}"
        );
        drop((shared, second));
        let exclusive = locks.snapshot_exclusive(&root, &snapshot()).unwrap();
        assert!(
            locks
                .snapshot_shared(&root, &snapshot())
                .unwrap_err()
                .is_busy()
        );
        // Other locks of the same snapshot are their own.
        let _group = locks.group(&root, &snapshot().group).unwrap();
        let _manifest = locks.try_manifest(&root, &snapshot()).unwrap();
        let _other_ns = locks.snapshot_exclusive(&ns("a"), &snapshot()).unwrap();
        drop(exclusive);
    }

    #[test]
    fn removal_while_held_is_noticed_by_whoever_had_the_old_file() {
        let (_dir, locks) = locks();
        let lock = locks.group(&ns(""), &snapshot().group).unwrap();
        let path = lock.path().to_path_buf();
        let waiting = open_or_create(&path).unwrap();
        lock.remove().unwrap();
        assert!(!path.exists());
        // The old file can be locked now, but it is no longer the lock.
        let stale = flock("group", waiting, &path, FlockArg::LockExclusiveNonblock).unwrap();
        let fresh = locks.group(&ns(""), &snapshot().group).unwrap();
        assert_ne!(
            stale.metadata().unwrap().ino(),
            fresh.path().metadata().unwrap().ino()
        );
        assert!(
            locks
                .group(&ns(""), &snapshot().group)
                .unwrap_err()
                .is_busy()
        );
    }

    #[test]
    fn symbolic_links_are_not_locked() {
        let (dir, locks) = locks();
        std::fs::create_dir_all(locks.dir()).unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, locks.dir().join("vm-100")).unwrap();
        assert!(locks.group(&ns(""), &snapshot().group).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn manifest_lock_waits_up_to_five_seconds() {
        let (_dir, locks) = locks();
        let (root, cancel) = (ns(""), CancellationToken::new());
        let held = locks.try_manifest(&root, &snapshot()).unwrap();
        let start = locks.env.now();
        let busy = locks
            .manifest(&root, &snapshot(), &cancel)
            .await
            .unwrap_err();
        assert!(busy.is_busy());
        assert!(locks.env.now() - start >= MANIFEST_LOCK_TIMEOUT);
        let release = async {
            locks.env.sleep(Duration::from_secs(3)).await;
            drop(held);
        };
        let dir = snapshot();
        let (lock, ()) = tokio::join!(locks.manifest(&root, &dir, &cancel), release);
        assert!(lock.is_ok());
        let stop = async {
            locks.env.sleep(Duration::from_secs(1)).await;
            cancel.cancel();
        };
        let (aborted, ()) = tokio::join!(locks.manifest(&root, &dir, &cancel), stop);
        assert!(matches!(aborted, Err(LocalError::Aborted(_))));
    }
}
