//! Indexes that come whole from another datastore.

use api_types::digest::Digest;
use api_types::names::{ArchiveName, ArchiveType};
use bytes::Bytes;

use crate::atomic_file::Durability;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::format::index::{AnyIndexReader, IndexFile as _, IndexSummary};

use super::{SessionFile, WriterSession};

/// An index that was read to its end.
pub(super) struct CopiedIndex {
    /// As the manifest must list it.
    pub file: SessionFile,
    /// Its chunks, with their plaintext lengths.
    pub chunks: Vec<(Digest, u32)>,
}

impl WriterSession {
    /// Stores an index as another datastore has it, byte for byte; every chunk that it names must
    /// be known to the session ◆.
    ///
    /// # Errors
    /// If the name is taken or no index's, the file is damaged or names an unknown chunk, or it
    /// cannot be stored.
    pub async fn add_index(&self, name: &ArchiveName, raw: Bytes) -> Result<SessionFile> {
        let _call = self.begin("store an index")?;
        let CopiedIndex { file, chunks } = read_index(&self.store.env, name, raw.clone()).await?;
        {
            let known = &self.state().known;
            refuse_unknown(name, &chunks, |digest| known.get(digest).copied())?;
        }
        let mut claim = self.claim(name)?;
        self.put_object(&mut claim, name.as_str(), raw.clone())
            .await?;
        // On disk, as an index that a session writes: a power failure that leaves a part of it would
        // end each collection.
        let written = self.write_local(name.as_str(), raw, Durability::Synced);
        if let Err(error) = written.await {
            self.give_up_object(name.as_str()).await;
            return Err(error);
        }
        claim.stored(file.clone());
        Ok(file)
    }
}

/// Reads all of an index; its header must state the checksum that its entries have.
pub(super) async fn read_index(env: &Env, name: &ArchiveName, raw: Bytes) -> Result<CopiedIndex> {
    let kind = name.archive_type();
    let Some(kind) = kind.filter(|kind| *kind != ArchiveType::Blob) else {
        return Err(Error::Refused(format!("'{name}' is not an index's name")));
    };
    let name = name.clone();
    env.blocking(move || {
        let failed = || Error::format(name.to_string());
        let index = AnyIndexReader::from_bytes(raw, name.as_str(), kind).map_err(failed())?;
        let (chunks, summary) = read_chunks(&index, name.as_str())?;
        if summary.csum != index.header_csum() {
            return Err(Error::Refused(format!(
                "{name}: its header states another checksum than its entries have"
            )));
        }
        let file = SessionFile {
            name,
            size: summary.size,
            csum: summary.csum,
        };
        Ok(CopiedIndex { file, chunks })
    })
    .await
}

/// The chunks of an index with their plaintext lengths, and what its entries add up to; blocking.
pub(super) fn read_chunks(
    index: &AnyIndexReader,
    what: &str,
) -> Result<(Vec<(Digest, u32)>, IndexSummary)> {
    let failed = || Error::format(what.to_owned());
    let mut entries = index.entries();
    let mut chunks = Vec::new();
    while let Some(entry) = entries.next_entry().map_err(failed())? {
        let length = u32::try_from(entry.size())
            .map_err(|_| Error::Refused(format!("{what}: a chunk of {} bytes", entry.size())))?;
        chunks.push((entry.digest, length));
    }
    Ok((chunks, entries.finish().map_err(failed())?))
}

/// Refuses an index that names a chunk which is not known with that length ◆.
pub(super) fn refuse_unknown(
    name: &ArchiveName,
    chunks: &[(Digest, u32)],
    known: impl Fn(&Digest) -> Option<u32>,
) -> Result<()> {
    let unknown = chunks
        .iter()
        .find(|(digest, length)| known(digest) != Some(*length));
    match unknown {
        None => Ok(()),
        Some((digest, length)) => Err(Error::Refused(format!(
            "{name} names chunk {digest} of {length} bytes, which was not stored before"
        ))),
    }
}
