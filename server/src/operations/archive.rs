//! The contents of archives: what an index and its chunks stand for.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, bail};
use api_types::names::{ArchiveName, SnapshotPath};
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::backend::s3::insert::Payload;
use datastore::format::blob::MAX_CHUNK_PLAIN;
use datastore::format::{AnyIndexReader, ChunkReadInfo, IndexFile as _};
use datastore::store::DataStore;
use s3_client::{S3Client, TaskKind};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// An archive in chunks, not encrypted.
#[derive(Debug)]
pub struct Archive {
    store: Arc<DataStore>,
    client: Option<S3Client>,
    index: AnyIndexReader,
}

/// Refuses an archive that only its owner can read.
pub async fn check_plain(
    store: &DataStore,
    snapshot: &SnapshotPath,
    name: &ArchiveName,
) -> Result<()> {
    let manifest = store.load_manifest(&snapshot.ns, &snapshot.dir).await?;
    let encrypted = manifest
        .lookup_file(name.as_str())
        .is_some_and(|file| file.crypt_mode == CryptMode::Encrypt);
    if encrypted {
        bail!("cannot decode '{name}' - is encrypted");
    }
    Ok(())
}

impl Archive {
    /// Opens the archive `name` of a snapshot, an index.
    pub async fn open(
        store: &Arc<DataStore>,
        snapshot: &SnapshotPath,
        name: &ArchiveName,
    ) -> Result<Self> {
        check_plain(store, snapshot, name).await?;
        let path = store
            .snapshots()
            .file_path(&snapshot.ns, &snapshot.dir, name.as_str())?;
        let Some(ty) = name.archive_type() else {
            bail!("cannot decode '{name}' - not an archive");
        };
        let index = store
            .env()
            .blocking(move || AnyIndexReader::open(&path, ty))
            .await?;
        Ok(Self {
            client: store.client(TaskKind::Restore, &CancellationToken::new()),
            store: Arc::clone(store),
            index,
        })
    }

    /// Number of chunks.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.index.index_count()
    }

    /// The data of chunk `i`.
    pub async fn chunk(&self, i: u64) -> Result<Bytes> {
        let Some(info) = self.index.chunk_info(i)? else {
            bail!("the archive has no chunk {i}");
        };
        self.read(&info).await
    }

    async fn read(&self, info: &ChunkReadInfo) -> Result<Bytes> {
        let blob = self
            .store
            .read_chunk(self.client.as_ref(), info.digest, Payload::Discard)
            .await?;
        let plain = blob.decode(None, MAX_CHUNK_PLAIN)?;
        if u64::try_from(plain.len()).ok() != Some(info.size()) {
            bail!(
                "chunk {} has {} bytes where the index says {}",
                info.digest,
                plain.len(),
                info.size()
            );
        }
        Ok(plain.into())
    }

    /// A reader of the archive, for a thread that may wait.
    #[must_use]
    pub fn into_reader(self) -> ArchiveReader {
        ArchiveReader {
            archive: self,
            runtime: Handle::current(),
            position: 0,
            chunk: None,
        }
    }
}

/// Reads an archive at any place. Waits for its chunks, so it is for threads that may wait.
#[derive(Debug)]
pub struct ArchiveReader {
    archive: Archive,
    runtime: Handle,
    position: u64,
    chunk: Option<(Range<u64>, Bytes)>,
}

impl ArchiveReader {
    /// What lies at the position, up to the end of its chunk; nothing behind the end.
    fn available(&mut self) -> Result<Bytes> {
        if self.position >= self.archive.index.index_bytes() {
            return Ok(Bytes::new());
        }
        let held = self
            .chunk
            .as_ref()
            .filter(|(range, _)| range.contains(&self.position));
        let (range, data) = match held {
            Some((range, data)) => (range.clone(), data.clone()),
            None => self.fetch()?,
        };
        let offset = usize::try_from(self.position - range.start)?;
        Ok(data.slice(offset.min(data.len())..))
    }

    fn fetch(&mut self) -> Result<(Range<u64>, Bytes)> {
        let index = &self.archive.index;
        let info = match index.chunk_from_offset(self.position)? {
            Some((i, _)) => index.chunk_info(i)?,
            None => None,
        };
        let Some(info) = info else {
            bail!("the index has no chunk for offset {}", self.position);
        };
        let data = self.runtime.block_on(self.archive.read(&info))?;
        self.chunk = Some((info.range.clone(), data.clone()));
        Ok((info.range, data))
    }
}

impl Read for ArchiveReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let data = self
            .available()
            .map_err(|error| io::Error::other(format!("{error:#}")))?;
        let count = (&data[..]).read(buffer)?;
        self.position += u64::try_from(count).unwrap_or_default();
        Ok(count)
    }
}

impl Seek for ArchiveReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.archive.index.index_bytes().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
