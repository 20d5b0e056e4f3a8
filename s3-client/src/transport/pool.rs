//! Idle connections, kept for a while and not for ever, so that changes of DNS take effect.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::metered::Meter;
use crate::endpoint::Authority;
use crate::env::Env;

const MAX_IDLE: Duration = Duration::from_secs(20);
const MAX_AGE: Duration = Duration::from_secs(300);
/// An idle connection this young is hardly ever closed by the server.
const FRESH: Duration = Duration::from_secs(1);
/// How long a connection that was just given back may take to become usable.
const SETTLE: Duration = Duration::from_millis(100);

pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) meter: Arc<Meter>,
    pub(super) opened: Instant,
    /// Whether it carried a request before.
    pub(super) reused: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

pub(super) struct Pool {
    env: Env,
    idle: Mutex<HashMap<Authority, Vec<Idle>>>,
    /// Somebody closes what has been idle for too long.
    reaping: AtomicBool,
}

impl Pool {
    pub(super) fn new(env: Env) -> Arc<Self> {
        Arc::new(Self {
            env,
            idle: Mutex::default(),
            reaping: AtomicBool::new(false),
        })
    }

    /// A usable idle connection, the most recently used first; with `prefer_fresh` only one that
    /// was in use a moment ago.
    pub(super) async fn take(&self, target: &Authority, prefer_fresh: bool) -> Option<Connection> {
        loop {
            let now = self.env.now();
            let idle = {
                let mut pools = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                let pool = pools.get_mut(target)?;
                // The last one is the freshest; what is not fresh is left to others.
                let rested = now.saturating_duration_since(pool.last()?.since);
                if prefer_fresh && rested > FRESH {
                    return None;
                }
                pool.pop()?
            };
            let rested = now.saturating_duration_since(idle.since);
            let age = now.saturating_duration_since(idle.connection.opened);
            if rested > MAX_IDLE || age > MAX_AGE {
                continue;
            }
            let mut connection = idle.connection;
            let usable = tokio::select! {
                ready = connection.sender.ready() => ready.is_ok(),
                () = self.env.sleep(SETTLE) => false,
            };
            if usable {
                return Some(connection);
            }
        }
    }

    pub(super) fn put(self: &Arc<Self>, target: &Authority, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.reused = true;
        let since = self.env.now();
        {
            let mut pools = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = pools.entry(target.clone()).or_default();
            idle.push(Idle { connection, since });
            if self.reaping.swap(true, Ordering::SeqCst) {
                return;
            }
        }
        let (pool, env) = (Arc::downgrade(self), self.env.clone());
        tokio::spawn(async move {
            loop {
                env.sleep(MAX_IDLE / 2).await;
                match pool.upgrade() {
                    Some(pool) if pool.reap() => {}
                    _ => return,
                }
            }
        });
    }

    /// Closes what nobody will use any more; whether anything is left to watch.
    fn reap(&self) -> bool {
        let now = self.env.now();
        let mut pools = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, idle| {
            idle.retain(|idle| {
                let rested = now.saturating_duration_since(idle.since);
                rested <= MAX_IDLE && !idle.connection.sender.is_closed()
            });
            !idle.is_empty()
        });
        // Decided under the lock: whoever puts a connection later starts a new watch.
        self.reaping.store(!pools.is_empty(), Ordering::SeqCst);
        !pools.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// A burst of requests must not leave its connections open until the next one.
    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_closed_in_time() {
        let env = Env::seeded(1, 0);
        let pool = Pool::new(env.clone());
        let target = Authority {
            host: "s3.test".into(),
            port: 443,
            header: "s3.test".into(),
        };
        for _ in 0..2 {
            let mut far_ends = Vec::new();
            for _ in 0..3 {
                let (near, far) = tokio::io::duplex(64);
                let io = hyper_util::rt::TokioIo::new(near);
                let (sender, driver) = hyper::client::conn::http1::handshake(io).await.unwrap();
                tokio::spawn(driver);
                let connection = Connection {
                    sender,
                    meter: Meter::new(env.clone()),
                    opened: env.now(),
                    reused: false,
                };
                pool.put(&target, connection);
                far_ends.push(far);
            }
            env.sleep(MAX_IDLE / 2).await;
            assert!(pool.take(&target, false).await.is_some());
            env.sleep(MAX_IDLE + Duration::from_secs(1)).await;
            assert!(pool.idle.lock().unwrap().is_empty());
            for mut far in far_ends {
                assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0, "closed");
            }
            assert!(
                !pool.reaping.load(Ordering::SeqCst),
                "nothing is left to watch"
            );
        }
    }
}
