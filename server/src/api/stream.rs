//! Bodies of downloads: made while they are sent, in small pieces, and given up when nobody takes
//! them. What they have in memory is accounted for like that of sessions, so that all of them together
//! have no more than there is for all.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use s3_client::env::Env;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::daemon::Server;
use crate::daemon::places::Place;
use crate::protocol::memory;
use crate::quota;
use crate::rest::answer::{Answer, AnswerBody};
use crate::rest::call::Call;
use crate::rest::error::RestError;

/// Pieces that wait for the client.
const QUEUE: usize = 4;
/// Bytes of a piece.
const PIECE: usize = 256 * 1024;
/// Something of this size is large.
const LARGE: usize = 1 << 20;
/// How long a client may take for a piece. Its connection may stay for longer, but what the download
/// holds is released: the datastore, the snapshot, memory.
const PATIENCE: Duration = Duration::from_secs(600);

/// The pieces that wait for the client; none if it was given up.
type Queue = Arc<Mutex<Option<mpsc::Receiver<anyhow::Result<Bytes>>>>>;

/// Takes the pieces of a body.
#[derive(Clone, Debug)]
pub struct Sink {
    sender: mpsc::Sender<anyhow::Result<Bytes>>,
    queue: Queue,
    env: Env,
}

impl Sink {
    /// Sends bytes; says whether the client is still there.
    pub async fn send(&self, mut bytes: Bytes) -> bool {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            if !self.push(Ok(piece)).await {
                return false;
            }
        }
        self.is_open()
    }

    /// Sends what `next` comes to, unless the client goes away before that; says whether the client is
    /// still there.
    pub async fn send_next(
        &self,
        next: impl Future<Output = anyhow::Result<Bytes>>,
    ) -> anyhow::Result<bool> {
        tokio::select! {
            bytes = next => Ok(self.send(bytes?).await),
            () = self.sender.closed() => Ok(false),
        }
    }

    async fn push(&self, piece: anyhow::Result<Bytes>) -> bool {
        tokio::select! {
            sent = self.sender.send(piece) => sent.is_ok(),
            () = self.env.sleep(PATIENCE) => {
                tracing::info!("a download was given up: nothing was taken for {PATIENCE:?}");
                lock(&self.queue).take();
                false
            }
        }
    }

    /// Whether the client is still there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends all that `source` has.
    pub async fn send_all(&self, mut source: impl AsyncRead + Unpin + Send) -> anyhow::Result<()> {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let limit = u64::try_from(PIECE).unwrap_or(u64::MAX);
            let read = (&mut source).take(limit).read_to_end(&mut piece).await?;
            if read == 0 || !self.send(piece.into()).await {
                return Ok(());
            }
        }
    }
}

/// Writes a body, on a thread that may wait.
#[derive(Debug)]
pub struct SinkWriter {
    sink: Sink,
    runtime: Handle,
    piece: Vec<u8>,
}

impl SinkWriter {
    /// Writes to `sink`.
    #[must_use]
    pub fn new(sink: Sink) -> Self {
        Self {
            sink,
            runtime: Handle::current(),
            piece: Vec::new(),
        }
    }
}

impl Write for SinkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece
            .extend_from_slice(bytes.get(..count).unwrap_or_default());
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        match self.runtime.block_on(self.sink.push(Ok(piece.into()))) {
            true => Ok(()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// A body whose pieces come from elsewhere.
struct Pieces(Queue);

impl Drop for Pieces {
    /// The client has gone: whoever makes the pieces is to see that.
    fn drop(&mut self) {
        lock(&self.0).take();
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = anyhow::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<anyhow::Result<Frame<Bytes>>>> {
        match &mut *lock(&self.0) {
            Some(pieces) => pieces
                .poll_recv(context)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
            None => Poll::Ready(Some(Err(anyhow::anyhow!("nobody took it for too long")))),
        }
    }
}

fn lock<T>(queue: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is complete before anything can panic.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that `work` makes. If it fails, the connection ends in the middle, so that the client
/// does not take what it got for the whole.
pub fn body<F, Fut>(env: &Env, work: F) -> AnswerBody
where
    F: FnOnce(Sink) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    let queue = Arc::new(Mutex::new(Some(receiver)));
    let sink = Sink {
        sender,
        queue: Arc::clone(&queue),
        env: env.clone(),
    };
    let work = work(sink.clone());
    tokio::spawn(async move {
        if let Err(error) = work.await
            && sink.is_open()
        {
            tracing::warn!("a download failed: {error:#}");
            sink.push(Err(error)).await;
        }
    });
    Pieces(queue).boxed_unsync()
}

/// A download that may be: its place, and what its queue may have in memory.
#[derive(Debug)]
pub struct Download {
    _place: quota::Share,
    _queue: memory::Share,
}

/// A place for a download.
pub fn download(call: &Call) -> Result<Download, RestError> {
    let queue = u64::try_from((QUEUE + 1) * PIECE).unwrap_or(u64::MAX);
    Ok(Download {
        _place: call.server.places.download(call.peer)?,
        _queue: call.server.memory.account().take(queue),
    })
}

/// A place for an answer that is large, and the memory that it takes.
#[derive(Debug)]
pub struct Large {
    env: Env,
    place: Place,
    share: memory::Share,
}

/// A place to send something in, if it is large: who never takes it must not fill the memory.
pub fn place_for(server: &Server, length: usize) -> Result<Option<Large>, RestError> {
    if length < LARGE {
        return Ok(None);
    }
    let place = server.places.send()?;
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    Ok(Some(Large {
        env: server.env.clone(),
        place,
        share: server.memory.account().take(length),
    }))
}

/// A body of these bytes, which are counted until they are sent.
pub fn whole(large: Large, bytes: Bytes) -> AnswerBody {
    let Large { env, place, share } = large;
    let bytes = share.count(bytes);
    body(&env, |sink| async move {
        let _place = place;
        sink.send(bytes).await;
        Ok(())
    })
}

/// The answer with this body.
#[must_use]
pub fn answer(body: AnswerBody, content_type: &'static str) -> Answer {
    let mut response = hyper::Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Answer::Response(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_arrive_in_order_and_failures_are_seen() {
        let long = vec![7_u8; 3 * PIECE + 1];
        let source = long.clone();
        let whole = body(&Env::system(), |sink| async move {
            sink.send_all(&source[..]).await
        });
        assert_eq!(whole.collect().await.unwrap().to_bytes(), long);

        let broken = body(&Env::system(), |sink| async move {
            sink.send(Bytes::from_static(b"x")).await;
            anyhow::bail!("no more")
        });
        assert_eq!(broken.collect().await.unwrap_err().to_string(), "no more");
    }

    #[tokio::test]
    async fn a_thread_writes_a_body_until_the_client_goes_away() {
        let long: Vec<u8> = (0..=255).cycle().take(3 * PIECE + 7).collect();
        let source = long.clone();
        let whole = body(&Env::system(), |sink| async move {
            let written = tokio::task::spawn_blocking(move || {
                let mut writer = SinkWriter::new(sink);
                writer.write_all(&source)?;
                writer.flush()
            });
            Ok(written.await??)
        });
        assert_eq!(whole.collect().await.unwrap().to_bytes(), long);

        let (done, wait) = tokio::sync::oneshot::channel();
        let endless = body(&Env::system(), |sink| async move {
            let written = tokio::task::spawn_blocking(move || {
                let mut writer = SinkWriter::new(sink);
                while writer.write_all(b"x").is_ok() {}
            });
            let _ = done.send(written.await);
            Ok(())
        });
        drop(endless);
        wait.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_work() {
        let (done, wait) = tokio::sync::oneshot::channel();
        let endless = body(&Env::system(), |sink| async move {
            while sink.send(Bytes::from_static(b"x")).await {}
            let _ = done.send(());
            Ok(())
        });
        drop(endless);
        wait.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (done, wait) = tokio::sync::oneshot::channel();
        let held = Arc::new(());
        let watched = Arc::downgrade(&held);
        let mut stalled = body(&Env::system(), |sink| async move {
            let bytes = Bytes::from(vec![7; (QUEUE + 1) * PIECE]);
            let _ = done.send(sink.send(bytes).await);
            drop(held);
            Ok(())
        });
        assert!(!wait.await.unwrap());
        assert!(watched.upgrade().is_none());
        let error = stalled.frame().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }
}
