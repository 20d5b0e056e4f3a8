//! A backup session from the client's side.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use api_types::digest::Digest;
use api_types::names::{ArchiveName, BackupDir};
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::format::index::{AnyIndexReader, IndexFile as _};
use datastore::format::manifest::{FileInfo, Manifest};
use datastore::format::{CryptConfig, DataBlob, FIXED_CHUNK_SIZE};
use hyper::Method;
use openssl::rand::rand_bytes;
use openssl::sha::{Sha256, sha256};
use serde_json::{Value, json};

use crate::connection::{Answer, Body, Connection};
use crate::reader::index_of;

/// A backup session.
#[derive(Debug)]
pub struct Backup {
    /// For requests of other kinds.
    pub connection: Connection,
    /// What chunks and blobs are encrypted with, and the manifest signed.
    pub key: Option<CryptConfig>,
    /// What the previous backup has and this one need not upload.
    known: Mutex<BTreeSet<Digest>>,
}

/// What was uploaded, as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Name on the server.
    pub name: String,
    /// Length.
    pub size: u64,
    /// Checksum.
    pub csum: [u8; 32],
    /// Whether it was encrypted.
    pub crypt_mode: CryptMode,
}

/// Encodes a chunk or a blob.
pub fn encode(data: &[u8]) -> Result<Bytes> {
    Ok(DataBlob::encode_with_iv(data, None, true)?.into_raw())
}

/// The digest of a chunk that is not encrypted.
#[must_use]
pub fn digest(data: &[u8]) -> Digest {
    Digest::from_bytes(sha256(data))
}

/// The checksum of a dynamic index of chunks that are not encrypted.
#[must_use]
pub fn dynamic_csum(chunks: &[&[u8]]) -> [u8; 32] {
    let digests: Vec<_> = chunks.iter().map(|chunk| digest(chunk)).collect();
    dynamic_csum_of(chunks, &digests)
}

/// The checksum of a dynamic index of these chunks with these digests.
#[must_use]
pub fn dynamic_csum_of(chunks: &[&[u8]], digests: &[Digest]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut end = 0_u64;
    for (chunk, digest) in chunks.iter().zip(digests) {
        end += chunk.len() as u64;
        hash.update(&end.to_le_bytes());
        hash.update(digest.as_bytes());
    }
    hash.finish()
}

/// The checksum of a fixed index.
#[must_use]
pub fn fixed_csum(digests: &[Digest]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for digest in digests {
        hash.update(digest.as_bytes());
    }
    hash.finish()
}

/// The chunks of an image.
#[must_use]
pub fn fixed_chunks(image: &[u8]) -> Vec<&[u8]> {
    let size = usize::try_from(FIXED_CHUNK_SIZE).unwrap_or(usize::MAX);
    image.chunks(size).collect()
}

/// The manifest of these archives.
pub fn manifest(dir: &BackupDir, archives: &[Archive]) -> Result<Manifest> {
    let mut manifest = Manifest::new(dir);
    for archive in archives {
        manifest.add_file(FileInfo {
            filename: archive.name.parse()?,
            crypt_mode: archive.crypt_mode,
            size: archive.size,
            csum: Digest::from_bytes(archive.csum),
        })?;
    }
    Ok(manifest)
}

impl Backup {
    /// On an upgraded connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            key: None,
            known: Mutex::default(),
        }
    }

    /// The digest of a chunk in this session.
    #[must_use]
    pub fn digest(&self, data: &[u8]) -> Digest {
        match &self.key {
            Some(key) => key.compute_digest(data),
            None => digest(data),
        }
    }

    fn encode(&self, data: &[u8]) -> Result<Bytes> {
        let Some(key) = &self.key else {
            return encode(data);
        };
        let mut iv = [0; 16];
        rand_bytes(&mut iv)?;
        Ok(DataBlob::encode_with_iv(data, Some((key, iv)), true)?.into_raw())
    }

    /// What is to be said of it in the manifest.
    #[must_use]
    pub fn archive(&self, name: &str, size: u64, csum: [u8; 32]) -> Archive {
        Archive {
            name: name.to_owned(),
            size,
            csum,
            crypt_mode: match self.key {
                Some(_) => CryptMode::Encrypt,
                None => CryptMode::None,
            },
        }
    }

    /// Gets the index of an archive of the previous backup: its chunks need not be uploaded.
    pub async fn learn(&self, name: &str) -> Result<AnyIndexReader> {
        let index = index_of(name, self.previous(name).await?.ok()?)?;
        let mut digests = BTreeSet::new();
        for entry in index.entries() {
            digests.insert(entry?.digest);
        }
        self.with_known(|known| known.extend(digests));
        Ok(index)
    }

    fn with_known<T>(&self, look: impl FnOnce(&mut BTreeSet<Digest>) -> T) -> T {
        // Nothing panics while it is held.
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uploads a chunk for a writer of this kind (`dynamic` or `fixed`).
    pub async fn chunk(&self, kind: &str, wid: u64, data: &[u8]) -> Result<Answer> {
        let (encoded, digest) = (self.encode(data)?, self.digest(data));
        self.encoded_chunk(kind, wid, &digest, data.len() as u64, encoded)
            .await
    }

    /// Uploads a chunk that is encoded already, of `size` bytes of plain data.
    pub async fn encoded_chunk(
        &self,
        kind: &str,
        wid: u64,
        digest: &Digest,
        size: u64,
        encoded: Bytes,
    ) -> Result<Answer> {
        let length = encoded.len();
        let target =
            format!("{kind}_chunk?digest={digest}&encoded-size={length}&size={size}&wid={wid}");
        self.connection
            .request(Method::POST, &target, Body::Raw(encoded))
            .await
    }

    /// Opens an index; gives its number.
    pub async fn index(&self, kind: &str, name: &str, more: &str) -> Result<u64> {
        let target = format!("{kind}_index?archive-name={name}{more}");
        let wid = self.connection.post(&target).await?.data()?;
        wid.as_u64().context("the index has no number")
    }

    /// Appends chunks at these offsets.
    pub async fn append(&self, kind: &str, wid: u64, chunks: &[(u64, Digest)]) -> Result<Answer> {
        let offsets: Vec<_> = chunks.iter().map(|(offset, _)| *offset).collect();
        let digests: Vec<_> = chunks.iter().map(|(_, digest)| *digest).collect();
        let body = json!({ "wid": wid, "digest-list": digests, "offset-list": offsets });
        let target = format!("{kind}_index");
        self.connection
            .request(Method::PUT, &target, Body::Json(body))
            .await
    }

    /// Closes an index.
    pub async fn close(
        &self,
        kind: &str,
        wid: u64,
        chunk_count: u64,
        size: u64,
        csum: [u8; 32],
    ) -> Result<Answer> {
        let csum = hex::encode(csum);
        let target =
            format!("{kind}_close?chunk-count={chunk_count}&csum={csum}&size={size}&wid={wid}");
        self.connection.post(&target).await
    }

    /// Uploads a whole stream, cut into these chunks.
    pub async fn stream(&self, name: &str, chunks: &[&[u8]]) -> Result<Archive> {
        let wid = self.index("dynamic", name, "").await?;
        let digests = self.store("dynamic", wid, 0, chunks).await?;
        let csum = dynamic_csum_of(chunks, &digests);
        let size = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let count = chunks.len() as u64;
        self.close("dynamic", wid, count, size, csum)
            .await?
            .data()?;
        Ok(self.archive(name, size, csum))
    }

    /// Uploads a whole image of known or unknown size.
    pub async fn image(&self, name: &str, image: &[u8], known_size: bool) -> Result<Archive> {
        let size = image.len() as u64;
        let more = if known_size {
            format!("&size={size}")
        } else {
            String::new()
        };
        let wid = self.index("fixed", name, &more).await?;
        let chunks = fixed_chunks(image);
        let digests = self.store("fixed", wid, 0, &chunks).await?;
        let csum = fixed_csum(&digests);
        let count = chunks.len() as u64;
        self.close("fixed", wid, count, size, csum).await?.data()?;
        Ok(self.archive(name, size, csum))
    }

    /// Uploads what is not known of these chunks, and appends all of them at an offset.
    pub async fn store(
        &self,
        kind: &str,
        wid: u64,
        mut offset: u64,
        chunks: &[&[u8]],
    ) -> Result<Vec<Digest>> {
        let mut list = Vec::new();
        for chunk in chunks {
            let digest = self.digest(chunk);
            if !self.with_known(|known| known.contains(&digest)) {
                self.chunk(kind, wid, chunk).await?.data()?;
            }
            list.push((offset, digest));
            offset += chunk.len() as u64;
        }
        for part in list.chunks(64) {
            self.append(kind, wid, part).await?.data()?;
        }
        Ok(list.into_iter().map(|(_, digest)| digest).collect())
    }

    /// Uploads a blob that is encoded already.
    pub async fn raw_blob(&self, name: &str, raw: Bytes) -> Result<Answer> {
        let target = format!("blob?encoded-size={}&file-name={name}", raw.len());
        self.connection
            .request(Method::POST, &target, Body::Raw(raw))
            .await
    }

    /// Uploads a blob.
    pub async fn blob(&self, name: &str, data: &[u8]) -> Result<Archive> {
        let raw = self.encode(data)?;
        let (size, csum) = (raw.len() as u64, sha256(&raw));
        self.raw_blob(name, raw).await?.data()?;
        Ok(self.archive(name, size, csum))
    }

    /// Uploads the manifest of these archives.
    pub async fn manifest(&self, dir: &BackupDir, archives: &[Archive]) -> Result<()> {
        let mut manifest = manifest(dir, archives)?;
        if let Some(key) = &self.key {
            manifest.sign(key)?;
        }
        let raw = manifest.to_blob()?.into_raw();
        self.raw_blob(ArchiveName::MANIFEST, raw).await?.data()?;
        Ok(())
    }

    /// Finishes the backup.
    pub async fn finish(&self) -> Result<Answer> {
        self.connection.post("finish").await
    }

    /// A file of the last backup.
    pub async fn previous(&self, name: &str) -> Result<Answer> {
        let target = format!("previous?archive-name={name}");
        self.connection.get(&target).await
    }

    /// Time of the last backup.
    pub async fn previous_backup_time(&self) -> Result<Value> {
        self.connection.get("previous_backup_time").await?.data()
    }
}
