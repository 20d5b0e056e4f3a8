//! The datastores of an installation: opened as configured, created, refreshed, removed.
//!
//! | module | what |
//! |---|---|
//! | [`active`] | who is using a datastore, across processes |
//! | [`space`] | how full a file system is |
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
pub mod refresh;
pub mod remove;
pub mod space;

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use api_types::datastore::{DatastoreBackend, DatastoreConfig, Operation};
use api_types::names::DatastoreName;
use datastore::backend::s3::ownership::Instance;
use datastore::store::{BackendOptions, DataStore, StoreOptions, Stores};
use s3_client::S3Client;
use s3_client::env::Env;
use tokio::sync::Notify;

use crate::config::Config;
use crate::instance::instance_id;
use crate::paths::Paths;
use crate::s3::S3Clients;
use crate::task::node_name;

use active::{ActiveOperation, ActiveOperations, Counts};

/// The datastores of an installation.
pub struct Datastores {
    config: Config,
    s3: Arc<S3Clients>,
    paths: Paths,
    env: Env,
    active: ActiveOperations,
    open: Stores,
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
            open: Stores::default(),
            made: Notify::new(),
            config,
            s3,
            paths,
            env,
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
    pub fn check_nesting(&self, name: &DatastoreName) -> Result<()> {
        let content = self.config.datastores().load()?;
        let config = content.get(name.as_str())?;
        Ok(Config::check_nesting(&content, config)?)
    }

    /// Opens a datastore for an operation, unless its maintenance mode forbids it.
    pub async fn open(&self, name: &DatastoreName, operation: Operation) -> Result<OpenDatastore> {
        let (config, counted) = {
            let _lock = self.config.datastores().lock().await?;
            let config = self.config_of(name)?;
            check_mode(&config, operation)?;
            let counted = self.active.enter(name, operation).await?;
            (config, counted)
        };
        Ok(OpenDatastore {
            store: self.open_as(&config).await?,
            _operation: counted,
        })
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
