//! The contents of archives: what an index and its chunks stand for.
//!
//! Each archive that is open has an account of the memory that all clients share. Who sends an archive
//! waits until there is room for the next chunk, which is when the client has taken enough of those
//! before; who looks for something in it keeps a few chunks while there is room, and one if there is
//! none.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};
use api_types::names::{ArchiveName, SnapshotPath};
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::backend::s3::insert::Payload;
use datastore::format::blob::MAX_CHUNK_PLAIN;
use datastore::format::{AnyIndexReader, ChunkReadInfo, IndexFile as _};
use datastore::store::DataStore;
use pxar::ReadAt;
use s3_client::{S3Client, TaskKind};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::protocol::memory::{Account, Memory, Share};

/// Chunks that a reader keeps: what is read next is in one of them, or a little further on.
const KEPT: usize = 3;

/// An archive in chunks, not encrypted.
#[derive(Debug)]
pub struct Archive {
    store: Arc<DataStore>,
    client: Option<S3Client>,
    index: AnyIndexReader,
    account: Arc<Account>,
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
    /// Opens the archive `name` of a snapshot, an index. Its chunks are counted as clients' memory.
    pub async fn open(
        memory: &Arc<Memory>,
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
            account: memory.account(),
        })
    }

    /// Number of chunks.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.index.index_count()
    }

    /// The data of chunk `i`, when there is room for it.
    pub async fn chunk(&self, i: u64) -> Result<Bytes> {
        let Some(info) = self.index.chunk_info(i)? else {
            bail!("the archive has no chunk {i}");
        };
        self.read_in_turn(&info).await
    }

    async fn read_in_turn(&self, info: &ChunkReadInfo) -> Result<Bytes> {
        let share = self.account.wait_for(size_of(info)).await;
        self.read(info, share).await
    }

    async fn read(&self, info: &ChunkReadInfo, share: Share) -> Result<Bytes> {
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
        Ok(share.count(plain.into()))
    }

    /// The bytes of the archive from the beginning of `range` to its end, or to that of the chunk
    /// which they begin in, when there is room for that chunk.
    pub async fn piece(&self, range: &Range<u64>) -> Result<Bytes> {
        let info = self.chunk_at(range.start)?;
        let data = self.read_in_turn(&info).await?;
        let chunk = &info.range;
        let start = usize::try_from(range.start - chunk.start)?;
        let end = usize::try_from(range.end.min(chunk.end).saturating_sub(chunk.start))?;
        if start >= end {
            bail!("the archive has no bytes {}..{}", range.start, range.end);
        }
        Ok(data.slice(start..end))
    }

    /// The chunk with this byte of the archive.
    fn chunk_at(&self, offset: u64) -> Result<ChunkReadInfo> {
        let info = match self.index.chunk_from_offset(offset)? {
            Some((i, _)) => self.index.chunk_info(i)?,
            None => None,
        };
        match info {
            Some(info) => Ok(info),
            None => bail!("the index has no chunk for offset {offset}"),
        }
    }

    /// A reader of the archive, for a thread that may wait.
    #[must_use]
    pub fn into_reader(self) -> ArchiveReader {
        ArchiveReader {
            archive: Arc::new(self),
            runtime: Handle::current(),
            kept: Mutex::default(),
        }
    }
}

/// Reads an archive at any place. Waits for its chunks, so it is for threads that may wait.
#[derive(Debug)]
pub struct ArchiveReader {
    archive: Arc<Archive>,
    runtime: Handle,
    /// The chunks read last, by the bytes of the archive that they hold; the newest at the end.
    kept: Mutex<Kept>,
}

type Kept = VecDeque<(Range<u64>, Bytes)>;

impl ArchiveReader {
    /// The archive.
    #[must_use]
    pub fn archive(&self) -> &Arc<Archive> {
        &self.archive
    }

    /// What lies at `offset`, up to the end of its chunk; nothing behind the end.
    fn available(&self, offset: u64) -> Result<Bytes> {
        if offset >= self.size() {
            return Ok(Bytes::new());
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let held = kept.iter().position(|(range, _)| range.contains(&offset));
        let (range, data) = match held.and_then(|held| kept.remove(held)) {
            Some(chunk) => chunk,
            None => self.fetch(&mut kept, offset)?,
        };
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((range.clone(), data.clone()));
        let start = usize::try_from(offset - range.start)?;
        Ok(data.slice(start.min(data.len())..))
    }
}

impl ArchiveReader {
    /// Does not wait for room: those that it would wait for may wait for this. What is kept goes
    /// instead.
    fn fetch(&self, kept: &mut Kept, offset: u64) -> Result<(Range<u64>, Bytes)> {
        let archive = &self.archive;
        let info = archive.chunk_at(offset)?;
        while !archive.account.has_room() && kept.pop_front().is_some() {}
        let share = archive.account.take(size_of(&info));
        let data = self.runtime.block_on(archive.read(&info, share))?;
        Ok((info.range, data))
    }
}

/// What an index says of the length of a chunk, which may be nonsense.
fn size_of(info: &ChunkReadInfo) -> u64 {
    info.size().min(MAX_CHUNK_PLAIN)
}

impl ReadAt for ArchiveReader {
    fn size(&self) -> u64 {
        self.archive.index.index_bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let data = self
            .available(offset)
            .map_err(|error| io::Error::other(format!("{error:#}")))?;
        (&data[..]).read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use api_types::names::BackupNamespace;

    use super::*;
    use crate::protocol::testing::World;

    const DIR: &str = "host/a/2026-01-01T00:00:00Z";
    /// Of a chunk: two are more than anybody has of their own.
    const SIZE: usize = 6 << 20;
    const CHUNKS: u8 = 5;

    /// A datastore with an archive.
    async fn world() -> World {
        let world = World::filesystem().await;
        let running = world.backup(DIR).await;
        let chunks: Vec<Vec<u8>> = (0..CHUNKS).map(|number| vec![number; SIZE]).collect();
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let archive = running.client.stream("a.didx", &chunks).await.unwrap();
        let dir = DIR.parse().unwrap();
        running.client.manifest(&dir, &[archive]).await.unwrap();
        running.client.finish().await.unwrap().data().unwrap();
        running.disconnect().await.1.unwrap();
        world
    }

    async fn open(world: &World, memory: &Arc<Memory>) -> Archive {
        let snapshot = SnapshotPath::new(BackupNamespace::root(), DIR.parse().unwrap());
        let name = "a.didx".parse().unwrap();
        Archive::open(memory, &world.store, &snapshot, &name)
            .await
            .unwrap()
    }

    /// Somebody who has all that there is for all.
    fn hog(memory: &Arc<Memory>) -> Share {
        let mut share = memory.account().take(0);
        let poor = memory.account();
        let _own = poor.take(8 << 20);
        while poor.has_room() {
            share.grow(1 << 20);
        }
        share
    }

    #[tokio::test]
    async fn who_sends_waits_until_the_client_has_taken_enough() {
        let world = world().await;
        let memory = Arc::default();
        let hog = hog(&memory);
        let archive = open(&world, &memory).await;
        let first = archive.chunk(0).await.unwrap();
        let second = archive
            .piece(&(SIZE as u64..2 * SIZE as u64))
            .await
            .unwrap();
        assert_eq!(archive.account.holds(), 2 * SIZE as u64);
        let mut third = Box::pin(archive.chunk(2));
        tokio::select! {
            _ = &mut third => panic!("there is no room"),
            () = world.store.env().sleep(Duration::from_millis(200)) => {}
        }
        drop(first);
        assert_eq!(third.await.unwrap(), vec![2; SIZE]);
        drop(second);
        let again = archive.chunk(0).await.unwrap();
        drop(hog);
        let more = archive.chunk(1).await.unwrap();
        drop((again, more));
        assert_eq!(archive.account.holds(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_looks_about_keeps_less_when_memory_is_short() {
        let world = world().await;
        let memory = Arc::default();
        let hog = hog(&memory);
        let reader = open(&world, &memory).await.into_reader();
        let env = world.store.env().clone();
        let look = move || {
            let mut held = Vec::new();
            for hog in [Some(hog), None] {
                for number in 0..CHUNKS {
                    let mut byte = [255];
                    let offset = u64::from(number) * SIZE as u64;
                    assert_eq!(reader.read_at(&mut byte, offset).unwrap(), 1);
                    assert_eq!(byte, [number]);
                }
                held.push(reader.archive.account.holds());
                drop(hog);
            }
            held
        };
        let held = env.blocking(look).await;
        assert_eq!(held, [2, KEPT as u64].map(|chunks| chunks * SIZE as u64));
    }
}
