//! Uploads of one session: read whole before they are used, within a limit of memory.
//!
//! A client has many uploads under way. While more than `LIMIT` bytes of them are in memory, no
//! more is read, and HTTP/2's flow control stops the client. That must not end in a standstill:
//! with one window for the whole connection, the bytes that would complete a half read upload may
//! be stuck behind those of uploads that nobody reads. So reading stops only while at least one
//! upload is complete: it is being stored, and that ends and makes room, whatever the client does.
//! A client that begins a great many and completes none is refused in the end.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::Notify;

use crate::rest::call::Body;

/// Bytes of uploads in memory from which on no more is read.
const LIMIT: u64 = 64 << 20;
/// Bytes of uploads that are begun and not complete: as many as all requests that a client may
/// have under way with chunks of the usual size. Clients complete one after the other and come
/// nowhere near; one that does is refused rather than waited for, or memory would have no end.
const MOST_BEGUN: u64 = 1 << 30;
/// What is allocated on the mere promise of an upload.
const FIRST_BUFFER: usize = 64 << 10;

/// The uploads of a session.
#[derive(Debug, Default)]
pub struct Intake {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    buffered: u64,
    complete: usize,
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
    /// The connection broke.
    #[error("failed to read the request: {0:#}")]
    Broken(anyhow::Error),
}

/// The memory of an upload; counts until it is dropped.
#[derive(Debug)]
pub struct Share {
    intake: Arc<Intake>,
    bytes: u64,
    complete: bool,
}

impl Share {
    fn grow(&mut self, by: u64) -> Result<(), IntakeError> {
        let mut state = self.intake.state();
        if state.buffered + by > MOST_BEGUN {
            return Err(IntakeError::TooMany);
        }
        state.buffered += by;
        self.bytes += by;
        Ok(())
    }

    fn complete(&mut self) {
        self.complete = true;
        self.intake.state().complete += 1;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.intake.state();
        state.buffered -= self.bytes;
        state.complete -= usize::from(self.complete);
        drop(state);
        self.intake.changed.notify_waiters();
    }
}

impl Intake {
    /// Reads an upload of exactly `announced` bytes, which the caller has found reasonable.
    pub async fn read(self: &Arc<Self>, body: Body, announced: u64) -> Result<Upload, IntakeError> {
        let mut body = pin!(body);
        let mut share = Share {
            intake: Arc::clone(self),
            bytes: 0,
            complete: false,
        };
        let wanted = usize::try_from(announced).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::with_capacity(wanted.min(FIRST_BUFFER));
        loop {
            if bytes.len() < wanted {
                self.room().await;
            }
            let Some(frame) = body.frame().await else {
                break;
            };
            let Ok(data) = frame.map_err(IntakeError::Broken)?.into_data() else {
                continue;
            };
            if data.len() > wanted - bytes.len() {
                return Err(IntakeError::TooLong { announced });
            }
            share.grow(length(&data))?;
            if bytes.is_empty() && data.len() == wanted {
                bytes = BytesMut::from(data);
                continue;
            }
            if bytes.len() + data.len() > bytes.capacity() && bytes.len() >= FIRST_BUFFER / 2 {
                // The client means it.
                bytes.reserve(wanted - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        let received = length(&bytes);
        if received != announced {
            return Err(IntakeError::TooShort {
                announced,
                received,
            });
        }
        share.complete();
        Ok(Upload {
            bytes: bytes.freeze(),
            share,
        })
    }

    /// Waits until more may be read.
    async fn room(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.may_read() {
                return;
            }
            changed.await;
        }
    }

    fn may_read(&self) -> bool {
        let state = self.state();
        state.buffered < LIMIT || state.complete == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

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
        let intake = Arc::new(Intake::default());
        let upload = intake.read(body(b"hello"), 5).await.unwrap();
        assert_eq!(&upload.bytes[..], b"hello");
        let short = intake.read(body(b"hello"), 6).await.unwrap_err();
        assert!(matches!(short, IntakeError::TooShort { received: 5, .. }));
        let long = intake.read(body(b"hello"), 4).await.unwrap_err();
        assert!(matches!(long, IntakeError::TooLong { announced: 4 }));
        let many = intake.read(frames(3), 3 << 20).await.unwrap();
        assert_eq!(many.bytes, vec![7; 3 << 20]);
        drop((upload, many));
        assert_eq!(intake.state().buffered, 0);
        assert_eq!(intake.state().complete, 0);
    }

    #[tokio::test]
    async fn a_full_intake_waits_for_what_is_being_stored() {
        let intake = Arc::new(Intake::default());
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
        let intake = Arc::new(Intake::default());
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
        assert!(intake.state().buffered > LIMIT);
        intake.read(body(b"x"), 1).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_only_begun_has_an_end() {
        let intake = Arc::new(Intake::default());
        let begun = Share {
            intake: Arc::clone(&intake),
            bytes: MOST_BEGUN - 2,
            complete: false,
        };
        intake.state().buffered = begun.bytes;
        intake.read(body(b"xy"), 2).await.unwrap();
        let refused = intake.read(body(b"xyz"), 3).await.unwrap_err();
        assert!(matches!(refused, IntakeError::TooMany), "{refused}");
        drop(begun);
        intake.read(body(b"xyz"), 3).await.unwrap();
        assert_eq!(intake.state().buffered, 0);
    }
}
