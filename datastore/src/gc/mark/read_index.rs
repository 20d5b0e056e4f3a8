//! Reading one index file: identity first, so that what is known need not be read, then digests.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use api_types::digest::Digest;
use api_types::names::ArchiveType;
use bytes::Bytes;

use crate::format::FormatError;
use crate::format::index::{AnyIndexReader, IndexFile};
use crate::gc::error::{GcError, GcResult, OnPath};
use crate::gc::index_cache::{IndexDigests, IndexKey, ListId};
use crate::gc::mark_set::sort_unique;
use crate::gc::walk::is_gone;
use crate::task::{TaskContext, check_abort};

/// Which state of which file, as far as a stat tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::gc) struct FileState {
    device: u64,
    pub inode: u64,
    pub size: u64,
    pub mtime_ns: i64,
    ctime_ns: i64,
}

impl FileState {
    pub(in crate::gc) fn of(metadata: &Metadata) -> Self {
        let nanos =
            |secs: i64, nanos: i64| secs.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The content of an index, wherever it lies. A move changes path and ctime, not this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ContentId {
    device: u64,
    inode: u64,
    size: u64,
    mtime_ns: i64,
    uuid: [u8; 16],
    csum: [u8; 32],
}

/// An index with a valid header.
#[derive(Debug)]
pub(super) struct OpenIndex {
    pub state: FileState,
    kind: ArchiveType,
    reader: AnyIndexReader,
}

/// All entries of an index, in their order, the checksum compared.
#[derive(Debug)]
pub(super) struct Entries {
    /// Length of the archive.
    pub data_bytes: u64,
    pub digests: Vec<Digest>,
}

impl Entries {
    pub(super) fn references(&self) -> u64 {
        u64::try_from(self.digests.len()).unwrap_or(u64::MAX)
    }

    /// The whole list.
    pub(super) fn into_list(mut self) -> IndexDigests {
        let references = self.references();
        sort_unique(&mut self.digests);
        IndexDigests {
            references,
            data_bytes: self.data_bytes,
            base: None,
            digests: self.digests,
        }
    }
}

impl OpenIndex {
    /// Opens the file at `path`; none if it is gone.
    pub(super) fn open(path: &Path, kind: ArchiveType) -> GcResult<Option<Self>> {
        match File::open(path) {
            Ok(file) => Self::from_file(file, path, kind).map(Some),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(GcError::Denied {
                path: path.to_path_buf(),
                source: error,
            }),
            Err(error) => Err(error).on("open index", path),
        }
    }

    /// Reads the header of an open file.
    pub(super) fn from_file(file: File, path: &Path, kind: ArchiveType) -> GcResult<Self> {
        let metadata = file.metadata().on("stat index", path)?;
        let reader = AnyIndexReader::from_file(file, path.display().to_string(), kind)
            .map_err(|error| index_error(path, error))?;
        Ok(Self {
            state: FileState::of(&metadata),
            kind,
            reader,
        })
    }

    pub(super) fn content_id(&self) -> ContentId {
        ContentId {
            device: self.state.device,
            inode: self.state.inode,
            size: self.state.size,
            mtime_ns: self.state.mtime_ns,
            uuid: *self.reader.uuid().as_bytes(),
            csum: self.reader.header_csum(),
        }
    }

    /// The key of its cached list; `relative` is its path below the store.
    pub(super) fn key(&self, relative: &Path) -> IndexKey {
        IndexKey {
            path: relative.to_path_buf(),
            inode: self.state.inode,
            size: self.state.size,
            mtime_ns: self.state.mtime_ns,
            uuid: *self.reader.uuid().as_bytes(),
            csum: self.reader.header_csum(),
        }
    }

    /// Which entries it has, by its header; [`Self::read`] compares.
    pub(super) fn list_id(&self) -> ListId {
        ListId {
            kind: self.kind,
            csum: self.reader.header_csum(),
        }
    }

    /// All entries, the checksum compared on the way.
    pub(super) fn read(&self, path: &Path, task: &dyn TaskContext) -> GcResult<Entries> {
        read_entries(&self.reader, path, task)
    }
}

/// The digests of an index that was downloaded; `name` is for messages.
pub(super) fn digests_of_bytes(
    bytes: Bytes,
    name: &Path,
    kind: ArchiveType,
    task: &dyn TaskContext,
) -> GcResult<IndexDigests> {
    let reader = AnyIndexReader::from_bytes(bytes, name.display().to_string(), kind)
        .map_err(|error| index_error(name, error))?;
    Ok(read_entries(&reader, name, task)?.into_list())
}

fn read_entries(reader: &AnyIndexReader, path: &Path, task: &dyn TaskContext) -> GcResult<Entries> {
    // The count was compared with the length of the file.
    let count = reader.index_count();
    let mut digests = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let mut entries = reader.entries();
    while entries
        .next_digests(&mut digests)
        .map_err(|error| index_error(path, error))?
    {
        check_abort(task)?;
    }
    let summary = entries.finish().map_err(|error| index_error(path, error))?;
    if summary.csum != reader.header_csum() {
        let reason = format!(
            "its header states the checksum {}, its entries have {}",
            hex::encode(reader.header_csum()),
            hex::encode(summary.csum)
        );
        return Err(GcError::BadIndex {
            path: path.to_path_buf(),
            reason,
        });
    }
    Ok(Entries {
        data_bytes: summary.size,
        digests,
    })
}

fn index_error(path: &Path, error: FormatError) -> GcError {
    let reason = match error {
        FormatError::Corrupt { why, .. } | FormatError::Refused { why, .. } => why,
        FormatError::Io { action, source, .. } => format!("cannot {action} it: {source}"),
        other => other.to_string(),
    };
    GcError::BadIndex {
        path: path.to_path_buf(),
        reason,
    }
}
