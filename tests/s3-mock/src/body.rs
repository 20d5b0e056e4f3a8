//! Answer bodies, whole or broken.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The body of an answer: at most one piece of data, then an end.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    data: Bytes,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The body is whole.
    Whole,
    /// The body is shorter or longer than declared: hyper must not know its length.
    Undeclared,
    /// Nothing more ever comes.
    Stall,
}

impl AnswerBody {
    pub(crate) fn whole(data: Bytes) -> Self {
        Self {
            data,
            end: End::Whole,
        }
    }

    /// A body whose length differs from the declared one.
    pub(crate) fn undeclared(data: Bytes) -> Self {
        Self {
            data,
            end: End::Undeclared,
        }
    }

    /// A body that stalls after `data`.
    pub(crate) fn stalling(data: Bytes) -> Self {
        Self {
            data,
            end: End::Stall,
        }
    }
}

impl AnswerBody {
    /// The body as a client reads it that was told `declared` bytes; `None` when the connection
    /// breaks before that many have come.
    pub(crate) async fn read(self, declared: Option<usize>) -> Option<Bytes> {
        if self.end == End::Stall {
            // Dropped with the exchange.
            std::future::pending::<()>().await;
        }
        match declared {
            Some(declared) if declared > self.data.len() => None,
            Some(declared) => Some(self.data.slice(..declared)),
            None => Some(self.data),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match self.end {
            End::Whole | End::Undeclared => Poll::Ready(None),
            // Dropped with the connection.
            End::Stall => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end == End::Whole && self.data.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            End::Whole => SizeHint::with_exact(u64::try_from(self.data.len()).unwrap_or(u64::MAX)),
            End::Undeclared | End::Stall => SizeHint::default(),
        }
    }
}
