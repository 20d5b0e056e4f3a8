//! The daemon from its start to its end.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use s3_client::env::Env;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ignored::log_ignored;
use super::listen::Listener;
use super::notify::notify;
use super::proxies::ProxyOptions;
use super::server::Server;
use crate::config::ConfigLock;
use crate::datastores::keeper::run_keeper;
use crate::jobs::scheduler::run_clock;
use crate::metrics::run_sampler;
use crate::paths::Paths;
use crate::traffic::run_traffic_control;

/// The port that clients expect.
pub const PORT: u16 = 8007;
/// For what is asked to abort at last: it ends in order, or as after a power loss.
const ABORT_TIME: Duration = Duration::from_secs(10);

/// How the daemon runs.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Daemon")]
pub struct DaemonOptions {
    /// Where to listen [default: port 8007 on all addresses].
    #[arg(long, env = "COFFER_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// How long running sessions may take to finish when the daemon is to end, in seconds.
    #[arg(
        long,
        env = "COFFER_SHUTDOWN_TIME",
        value_name = "SECONDS",
        default_value_t = 60
    )]
    pub shutdown_time: u64,
    /// Reverse proxies.
    #[command(flatten)]
    pub proxies: ProxyOptions,
}

/// A daemon that listens, but does not answer yet.
pub struct Daemon {
    server: Arc<Server>,
    socket: TcpListener,
    shutdown_time: Duration,
    signals: Signals,
    _only: OnlyDaemon,
}

/// Held by the one daemon of an installation.
pub struct OnlyDaemon {
    _lock: ConfigLock,
}

impl OnlyDaemon {
    /// Waits a while for a daemon that is ending.
    pub async fn of(paths: &Paths, env: &Env) -> Result<Self> {
        paths.create()?;
        let path = paths.run.join(".coffer-server.lck");
        let lock = ConfigLock::acquire(path, env)
            .await
            .context("another coffer-server is running")?;
        Ok(Self { _lock: lock })
    }
}

impl Daemon {
    /// Listens.
    pub async fn start(
        server: Arc<Server>,
        options: &DaemonOptions,
        only: OnlyDaemon,
    ) -> Result<Self> {
        // There is one daemon for a server: nothing was set before.
        let _ = server.proxies.set(options.proxies.clone());
        Ok(Self {
            signals: Signals::listen()?,
            socket: listen(options.listen).await?,
            shutdown_time: Duration::from_secs(options.shutdown_time),
            server,
            _only: only,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Answers until it is told to end.
    pub async fn run(self) -> Result<()> {
        let Self {
            server,
            socket,
            shutdown_time,
            mut signals,
            ..
        } = self;
        let address = socket.local_addr()?;
        log_ignored(&server.config);
        let listener = Arc::new(Listener::new(Arc::clone(&server), Arc::clone(&server.tls)));
        let accepting = tokio::spawn(Arc::clone(&listener).run(socket));
        let certificates = tokio::spawn({
            let server = Arc::clone(&server);
            async move { server.tls.watch(&server.env).await }
        });
        let clock = tokio::spawn(run_clock(Arc::clone(&server)));
        let keeper = tokio::spawn(run_keeper(Arc::clone(&server)));
        let sampler = tokio::spawn(run_sampler(Arc::clone(&server)));
        let traffic = tokio::spawn(run_traffic_control(Arc::clone(&server)));
        tracing::info!(
            "listening on {address}, fingerprint {}",
            server.tls.fingerprint()
        );
        notify("READY=1");

        signals.end().await;
        notify("STOPPING=1");
        tracing::info!("shutting down");
        server.shutdown.cancel();
        certificates.abort();
        // They end by themselves; a job that is just being started is refused by then.
        drop((clock, keeper, sampler, traffic));
        let ended = async {
            // The socket is closed by its end.
            let _ = accepting.await;
            let (connections, tasks) = tokio::join!(
                listener.wait(shutdown_time),
                server.wait_for_tasks(shutdown_time)
            );
            if !(connections && tasks) {
                tracing::warn!("aborting what is not finished");
            }
            server.abort.cancel();
            tokio::join!(listener.wait(ABORT_TIME), server.wait_for_tasks(ABORT_TIME));
        };
        tokio::select! {
            () = ended => tracing::info!("shut down"),
            () = signals.end() => tracing::warn!("told to end twice: ending at once"),
        }
        Ok(())
    }
}

async fn listen(address: Option<SocketAddr>) -> Result<TcpListener> {
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to listen on {address}"))
    };
    match address {
        Some(address) => bind(address).await,
        None => match bind((Ipv6Addr::UNSPECIFIED, PORT).into()).await {
            Ok(socket) => Ok(socket),
            // A machine without IPv6.
            Err(_) => bind((Ipv4Addr::UNSPECIFIED, PORT).into()).await,
        },
    }
}

/// What tells the daemon to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let open = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
