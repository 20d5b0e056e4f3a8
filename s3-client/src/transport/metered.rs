//! A byte stream that knows when it last made progress and that keeps to the bandwidth limits.
//!
//! It sits between HTTP and TLS, so the bytes are those of the HTTP messages.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::env::Env;
use crate::limits::{EndpointLimits, TokenBucket};

/// With a bandwidth limit, bytes go in pieces of at most this size, so that it runs smoothly.
const LIMITED_PIECE: usize = 64 * 1024;

/// Progress of a connection, seen from outside.
#[derive(Debug)]
pub(super) struct Meter {
    env: Env,
    origin: Instant,
    /// Milliseconds after `origin`; in the future while waiting for our own bandwidth limit.
    alive_until: AtomicU64,
    written: AtomicU64,
    read: AtomicU64,
}

impl Meter {
    pub(super) fn new(env: Env) -> Arc<Self> {
        let origin = env.now();
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            env,
            origin,
            alive_until: zero(),
            written: zero(),
            read: zero(),
        })
    }

    fn alive_for(&self, extra: Duration) {
        let age = self.env.now().saturating_duration_since(self.origin) + extra;
        let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.alive_until.fetch_max(millis, Ordering::Relaxed);
    }

    /// Starts to observe one exchange.
    pub(super) fn begin(&self) {
        self.written.store(0, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
        self.alive_for(Duration::ZERO);
    }

    pub(super) fn last_progress(&self) -> Instant {
        self.origin + Duration::from_millis(self.alive_until.load(Ordering::Relaxed))
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A stream with a [`Meter`] and the endpoint's bandwidth limits.
pub(super) struct Metered<S> {
    inner: S,
    meter: Arc<Meter>,
    limits: Arc<EndpointLimits>,
    read_pause: Option<Pause>,
    write_pause: Option<Pause>,
}

impl<S> Metered<S> {
    pub(super) fn new(inner: S, meter: Arc<Meter>, limits: Arc<EndpointLimits>) -> Self {
        Self {
            inner,
            meter,
            limits,
            read_pause: None,
            write_pause: None,
        }
    }
}

fn poll_pause(pause: &mut Option<Pause>, meter: &Meter, cx: &mut Context<'_>) -> Poll<()> {
    if let Some(waiting) = pause {
        ready!(waiting.as_mut().poll(cx));
        *pause = None;
        meter.alive_for(Duration::ZERO);
    }
    Poll::Ready(())
}

fn account(bucket: &TokenBucket, bytes: usize, pause: &mut Option<Pause>, meter: &Meter) {
    let wait = bucket.take(count(bytes));
    if !wait.is_zero() {
        let env = meter.env.clone();
        *pause = Some(Box::pin(async move { env.sleep(wait).await }));
    }
    meter.alive_for(wait);
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(poll_pause(&mut this.read_pause, &this.meter, cx));
        let before = buffer.filled().len();
        if this.limits.bytes_in.is_limited() {
            let size = buffer.remaining().min(LIMITED_PIECE);
            let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(size));
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut piece))?;
            let got = piece.filled().len();
            buffer.set_filled(before + got);
        } else {
            // As it is: clearing it first would cost more than the read puts into it, since a
            // record of TLS is a small part of the buffer.
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        }
        let got = buffer.filled().len() - before;
        if got > 0 {
            this.meter.read.fetch_add(count(got), Ordering::Relaxed);
            account(
                &this.limits.bytes_in,
                got,
                &mut this.read_pause,
                &this.meter,
            );
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Metered<S> {
    fn wrote(&mut self, sent: usize) {
        if sent > 0 {
            self.meter.written.fetch_add(count(sent), Ordering::Relaxed);
            let (bucket, pause) = (&self.limits.bytes_out, &mut self.write_pause);
            account(bucket, sent, pause, &self.meter);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(poll_pause(&mut this.write_pause, &this.meter, cx));
        let limited = this.limits.bytes_out.is_limited();
        let piece = if limited {
            &data[..data.len().min(LIMITED_PIECE)]
        } else {
            data
        };
        let sent = ready!(Pin::new(&mut this.inner).poll_write(cx, piece))?;
        this.wrote(sent);
        Poll::Ready(Ok(sent))
    }

    /// Also where the stream below takes one piece at a time: otherwise HTTP copies the body behind
    /// the headers to make one piece of both.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.limits.bytes_out.is_limited() || !this.inner.is_write_vectored() {
            let first = pieces.iter().find(|piece| !piece.is_empty());
            return self.poll_write(cx, first.map_or(&[], |piece| piece));
        }
        ready!(poll_pause(&mut this.write_pause, &this.meter, cx));
        let sent = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, pieces))?;
        this.wrote(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Rates;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Neither copies a body behind its headers nor clears the room for an answer.
    #[tokio::test]
    async fn pieces_are_written_as_they_come_and_counted() {
        let env = Env::seeded(1, 0);
        let limits = EndpointLimits::new(&env, Rates::default());
        let meter = Meter::new(env);
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let mut near = Metered::new(near, meter.clone(), limits);
        assert!(near.is_write_vectored());
        let pieces = [b"".as_slice(), b"head", b"body"].map(io::IoSlice::new);
        let sent = near.write_vectored(&pieces).await.unwrap();
        assert_eq!((sent, meter.written()), (8, 8));
        let mut seen = [0; 8];
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"headbody");
        far.write_all(b"xy").await.unwrap();
        let mut room = [7; 100];
        assert_eq!(near.read(&mut room).await.unwrap(), 2);
        assert_eq!((&room[..3], meter.read()), (b"xy\x07".as_slice(), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_holds_for_many_pieces_too() {
        let env = Env::seeded(1, 0);
        let rates = Rates {
            bytes_out: (1000, 1000),
            ..Rates::default()
        };
        let limits = EndpointLimits::new(&env, rates);
        let (near, _far) = tokio::io::duplex(1 << 20);
        let mut near = Metered::new(near, Meter::new(env.clone()), limits);
        let (start, zeros) = (env.now(), [0; 2000]);
        let pieces = [io::IoSlice::new(&zeros), io::IoSlice::new(&zeros)];
        assert_eq!(near.write_vectored(&pieces).await.unwrap(), 2000);
        assert_eq!(near.write_vectored(&pieces).await.unwrap(), 2000);
        assert_eq!((env.now() - start).as_millis(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn bandwidth_is_kept_and_counts_as_progress() {
        let env = Env::seeded(1, 0);
        let rates = Rates {
            bytes_out: (1000, 1000),
            bytes_in: (500, 500),
            ..Rates::default()
        };
        let limits = EndpointLimits::new(&env, rates);
        let meter = Meter::new(env.clone());
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut near = Metered::new(near, meter.clone(), limits);
        let start = env.now();
        near.write_all(&[0; 3000]).await.unwrap();
        near.write_all(&[0; 1]).await.unwrap();
        assert_eq!((env.now() - start).as_millis(), 2000);
        assert_eq!(meter.written(), 3001);
        far.write_all(&[0; 5000]).await.unwrap();
        let mut buffer = vec![0; 4096];
        let got = near.read(&mut buffer).await.unwrap();
        assert_eq!(meter.read(), count(got));
        // The pause ahead is ours, not a stall of the server.
        assert!(meter.last_progress() > env.now() + Duration::from_secs(7));
    }
}
