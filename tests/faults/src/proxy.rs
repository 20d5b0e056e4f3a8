//! The network between the worker and MinIO: forwards HTTP, counts requests, and cuts, stalls or
//! loses what a plan chooses.
//!
//! Nothing is forwarded late: a request whose client has gone is not sent on, so a quarantine of
//! seconds bounds here what half an hour bounds in the world.

mod body;
mod forward;
mod plan;
mod socket;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use plan::Planned;
pub use plan::{Fault, FaultCounts, Moment, Op, Plan};
use socket::Socket;

/// A running proxy. Stops when dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests since the last plan.
    seen: u64,
    plan: Plan,
    /// To be told when the plan's moment has come.
    waiting: Option<oneshot::Sender<()>>,
    counts: FaultCounts,
    /// Ends the connections of the last round.
    round: CancellationToken,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Proxy {
    /// Listens on a port of its own on loopback, and forwards to `upstream`, likewise.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(upstream: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::default(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::clone(&shared), stop.clone()));
        Ok(Self { shared, port, stop })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Begins a round: old connections end, requests count from zero. The receiver is told when
    /// the plan's moment has come; the request of that moment is never answered.
    #[must_use]
    pub fn begin(&self, plan: Plan) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.shared.state();
        state.round.cancel();
        state.round = CancellationToken::new();
        state.seen = 0;
        state.plan = plan;
        state.waiting = Some(sender);
        receiver
    }

    /// Requests of this round.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.shared.state().seen
    }

    /// All faults so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.shared.state().counts.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to become of the next request.
    fn next(&self, op: Op) -> Planned {
        let mut state = self.state();
        state.seen += 1;
        let planned = state.plan.decide(state.seen, op);
        if let Some(fault) = planned.fault {
            *state.counts.entry((op, fault)).or_default() += 1;
        }
        planned
    }

    fn moment_has_come(&self) {
        if let Some(waiting) = self.state().waiting.take() {
            // Nobody may be waiting any more.
            let _ = waiting.send(());
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        let round = shared.state().round.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = round.cancelled() => {}
                () = serve(stream, shared) => {}
            }
        });
    }
}

/// One connection of the client.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let (socket, reset) = Socket::new(stream);
    let service =
        service_fn(move |request| forward::forward(Arc::clone(&shared), reset.clone(), request));
    // However it ends: the client sees it, and that is what is tested.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
}
