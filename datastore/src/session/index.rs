//! The index writers of a session.

use std::sync::{Arc, Mutex, PoisonError};

use api_types::digest::Digest;
use api_types::names::{ArchiveName, ArchiveType};

use crate::error::{Error, Result};
use crate::format::dynamic_index::DynamicIndexWriter;
use crate::format::fixed_index::{FixedIndexReader, FixedIndexWriter};
use crate::format::index::{ClosedIndex, IndexIdentity};

use super::state::Claim;
use super::{SessionFile, WriterSession};

/// Most index writers a session may have opened at once, and the largest id (upstream's limit).
const MAX_WRITERS: usize = 256;

/// Identifies an open index writer of a session.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WriterId(pub u32);

#[derive(Debug)]
pub(super) struct OpenIndex {
    name: ArchiveName,
    writer: IndexWriter,
}

/// How far an open index is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IndexProgress {
    /// Chunks appended; one that was set twice counts twice.
    pub appended: u64,
    /// Chunks that the index has room for: of a fixed one, what its size asks for.
    pub slots: u64,
    /// Length of the archive: as announced, or so far.
    pub size: u64,
}

/// A writer, and how many chunks were appended to it.
#[derive(Debug)]
struct IndexWriter {
    file: AnyIndexWriter,
    appended: u64,
}

#[derive(Debug)]
enum AnyIndexWriter {
    Fixed(FixedIndexWriter),
    Dynamic(DynamicIndexWriter),
}

impl From<AnyIndexWriter> for IndexWriter {
    fn from(file: AnyIndexWriter) -> Self {
        Self { file, appended: 0 }
    }
}

/// What the client believes of an index that it closes; checked before it becomes visible.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpectedIndex {
    /// Number of chunks appended.
    pub chunk_count: Option<u64>,
    /// Length of the archive.
    pub size: Option<u64>,
    /// Index checksum.
    pub csum: Option<[u8; 32]>,
}

/// A closed and visible index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClosedArchive {
    /// The manifest's facts.
    pub file: SessionFile,
    /// Number of chunks.
    pub chunk_count: u64,
}

impl WriterSession {
    /// Opens a dynamic index.
    ///
    /// # Errors
    /// If the name is taken or no `.didx`, or the file cannot be created.
    pub async fn open_dynamic_index(&self, name: &ArchiveName) -> Result<WriterId> {
        let _call = self.begin("open an index")?;
        let (claim, path, identity) = self.new_index(name, ArchiveType::DynamicIndex)?;
        let writer = self
            .holding(move || DynamicIndexWriter::create(&path, identity))
            .await
            .map_err(Error::format(name.to_string()))?;
        self.register_writer(claim, AnyIndexWriter::Dynamic(writer))
    }

    /// Opens a fixed index of an image of `size` bytes; `None` = found out while appending.
    ///
    /// # Errors
    /// If the name is taken or no `.fidx`, or the file cannot be created.
    pub async fn open_fixed_index(
        &self,
        name: &ArchiveName,
        size: Option<u64>,
    ) -> Result<WriterId> {
        let _call = self.begin("open an index")?;
        let (claim, path, identity) = self.new_index(name, ArchiveType::FixedIndex)?;
        let writer = self
            .holding(move || FixedIndexWriter::create(&path, size, identity))
            .await
            .map_err(Error::format(name.to_string()))?;
        self.register_writer(claim, AnyIndexWriter::Fixed(writer))
    }

    /// Opens a fixed index that begins as a copy of the base's index of the same name, whose
    /// checksum must be `csum`.
    ///
    /// # Errors
    /// As for [`open_fixed_index`](Self::open_fixed_index), or if the base's index is not that.
    pub async fn open_fixed_index_reusing(
        &self,
        name: &ArchiveName,
        size: u64,
        csum: [u8; 32],
    ) -> Result<WriterId> {
        self.load_base_index(name).await?;
        let _call = self.begin("open an index")?;
        let (claim, path, identity) = self.new_index(name, ArchiveType::FixedIndex)?;
        let previous = self.base.as_ref().map(|base| base.file_path(name));
        let writer = self
            .holding(move || {
                let previous = FixedIndexReader::open(&previous.unwrap_or_default())?;
                FixedIndexWriter::create_reusing(&path, size, &previous, &csum, identity)
            })
            .await
            .map_err(Error::format(name.to_string()))?;
        self.register_writer(claim, AnyIndexWriter::Fixed(writer))
    }

    /// Appends chunks at their start offsets; each must be known to the session ◆.
    ///
    /// # Errors
    /// If a chunk is unknown or does not fit; the chunks before it are appended.
    pub async fn append(&self, id: WriterId, chunks: Vec<(u64, Digest)>) -> Result<()> {
        let _call = self.begin("append chunks")?;
        let (writer, chunks, unknown) = {
            let state = self.state();
            let writer = state
                .writers
                .get(&id)
                .cloned()
                .ok_or_else(|| unknown_writer(id))?;
            let mut known = Vec::with_capacity(chunks.len());
            let mut unknown = None;
            for (start, digest) in chunks {
                let Some(length) = state.known.get(&digest) else {
                    unknown = Some(digest);
                    break;
                };
                known.push((start, u64::from(*length), digest));
            }
            (writer, known, unknown)
        };
        self.holding(move || {
            let mut open = writer.lock().unwrap_or_else(PoisonError::into_inner);
            for (start, length, digest) in chunks {
                let appended = match &mut open.writer.file {
                    AnyIndexWriter::Fixed(writer) => writer.add_chunk(start, length, &digest),
                    AnyIndexWriter::Dynamic(writer) => writer.add_chunk(start, length, &digest),
                };
                appended.map_err(Error::format(open.name.to_string()))?;
                open.writer.appended += 1;
            }
            match unknown {
                None => Ok(()),
                Some(digest) => Err(Error::Refused(format!(
                    "no such chunk {digest}: this backup has neither uploaded it nor taken it from \
                     its base"
                ))),
            }
        })
        .await
    }

    /// How far an open index is; `None` if there is no such writer.
    #[must_use]
    pub fn index_progress(&self, id: WriterId) -> Option<IndexProgress> {
        let writer = self.state().writers.get(&id).cloned()?;
        let open = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (slots, size) = match &open.writer.file {
            AnyIndexWriter::Fixed(writer) => (writer.index_count(), writer.size()),
            AnyIndexWriter::Dynamic(writer) => (writer.index_count(), writer.size()),
        };
        Some(IndexProgress {
            appended: open.writer.appended,
            slots,
            size,
        })
    }

    /// Closes an index: checks it against what the client expects, puts its object, then makes it
    /// visible locally. The collection sees it from then on.
    ///
    /// # Errors
    /// If an append to it is under way, if it is empty or not as expected, or cannot be stored; the
    /// writer is gone then, but for the first.
    pub async fn close_index(
        &self,
        id: WriterId,
        expected: ExpectedIndex,
    ) -> Result<ClosedArchive> {
        let _call = self.begin("close an index")?;
        let OpenIndex { name, writer } = self.take_writer(id)?;
        let mut claim = self.reclaim(name.clone());
        let closed = self.close_writer(&name, writer).await?;
        check_expected(&name, &closed, expected)?;
        if self.client.is_some() {
            let body = closed.read().map_err(Error::format(name.to_string()))?;
            self.put_object(&mut claim, name.as_str(), body).await?;
        }
        let archive = ClosedArchive {
            file: SessionFile {
                name: name.clone(),
                size: closed.size(),
                csum: closed.csum(),
            },
            chunk_count: closed.index_count(),
        };
        if let Err(error) = self.holding(move || closed.commit()).await {
            self.give_up_object(name.as_str()).await;
            return Err(Error::format(name.to_string())(error));
        }
        self.renew_reconciliation(name.as_str()).await?;
        claim.stored(archive.file.clone());
        Ok(archive)
    }

    /// Takes a writer out of the session, unless an append to it is under way.
    fn take_writer(&self, id: WriterId) -> Result<OpenIndex> {
        let mut state = self.state();
        let writer = state
            .writers
            .remove(&id)
            .ok_or_else(|| unknown_writer(id))?;
        match Arc::try_unwrap(writer) {
            Ok(open) => Ok(open.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Err(writer) => {
                state.writers.insert(id, writer);
                Err(Error::Refused(format!(
                    "unable to close index writer {}: an append to it is still under way",
                    id.0
                )))
            }
        }
    }

    async fn close_writer(&self, name: &ArchiveName, writer: IndexWriter) -> Result<ClosedIndex> {
        self.holding(move || match writer.file {
            AnyIndexWriter::Fixed(writer) => writer.close(),
            AnyIndexWriter::Dynamic(writer) => writer.close(),
        })
        .await
        .map_err(Error::format(name.to_string()))
    }

    fn new_index(
        &self,
        name: &ArchiveName,
        wanted: ArchiveType,
    ) -> Result<(Claim<'_>, std::path::PathBuf, IndexIdentity)> {
        if name.archive_type() != Some(wanted) {
            return Err(Error::Refused(format!(
                "'{name}' is not the name of such an index"
            )));
        }
        let claim = self.claim(name)?;
        if self.state().writers.len() >= MAX_WRITERS {
            return Err(Error::Refused(format!(
                "more than {MAX_WRITERS} open index writers"
            )));
        }
        let path = self
            .store
            .snapshots
            .snapshot_path(&self.options.ns, &self.dir);
        let path = path.join(name.as_str());
        Ok((claim, path, IndexIdentity::new(&self.store.env)))
    }

    fn register_writer(&self, claim: Claim<'_>, writer: AnyIndexWriter) -> Result<WriterId> {
        let (name, writer) = (claim.hand_over(), writer.into());
        let mut state = self.state();
        state.next_writer += 1;
        let id = WriterId(state.next_writer);
        let open = OpenIndex { name, writer };
        state.writers.insert(id, Arc::new(Mutex::new(open)));
        Ok(id)
    }
}

fn check_expected(name: &ArchiveName, closed: &ClosedIndex, expected: ExpectedIndex) -> Result<()> {
    let differs = |what: &str, ours: String, theirs: String| {
        Err(Error::Refused(format!(
            "index {name}: got unexpected {what}: {theirs} from the client, {ours} here"
        )))
    };
    match expected {
        ExpectedIndex {
            chunk_count: Some(count),
            ..
        } if count != closed.index_count() => differs(
            "chunk count",
            closed.index_count().to_string(),
            count.to_string(),
        ),
        ExpectedIndex {
            size: Some(size), ..
        } if size != closed.size() => differs("size", closed.size().to_string(), size.to_string()),
        ExpectedIndex {
            csum: Some(csum), ..
        } if csum != closed.csum() => {
            differs("checksum", hex::encode(closed.csum()), hex::encode(csum))
        }
        _ => Ok(()),
    }
}

fn unknown_writer(id: WriterId) -> Error {
    Error::NotFound {
        what: format!("index writer {}", id.0),
    }
}
