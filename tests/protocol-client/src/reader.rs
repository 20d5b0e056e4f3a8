//! A reader session from the client's side.

use anyhow::{Result, ensure};
use api_types::digest::Digest;
use api_types::names::ArchiveName;
use bytes::Bytes;
use datastore::format::index::{AnyIndexReader, IndexFile as _};
use datastore::format::manifest::Manifest;
use datastore::format::{DataBlob, MAX_BLOB_PLAIN};

use crate::connection::{Answer, Connection};

/// A reader session.
#[derive(Debug)]
pub struct Reader {
    /// For requests of other kinds.
    pub connection: Connection,
}

impl Reader {
    /// On an upgraded connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// A file of the snapshot.
    pub async fn download(&self, name: &str) -> Result<Answer> {
        let target = format!("download?file-name={name}");
        self.connection.get(&target).await
    }

    /// A chunk.
    pub async fn chunk(&self, digest: &Digest) -> Result<Answer> {
        let target = format!("chunk?digest={digest}");
        self.connection.get(&target).await
    }

    /// The manifest.
    pub async fn manifest(&self) -> Result<Manifest> {
        let raw = self.download(ArchiveName::MANIFEST).await?.ok()?;
        Ok(Manifest::from_blob(&DataBlob::from_bytes(raw)?, None)?)
    }

    /// The content of a blob.
    pub async fn blob(&self, name: &str) -> Result<Vec<u8>> {
        let blob = DataBlob::from_bytes(self.download(name).await?.ok()?)?;
        blob.verify_crc()?;
        Ok(blob.decode(None, MAX_BLOB_PLAIN)?)
    }

    /// The index of an archive.
    pub async fn index(&self, name: &str) -> Result<AnyIndexReader> {
        let raw: Bytes = self.download(name).await?.ok()?;
        let archive: ArchiveName = name.parse()?;
        let kind = archive.archive_type();
        ensure!(archive.is_index(), "{name} is not an index");
        let kind = kind.unwrap_or(api_types::names::ArchiveType::Blob);
        Ok(AnyIndexReader::from_bytes(raw, name, kind)?)
    }

    /// A whole archive, checked.
    pub async fn archive(&self, name: &str) -> Result<Vec<u8>> {
        let index = self.index(name).await?;
        index.verify_csum()?;
        let mut content = Vec::new();
        for entry in index.entries() {
            let entry = entry?;
            let blob = DataBlob::from_bytes(self.chunk(&entry.digest).await?.ok()?)?;
            blob.verify_crc()?;
            blob.verify_digest(&entry.digest, Some(entry.size()))?;
            content.extend(blob.decode(None, MAX_BLOB_PLAIN)?);
        }
        Ok(content)
    }
}
