//! An archive on its way to the server: from a thread that makes chunks, over all cores, in order
//! into the index.
//!
//! ```text
//! thread ── chunk ──► task: digest, known? ─no─► compress, encrypt ─► upload ─┐
//!    │                        └──yes──────────────────────────────────────────┤
//!    └──── queue of tasks, in the archive's order ──► index: wait, append ◄───┘
//! ```
//!
//! The thread waits when there is too much in memory, or too long a queue.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use api_types::digest::Digest;
use api_types::names::ArchiveName;
use bytes::Bytes;
use datastore::format::{DataBlob, FileInfo};
use openssl::sha::Sha256;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backup::{IndexKind, Shared};
use super::known::{Claim, Sending, Wait};
use super::progress::Progress;
use super::task::Task;
use super::workers::Memory;

/// Chunks under way, of one archive.
const QUEUE: usize = 256;
/// Most chunks that are appended by one request, far below its limit of 512 KiB.
const BATCH: usize = 1024;

/// An archive being uploaded.
#[derive(Debug)]
pub struct Upload {
    /// Takes the chunks, on a thread of its own.
    pub sink: ChunkSink,
    /// What becomes of them.
    pub done: Task<Result<Uploaded>>,
}

/// Takes the chunks of an archive in their order. Its methods block, but for [`ChunkSink::relay`]
/// and [`ChunkSink::end`]; without an end the upload fails, and is not waited for.
#[derive(Debug)]
pub struct ChunkSink {
    writer: Arc<Writer>,
    queue: mpsc::Sender<Queued>,
    handle: Handle,
    /// Tells the upload when there will be no end.
    gives_up: DropGuard,
}

#[derive(Debug)]
enum Queued {
    New(Task<Result<Stored>>),
    Known { digest: Digest, size: u64 },
    End,
}

/// What was uploaded.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// For the manifest.
    pub info: FileInfo,
    /// What it took.
    pub statistics: Statistics,
}

/// What an upload took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Length of the archive.
    pub size: u64,
    /// Chunks of the archive.
    pub chunks: u64,
    /// Chunks of them that were sent.
    pub sent_chunks: u64,
    /// Bytes in chunks that were sent.
    pub sent: u64,
    /// These bytes, as they were sent.
    pub encoded: u64,
    /// From the first chunk to the last.
    pub duration: Duration,
}

/// Whoever made the chunks stopped early, and knows why.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("reading it was given up")]
struct GivenUp;

/// Waits for two uploads of one producer; of two errors, that which says why.
pub async fn pair<T, U>(
    first: impl Future<Output = Result<T>>,
    second: impl Future<Output = Result<U>>,
) -> Result<(T, U)> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    tokio::select! {
        done = &mut first => match done {
            Ok(done) => Ok((done, second.await?)),
            Err(error) => Err(reason(error, second).await),
        },
        done = &mut second => match done {
            Ok(done) => Ok((first.await?, done)),
            Err(error) => Err(reason(error, first).await),
        },
    }
}

/// The error of an upload, or, if that was only given up, the one of another upload of the same
/// producer, which ends now too.
pub async fn reason<T>(
    error: anyhow::Error,
    other: impl Future<Output = Result<T>>,
) -> anyhow::Error {
    if !error.is::<GivenUp>() {
        return error;
    }
    match other.await {
        Err(reason) if !reason.is::<GivenUp>() => reason,
        _ => error,
    }
}

/// Waits for those who make the chunks and for the uploads of them; the first error that says why
/// something failed is the error of both.
pub async fn both<T, U>(
    producer: impl Future<Output = Result<T>>,
    upload: impl Future<Output = Result<U>>,
) -> Result<(T, U)> {
    let (mut producer, mut upload) = (pin!(producer), pin!(upload));
    let (produced, uploaded) = tokio::select! {
        produced = &mut producer => (produced, upload.await),
        uploaded = &mut upload => match uploaded {
            // There is no use in waiting for a thread that may read a pipe.
            Err(error) if !error.is::<GivenUp>() => return Err(error),
            uploaded => (producer.await, uploaded),
        },
    };
    match (produced, uploaded) {
        (Ok(produced), Ok(uploaded)) => Ok((produced, uploaded)),
        (Err(error), Ok(_)) => Err(error),
        (Err(error), Err(given_up)) if given_up.is::<GivenUp>() => Err(error),
        (_, Err(error)) => Err(error),
    }
}

#[derive(Debug)]
struct Writer {
    session: Arc<Shared>,
    kind: IndexKind,
    wid: u64,
    progress: Arc<Progress>,
}

/// A chunk that the server has.
#[derive(Debug)]
struct Stored {
    digest: Digest,
    size: u64,
    /// Bytes sent, if it was sent.
    encoded: Option<u64>,
}

impl Upload {
    pub(super) fn start(
        session: Arc<Shared>,
        name: &ArchiveName,
        kind: IndexKind,
        wid: u64,
        progress: &Arc<Progress>,
    ) -> Self {
        let writer = Arc::new(Writer {
            session,
            kind,
            wid,
            progress: Arc::clone(progress),
        });
        let (queue, entries) = mpsc::channel(QUEUE);
        let given_up = CancellationToken::new();
        let gives_up = given_up.clone().drop_guard();
        let written = write_index(Arc::clone(&writer), name.clone(), entries);
        let done = async move {
            tokio::select! {
                // An error of its own says more.
                biased;
                written = written => written,
                // What waits in the queue is of no use any more.
                () = given_up.cancelled() => bail!(GivenUp),
            }
        };
        Self {
            done: Task::spawn(&Handle::current(), done),
            sink: ChunkSink {
                writer,
                queue,
                handle: Handle::current(),
                gives_up,
            },
        }
    }
}

impl ChunkSink {
    /// Takes the next chunk.
    pub fn store(&self, data: Bytes) -> io::Result<()> {
        // It is in memory twice while it is encoded.
        let memory = self.writer.session.workers.memory(2 * data.len() as u64);
        let memory = self.handle.block_on(memory).map_err(io::Error::other)?;
        let task = store(Arc::clone(&self.writer), data, memory);
        self.enqueue(Queued::New(Task::spawn(&self.handle, task)))
    }

    /// Takes the next chunk as it is stored elsewhere, unless the server has it: then `read` is
    /// never run. As the other methods, but for async code.
    pub async fn relay<R>(&self, digest: Digest, size: u64, read: R) -> Result<()>
    where
        R: Future<Output = Result<Bytes>> + Send + 'static,
    {
        let session = &self.writer.session;
        let entry = if session.known.contains(&digest) {
            Queued::Known { digest, size }
        } else {
            let memory = session.workers.memory(size).await?;
            let task = relay(Arc::clone(&self.writer), digest, size, read, memory);
            Queued::New(Task::spawn(&self.handle, task))
        };
        self.enqueue_async(entry).await
    }

    /// [`ChunkSink::finish`] for async code.
    pub async fn end(self) -> Result<()> {
        self.enqueue_async(Queued::End).await?;
        self.gives_up.disarm();
        Ok(())
    }

    async fn enqueue_async(&self, entry: Queued) -> Result<()> {
        let sent = self.queue.send(entry).await;
        sent.map_err(|_| anyhow!("the upload has failed"))
    }

    /// Appends a chunk that the server has, or that was stored here before.
    pub fn append(&self, digest: Digest, size: u64) -> io::Result<()> {
        self.enqueue(Queued::Known { digest, size })
    }

    /// The digest that a chunk has here.
    #[must_use]
    pub fn digest(&self, data: &[u8]) -> Digest {
        self.writer.session.crypt.digest(data)
    }

    /// That was the last chunk.
    pub fn finish(self) -> io::Result<()> {
        self.enqueue(Queued::End)?;
        self.gives_up.disarm();
        Ok(())
    }

    fn enqueue(&self, entry: Queued) -> io::Result<()> {
        let sent = self.queue.blocking_send(entry);
        sent.map_err(|_| io::Error::other("the upload has failed"))
    }
}

/// A chunk after it was looked at.
enum Prepared {
    Known,
    Sending(Wait),
    Encoded(Sending, DataBlob),
}

/// Uploads a chunk unless the server has it.
async fn store(writer: Arc<Writer>, data: Bytes, mut memory: Memory) -> Result<Stored> {
    let session = &writer.session;
    let size = data.len();
    let work = Arc::clone(session);
    let prepared = session.workers.run(move || prepare(&work, &data)).await?;
    let (digest, prepared) = prepared?;
    let encoded = match prepared {
        Prepared::Known => None,
        Prepared::Sending(wait) => {
            drop(memory);
            ensure!(wait.stored().await, "failed to upload chunk {digest}");
            None
        }
        Prepared::Encoded(sending, blob) => {
            let encoded = blob.raw_size();
            memory.keep(encoded);
            let (kind, wid) = (writer.kind, writer.wid);
            let sent = session.send_chunk(kind, wid, &digest, size, blob.into_raw());
            sent.await?;
            sending.stored();
            Some(encoded)
        }
    };
    let stored = Stored {
        digest,
        size: size as u64,
        encoded,
    };
    writer.count(&stored);
    Ok(stored)
}

/// Uploads a chunk as it is stored elsewhere, unless the server has it meanwhile.
async fn relay<R>(
    writer: Arc<Writer>,
    digest: Digest,
    size: u64,
    read: R,
    mut memory: Memory,
) -> Result<Stored>
where
    R: Future<Output = Result<Bytes>> + Send,
{
    let session = &writer.session;
    let encoded = match session.known.claim(digest) {
        Claim::Stored => None,
        Claim::Sending(wait) => {
            drop(memory);
            ensure!(wait.stored().await, "failed to upload chunk {digest}");
            None
        }
        Claim::New(sending) => {
            let raw = read.await?;
            let encoded = raw.len() as u64;
            memory.keep(encoded);
            let plain = usize::try_from(size).context("the chunk is too long")?;
            let (kind, wid) = (writer.kind, writer.wid);
            let sent = session.send_chunk(kind, wid, &digest, plain, raw);
            sent.await?;
            sending.stored();
            Some(encoded)
        }
    };
    let stored = Stored {
        digest,
        size,
        encoded,
    };
    writer.count(&stored);
    Ok(stored)
}

fn prepare(session: &Shared, data: &[u8]) -> Result<(Digest, Prepared)> {
    let digest = session.crypt.digest(data);
    let prepared = match session.known.claim(digest) {
        Claim::Stored => Prepared::Known,
        Claim::Sending(wait) => Prepared::Sending(wait),
        Claim::New(sending) => {
            Prepared::Encoded(sending, session.crypt.encode(data, &session.env)?)
        }
    };
    Ok((digest, prepared))
}

impl Writer {
    fn count(&self, stored: &Stored) {
        let reused = match stored.encoded {
            None => stored.size,
            Some(_) => 0,
        };
        let encoded = stored.encoded.unwrap_or(0);
        self.progress.add(stored.size, reused, encoded);
    }
}

/// Appends the chunks, in the order of the queue, each when the server has it.
async fn write_index(
    writer: Arc<Writer>,
    name: ArchiveName,
    mut queue: mpsc::Receiver<Queued>,
) -> Result<Uploaded> {
    let mut index = Index::new(&writer);
    let uploading = || format!("{name}: upload failed");
    loop {
        match queue.recv().await {
            Some(Queued::New(task)) => {
                let stored = task.await.with_context(uploading)?;
                index.statistics.sent_chunks += u64::from(stored.encoded.is_some());
                index.statistics.sent += stored.encoded.map_or(0, |_| stored.size);
                index.statistics.encoded += stored.encoded.unwrap_or(0);
                index.add(stored.digest, stored.size).await
            }
            Some(Queued::Known { digest, size }) => {
                writer.progress.add(size, size, 0);
                index.add(digest, size).await
            }
            Some(Queued::End) => break,
            None => bail!(GivenUp),
        }
        .with_context(uploading)?;
    }
    let (csum, statistics) = index.finish().await.with_context(uploading)?;
    let info = FileInfo {
        filename: name,
        crypt_mode: writer.session.crypt.mode(),
        size: statistics.size,
        csum: Digest::from_bytes(csum),
    };
    Ok(Uploaded { info, statistics })
}

/// The index as it grows.
struct Index<'a> {
    writer: &'a Writer,
    start: Instant,
    statistics: Statistics,
    checksum: Sha256,
    /// What is to be appended next.
    offsets: Vec<u64>,
    digests: Vec<Digest>,
}

impl<'a> Index<'a> {
    fn new(writer: &'a Writer) -> Self {
        Self {
            start: writer.session.env.now(),
            writer,
            statistics: Statistics::default(),
            checksum: Sha256::new(),
            offsets: Vec::new(),
            digests: Vec::new(),
        }
    }

    async fn add(&mut self, digest: Digest, size: u64) -> Result<()> {
        self.offsets.push(self.statistics.size);
        self.digests.push(digest);
        self.statistics.size += size;
        self.statistics.chunks += 1;
        if self.writer.kind == IndexKind::Dynamic {
            self.checksum.update(&self.statistics.size.to_le_bytes());
        }
        self.checksum.update(digest.as_bytes());
        match self.offsets.len() {
            BATCH => self.append().await,
            _ => Ok(()),
        }
    }

    async fn append(&mut self) -> Result<()> {
        if self.offsets.is_empty() {
            return Ok(());
        }
        let Writer {
            session, kind, wid, ..
        } = self.writer;
        let appended = session.append(*kind, *wid, &self.offsets, &self.digests);
        appended.await?;
        self.offsets.clear();
        self.digests.clear();
        Ok(())
    }

    async fn finish(mut self) -> Result<([u8; 32], Statistics)> {
        self.append().await?;
        let csum = self.checksum.finish();
        let Writer {
            session, kind, wid, ..
        } = self.writer;
        let Statistics { size, chunks, .. } = self.statistics;
        session.close(*kind, *wid, chunks, size, csum).await?;
        self.statistics.duration = session.env.now() - self.start;
        Ok((csum, self.statistics))
    }
}

#[cfg(test)]
mod tests;
