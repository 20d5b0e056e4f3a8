//! Uploads of one session: read whole before they are used, within a limit of memory.
//!
//! A client has many uploads under way. While there is no room for more, no more is read, and
//! HTTP/2's flow control stops the client. That must not end in a standstill: with one window for
//! the whole connection, the bytes that would complete a half read upload may be stuck behind those
//! of uploads that nobody reads. So reading stops only while at least one upload is complete: it is
//! being stored, and that ends and makes room, whatever the client does. A client that begins a
//! great many and completes none is refused in the end.
//!
//! An upload that comes in one frame, as most chunks do, is used as it came, without a copy.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame};

use super::memory::{self, Account, Memory};
use crate::rest::call::Body;

/// Bytes of uploads that are begun and not complete: as many as all requests that a client may
/// have under way with chunks of the usual size. Clients complete one after the other and come
/// nowhere near; one that does is refused rather than waited for, or memory would have no end.
const MOST_BEGUN: u64 = 1 << 30;
/// The same for all sessions together, with what else they have in memory: many that misbehave must
/// not do what one may not.
const MOST_OF_ALL: u64 = 2 << 30;
/// What is allocated on the mere promise of an upload.
const FIRST_BUFFER: usize = 64 << 10;

/// The uploads of a session.
#[derive(Debug)]
pub struct Intake {
    account: Arc<Account>,
    /// Uploads that are in memory as a whole.
    complete: AtomicUsize,
}

/// A whole upload.
#[derive(Debug)]
pub struct Upload {
    /// Its bytes, as many as announced.
    pub bytes: Bytes,
    /// To be kept until the bytes are stored.
    pub share: Share,
}

/// Why an upload is not used.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// There is more than announced.
    #[error("more than the announced {announced} bytes")]
    TooLong {
        /// How much there should be.
        announced: u64,
    },
    /// There is less than announced.
    #[error("{received} bytes instead of the announced {announced}")]
    TooShort {
        /// How much there should be.
        announced: u64,
        /// How much there is.
        received: u64,
    },
    /// Too much was begun at once.
    #[error("more than {MOST_BEGUN} bytes of uploads are begun and not complete")]
    TooMany,
    /// Too much was begun by others.
    #[error(
        "all sessions together have more than {MOST_OF_ALL} bytes of uploads begun and not \
         complete; try again later"
    )]
    TooManyOfAll,
    /// The connection broke.
    #[error("failed to read the request: {0:#}")]
    Broken(anyhow::Error),
}

/// The memory of an upload; counts until it is dropped.
#[derive(Debug)]
pub struct Share {
    intake: Arc<Intake>,
    complete: bool,
    memory: memory::Share,
}

impl Share {
    fn complete(&mut self) {
        self.complete = true;
        self.intake.complete.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.complete {
            // Whoever waits is woken when the memory goes, right after this.
            self.intake.complete.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Intake {
    /// With an account of its own.
    #[must_use]
    pub fn new(memory: &Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            account: memory.account(),
            complete: AtomicUsize::new(0),
        })
    }

    /// Reads an upload of exactly `announced` bytes, which the caller has found reasonable.
    pub async fn read(
        self: &Arc<Self>,
        mut body: Body,
        announced: u64,
    ) -> Result<Upload, IntakeError> {
        let mut share = Share {
            intake: Arc::clone(self),
            complete: false,
            memory: self.account.take(0),
        };
        let wanted = usize::try_from(announced).unwrap_or(usize::MAX);
        let mut bytes = Received::default();
        while let Some(frame) = self.frame(&mut body, bytes.len() < wanted).await {
            let Ok(data) = frame.map_err(IntakeError::Broken)?.into_data() else {
                continue;
            };
            if data.len() > wanted - bytes.len() {
                return Err(IntakeError::TooLong { announced });
            }
            let more = length(data.len());
            if self.account.holds() + more > MOST_BEGUN {
                return Err(IntakeError::TooMany);
            }
            if self.account.memory().borrowed() + more > MOST_OF_ALL {
                return Err(IntakeError::TooManyOfAll);
            }
            share.memory.grow(more);
            bytes.push(data, wanted);
        }
        let received = length(bytes.len());
        if received != announced {
            return Err(IntakeError::TooShort {
                announced,
                received,
            });
        }
        share.complete();
        Ok(Upload {
            bytes: bytes.into_bytes(),
            share,
        })
    }

    /// The next frame; if it needs room, not before there is some.
    async fn frame(
        &self,
        body: &mut Body,
        needs_room: bool,
    ) -> Option<Result<Frame<Bytes>, anyhow::Error>> {
        // Looked at whenever the frame is: many uploads wait at the same time.
        let next = |context: &mut Context<'_>| match needs_room && !self.may_read() {
            true => Poll::Pending,
            false => Pin::new(&mut *body).poll_frame(context),
        };
        self.account.memory().retry(next).await
    }

    fn may_read(&self) -> bool {
        self.complete.load(Ordering::Relaxed) == 0 || self.account.has_room()
    }
}

/// What has come of an upload.
#[derive(Debug)]
enum Received {
    /// As it came.
    Whole(Bytes),
    /// Put together.
    Parts(BytesMut),
}

impl Default for Received {
    fn default() -> Self {
        Self::Parts(BytesMut::new())
    }
}

impl Received {
    fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Parts(bytes) => bytes.len(),
        }
    }

    /// Adds what is no more than is missing of `wanted`.
    fn push(&mut self, data: Bytes, wanted: usize) {
        match self {
            _ if data.is_empty() => {}
            Self::Parts(bytes) if bytes.is_empty() && data.len() == wanted => {
                *self = Self::Whole(data);
            }
            Self::Parts(bytes) => {
                if bytes.len() + data.len() > bytes.capacity() {
                    let missing = wanted - bytes.len();
                    // Who has sent something means the rest.
                    let means_it = bytes.len() + data.len() >= FIRST_BUFFER / 2;
                    bytes.reserve(if means_it {
                        missing
                    } else {
                        missing.min(FIRST_BUFFER)
                    });
                }
                bytes.extend_from_slice(&data);
            }
            // It has all that is wanted.
            Self::Whole(_) => {}
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Parts(bytes) => bytes.freeze(),
        }
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    fn body(content: &[u8]) -> Body {
        let content = Bytes::copy_from_slice(content);
        Full::new(content).map_err(|never| match never {}).boxed()
    }

    /// Frames of one MiB each.
    fn frames(count: usize) -> Body {
        let frame = Bytes::from(vec![7; 1 << 20]);
        let frames = (0..count).map(move |_| Ok(Frame::data(frame.clone())));
        StreamBody::new(stream::iter(frames)).boxed()
    }

    #[tokio::test]
    async fn as_many_bytes_as_announced() {
        let intake = Intake::new(&Arc::default());
        let upload = intake.read(body(b"hello"), 5).await.unwrap();
        assert_eq!(&upload.bytes[..], b"hello");
        let short = intake.read(body(b"hello"), 6).await.unwrap_err();
        assert!(matches!(short, IntakeError::TooShort { received: 5, .. }));
        let long = intake.read(body(b"hello"), 4).await.unwrap_err();
        assert!(matches!(long, IntakeError::TooLong { announced: 4 }));
        let many = intake.read(frames(3), 3 << 20).await.unwrap();
        assert_eq!(many.bytes, vec![7; 3 << 20]);
        drop((upload, many));
        assert_eq!(intake.complete.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_full_intake_waits_for_what_is_being_stored() {
        let intake = Intake::new(&Arc::default());
        let mut stored = Vec::new();
        for _ in 0..4 {
            stored.push(intake.read(frames(16), 16 << 20).await.unwrap());
        }
        let mut next = Box::pin(intake.read(body(b"x"), 1));
        let waited = tokio::time::timeout(Duration::from_millis(50), &mut next).await;
        assert!(waited.is_err());
        stored.pop();
        assert_eq!(next.await.unwrap().bytes.len(), 1);
    }

    #[tokio::test]
    async fn half_read_uploads_alone_stop_nothing() {
        let intake = Intake::new(&Arc::default());
        let mut half: Vec<_> = (0..5)
            .map(|_| {
                let begun = (0..15).map(|_| Ok(Frame::data(Bytes::from(vec![7; 1 << 20]))));
                let pending =
                    futures_util::StreamExt::chain(stream::iter(begun), stream::pending());
                Box::pin(intake.read(StreamBody::new(pending).boxed(), 16 << 20))
            })
            .collect();
        for read in &mut half {
            let waited = tokio::time::timeout(Duration::from_millis(20), read).await;
            assert!(waited.is_err());
        }
        assert!(!intake.account.has_room());
        intake.read(body(b"x"), 1).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_only_begun_has_an_end() {
        let intake = Intake::new(&Arc::default());
        let begun = intake.account.take(MOST_BEGUN - 2);
        intake.read(body(b"xy"), 2).await.unwrap();
        let refused = intake.read(body(b"xyz"), 3).await.unwrap_err();
        assert!(matches!(refused, IntakeError::TooMany), "{refused}");
        drop(begun);
        intake.read(body(b"xyz"), 3).await.unwrap();
        assert_eq!(intake.account.holds(), 0);
    }

    #[tokio::test]
    async fn what_all_have_only_begun_has_an_end() {
        let memory = Arc::<Memory>::default();
        let others: Vec<_> = (0..3).map(|_| memory.account()).collect();
        let begun: Vec<_> = others
            .iter()
            .map(|other| other.take(MOST_BEGUN - 2))
            .collect();
        let account = memory.account();
        let _own = account.take(8 << 20);
        let intake = Arc::new(Intake {
            account,
            complete: AtomicUsize::new(0),
        });
        let refused = intake.read(body(b"xyz"), 3).await.unwrap_err();
        assert!(matches!(refused, IntakeError::TooManyOfAll), "{refused}");
        drop(begun);
        intake.read(body(b"xyz"), 3).await.unwrap();
    }
}
