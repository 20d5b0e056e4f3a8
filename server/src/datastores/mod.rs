//! The datastores of an installation: opened as configured, created, refreshed, removed.
//!
//! | module | what |
//! |---|---|
//! | [`active`] | who is using a datastore, across processes |
//! | [`space`] | how full a file system is |
//! | [`patience`] | nobody waits for ever for a disk that hangs |
//! | [`mounted`] | whether a removable device is there |
//! | [`keeper`] | open datastores stay open, and what is left to do in them is done |
//! | [`dependents`] | jobs and access rights, which go with a datastore |
//! | [`create`], [`remove`], [`refresh`] | what concerns directory, bucket and configuration together |
//!
//! The check of the maintenance mode and the counting of the new operation happen together under
//! the lock of the configuration: whoever sets a mode and then sees no operations knows that none
//! comes any more.

pub mod active;
pub mod create;
pub mod dependents;
pub mod keeper;
pub mod mounted;
pub mod patience;
pub mod refresh;
pub mod remove;
pub mod space;

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use api_types::datastore::{DatastoreBackend, DatastoreConfig, Operation};
use api_types::names::DatastoreName;
use datastore::backend::s3::ownership::Instance;
use datastore::store::{BackendOptions, DataStore, StoreOptions, Stores};
use s3_client::S3Client;
use s3_client::env::Env;
use tokio::sync::Notify;

use crate::config::{Config, directory_of};
use crate::instance::instance_id;
use crate::paths::Paths;
use crate::s3::S3Clients;
use crate::task::node_name;

use active::{ActiveOperation, ActiveOperations, Counts};
use mounted::is_mounted;
use patience::Patience;

/// The datastores of an installation.
pub struct Datastores {
    config: Config,
    s3: Arc<S3Clients>,
    paths: Paths,
    env: Env,
    active: ActiveOperations,
    open: Arc<Stores>,
    patience: Patience,
    /// Somebody has created a datastore: the keeper does not wait for its next look.
    made: Notify,
}

/// An open datastore, counted as in use until it is dropped.
#[derive(Debug)]
pub struct OpenDatastore {
    store: Arc<DataStore>,
    _operation: Option<ActiveOperation>,
}

impl Deref for OpenDatastore {
    type Target = Arc<DataStore>;

    fn deref(&self) -> &Arc<DataStore> {
        &self.store
    }
}

impl Datastores {
    /// The datastores that `config` names.
    #[must_use]
    pub fn new(config: Config, s3: Arc<S3Clients>, paths: Paths, env: Env) -> Self {
        Self {
            active: ActiveOperations::new(&paths.run, env.clone()),
            open: Arc::default(),
            patience: Patience::endless(env.clone()),
            made: Notify::new(),
            config,
            s3,
            paths,
            env,
        }
    }

    /// Those of a daemon, which has other things to do than to wait for a disk that hangs.
    #[must_use]
    pub fn with_limited_patience(self) -> Self {
        Self {
            patience: self.patience.limited(),
            ..self
        }
    }

    /// The configuration of a datastore.
    pub fn config_of(&self, name: &DatastoreName) -> Result<DatastoreConfig> {
        let content = self.config.datastores().load()?;
        Ok(content.get(name.as_str())?.clone())
    }

    /// The operations of all processes on a datastore.
    pub fn active_counts(&self, name: &DatastoreName) -> Result<Counts> {
        self.active.counts(name)
    }

    /// Refuses a datastore whose directory lies in or around another one's, as an edited
    /// configuration may have it.
    pub async fn check_nesting(&self, name: &DatastoreName) -> Result<()> {
        let content = self.config.datastores().load()?;
        let config = content.get(name.as_str())?;
        let path = self.directory_of(config).await?;
        for other in &content.entries {
            // One on a disk that hangs is not on the disk of another that does not.
            let other_path = match self.directory_of(other).await {
                Ok(other_path) => other_path,
                Err(_) => PathBuf::from(other.absolute_path()),
            };
            Config::check_apart((config, &path), (other, other_path))?;
        }
        Ok(())
    }

    async fn directory_of(&self, config: &DatastoreConfig) -> Result<PathBuf> {
        let (owned, env) = (config.clone(), self.env.clone());
        let look = async move { env.blocking(move || directory_of(&owned)).await };
        self.in_time(&config.name, look).await
    }

    /// Opens a datastore for an operation, unless its maintenance mode forbids it, its device is not
    /// there, or a daemon would have to wait long for it.
    pub async fn open(&self, name: &DatastoreName, operation: Operation) -> Result<OpenDatastore> {
        let (config, operation) = self.enter(name, operation).await?;
        let opened = self.in_time(name, self.opening(&config)?).await?;
        Ok(OpenDatastore {
            store: opened?,
            _operation: operation,
        })
    }

    /// The same, however long it takes: for who has to do with this datastore alone, and may go away
    /// at any time.
    pub async fn open_at_last(
        &self,
        name: &DatastoreName,
        operation: Operation,
    ) -> Result<OpenDatastore> {
        let (config, operation) = self.enter(name, operation).await?;
        let opening = self.opening(&config)?;
        Ok(OpenDatastore {
            store: self.patience.wait_long(name, opening).await??,
            _operation: operation,
        })
    }

    /// Counts an operation that may begin.
    async fn enter(
        &self,
        name: &DatastoreName,
        operation: Operation,
    ) -> Result<(DatastoreConfig, Option<ActiveOperation>)> {
        let _lock = self.config.datastores().lock().await?;
        let config = self.config_of(name)?;
        check_mode(&config, operation)?;
        let counted = self.active.enter(name, operation).await?;
        Ok((config, counted))
    }

    /// Opens a datastore if its device is there.
    fn opening(
        &self,
        config: &DatastoreConfig,
    ) -> Result<impl Future<Output = Result<Arc<DataStore>>> + Send + use<>> {
        let (open, options) = (Arc::clone(&self.open), self.options(config)?);
        let (config, env) = (config.clone(), self.env.clone());
        Ok(async move {
            let name = config.name.clone();
            if config.backing_device.is_some() {
                let mounted = env.blocking(move || is_mounted(&config)).await;
                ensure!(mounted, "datastore '{name}' is not mounted");
            }
            let opened = open.open(options).await;
            opened.with_context(|| format!("unable to open datastore '{name}'"))
        })
    }

    /// Does what looks at the disk of a datastore, which may hang: see `patience`.
    pub async fn in_time<T: Send + 'static>(
        &self,
        name: &DatastoreName,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        self.patience.wait(name, work).await
    }

    /// Opens a datastore without a look at its maintenance mode, for what sets that mode itself.
    async fn open_as(&self, config: &DatastoreConfig) -> Result<Arc<DataStore>> {
        self.open
            .open(self.options(config)?)
            .await
            .with_context(|| format!("unable to open datastore '{}'", config.name))
    }

    /// What the library needs to know to open or create a datastore.
    fn options(&self, config: &DatastoreConfig) -> Result<StoreOptions> {
        let backend = match config.backend() {
            DatastoreBackend::Filesystem => BackendOptions::Filesystem,
            DatastoreBackend::S3 {
                client,
                bucket,
                max_cache_size,
            } => {
                let endpoints = self.config.s3_endpoints().load()?;
                let endpoint = endpoints.get(client.as_str())?;
                BackendOptions::S3 {
                    client: self.s3.client(endpoint, Some(bucket))?,
                    max_cache_bytes: max_cache_size.map(|size| size.bytes()),
                }
            }
        };
        Ok(StoreOptions {
            name: config.name.clone(),
            path: PathBuf::from(config.absolute_path()),
            lock_dir: self.paths.datastore_locks(config.name.as_str()),
            tuning: config.tuning(),
            backend,
            instance: self.instance()?,
            quarantine: None,
            env: self.env.clone(),
        })
    }

    fn instance(&self) -> Result<Instance> {
        Ok(Instance {
            id: instance_id(&self.paths.state, &self.env)?.to_string(),
            hostname: node_name(),
        })
    }

    /// The client for a datastore's bucket, which counts the requests made for it; `None` on a
    /// filesystem datastore.
    pub fn client(&self, config: &DatastoreConfig) -> Result<Option<S3Client>> {
        Ok(match self.options(config)?.backend {
            BackendOptions::Filesystem => None,
            BackendOptions::S3 { client, .. } => Some(client),
        })
    }
}

impl fmt::Debug for Datastores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datastores")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

/// Refuses what the maintenance mode does not allow, in the words that clients look for.
fn check_mode(config: &DatastoreConfig, operation: Operation) -> Result<()> {
    match &config.maintenance_mode {
        Some(mode) if !mode.allows(operation) => {
            bail!(
                "datastore '{}' is unavailable: {}",
                config.name,
                mode.reason()
            )
        }
        _ => Ok(()),
    }
}
