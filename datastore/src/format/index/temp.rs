//! The temporary file of an index writer, from its creation to its name (datastore-layout.md §3).
//!
//! A writer works on `x.tmp_fidx` or `x.tmp_didx`. Closing completes that file; only
//! [`ClosedIndex::commit`] gives it its real name, so that an upload can come in between. Dropped
//! before that, the file is removed.

use std::fs::Metadata;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::INDEX_HEADER_LEN;
use super::body::HEADER_FIELDS_LEN;
use crate::disk::{self, DiskFile};
use crate::format::FormatError;

/// An open temporary file that vanishes when dropped.
#[derive(Debug)]
pub(crate) struct TempIndex {
    file: DiskFile,
    temp_path: PathBuf,
    final_path: PathBuf,
    /// Device and inode: a later writer of the same archive takes over the name of the temporary
    /// file, and its file is not ours to rename or to remove.
    identity: (u64, u64),
    committed: bool,
}

impl TempIndex {
    /// Creates the temporary file for `final_path`, which must end in `.extension`. A leftover of
    /// a crash, or of another writer of the same archive, loses its name.
    pub(crate) fn create(final_path: &Path, extension: &str) -> Result<Self, FormatError> {
        let name = final_path.display().to_string();
        if final_path
            .extension()
            .is_none_or(|found| found != extension)
        {
            return Err(FormatError::refused(
                name,
                format!("its name must end in .{extension}"),
            ));
        }
        let temp_path = final_path.with_extension(format!("tmp_{extension}"));
        let create = || {
            match disk::remove_file(&temp_path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = DiskFile::create_new(&temp_path, 0o644)?;
            let identity = identity(&file.metadata()?);
            Ok((file, identity))
        };
        let (file, identity) = create().map_err(FormatError::io("create index", name))?;
        let final_path = final_path.to_path_buf();
        Ok(Self {
            file,
            temp_path,
            final_path,
            identity,
            committed: false,
        })
    }

    pub(crate) fn file(&self) -> &DiskFile {
        &self.file
    }

    /// Name of the finished file, for errors.
    pub(crate) fn name(&self) -> String {
        self.final_path.display().to_string()
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), FormatError> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|e| self.write_error(e))
    }

    pub(crate) fn set_len(&self, len: u64) -> Result<(), FormatError> {
        self.file.set_len(len).map_err(|e| self.write_error(e))
    }

    fn write_error(&self, source: io::Error) -> FormatError {
        FormatError::io("write index", self.temp_path.display().to_string())(source)
    }

    fn has_its_name(&self) -> io::Result<bool> {
        match std::fs::symlink_metadata(&self.temp_path) {
            Ok(metadata) => Ok(identity(&metadata) == self.identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Drop for TempIndex {
    fn drop(&mut self) {
        if !self.committed && self.has_its_name().unwrap_or(false) {
            // Nobody to tell; a leftover is overwritten by the next writer or removed with the
            // snapshot.
            let _ = disk::remove_file(&self.temp_path);
        }
    }
}

/// A finished index under its temporary name.
#[derive(Debug)]
pub struct ClosedIndex {
    temp: TempIndex,
    csum: [u8; 32],
    size: u64,
    count: u64,
}

impl ClosedIndex {
    /// Writes the final header; everything else is in the file.
    pub(crate) fn finish(
        temp: TempIndex,
        header: &[u8; HEADER_FIELDS_LEN],
        csum: [u8; 32],
        size: u64,
        count: u64,
    ) -> Result<Self, FormatError> {
        temp.write_at(header, 0)?;
        Ok(Self {
            temp,
            csum,
            size,
            count,
        })
    }

    /// Checksum over the entries.
    #[must_use]
    pub fn csum(&self) -> [u8; 32] {
        self.csum
    }

    /// Length of the archive.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of entries.
    #[must_use]
    pub fn index_count(&self) -> u64 {
        self.count
    }

    /// Where the file lies until it is committed.
    #[must_use]
    pub fn temp_path(&self) -> &Path {
        &self.temp.temp_path
    }

    /// Where it will lie.
    #[must_use]
    pub fn final_path(&self) -> &Path {
        &self.temp.final_path
    }

    /// The whole file, for an upload.
    pub fn read(&self) -> Result<Bytes, FormatError> {
        let mut file = self.temp.file();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(FormatError::io("read back index", self.temp.name()))?;
        if (bytes.len() as u64) < INDEX_HEADER_LEN {
            return Err(FormatError::corrupt(
                self.temp.name(),
                "it was cut while being written",
            ));
        }
        Ok(bytes.into())
    }

    /// Gives the file its real name, replacing an older one; gives that name.
    ///
    /// Its content is on disk before: an index with a name and without its content, as a power
    /// failure would leave it, keeps every later collection from running.
    pub fn commit(mut self) -> Result<PathBuf, FormatError> {
        let temp = &self.temp;
        let own = temp
            .has_its_name()
            .map_err(FormatError::io("rename index", temp.name()))?;
        if !own {
            let why = "its temporary file was replaced, another writer has the same archive name";
            return Err(FormatError::refused(temp.name(), why));
        }
        let synced = temp.file.sync_data();
        synced.map_err(FormatError::io("sync index", temp.name()))?;
        disk::rename(&temp.temp_path, &temp.final_path)
            .map_err(FormatError::io("rename index", temp.name()))?;
        self.temp.committed = true;
        Ok(self.temp.final_path.clone())
    }
}
