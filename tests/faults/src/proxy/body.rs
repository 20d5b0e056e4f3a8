//! A body that ends, or stops, in its middle.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use datastore::env::Env;
use futures_util::future::BoxFuture;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Longer than the worker waits, shorter than its quarantine.
const STALL: Duration = Duration::from_secs(4);

/// What happens to a body at its byte `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Nowhere,
    End { at: u64 },
    Stall { at: u64 },
}

/// A body on its way through the proxy.
pub(super) struct CutBody {
    inner: Incoming,
    cut: Cut,
    passed: u64,
    stall: Option<BoxFuture<'static, ()>>,
}

impl CutBody {
    pub(super) fn new(inner: Incoming, cut: Cut) -> Self {
        Self {
            inner,
            cut,
            passed: 0,
            stall: None,
        }
    }

    /// Where `thousandths` of a body lie.
    pub(super) fn offset(body: &Incoming, thousandths: u64) -> u64 {
        body.size_hint().lower().saturating_mul(thousandths) / 1000
    }

    /// Lets the part of the data through that comes before byte `at`.
    fn before(&mut self, data: &Bytes, at: u64) -> Option<Bytes> {
        let room = usize::try_from(at - self.passed.min(at)).unwrap_or(usize::MAX);
        let part = data.slice(..data.len().min(room));
        self.passed += u64::try_from(part.len()).unwrap_or(0);
        (!part.is_empty()).then_some(part)
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the proxy cuts it off")
}

impl Body for CutBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(stall) = &mut self.stall {
            ready!(stall.as_mut().poll(context));
            self.stall = None;
        }
        if matches!(self.cut, Cut::End { at } if self.passed >= at) {
            return Poll::Ready(Some(Err(cut_off())));
        }
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
            Some(Ok(frame)) => frame,
        };
        let Ok(data) = frame.into_data() else {
            return Poll::Ready(None);
        };
        if let Cut::End { at } = self.cut {
            let part = self.before(&data, at);
            return Poll::Ready(Some(part.map(Frame::data).ok_or_else(cut_off)));
        }
        self.passed += u64::try_from(data.len()).unwrap_or(0);
        if matches!(self.cut, Cut::Stall { at } if self.passed >= at) {
            self.cut = Cut::Nowhere;
            self.stall = Some(Box::pin(async { Env::system().sleep(STALL).await }));
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
