//! Where the store under test is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use api_types::datastore::DatastoreTuning;
use api_types::s3::S3EndpointConfig;
use datastore::backend::s3::ownership::Instance;
use datastore::env::Env;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use s3_client::{S3Client, S3ClientOptions, Scheme};
use serde::{Deserialize, Serialize};

/// Name of the datastore, and its prefix in the bucket.
pub const STORE: &str = "faults";

/// What the worker is told, as a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Place {
    /// Directory of everything that is local.
    pub dir: PathBuf,
    /// Port on loopback where S3 is to be had, without TLS.
    pub port: u16,
    /// Region.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
    /// Bucket.
    pub bucket: String,
    /// Length of the quarantine. On loopback, and through a proxy that forwards nothing late, a
    /// few seconds bound what the half hour of a real store bounds.
    pub quarantine_millis: u64,
}

impl Place {
    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let failed = || format!("unable to read {}", path.display());
        let text = std::fs::read_to_string(path).with_context(failed)?;
        serde_json::from_str(&text).with_context(failed)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, serde_json::to_vec(self)?)
            .with_context(|| format!("unable to write {}", path.display()))
    }

    /// Where the worker writes down what it was told is safe.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.dir.join("ledger")
    }

    /// How long a delete without an answer may still happen.
    #[must_use]
    pub fn quarantine(&self) -> Duration {
        Duration::from_millis(self.quarantine_millis)
    }

    /// A client with little patience, so that a round is short.
    ///
    /// # Errors
    /// If a field is not what it must be.
    pub fn client(&self, env: &Env) -> Result<S3Client> {
        let mut endpoint = S3EndpointConfig::new(
            "faults".parse()?,
            "127.0.0.1".parse()?,
            self.access_key.parse()?,
            self.secret_key.parse()?,
        );
        endpoint.port = Some(self.port);
        endpoint.region = Some(self.region.parse()?);
        endpoint.path_style = Some(true);
        let mut options = S3ClientOptions::new(endpoint, Some(self.bucket.parse()?));
        options.scheme = Scheme::Http;
        options.timeouts.connect = Duration::from_secs(2);
        options.timeouts.headers = Duration::from_secs(3);
        options.timeouts.stall = Duration::from_secs(3);
        options.retry.base = Duration::from_millis(50);
        options.retry.cap = Duration::from_secs(1);
        options.retry.deadline = Duration::from_secs(20);
        Ok(S3Client::new(options, env.clone())?)
    }

    /// What opening or creating the store needs.
    ///
    /// # Errors
    /// If a field is not what it must be.
    pub fn options(&self, env: &Env) -> Result<StoreOptions> {
        Ok(StoreOptions {
            name: STORE.parse()?,
            path: self.dir.join("store"),
            lock_dir: self.dir.join("locks"),
            tuning: DatastoreTuning::default(),
            backend: BackendOptions::S3 {
                client: self.client(env)?,
                max_cache_bytes: Some(4 << 20),
            },
            instance: Instance {
                id: "0123456789abcdef0123456789abcdef".to_owned(),
                hostname: "faults".to_owned(),
            },
            quarantine: Some(self.quarantine()),
            env: env.clone(),
        })
    }

    /// Opens the store.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&self, env: &Env) -> Result<Arc<DataStore>> {
        Ok(DataStore::open(self.options(env)?)?)
    }
}
