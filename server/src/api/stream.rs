//! Bodies of downloads: made while they are sent.

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
#[derive(Debug)]
pub struct Sink(mpsc::Sender<anyhow::Result<Bytes>>);

impl Sink {
    /// Sends a piece; says whether the client is still there.
    pub async fn send(&self, piece: Bytes) -> bool {
        self.0.send(Ok(piece)).await.is_ok()
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
        if let Err(error) = work.await {
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
