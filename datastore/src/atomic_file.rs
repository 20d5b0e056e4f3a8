//! Atomic replacement and exclusive creation of files (datastore-layout.md §3).
//!
//! A replacement is written to a temporary file beside the target and renamed over it, so that a
//! reader sees the old content or the new one, never a part. Temporary names carry the prefix that
//! both servers know as "in progress".

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{self, DiskFile};
use crate::file_time::FileTime;
use crate::local_error::{AtPath, LocalError, LocalResult};

/// User and group that new files are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Numeric user id.
    pub uid: u32,
    /// Numeric group id.
    pub gid: u32,
}

/// Whether a change survives a power failure before it is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Leave it to the kernel.
    #[default]
    Lazy,
    /// fsync the file before, and its directory after the rename.
    Synced,
}

/// How a file is replaced.
#[derive(Clone, Copy, Debug)]
pub struct ReplaceOptions {
    /// Permission bits of the new file.
    pub mode: u32,
    /// User and group of the new file; absent: those of the process.
    pub owner: Option<Owner>,
    /// Access time of the new file; absent: now, by the kernel's clock.
    pub atime: Option<FileTime>,
    /// Whether to wait for the disk.
    pub durability: Durability,
}

impl Default for ReplaceOptions {
    fn default() -> Self {
        Self {
            mode: 0o644,
            owner: None,
            atime: None,
            durability: Durability::Lazy,
        }
    }
}

impl ReplaceOptions {
    /// The defaults, but waiting for the disk.
    #[must_use]
    pub fn durable() -> Self {
        Self {
            durability: Durability::Synced,
            ..Self::default()
        }
    }
}

/// Replaces (or creates) `path` with `data`.
pub fn replace(path: &Path, data: &[u8], options: &ReplaceOptions) -> LocalResult<()> {
    replace_with(path, options, |file| file.write_all(data))
}

/// Replaces (or creates) `path` with what `write` puts into the temporary file.
pub fn replace_with<F>(path: &Path, options: &ReplaceOptions, write: F) -> LocalResult<()>
where
    F: FnOnce(&mut DiskFile) -> io::Result<()>,
{
    let temp = write_beside(path, options, write)?;
    temp.persist(path)?;
    if options.durability == Durability::Synced {
        sync_parent(path)?;
    }
    Ok(())
}

/// Replaces (or creates) `path` with `data`, with these permission bits, waiting for the disk.
pub fn replace_durable(path: &Path, data: &[u8], mode: u32) -> LocalResult<()> {
    replace(
        path,
        data,
        &ReplaceOptions {
            mode,
            ..ReplaceOptions::durable()
        },
    )
}

/// Writes a temporary file beside `path`, to be [persisted](TempFile::persist) there later.
pub(crate) fn write_beside<F>(
    path: &Path,
    options: &ReplaceOptions,
    write: F,
) -> LocalResult<TempFile>
where
    F: FnOnce(&mut DiskFile) -> io::Result<()>,
{
    let (mut file, temp) = TempFile::create_beside(path)?;
    fill(&mut file, &temp.path, options, write)?;
    Ok(temp)
}

/// Creates `path` with `data`; fails with "already exists" if there is anything at that path.
///
/// On a failed write the file is removed again.
pub fn create_exclusive(path: &Path, data: &[u8], options: &ReplaceOptions) -> LocalResult<()> {
    let mut file = DiskFile::create_new(path, options.mode).at("create", path)?;
    let mut guard = TempFile {
        path: path.to_path_buf(),
        armed: true,
    };
    fill(&mut file, path, options, |file| file.write_all(data))?;
    if options.durability == Durability::Synced {
        sync_parent(path)?;
    }
    guard.armed = false;
    Ok(())
}

/// Gives a new file everything but its place.
fn fill<F>(file: &mut DiskFile, path: &Path, options: &ReplaceOptions, write: F) -> LocalResult<()>
where
    F: FnOnce(&mut DiskFile) -> io::Result<()>,
{
    // The process' umask may have taken bits away.
    file.set_mode(options.mode).at("set mode of", path)?;
    if let Some(Owner { uid, gid }) = options.owner {
        file.set_owner(uid, gid).at("set owner of", path)?;
    }
    write(file).at("write", path)?;
    if let Some(atime) = options.atime {
        file.set_access_time(atime).at("set access time of", path)?;
    }
    if options.durability == Durability::Synced {
        file.sync_all().at("sync", path)?;
    }
    Ok(())
}

/// Creates a directory with exactly these permission bits; "already exists" is an error.
pub fn make_dir(path: &Path, mode: u32, owner: Option<Owner>) -> LocalResult<()> {
    disk::create_dir(path, mode).at("create directory", path)?;
    // The process' umask may have taken bits away.
    disk::set_mode(path, mode).at("set mode of", path)?;
    if let Some(Owner { uid, gid }) = owner {
        disk::set_owner(path, uid, gid).at("set owner of", path)?;
    }
    Ok(())
}

/// Creates a directory unless there is something already; returns whether it is new.
pub fn create_dir(path: &Path, mode: u32, owner: Option<Owner>) -> LocalResult<bool> {
    match make_dir(path, mode, owner) {
        Ok(()) => Ok(true),
        Err(error) if error.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}

/// fsyncs a directory, so that the names in it are on disk.
pub fn sync_dir(path: &Path) -> LocalResult<()> {
    disk::sync_dir(path).at("sync directory", path)
}

/// fsyncs the directory that a path is in.
pub fn sync_parent(path: &Path) -> LocalResult<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

/// A temporary file that is removed unless it reaches its target.
#[derive(Debug)]
pub(crate) struct TempFile {
    path: PathBuf,
    armed: bool,
}

impl TempFile {
    fn create_beside(target: &Path) -> LocalResult<(DiskFile, Self)> {
        for _ in 0..100 {
            let path = temp_path(target)?;
            match DiskFile::create_new(&path, 0o600) {
                Ok(file) => return Ok((file, Self { path, armed: true })),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).at("create temporary file", &path),
            }
        }
        Err(LocalError::refused(
            "create a temporary file for",
            target,
            "every tried name exists",
        ))
    }

    /// Renames the file into its place.
    pub(crate) fn persist(mut self, target: &Path) -> LocalResult<()> {
        disk::rename(&self.path, target).at("rename temporary file to", target)?;
        self.armed = false;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if self.armed {
            // The error that led here is the one to report; a left-over is harmless.
            let _ = disk::remove_file(&self.path);
        }
    }
}

/// Target path with its last extension replaced by `tmp_` and six random characters.
fn temp_path(target: &Path) -> LocalResult<PathBuf> {
    let Some(stem) = target.file_stem() else {
        return Err(LocalError::refused(
            "replace",
            target,
            "the path has no file name",
        ));
    };
    let mut name = OsString::from(stem);
    name.push(".tmp_");
    name.push(random_characters());
    Ok(target.with_file_name(name))
}

/// Six characters as `mkstemp` makes them. They need to be unused, not unpredictable, and decide
/// nothing, so they do not come from the environment's random numbers.
pub(crate) fn random_characters() -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut rest = KEYS.hash_one(COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut characters = String::with_capacity(6);
    for _ in 0..6 {
        let index = usize::try_from(rest % 62).unwrap_or(0);
        characters.push(char::from(ALPHABET[index]));
        rest /= 62;
    }
    characters
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn temp_name(target: &str) -> String {
        let path = temp_path(&Path::new("/d").join(target)).unwrap();
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn temporary_names_follow_the_layout() {
        for (target, prefix) in [
            ("index.json.blob", "index.json.tmp_"),
            ("notes", "notes.tmp_"),
            (".gc-status", ".gc-status.tmp_"),
            ("bb9f8df6", "bb9f8df6.tmp_"),
            ("x.conf.blob", "x.conf.tmp_"),
        ] {
            let name = temp_name(target);
            let random = name.strip_prefix(prefix).unwrap();
            assert_eq!(random.len(), 6, "{name}");
            assert!(random.bytes().all(|b| b.is_ascii_alphanumeric()), "{name}");
        }
        assert_ne!(temp_name("notes"), temp_name("notes"));
        assert!(temp_path(Path::new("/")).is_err());
    }

    #[test]
    fn replace_sets_content_mode_and_atime() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.json.blob");
        replace(&path, b"old", &ReplaceOptions::default()).unwrap();
        let options = ReplaceOptions {
            mode: 0o666,
            atime: Some(FileTime::from_secs(1234)),
            ..ReplaceOptions::durable()
        };
        replace(&path, b"new", &options).unwrap();
        let metadata = path.metadata().unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o666, "the umask must not matter");
        assert_eq!(metadata.atime(), 1234);
        assert_ne!(metadata.mtime(), 1234);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn failed_writes_leave_the_old_file_and_no_temporary_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        replace(&path, b"old", &ReplaceOptions::default()).unwrap();
        let failing = |_: &mut DiskFile| Err(io::Error::from(io::ErrorKind::StorageFull));
        let error = replace_with(&path, &ReplaceOptions::default(), failing).unwrap_err();
        assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
        assert!(error.to_string().contains("notes.tmp_"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        // Renaming over a directory fails after the write.
        let target = dir.path().join("directory");
        std::fs::create_dir(&target).unwrap();
        assert!(replace(&target, b"x", &ReplaceOptions::default()).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn create_exclusive_refuses_what_exists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner");
        create_exclusive(&path, b"root@pam\n", &ReplaceOptions::durable()).unwrap();
        let again = create_exclusive(&path, b"x", &ReplaceOptions::default()).unwrap_err();
        assert!(again.is_already_exists());
        assert_eq!(std::fs::read(&path).unwrap(), b"root@pam\n");
        // A dangling symlink counts as existing, too.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("missing", &link).unwrap();
        let refused = create_exclusive(&link, b"x", &ReplaceOptions::default()).unwrap_err();
        assert!(refused.is_already_exists());
    }
}
