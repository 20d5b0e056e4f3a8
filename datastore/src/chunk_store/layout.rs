//! Creation, opening and re-use of a chunk store (datastore-layout.md §1.1).

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{CHUNK_DIR_MODE, CHUNK_DIR_NAME, ChunkStore};
use crate::atomic_file::{Owner, ReplaceOptions, create_dir, create_exclusive};
use crate::disk;
use crate::local_error::{AtPath, LocalError, LocalResult, found};
use crate::locks::process::LOCK_FILE_NAME;

/// Which of the 65536 directories below `.chunks` exist from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixDirs {
    /// All, as on a filesystem datastore.
    All,
    /// None: each comes with its first chunk. Enough for a cache that is ours alone.
    OnDemand,
}

impl ChunkStore {
    /// Creates a new store in `base`, which may exist if it holds nothing but hidden entries and
    /// `lost+found`. There must be no `.chunks` yet.
    pub fn create(base: &Path, dirs: PrefixDirs, owner: Option<Owner>) -> LocalResult<Self> {
        check_absolute(base)?;
        let existed = found(base.read_dir()).at("read directory", base)?;
        match existed {
            Some(entries) => check_only_hidden(base, entries)?,
            None => {
                if let Some(parent) = base.parent() {
                    disk::create_dir_all(parent, 0o755).at("create directory", parent)?;
                }
            }
        }
        create_dir(base, 0o755, owner)?;
        let chunks = base.join(CHUNK_DIR_NAME);
        if found(chunks.symlink_metadata())
            .at("stat", &chunks)?
            .is_some()
        {
            let reason = "there is one already; re-use the datastore or remove it first";
            return Err(LocalError::refused(
                "create chunk directory",
                chunks,
                reason,
            ));
        }
        create_dir(&chunks, CHUNK_DIR_MODE, owner)?;
        let options = ReplaceOptions {
            owner,
            ..ReplaceOptions::default()
        };
        match create_exclusive(&base.join(LOCK_FILE_NAME), &[], &options) {
            Err(error) if !error.is_already_exists() => return Err(error),
            _ => {}
        }
        if dirs == PrefixDirs::All {
            for prefix in 0..=u16::MAX {
                create_dir(&chunks.join(format!("{prefix:04x}")), CHUNK_DIR_MODE, owner)?;
            }
        }
        Ok(Self {
            base: base.to_path_buf(),
            chunks,
            owner,
        })
    }

    /// Opens an existing store: an absolute base directory with an accessible `.chunks`.
    pub fn open(base: &Path) -> LocalResult<Self> {
        check_absolute(base)?;
        let chunks = base.join(CHUNK_DIR_NAME);
        let metadata = chunks
            .symlink_metadata()
            .at("open chunk directory", &chunks)?;
        if !metadata.is_dir() {
            return Err(LocalError::invalid(chunks, "it must be a directory"));
        }
        Ok(Self {
            base: base.to_path_buf(),
            chunks,
            owner: None,
        })
    }
}

fn check_absolute(base: &Path) -> LocalResult<()> {
    if !base.is_absolute() || base.parent().is_none() {
        let reason = "a datastore path must be absolute and not '/'";
        return Err(LocalError::invalid(base, reason));
    }
    Ok(())
}

fn check_only_hidden(base: &Path, entries: std::fs::ReadDir) -> LocalResult<()> {
    for entry in entries {
        let name = entry.at("read directory", base)?.file_name();
        if !name.as_bytes().starts_with(b".") && name != "lost+found" {
            let reason = format!(
                "the directory is not empty, it contains '{}'",
                name.display()
            );
            return Err(LocalError::refused("create datastore in", base, reason));
        }
    }
    Ok(())
}

/// Whether `base` can be taken over as it is: ownership and permission bits must be exactly those
/// that creation gives. With [`PrefixDirs::All`] every directory below `.chunks` must exist.
pub fn check_reuse(base: &Path, owner: Owner, dirs: PrefixDirs) -> LocalResult<()> {
    check_absolute(base)?;
    let chunks = base.join(CHUNK_DIR_NAME);
    check_entry(base, 0o755, owner, true)?;
    check_entry(&chunks, CHUNK_DIR_MODE, owner, true)?;
    check_entry(&base.join(LOCK_FILE_NAME), 0o644, owner, false)?;
    for prefix in 0..=u16::MAX {
        match check_entry(
            &chunks.join(format!("{prefix:04x}")),
            CHUNK_DIR_MODE,
            owner,
            true,
        ) {
            Err(error) if error.is_not_found() && dirs == PrefixDirs::OnDemand => {}
            result => result?,
        }
    }
    Ok(())
}

fn check_entry(path: &Path, mode: u32, owner: Owner, directory: bool) -> LocalResult<()> {
    let metadata = path.symlink_metadata().at("check", path)?;
    if metadata.is_dir() != directory || metadata.is_symlink() {
        let expected = if directory {
            "a directory"
        } else {
            "a regular file"
        };
        return Err(LocalError::invalid(path, format!("it must be {expected}")));
    }
    if (metadata.uid(), metadata.gid()) != (owner.uid, owner.gid) {
        let reason = format!(
            "it belongs to {}:{}, expected {}:{}; change its owner first",
            metadata.uid(),
            metadata.gid(),
            owner.uid,
            owner.gid
        );
        return Err(LocalError::invalid(path, reason));
    }
    let found_mode = metadata.mode() & 0o7777;
    if found_mode != mode {
        let reason = format!("its permission bits are {found_mode:04o}, expected {mode:04o}");
        return Err(LocalError::invalid(path, reason));
    }
    Ok(())
}
