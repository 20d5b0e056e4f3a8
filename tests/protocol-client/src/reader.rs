//! A reader session from the client's side.

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Digest;
use api_types::names::ArchiveName;
use bytes::Bytes;
use datastore::format::index::{AnyIndexReader, IndexFile as _};
use datastore::format::manifest::Manifest;
use datastore::format::{CryptConfig, DataBlob, MAX_BLOB_PLAIN};

use crate::backup::digest;
use crate::connection::{Answer, Connection};

/// A reader session.
#[derive(Debug)]
pub struct Reader {
    /// For requests of other kinds.
    pub connection: Connection,
    /// What chunks and blobs are decrypted with; a signature must be of it.
    pub key: Option<CryptConfig>,
}

impl Reader {
    /// On an upgraded connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            key: None,
        }
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
        let manifest = Manifest::from_blob(&DataBlob::from_bytes(raw)?, None)?;
        if let Some(key) = &self.key {
            manifest.verify_signature(key)?;
        }
        Ok(manifest)
    }

    /// The content of a blob.
    pub async fn blob(&self, name: &str) -> Result<Vec<u8>> {
        let blob = DataBlob::from_bytes(self.download(name).await?.ok()?)?;
        blob.verify_crc()?;
        Ok(blob.decode(self.key.as_ref(), MAX_BLOB_PLAIN)?)
    }

    /// The index of an archive.
    pub async fn index(&self, name: &str) -> Result<AnyIndexReader> {
        index_of(name, self.download(name).await?.ok()?)
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
            let data = blob.decode(self.key.as_ref(), MAX_BLOB_PLAIN)?;
            let digest = match &self.key {
                Some(key) => key.compute_digest(&data),
                None => digest(&data),
            };
            ensure!(
                digest == entry.digest && data.len() as u64 == entry.size(),
                "{name}: chunk {} is not what it should be",
                entry.digest
            );
            content.extend(data);
        }
        Ok(content)
    }
}

/// The index in these bytes.
pub(crate) fn index_of(name: &str, raw: Bytes) -> Result<AnyIndexReader> {
    let archive: ArchiveName = name.parse()?;
    ensure!(archive.is_index(), "{name} is not an index");
    let kind = archive.archive_type().context("no type")?;
    Ok(AnyIndexReader::from_bytes(raw, name, kind)?)
}
