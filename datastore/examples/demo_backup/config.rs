//! Where the datastore is, from a file that the demonstration writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use api_types::names::DatastoreName;
use api_types::s3::{BucketName, S3EndpointConfig};
use datastore::backend::s3::ownership::Instance;
use datastore::env::Env;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use s3_client::{S3Client, S3ClientOptions};
use serde::Deserialize;

/// The facts that `coffer-manager` has in its configuration and state directories. The instance id
/// and the lock directory must be the manager's: to the datastore, both are one installation.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    store: String,
    path: PathBuf,
    lock_dir: PathBuf,
    instance_id: String,
    bucket: String,
    endpoint_id: String,
    /// The endpoint's properties, as in `s3.cfg`.
    endpoint: BTreeMap<String, String>,
    #[serde(default)]
    provider_quirks: Vec<String>,
}

impl Config {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self> {
        let failed = || format!("failed to read {}", path.display());
        let text = std::fs::read_to_string(path).with_context(failed)?;
        serde_json::from_str(&text).with_context(failed)
    }

    /// The datastore's name: its prefix in the bucket.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// A client for the bucket.
    pub fn client(&self, env: &Env) -> Result<S3Client> {
        let mut properties: Vec<(String, String)> = self.endpoint.clone().into_iter().collect();
        let quirks = self.provider_quirks.iter();
        properties.extend(quirks.map(|quirk| ("provider-quirks".to_owned(), quirk.clone())));
        let endpoint = S3EndpointConfig::from_properties(&self.endpoint_id, &properties)?;
        let bucket: BucketName = self.bucket.parse()?;
        let options = S3ClientOptions::new(endpoint, Some(bucket));
        Ok(S3Client::new(options, env.clone())?)
    }

    /// Opens the datastore, which `coffer-manager datastore create` has made.
    pub fn open(&self, client: S3Client, env: &Env) -> Result<Arc<DataStore>> {
        let name: DatastoreName = self.store.parse()?;
        let options = StoreOptions {
            name,
            path: self.path.clone(),
            lock_dir: self.lock_dir.clone(),
            tuning: api_types::datastore::DatastoreTuning::default(),
            backend: BackendOptions::S3 {
                client,
                max_cache_bytes: None,
            },
            instance: Instance {
                id: self.instance_id.clone(),
                hostname: "demo".to_owned(),
            },
            quarantine: None,
            env: env.clone(),
        };
        DataStore::open(options).with_context(|| format!("failed to open '{}'", self.store))
    }
}
