//! Bodies of downloads: made while they are sent.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;

use crate::rest::answer::{Answer, AnswerBody};

/// Pieces that wait for the client.
const QUEUE: usize = 4;
/// Bytes of a piece of a file.
const PIECE: usize = 256 * 1024;

/// Takes the pieces of a body.
#[derive(Clone, Debug)]
pub struct Sink(mpsc::Sender<anyhow::Result<Bytes>>);

impl Sink {
    /// Sends a piece; says whether the client is still there.
    pub async fn send(&self, piece: Bytes) -> bool {
        self.0.send(Ok(piece)).await.is_ok()
    }

    /// Whether the client is still there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
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
    piece: Vec<u8>,
}

impl SinkWriter {
    /// Writes to `sink`.
    #[must_use]
    pub fn new(sink: Sink) -> Self {
        Self {
            sink,
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
        let sent = self.sink.0.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A body whose pieces come from elsewhere.
struct Pieces(mpsc::Receiver<anyhow::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = anyhow::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<anyhow::Result<Frame<Bytes>>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// A body that `work` makes. If it fails, the connection ends in the middle, so that the client
/// does not take what it got for the whole.
pub fn body<F, Fut>(work: F) -> AnswerBody
where
    F: FnOnce(Sink) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    let work = work(Sink(sender.clone()));
    tokio::spawn(async move {
        if let Err(error) = work.await
            && !sender.is_closed()
        {
            tracing::warn!("a download failed: {error:#}");
            // Nobody may be listening any more.
            let _ = sender.send(Err(error)).await;
        }
    });
    Pieces(receiver).boxed_unsync()
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
        let whole = body(|sink| async move { sink.send_all(&source[..]).await });
        assert_eq!(whole.collect().await.unwrap().to_bytes(), long);

        let broken = body(|sink| async move {
            sink.send(Bytes::from_static(b"x")).await;
            anyhow::bail!("no more")
        });
        assert_eq!(broken.collect().await.unwrap_err().to_string(), "no more");
    }

    #[tokio::test]
    async fn a_thread_writes_a_body_until_the_client_goes_away() {
        let long: Vec<u8> = (0..=255).cycle().take(3 * PIECE + 7).collect();
        let source = long.clone();
        let whole = body(|sink| async move {
            let written = tokio::task::spawn_blocking(move || {
                let mut writer = SinkWriter::new(sink);
                writer.write_all(&source)?;
                writer.flush()
            });
            Ok(written.await??)
        });
        assert_eq!(whole.collect().await.unwrap().to_bytes(), long);

        let (done, wait) = tokio::sync::oneshot::channel();
        let endless = body(|sink| async move {
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
        let endless = body(|sink| async move {
            while sink.send(Bytes::from_static(b"x")).await {}
            let _ = done.send(());
            Ok(())
        });
        drop(endless);
        wait.await.unwrap();
    }
}
