//! The local `.chunks` directory (datastore-layout.md §1, §6, §9, s3-backend.md §2).
//!
//! On a filesystem datastore the files here are the chunks. On an S3 datastore they say what is in
//! the bucket: an empty file is a *marker* (the object exists, its payload is not cached), any
//! other a cached payload. The access time of a file is its stamp of use; the modification time is
//! never altered by touching. Payloads are replaced by rename only, so that an open reader keeps
//! what it opened.
//!
//! Everything here is synchronous and **takes no locks**: the caller holds the digest's entry.

mod atime_check;
mod insert;
mod iterate;
mod layout;
mod prepared;
mod sweep;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api_types::digest::Digest;
use bytes::Bytes;
use nix::libc;

pub use atime_check::AtimeProbe;
pub use insert::{InsertOutcome, InsertPlan};
pub use iterate::{ChunkEntry, ChunkPrefixes, EntryKind, PrefixListing};
pub use layout::{PrefixDirs, check_reuse};
pub use prepared::PreparedPayload;
pub use sweep::{SweepGate, SweepMode, SweepPermission, SweepRules, SweepTally, SweepTimes};

use crate::atomic_file::{self, Durability, Owner, ReplaceOptions};
use crate::disk;
use crate::file_time::FileTime;
use crate::format::MAX_CHUNK_ENCODED;
use crate::local_error::{AtPath, LocalError, LocalResult, found};

/// Name of the chunk directory below the datastore's base directory.
pub const CHUNK_DIR_NAME: &str = ".chunks";

/// Permission bits of `.chunks` and the directories in it.
const CHUNK_DIR_MODE: u32 = 0o750;

/// Permission bits of chunk files.
const CHUNK_MODE: u32 = 0o644;
/// Set on a marker whose object is known to be a plain chunk. It lives and goes with the marker,
/// costs nothing to keep, and whoever does not know it is told nothing wrong.
const PLAIN_MARK: u32 = 0o100;

/// No insert takes so many seconds.
const ABANDONED_AFTER: i64 = 24 * 3600;

/// The chunk files of one datastore.
#[derive(Clone, Debug)]
pub struct ChunkStore {
    base: PathBuf,
    chunks: PathBuf,
    owner: Option<Owner>,
}

/// What is known about a chunk file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalChunk {
    /// Length of the file; 0 for a marker.
    pub size: u64,
    /// Last use.
    pub atime: FileTime,
    /// Time of writing.
    pub mtime: FileTime,
    /// Identity of the file, changes when it is replaced.
    pub inode: u64,
    /// A marker whose object is known to be a plain chunk, so that its content is what the digest
    /// says.
    pub known_plain: bool,
}

impl LocalChunk {
    /// Whether it is a marker: present in the bucket, payload not here.
    #[must_use]
    pub const fn is_marker(&self) -> bool {
        self.size == 0
    }

    /// Last use in whole seconds.
    #[must_use]
    pub const fn atime_secs(&self) -> i64 {
        self.atime.secs()
    }

    fn from_metadata(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            atime: FileTime::accessed(metadata),
            mtime: FileTime::modified(metadata),
            inode: metadata.ino(),
            known_plain: metadata.len() == 0 && metadata.mode() & PLAIN_MARK != 0,
        }
    }
}

impl ChunkStore {
    /// Gives new files and directories to `owner`; only a process with the right to do so (root)
    /// should ask for it.
    #[must_use]
    pub fn with_owner(mut self, owner: Option<Owner>) -> Self {
        self.owner = owner;
        self
    }

    /// The datastore's base directory.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The chunk directory.
    #[must_use]
    pub fn chunk_dir(&self) -> &Path {
        &self.chunks
    }

    /// Where the chunk's file is, if it exists.
    #[must_use]
    pub fn chunk_path(&self, digest: &Digest) -> PathBuf {
        self.named(digest, "")
    }

    /// Where the `n`-th corrupt copy of the chunk is kept.
    #[must_use]
    pub fn bad_path(&self, digest: &Digest, n: u8) -> PathBuf {
        self.named(digest, &format!(".{n}.bad"))
    }

    fn using_path(&self, digest: &Digest) -> PathBuf {
        self.named(digest, ".using")
    }

    fn named(&self, digest: &Digest, suffix: &str) -> PathBuf {
        let mut name = digest.to_hex();
        let directory = self.chunks.join(&name[..4]);
        name.push_str(suffix);
        directory.join(name)
    }

    /// The chunk's file, if there is one. Symbolic links and directories are errors.
    pub fn stat_chunk(&self, digest: &Digest) -> LocalResult<Option<LocalChunk>> {
        stat_file(&self.chunk_path(digest))
    }

    /// Answers "do we have it" and stamps it as used at `time`, in one step.
    ///
    /// The answer describes the file before the touch, except for the access time.
    pub fn cond_touch_chunk(
        &self,
        digest: &Digest,
        time: FileTime,
    ) -> LocalResult<Option<LocalChunk>> {
        let path = self.chunk_path(digest);
        let Some(mut chunk) = stat_file(&path)? else {
            return Ok(None);
        };
        if !touch(&path, time)? {
            return Ok(None);
        }
        chunk.atime = time;
        Ok(Some(chunk))
    }

    /// Touches every corrupt copy of the chunk, so that a sweep keeps them; returns how many.
    pub fn touch_bad(&self, digest: &Digest, time: FileTime) -> LocalResult<u32> {
        let mut touched = 0;
        for n in 0..=9 {
            touched += u32::from(touch(&self.bad_path(digest, n), time)?);
        }
        Ok(touched)
    }

    /// Makes the chunk present without a payload. An existing file keeps its kind; either way it
    /// is stamped with `time`. Returns whether the marker is new.
    pub fn create_marker(&self, digest: &Digest, time: FileTime) -> LocalResult<bool> {
        let path = self.chunk_path(digest);
        let options = ReplaceOptions {
            atime: Some(time),
            ..self.file_options(Durability::Lazy)
        };
        loop {
            match atomic_file::create_exclusive(&path, &[], &options) {
                Ok(()) => return Ok(true),
                Err(error) if error.is_not_found() => self.create_prefix_dir(&path)?,
                Err(error) if error.is_already_exists() => {
                    if self.cond_touch_chunk(digest, time)?.is_some() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the chunk present without a payload, which a file that is there loses, and stamps it
    /// with `time`. `known_plain` says what the marker says from now on.
    pub fn put_marker(
        &self,
        digest: &Digest,
        known_plain: bool,
        time: FileTime,
    ) -> LocalResult<()> {
        let path = self.chunk_path(digest);
        let options = ReplaceOptions {
            atime: Some(time),
            ..self.marker_options(known_plain)
        };
        match atomic_file::create_exclusive(&path, &[], &options) {
            Err(error) if error.is_not_found() => {
                self.create_prefix_dir(&path)?;
                atomic_file::replace(&path, &[], &options)
            }
            Err(error) if error.is_already_exists() => {
                stat_file(&path)?;
                atomic_file::replace(&path, &[], &options)
            }
            result => result,
        }
    }

    /// Writes (or replaces) the chunk's payload and stamps it with `time`: the chunk is present
    /// afterwards.
    pub fn write_payload(
        &self,
        digest: &Digest,
        data: &[u8],
        time: FileTime,
        fsync: bool,
    ) -> LocalResult<()> {
        let path = self.chunk_path(digest);
        if data.is_empty() {
            return Err(LocalError::refused(
                "write payload",
                path,
                "it is empty, like a marker",
            ));
        }
        self.put_file(&path, data, Some(time), durability(fsync))
    }

    /// Exchanges a marker (or payload) for this payload, keeping the stamp of use; presence does
    /// not change: without a file nothing is written. Returns whether it was.
    pub fn fill_payload(&self, digest: &Digest, data: &[u8], fsync: bool) -> LocalResult<bool> {
        match self.stat_chunk(digest)? {
            Some(chunk) => {
                self.write_payload(digest, data, chunk.atime, fsync)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Exchanges a payload for a marker, keeping the stamp of use (cache eviction); presence does
    /// not change. Returns the bytes freed; `None` if there was no payload.
    pub fn replace_with_marker(&self, digest: &Digest) -> LocalResult<Option<u64>> {
        match self.stat_chunk(digest)? {
            Some(chunk) if !chunk.is_marker() => {
                // Of what cannot be read nothing is known.
                let kind = self.payload_kind(digest).ok().flatten();
                let known_plain = kind.is_some_and(|kind| !kind.is_encrypted());
                let options = ReplaceOptions {
                    atime: Some(chunk.atime),
                    ..self.marker_options(known_plain)
                };
                atomic_file::replace(&self.chunk_path(digest), &[], &options)?;
                Ok(Some(chunk.size))
            }
            _ => Ok(None),
        }
    }

    /// Removes the chunk's file; returns whether there was one.
    pub fn remove_chunk(&self, digest: &Digest) -> LocalResult<bool> {
        remove(&self.chunk_path(digest))
    }

    /// Removes the `n`-th corrupt copy; returns whether there was one.
    pub fn remove_bad(&self, digest: &Digest, n: u8) -> LocalResult<bool> {
        remove(&self.bad_path(digest, n))
    }

    /// Removes upstream's "referenced but not present" marker; returns whether there was one.
    pub fn remove_using(&self, digest: &Digest) -> LocalResult<bool> {
        remove(&self.using_path(digest))
    }

    /// The stored payload; `None` if there is no file or only a marker.
    pub fn read_chunk(&self, digest: &Digest) -> LocalResult<Option<Bytes>> {
        let path = self.chunk_path(digest);
        let Some(file) = found(open_no_follow(&path)).at("open chunk", &path)? else {
            return Ok(None);
        };
        let metadata = file.metadata().at("stat chunk", &path)?;
        check_regular(&path, &metadata)?;
        if metadata.len() > MAX_CHUNK_ENCODED {
            let reason = format!(
                "a chunk of {} bytes is larger than any valid one",
                metadata.len()
            );
            return Err(LocalError::invalid(path, reason));
        }
        let mut data = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.take(MAX_CHUNK_ENCODED)
            .read_to_end(&mut data)
            .at("read chunk", &path)?;
        Ok((!data.is_empty()).then(|| Bytes::from(data)))
    }

    /// The number for a new corrupt copy: the lowest of 0…8 that neither exists here nor is in
    /// `taken` (the copies known in the bucket), else 9, whose copy is overwritten.
    pub fn next_bad_number(&self, digest: &Digest, taken: &[u8]) -> LocalResult<u8> {
        for n in 0..9 {
            let path = self.bad_path(digest, n);
            let local = found(path.symlink_metadata()).at("stat", &path)?;
            if local.is_none() && !taken.contains(&n) {
                return Ok(n);
            }
        }
        Ok(9)
    }

    /// Puts the chunk aside as its `n`-th corrupt copy; returns whether there was a file. A later
    /// insert creates the chunk anew.
    pub fn rename_bad(&self, digest: &Digest, n: u8) -> LocalResult<bool> {
        let path = self.chunk_path(digest);
        if n > 9 {
            return Err(LocalError::refused(
                "rename corrupt chunk",
                path,
                "numbers are 0 to 9",
            ));
        }
        let renamed = disk::rename(&path, &self.bad_path(digest, n));
        Ok(found(renamed).at("rename corrupt chunk", &path)?.is_some())
    }

    /// Removes the temporary file of an insert that was interrupted more than a day before
    /// `oldest_writer`; returns whether it did. Nobody else would: its name is never used again.
    pub fn remove_abandoned(
        &self,
        prefix: u16,
        entry: &ChunkEntry,
        oldest_writer: i64,
    ) -> LocalResult<bool> {
        if entry.kind != EntryKind::Temporary {
            return Ok(false);
        }
        let path = self.prefix_dir(prefix).join(&entry.name);
        let metadata = found(path.symlink_metadata()).at("stat temporary file", &path)?;
        let abandoned = metadata.is_some_and(|metadata| {
            metadata.is_file() && metadata.mtime() < oldest_writer.saturating_sub(ABANDONED_AFTER)
        });
        Ok(abandoned && remove(&path)?)
    }

    /// Waits until everything written to the datastore's file system is on disk.
    pub fn sync_filesystem(&self) -> LocalResult<()> {
        disk::sync_file_system(&self.base).at("sync the file system of", &self.base)
    }

    /// Replaces a file in a prefix directory, creating the directory if it is missing.
    fn put_file(
        &self,
        path: &Path,
        data: &[u8],
        atime: Option<FileTime>,
        durability: Durability,
    ) -> LocalResult<()> {
        let options = ReplaceOptions {
            atime,
            ..self.file_options(durability)
        };
        let replace =
            || atomic_file::replace_with(path, &options, |file| file.write_past_cache(data));
        match replace() {
            Err(error) if error.is_not_found() => {
                self.create_prefix_dir(path)?;
                replace()
            }
            result => result,
        }
    }

    fn file_options(&self, durability: Durability) -> ReplaceOptions {
        ReplaceOptions {
            mode: CHUNK_MODE,
            owner: self.owner,
            atime: None,
            durability,
        }
    }

    fn marker_options(&self, known_plain: bool) -> ReplaceOptions {
        let mut options = self.file_options(Durability::Lazy);
        if known_plain {
            options.mode |= PLAIN_MARK;
        }
        options
    }

    fn create_prefix_dir(&self, chunk: &Path) -> LocalResult<()> {
        match chunk.parent() {
            Some(directory) => {
                atomic_file::create_dir(directory, CHUNK_DIR_MODE, self.owner).map(|_| ())
            }
            None => Ok(()),
        }
    }
}

fn durability(fsync: bool) -> Durability {
    if fsync {
        Durability::Synced
    } else {
        Durability::Lazy
    }
}

fn stat_file(path: &Path) -> LocalResult<Option<LocalChunk>> {
    match found(path.symlink_metadata()).at("stat chunk", path)? {
        Some(metadata) => {
            check_regular(path, &metadata)?;
            Ok(Some(LocalChunk::from_metadata(&metadata)))
        }
        None => Ok(None),
    }
}

fn check_regular(path: &Path, metadata: &Metadata) -> LocalResult<()> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(LocalError::invalid(path, "a chunk must be a regular file"))
    }
}

/// Sets the access time; `false` if there is no file.
fn touch(path: &Path, time: FileTime) -> LocalResult<bool> {
    Ok(found(disk::set_access_time(path, time))
        .at("touch chunk", path)?
        .is_some())
}

fn remove(path: &Path) -> LocalResult<bool> {
    Ok(found(disk::remove_file(path))
        .at("remove chunk", path)?
        .is_some())
}

/// Opens a chunk for reading. The access time is left alone where the system allows it: it is our
/// stamp of use, and only an explicit touch sets it.
fn open_no_follow(path: &Path) -> io::Result<File> {
    #[expect(clippy::disallowed_methods, reason = "for reading only")]
    let open = |flags| OpenOptions::new().read(true).custom_flags(flags).open(path);
    match open(libc::O_NOFOLLOW | libc::O_NOATIME) {
        // Only the owner of a file may ask for this.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(libc::O_NOFOLLOW),
        result => result,
    }
}

#[cfg(test)]
mod tests;
