//! What all connections of the daemon share.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use anyhow::Result;
use api_types::upid::Upid;
use s3_client::env::Env;
use tokio_util::sync::CancellationToken;

use crate::access::control::AccessControl;
use crate::config::Config;
use crate::datastores::Datastores;
use crate::paths::Paths;
use crate::s3::{S3Clients, S3Options};
use crate::task::{TaskSpec, Tasks, WorkerTask};

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
    pub access: AccessControl,
    /// Cancelled when the daemon is to end.
    pub shutdown: CancellationToken,
}

impl Server {
    /// Opens the installation; missing directories and keys are created.
    pub fn open(paths: Paths, s3: &S3Options, env: Env) -> Result<Arc<Self>> {
        paths.create()?;
        let config = Config::new(&paths, &env);
        let s3 = Arc::new(S3Clients::new(s3, &env)?);
        let stores = Arc::new(Datastores::new(
            config.clone(),
            Arc::clone(&s3),
            paths.clone(),
            env.clone(),
        ));
        Ok(Arc::new(Self {
            access: AccessControl::open(&paths, env.clone())?,
            tasks: Tasks::new(&paths, env.clone()),
            shutdown: CancellationToken::new(),
            config,
            s3,
            stores,
            paths,
            env,
        }))
    }

    /// Starts `work` as a worker task in the background. It is asked to stop when somebody aborts
    /// the task or the daemon ends.
    pub fn spawn_task<F, Fut>(self: &Arc<Self>, spec: TaskSpec, work: F) -> Result<Upid>
    where
        F: FnOnce(Arc<WorkerTask>) -> Fut,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.tasks.spawn(spec, self.shutdown.clone(), work)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}
