//! What all connections of a server share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use openssl::ssl::SslAcceptor;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::journal::RequestId;
use crate::sigv4::{Account, verify};
use crate::state::State;

pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) clock: Clock,
    /// Without an account nobody's signature is checked.
    pub(crate) account: Option<Account>,
    pub(crate) region: String,
    pub(crate) domain: String,
    pub(crate) acceptor: SslAcceptor,
    pub(crate) shutdown: CancellationToken,
    /// Cancelled and replaced when the test drops all connections.
    connections: Mutex<CancellationToken>,
}

impl Shared {
    pub(crate) fn new(
        state: State,
        clock: Clock,
        account: Option<Account>,
        region: String,
        domain: String,
        acceptor: SslAcceptor,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let connections = Mutex::new(shutdown.child_token());
        let state = Mutex::new(state);
        Self {
            state,
            clock,
            account,
            region,
            domain,
            acceptor,
            shutdown,
            connections,
        }
    }

    /// The state. Never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a new connection: at shutdown, or when the test drops all connections.
    pub(crate) fn connection_token(&self) -> CancellationToken {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn drop_connections(&self) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.cancel();
        *connections = self.shutdown.child_token();
    }

    /// Applies a held request now; the status that its client would have seen.
    pub(crate) fn release_late(&self, id: RequestId) -> Option<u16> {
        let now = self.clock.millis();
        let mut state = self.lock();
        let held = state.late.take(id)?;
        if held.verify
            && let Some(account) = &self.account
            && let Err(refusal) = verify(&held.request, account, now.div_euclid(1000))
        {
            return Some(refusal.status);
        }
        Some(state.apply(&held.request, now).status)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
