//! What the two kinds of index files share: a header of 4096 bytes, then entries of one length.
//!
//! Opening validates header, lengths and counts against the length of the file; entries are read
//! when they are asked for, by position or as a stream ([`IndexFile::entries`]). The checksum of
//! both kinds is the SHA-256 of everything behind the header.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use api_types::digest::Digest;
use api_types::names::ArchiveType;
use bytes::Bytes;
use s3_client::env::Env;
use uuid::Uuid;

use super::FormatError;
use super::dynamic_index::DynamicIndexReader;
use super::fixed_index::FixedIndexReader;

pub(crate) mod body;
mod entries;
pub(crate) mod temp;

pub(crate) use body::IndexBody;
pub use entries::IndexEntries;
pub use temp::ClosedIndex;

/// Length of both headers, whatever the page size of the host.
pub const INDEX_HEADER_LEN: u64 = 4096;
/// Most entries that a writer makes: far above every real index, far below what would overflow.
pub(crate) const MAX_INDEX_ENTRIES: u64 = 1 << 32;

/// Who and when of an index, chosen when its writer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexIdentity {
    /// Random.
    pub uuid: Uuid,
    /// Seconds since the epoch.
    pub ctime: i64,
}

impl IndexIdentity {
    /// A new identity: random, and of now.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        let mut random = [0; 16];
        env.fill_random(&mut random);
        let uuid = uuid::Builder::from_random_bytes(random).into_uuid();
        Self {
            uuid,
            ctime: env.unix_secs(),
        }
    }
}

/// One chunk of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkReadInfo {
    /// Which bytes of the archive it holds.
    pub range: Range<u64>,
    /// Which chunk it is.
    pub digest: Digest,
}

impl ChunkReadInfo {
    /// Length of the chunk's plain data.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// What reading a whole index tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSummary {
    /// Checksum over the entries, computed.
    pub csum: [u8; 32],
    /// Length of the archive.
    pub size: u64,
    /// Number of entries.
    pub count: u64,
}

/// An index file opened for reading.
///
/// The provided methods are the interface; a kind of index adds its header and says how its
/// entries look.
pub trait IndexFile: std::fmt::Debug + Send + Sync {
    /// Identity of the file.
    fn identity(&self) -> IndexIdentity;

    /// Checksum as stated in the header; trust [`IndexFile::compute_csum`] instead.
    fn header_csum(&self) -> [u8; 32];

    /// The entries.
    #[doc(hidden)]
    fn body(&self) -> &IndexBody;

    /// Identity: the UUID.
    fn uuid(&self) -> Uuid {
        self.identity().uuid
    }

    /// Identity: the time of creation.
    fn ctime(&self) -> i64 {
        self.identity().ctime
    }

    /// Number of entries; at least one.
    fn index_count(&self) -> u64 {
        self.body().count()
    }

    /// Length of the archive in bytes.
    fn index_bytes(&self) -> u64 {
        self.body().size()
    }

    /// Digest of entry `i`; `None` behind the last one.
    fn index_digest(&self, i: u64) -> Result<Option<Digest>, FormatError> {
        Ok(self.chunk_info(i)?.map(|info| info.digest))
    }

    /// Entry `i`; `None` behind the last one.
    fn chunk_info(&self, i: u64) -> Result<Option<ChunkReadInfo>, FormatError> {
        self.body().chunk_info(i)
    }

    /// Which entry holds byte `offset` of the archive, and where in its chunk that byte lies;
    /// `None` behind the end.
    fn chunk_from_offset(&self, offset: u64) -> Result<Option<(u64, u64)>, FormatError> {
        self.body().chunk_from_offset(offset)
    }

    /// All entries in order, read in large blocks.
    fn entries(&self) -> IndexEntries<'_> {
        IndexEntries::new(self.body())
    }

    /// Checksum and length of the archive from the entries, whatever the header says.
    fn compute_csum(&self) -> Result<([u8; 32], u64), FormatError> {
        let summary = self.entries().finish()?;
        Ok((summary.csum, summary.size))
    }

    /// Calls `visit` for each digest in order, then compares the checksum of what was read with
    /// the header. Upon an error, what was visited may be wrong: discard it.
    fn for_each_digest(&self, visit: &mut dyn FnMut(&Digest)) -> Result<IndexSummary, FormatError> {
        let mut entries = self.entries();
        while let Some(entry) = entries.next_entry()? {
            visit(&entry.digest);
        }
        let summary = entries.finish()?;
        if summary.csum != self.header_csum() {
            let why = format!(
                "its header states checksum {}, its entries have {}",
                hex::encode(self.header_csum()),
                hex::encode(summary.csum)
            );
            return Err(FormatError::corrupt(self.body().name(), why));
        }
        Ok(summary)
    }

    /// Reads everything and compares the checksum with the header.
    fn verify_csum(&self) -> Result<IndexSummary, FormatError> {
        self.for_each_digest(&mut |_| {})
    }
}

/// A reader of either kind.
#[derive(Debug)]
pub enum AnyIndexReader {
    /// `.fidx`
    Fixed(FixedIndexReader),
    /// `.didx`
    Dynamic(DynamicIndexReader),
}

impl AnyIndexReader {
    /// Opens the file at `path`; its kind comes from the archive's name, not from its content.
    pub fn open(path: &Path, archive_type: ArchiveType) -> Result<Self, FormatError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(FormatError::io("open index", name.as_str()))?;
        Self::from_file(file, name, archive_type)
    }

    /// Reads an open file; `name` is for errors.
    pub fn from_file(
        file: File,
        name: impl Into<String>,
        archive_type: ArchiveType,
    ) -> Result<Self, FormatError> {
        match archive_type {
            ArchiveType::FixedIndex => FixedIndexReader::from_file(file, name).map(Self::Fixed),
            ArchiveType::DynamicIndex => {
                DynamicIndexReader::from_file(file, name).map(Self::Dynamic)
            }
            ArchiveType::Blob => Err(not_an_index(name)),
        }
    }

    /// Reads from memory; `name` is for errors.
    pub fn from_bytes(
        bytes: Bytes,
        name: impl Into<String>,
        archive_type: ArchiveType,
    ) -> Result<Self, FormatError> {
        match archive_type {
            ArchiveType::FixedIndex => FixedIndexReader::from_bytes(bytes, name).map(Self::Fixed),
            ArchiveType::DynamicIndex => {
                DynamicIndexReader::from_bytes(bytes, name).map(Self::Dynamic)
            }
            ArchiveType::Blob => Err(not_an_index(name)),
        }
    }

    fn inner(&self) -> &dyn IndexFile {
        match self {
            Self::Fixed(reader) => reader,
            Self::Dynamic(reader) => reader,
        }
    }
}

fn not_an_index(name: impl Into<String>) -> FormatError {
    FormatError::Refused {
        object: name.into(),
        why: "it is a blob by its name, only .fidx and .didx are indexes".into(),
    }
}

impl IndexFile for AnyIndexReader {
    fn identity(&self) -> IndexIdentity {
        self.inner().identity()
    }

    fn header_csum(&self) -> [u8; 32] {
        self.inner().header_csum()
    }

    fn body(&self) -> &IndexBody {
        self.inner().body()
    }
}
