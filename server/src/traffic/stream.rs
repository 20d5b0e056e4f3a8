//! A connection that keeps to what counts for it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use s3_client::env::Env;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Flow, Flows};

/// What counts for a connection.
pub trait Limits {
    /// Clock and pauses.
    fn env(&self) -> &Env;

    /// What is shared with other connections; nothing if there is no limit.
    fn flows(&self) -> Option<Arc<Flows>>;

    /// Whether [`Limits::flows`] has to be asked anew.
    fn is_outdated(&self) -> bool;
}

type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The connection, and what keeps it from going on.
pub struct LimitedStream<S, L> {
    inner: S,
    limits: Arc<L>,
    chosen: Option<Arc<Flows>>,
    reading: Option<Pause>,
    writing: Option<Pause>,
}

impl<S, L: Limits> LimitedStream<S, L> {
    /// `inner`, kept to these limits.
    pub fn new(inner: S, limits: Arc<L>) -> Self {
        Self {
            chosen: limits.flows(),
            inner,
            limits,
            reading: None,
            writing: None,
        }
    }

    fn chosen(&mut self) -> Option<Arc<Flows>> {
        if self.limits.is_outdated() {
            self.chosen = self.limits.flows();
        }
        self.chosen.clone()
    }

    /// Waits until nothing is owed in a direction.
    fn poll_turn(
        &mut self,
        context: &mut Context<'_>,
        flow: impl Fn(&Flows) -> &Flow,
        pause: impl Fn(&mut Self) -> &mut Option<Pause>,
    ) -> Poll<Option<Arc<Flows>>> {
        loop {
            if let Some(waiting) = pause(self) {
                ready!(waiting.as_mut().poll(context));
                *pause(self) = None;
            }
            let Some(flows) = self.chosen() else {
                return Poll::Ready(None);
            };
            let env = self.limits.env();
            let Some(wait) = flow(&flows).wait(env) else {
                return Poll::Ready(Some(flows));
            };
            let env = env.clone();
            *pause(self) = Some(Box::pin(async move { env.sleep(wait).await }));
        }
    }
}

impl<S: AsyncRead + Unpin, L: Limits> AsyncRead for LimitedStream<S, L> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let turn = this.poll_turn(context, |flows| &flows.incoming, |this| &mut this.reading);
        let Some(flows) = ready!(turn) else {
            return Pin::new(&mut this.inner).poll_read(context, buffer);
        };
        // However large the buffer is: what is read is owed.
        let most = buffer.remaining().min(flows.incoming.piece());
        let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(most));
        ready!(Pin::new(&mut this.inner).poll_read(context, &mut piece))?;
        let count = piece.filled().len();
        buffer.advance(count);
        flows.incoming.transferred(this.limits.env(), count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, L: Limits> AsyncWrite for LimitedStream<S, L> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let turn = this.poll_turn(context, |flows| &flows.outgoing, |this| &mut this.writing);
        let Some(flows) = ready!(turn) else {
            return Pin::new(&mut this.inner).poll_write(context, data);
        };
        let most = data.len().min(flows.outgoing.piece());
        let data = data.get(..most).unwrap_or(data);
        let count = ready!(Pin::new(&mut this.inner).poll_write(context, data))?;
        flows.outgoing.transferred(this.limits.env(), count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::config::ConfigFile;
    use crate::traffic::{Connection, TrafficControl};

    fn control(dir: &Path, env: &Env) -> Arc<TrafficControl> {
        let file = ConfigFile::new(dir, env.clone());
        Arc::new(TrafficControl::new(file, env.clone()))
    }

    fn rules(dir: &Path, text: &str) {
        std::fs::write(dir.join("traffic-control.cfg"), text).unwrap();
    }

    /// Seconds that it takes to send and to receive so much through a connection from there.
    async fn seconds(control: &Arc<TrafficControl>, env: &Env, peer: &str) -> (u64, u64) {
        let connection = Connection::new(control, peer.parse().unwrap());
        let (here, mut there) = tokio::io::duplex(1000);
        let mut stream = LimitedStream::new(here, connection);
        let begun = env.now();
        let receive = async {
            let mut buffer = [0; 500];
            for _ in 0..20 {
                there.read_exact(&mut buffer).await.unwrap();
            }
        };
        let send = async {
            for _ in 0..20 {
                stream.write_all(&[7; 500]).await.unwrap();
            }
        };
        tokio::join!(send, receive);
        let sent = env.now();
        let send = async {
            for _ in 0..20 {
                there.write_all(&[7; 500]).await.unwrap();
            }
        };
        let receive = async {
            let mut buffer = [0; 500];
            for _ in 0..20 {
                stream.read_exact(&mut buffer).await.unwrap();
            }
        };
        tokio::join!(send, receive);
        (
            sent.saturating_duration_since(begun).as_secs(),
            env.now().saturating_duration_since(sent).as_secs(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn connections_keep_to_the_rule_of_their_network() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::seeded(1, 1_768_464_930);
        let control = control(dir.path(), &env);
        control.reload();
        assert_eq!(seconds(&control, &env, "10.0.0.1").await, (0, 0));
        rules(
            dir.path(),
            "rule: slow\n\tnetwork 10.0.0.0/8\n\trate-in 2000 B\n\trate-out 1000 B\n",
        );
        control.reload();
        assert_eq!(seconds(&control, &env, "192.0.2.1").await, (0, 0));
        // The first second's worth is there at once.
        let (sent, received) = seconds(&control, &env, "10.0.0.1").await;
        assert!(
            (8..=9).contains(&sent) && (3..=4).contains(&received),
            "{sent} {received}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_connection_follows_new_rules_and_its_user() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::seeded(1, 1_768_464_930);
        let control = control(dir.path(), &env);
        let connection = Connection::new(&control, "10.0.0.1".parse().unwrap());
        let (here, _there) = tokio::io::duplex(1 << 20);
        let mut stream = LimitedStream::new(here, Arc::clone(&connection));
        let write = async |stream: &mut LimitedStream<_, _>| {
            let begun = env.now();
            for _ in 0..2 {
                stream.write_all(&[0; 5000]).await.unwrap();
            }
            env.now().saturating_duration_since(begun)
        };
        assert_eq!(write(&mut stream).await, Duration::ZERO);
        rules(
            dir.path(),
            "rule: slow\n\tnetwork 10.0.0.0/8\n\trate-out 1000 B\n\tusers a@pbs\n",
        );
        control.reload();
        assert_eq!(write(&mut stream).await, Duration::ZERO, "nobody's yet");
        connection.belongs_to(&"a@pbs!token".parse().unwrap());
        assert!(write(&mut stream).await >= Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_buffer_is_filled_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::seeded(1, 1_768_464_930);
        let control = control(dir.path(), &env);
        let rule = "rule: slow\n\tnetwork 10.0.0.0/8\n\trate-in 50 KiB\n\trate-out 50 KiB\n\
                    \tburst-out 2 KiB\n";
        rules(dir.path(), rule);
        control.reload();
        let connection = Connection::new(&control, "10.0.0.1".parse().unwrap());
        let (here, mut there) = tokio::io::duplex(1 << 20);
        let mut stream = LimitedStream::new(here, connection);
        let sent: Vec<u8> = (0..=255).cycle().take(1 << 19).collect();
        there.write_all(&sent).await.unwrap();
        let mut buffer = vec![0; 1 << 19];
        let begun = env.now();
        let mut got = 0;
        while env.now() == begun {
            let count = stream.read(&mut buffer[got..]).await.unwrap();
            assert!((1..=5 * 1024).contains(&count), "{count}");
            got += count;
        }
        assert_eq!(buffer[..got], sent[..got]);
        // The burst, one that was owed, and the one that was waited for.
        assert_eq!(got, (50 + 10) * 1024);
        assert_eq!(stream.write(&sent).await.unwrap(), 2 * 1024);
    }
}
