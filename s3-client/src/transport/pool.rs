//! Idle connections, kept for a while and not for ever, so that changes of DNS take effect.

use std::collections::HashMap;
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
}

impl Pool {
    pub(super) fn new(env: Env) -> Self {
        Self {
            env,
            idle: Mutex::default(),
        }
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

    pub(super) fn put(&self, target: &Authority, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.reused = true;
        let since = self.env.now();
        let mut pools = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = pools.entry(target.clone()).or_default();
        idle.retain(|idle| {
            let rested = since.saturating_duration_since(idle.since);
            rested <= MAX_IDLE && !idle.connection.sender.is_closed()
        });
        idle.push(Idle { connection, since });
    }
}
