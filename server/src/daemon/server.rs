//! What all connections of the daemon share.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use api_types::upid::Upid;
use s3_client::env::Env;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::certificate::CertificateFiles;
use super::places::Places;
use super::proxies::ProxyOptions;
use super::tls::Tls;
use crate::access::attempts::Attempts;
use crate::access::control::AccessControl;
use crate::config::Config;
use crate::datastores::Datastores;
use crate::jobs::state::JobStates;
use crate::metrics::Metrics;
use crate::monitor::readiness::Readiness;
use crate::paths::Paths;
use crate::protocol::memory::Memory;
use crate::quota::Quota;
use crate::s3::{S3Clients, S3Options};
use crate::site::Site;
use crate::task::{TaskSpec, Tasks, WorkerTask};
use crate::traffic::TrafficControl;

/// Worker tasks at the same time.
const MAX_TASKS: u32 = 4096;

/// Bytes of bodies of requests that need no credentials, in all.
const MAX_WORLD_BODIES: u64 = 32 << 20;

/// The installation, as the daemon has it open.
pub struct Server {
    /// Its directories.
    pub paths: Paths,
    /// Clock and randomness.
    pub env: Env,
    /// Its configuration files.
    pub config: Config,
    /// Clients of its S3 endpoints.
    pub s3: Arc<S3Clients>,
    /// Its worker tasks, of this process and of others.
    pub tasks: Tasks,
    /// Its datastores: [`Datastores::open`] counts the operation until what it returns is dropped.
    pub stores: Arc<Datastores>,
    /// Who is it, and what may they do.
    pub access: Arc<AccessControl>,
    /// How much is done at a time.
    pub places: Places,
    /// What of clients' data is in memory.
    pub memory: Arc<Memory>,
    /// How machine and datastores do, over time.
    pub metrics: Metrics,
    /// Whether it can do its work.
    pub readiness: Readiness,
    /// Unproven requests.
    pub attempts: Attempts,
    /// Bytes of bodies of requests that need no credentials.
    pub world_bodies: Arc<Quota>,
    /// Proxies that are believed; none until the daemon starts.
    pub proxies: OnceLock<ProxyOptions>,
    /// How fast connections may be.
    pub traffic: Arc<TrafficControl>,
    /// The certificate in use.
    pub tls: Arc<Tls>,
    /// Cancelled when the daemon is to end: nothing new begins, what takes long is aborted.
    pub shutdown: CancellationToken,
    /// Cancelled when it ends for good: what had time to finish until then is aborted.
    pub abort: CancellationToken,
    running: Arc<Semaphore>,
}

impl Server {
    /// Opens the installation; missing directories and keys are created.
    pub fn open(paths: Paths, s3: &S3Options, env: Env) -> Result<Arc<Self>> {
        paths.create()?;
        let config = Config::new(&paths, &env);
        let s3 = Arc::new(S3Clients::new(s3, config.node().clone(), &env)?);
        let stores = Arc::new(Datastores::new(
            config.clone(),
            Arc::clone(&s3),
            paths.clone(),
            env.clone(),
        ));
        Ok(Arc::new(Self {
            access: Arc::new(AccessControl::open(&paths, env.clone())?),
            tasks: Tasks::new(&paths, env.clone()),
            memory: Arc::default(),
            metrics: Metrics::new(&paths),
            readiness: Readiness::default(),
            attempts: Attempts::default(),
            world_bodies: Quota::new(MAX_WORLD_BODIES, MAX_WORLD_BODIES / 8),
            proxies: OnceLock::new(),
            traffic: Arc::new(TrafficControl::new(
                config.traffic_rules().clone(),
                env.clone(),
            )),
            tls: Arc::new(Tls::open(
                CertificateFiles::new(&paths.config),
                config.node().clone(),
                &env,
            )?),
            shutdown: CancellationToken::new(),
            abort: CancellationToken::new(),
            running: Arc::new(Semaphore::new(MAX_TASKS as usize)),
            places: Places::default(),
            config,
            s3,
            stores,
            paths,
            env,
        }))
    }

    /// What jobs and syncs work with.
    #[must_use]
    pub fn site(&self) -> Site {
        Site {
            env: self.env.clone(),
            config: self.config.clone(),
            stores: Arc::clone(&self.stores),
            access: Arc::clone(&self.access),
            jobs: JobStates::of(self),
        }
    }

    /// Starts `work` as a worker task in the background. It is asked to stop when somebody aborts
    /// the task or the daemon is to end.
    pub fn spawn_task<F, Fut>(self: &Arc<Self>, spec: TaskSpec, work: F) -> Result<Upid>
    where
        F: FnOnce(Arc<WorkerTask>) -> Fut,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.spawn(spec, &self.shutdown, work)
    }

    /// The same for the session of a client, which may finish for a while when the daemon is to
    /// end.
    pub fn spawn_session<F, Fut>(self: &Arc<Self>, spec: TaskSpec, work: F) -> Result<Upid>
    where
        F: FnOnce(Arc<WorkerTask>) -> Fut,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.spawn(spec, &self.abort, work)
    }

    fn spawn<F, Fut>(&self, spec: TaskSpec, stop: &CancellationToken, work: F) -> Result<Upid>
    where
        F: FnOnce(Arc<WorkerTask>) -> Fut,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        anyhow::ensure!(!self.shutdown.is_cancelled(), "the server is shutting down");
        let place = Arc::clone(&self.running)
            .try_acquire_owned()
            .context("too many tasks are running")?;
        let (upid, running) = self.tasks.spawn(spec, stop.clone(), work)?;
        tokio::spawn(async move {
            // How it ended is in its log.
            let _ = running.await;
            drop(place);
        });
        Ok(upid)
    }

    /// Waits until all tasks of this process have ended, but not longer than `limit`; says whether
    /// they have.
    pub async fn wait_for_tasks(&self, limit: Duration) -> bool {
        tokio::select! {
            all = self.running.acquire_many(MAX_TASKS) => all.is_ok(),
            () = self.env.sleep(limit) => false,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}
