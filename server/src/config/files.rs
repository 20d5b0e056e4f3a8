//! The files of an installation, and the rules that span more than one of them.

use std::path::{Component, Path, PathBuf};

use api_types::datastore::{DatastoreBackend, DatastoreConfig};
use api_types::names::{DatastoreName, EndpointId};
use api_types::s3::S3EndpointConfig;
use s3_client::env::Env;

use super::jobs::{PruneJob, VerifyJob};
use super::node::NodeFile;
use super::remotes::Remote;
use super::sync::SyncJob;
use super::traffic::TrafficRule;
use super::{ConfigError, ConfigFile, Entity, Entries};
use crate::paths::Paths;

/// The configuration files of an installation.
#[derive(Clone, Debug)]
pub struct Config {
    datastores: ConfigFile<DatastoreConfig>,
    s3_endpoints: ConfigFile<S3EndpointConfig>,
    prune_jobs: ConfigFile<PruneJob>,
    verify_jobs: ConfigFile<VerifyJob>,
    sync_jobs: ConfigFile<SyncJob>,
    remotes: ConfigFile<Remote>,
    traffic_rules: ConfigFile<TrafficRule>,
    node: NodeFile,
}

impl Config {
    /// The files below the configuration directory.
    #[must_use]
    pub fn new(paths: &Paths, env: &Env) -> Self {
        Self {
            datastores: ConfigFile::new(&paths.config, env.clone()),
            s3_endpoints: ConfigFile::new(&paths.config, env.clone()),
            prune_jobs: ConfigFile::new(&paths.config, env.clone()),
            verify_jobs: ConfigFile::new(&paths.config, env.clone()),
            sync_jobs: ConfigFile::new(&paths.config, env.clone()),
            remotes: ConfigFile::new(&paths.config, env.clone()),
            traffic_rules: ConfigFile::new(&paths.config, env.clone()),
            node: NodeFile::new(&paths.config, env.clone()),
        }
    }

    /// `datastore.cfg`.
    #[must_use]
    pub fn datastores(&self) -> &ConfigFile<DatastoreConfig> {
        &self.datastores
    }

    /// `s3.cfg`.
    #[must_use]
    pub fn s3_endpoints(&self) -> &ConfigFile<S3EndpointConfig> {
        &self.s3_endpoints
    }

    /// `prune.cfg`.
    #[must_use]
    pub fn prune_jobs(&self) -> &ConfigFile<PruneJob> {
        &self.prune_jobs
    }

    /// `verification.cfg`.
    #[must_use]
    pub fn verify_jobs(&self) -> &ConfigFile<VerifyJob> {
        &self.verify_jobs
    }

    /// `sync.cfg`.
    #[must_use]
    pub fn sync_jobs(&self) -> &ConfigFile<SyncJob> {
        &self.sync_jobs
    }

    /// `remote.cfg`.
    #[must_use]
    pub fn remotes(&self) -> &ConfigFile<Remote> {
        &self.remotes
    }

    /// `traffic-control.cfg`.
    #[must_use]
    pub fn traffic_rules(&self) -> &ConfigFile<TrafficRule> {
        &self.traffic_rules
    }

    /// `node.cfg`.
    #[must_use]
    pub fn node(&self) -> &NodeFile {
        &self.node
    }

    /// Adds a datastore, unless its name is taken, its directory lies in or around another one's,
    /// or its endpoint does not exist.
    pub async fn add_datastore(&self, datastore: DatastoreConfig) -> Result<(), ConfigError> {
        // Always in this order, here and in `remove_s3_endpoint`: while the lock on the datastores
        // is held, no endpoint disappears.
        let lock = self.datastores.lock().await?;
        self.datastores.update_locked(&lock, None, |content| {
            self.check_new_datastore(content, &datastore)?;
            content.insert(datastore)
        })
    }

    /// The checks of [`Self::add_datastore`], for a caller that wants to know before it starts the
    /// work of creating the datastore.
    pub fn check_new_datastore(
        &self,
        existing: &Entries<DatastoreConfig>,
        datastore: &DatastoreConfig,
    ) -> Result<(), ConfigError> {
        if existing.get(datastore.id()).is_ok() {
            return Err(ConfigError::Exists {
                section_type: DatastoreConfig::SECTION_TYPE,
                id: datastore.id().to_owned(),
            });
        }
        if let Some(client) = endpoint_of(datastore) {
            self.s3_endpoints.load()?.get(client.as_str())?;
        }
        Self::check_nesting(existing, datastore)
    }

    /// Whether the datastore's directory lies in or around another one's: a collection of one would
    /// take the other's chunks for garbage.
    pub fn check_nesting(
        existing: &Entries<DatastoreConfig>,
        datastore: &DatastoreConfig,
    ) -> Result<(), ConfigError> {
        let path = resolved(Path::new(&datastore.absolute_path()));
        let others = existing.entries.iter();
        for other in others.filter(|other| other.id() != datastore.id()) {
            let other_path = resolved(Path::new(&other.absolute_path()));
            if path.starts_with(&other_path) || other_path.starts_with(&path) {
                return Err(ConfigError::Nested {
                    other: other.id().to_owned(),
                    other_path,
                });
            }
        }
        Ok(())
    }

    /// Refuses a datastore that is not there.
    pub fn check_datastore(&self, name: &DatastoreName) -> Result<(), ConfigError> {
        self.datastores.load()?.get(name.as_str()).map(|_| ())
    }

    /// Refuses a sync job that names a datastore or a remote which is not there.
    pub fn check_sync_job(&self, job: &SyncJob) -> Result<(), ConfigError> {
        self.check_datastore(&job.store)?;
        match &job.remote {
            None => self.check_datastore(&job.remote_store),
            Some(remote) => self.remotes.load()?.get(remote.as_str()).map(|_| ()),
        }
    }

    /// Removes a remote that no sync job uses.
    pub async fn remove_remote(&self, id: &str, digest: Option<&str>) -> Result<(), ConfigError> {
        let _jobs_lock = self.sync_jobs.lock().await?;
        let jobs = self.sync_jobs.load()?;
        let uses = |job: &&SyncJob| job.remote.as_ref().is_some_and(|own| own.as_str() == id);
        self.remotes
            .update(digest, |content| {
                content.remove(id)?;
                match jobs.entries.iter().find(uses) {
                    Some(job) => Err(ConfigError::RemoteInUse {
                        remote: id.to_owned(),
                        job: job.id.clone(),
                    }),
                    None => Ok(()),
                }
            })
            .await
    }

    /// Removes an endpoint that no datastore uses.
    pub async fn remove_s3_endpoint(
        &self,
        id: &str,
        digest: Option<&str>,
    ) -> Result<(), ConfigError> {
        let _datastores_lock = self.datastores.lock().await?;
        let users = self.datastores.load()?;
        self.s3_endpoints
            .update(digest, |content| {
                content.remove(id)?;
                match users.entries.iter().find(|store| uses(store, id)) {
                    Some(user) => Err(ConfigError::InUse {
                        datastore: user.id().to_owned(),
                    }),
                    None => Ok(()),
                }
            })
            .await
    }
}

fn endpoint_of(datastore: &DatastoreConfig) -> Option<EndpointId> {
    match datastore.backend() {
        DatastoreBackend::S3 { client, .. } => Some(client),
        DatastoreBackend::Filesystem => None,
    }
}

fn uses(datastore: &DatastoreConfig, endpoint: &str) -> bool {
    endpoint_of(datastore).is_some_and(|client| client.as_str() == endpoint)
}

/// The path with symbolic links followed as far as it exists, and without `.` and `..`.
fn resolved(path: &Path) -> PathBuf {
    let mut existing = path;
    let mut missing = Vec::new();
    loop {
        if let Ok(mut resolved) = existing.canonicalize() {
            for component in missing.into_iter().rev() {
                match component {
                    Component::ParentDir => {
                        resolved.pop();
                    }
                    Component::CurDir => {}
                    other => resolved.push(other),
                }
            }
            return resolved;
        }
        let mut components = existing.components();
        let (Some(last), rest) = (components.next_back(), components.as_path()) else {
            return path.to_owned();
        };
        missing.push(last);
        existing = rest;
    }
}

impl Entity for S3EndpointConfig {
    const FILE: &'static str = "s3";
    const TYPES: &'static [&'static str] = &[Self::SECTION_TYPE];
    const SECRET: bool = true;

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn section_type(&self) -> &'static str {
        Self::SECTION_TYPE
    }

    fn from_section(
        _section_type: &str,
        id: &str,
        properties: &[(String, String)],
    ) -> Result<Self, String> {
        Self::from_properties(id, properties).map_err(|error| error.to_string())
    }

    fn to_section(&self) -> Vec<(String, String)> {
        self.to_properties()
    }

    fn nothing_to_remove(id: &str) -> String {
        format!("s3 client config '{id}' do not exist.")
    }
}

impl Entity for DatastoreConfig {
    const FILE: &'static str = "datastore";
    const TYPES: &'static [&'static str] = &[Self::SECTION_TYPE];
    const SECRET: bool = false;

    fn id(&self) -> &str {
        self.name.as_str()
    }

    fn section_type(&self) -> &'static str {
        Self::SECTION_TYPE
    }

    fn from_section(
        _section_type: &str,
        id: &str,
        properties: &[(String, String)],
    ) -> Result<Self, String> {
        Self::from_properties(id, properties).map_err(|error| error.to_string())
    }

    fn to_section(&self) -> Vec<(String, String)> {
        self.to_properties()
    }

    fn nothing_to_remove(id: &str) -> String {
        format!("datastore '{id}' does not exist.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datastore(name: &str, path: &str, backend: Option<&str>) -> DatastoreConfig {
        let mut properties = vec![("path".to_owned(), path.to_owned())];
        properties.extend(backend.map(|backend| ("backend".to_owned(), backend.to_owned())));
        DatastoreConfig::from_properties(name, &properties).unwrap()
    }

    fn config(dir: &Path) -> Config {
        let paths = Paths::below(dir);
        paths.create().unwrap();
        Config::new(&paths, &Env::system())
    }

    #[tokio::test]
    async fn datastores_do_not_nest_even_through_links() {
        let dir = support::scratch().unwrap();
        let config = config(dir.path());
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir(path("data")).unwrap();
        std::os::unix::fs::symlink(path("data"), path("link")).unwrap();
        config
            .add_datastore(datastore("first", &path("data/one"), None))
            .await
            .unwrap();
        for other in ["data", "data/one", "data/one/two", "link/one/x/y", "link"] {
            let error = config
                .add_datastore(datastore("other", &path(other), None))
                .await
                .unwrap_err();
            assert!(
                matches!(error, ConfigError::Nested { .. }),
                "{other}: {error}"
            );
        }
        config
            .add_datastore(datastore("second", &path("data/one-more"), None))
            .await
            .unwrap();
        let error = config
            .add_datastore(datastore("first", &path("x"), None))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "datastore 'first' already exists.");
        let names: Vec<String> = config
            .datastores()
            .load()
            .unwrap()
            .entries
            .iter()
            .map(|entry| entry.id().to_owned())
            .collect();
        assert_eq!(names, ["first", "second"]);
    }

    #[tokio::test]
    async fn a_datastore_needs_its_endpoint_and_the_endpoint_stays() {
        let dir = support::scratch().unwrap();
        let config = config(dir.path());
        let store = datastore("s1a", "/srv/s1", Some("type=s3,client=minio,bucket=bucket"));
        let error = config.add_datastore(store.clone()).await.unwrap_err();
        assert_eq!(error.to_string(), "no such s3-endpoint 'minio'");

        let endpoint: Vec<(String, String)> = [
            ("endpoint", "127.0.0.1"),
            ("access-key", "a"),
            ("secret-key", "b"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
        let endpoint = S3EndpointConfig::from_properties("minio", &endpoint).unwrap();
        config
            .s3_endpoints()
            .update::<_, ConfigError>(None, |content| content.insert(endpoint))
            .await
            .unwrap();
        config.add_datastore(store).await.unwrap();
        let error = config.remove_s3_endpoint("minio", None).await.unwrap_err();
        assert_eq!(error.to_string(), "in-use by datastore s1a");
    }

    #[tokio::test]
    async fn fixture_files_survive_a_change_byte_for_byte() {
        let Some(folder) = crate::testing::fixtures("config") else {
            return;
        };
        for fixture in ["datastore.cfg", "datastore-with-s3.cfg"] {
            let dir = support::scratch().unwrap();
            let config = config(dir.path());
            let bytes = std::fs::read(folder.join(fixture)).unwrap();
            let file = dir.path().join("config/datastore.cfg");
            std::fs::write(&file, &bytes).unwrap();
            let digest = config.datastores().load().unwrap().digest;
            config
                .datastores()
                .update::<_, ConfigError>(Some(&digest), |_| Ok(()))
                .await
                .unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), bytes);
        }
        let dir = support::scratch().unwrap();
        let config = config(dir.path());
        let bytes = std::fs::read(folder.join("s3.cfg")).unwrap();
        std::fs::write(dir.path().join("config/s3.cfg"), &bytes).unwrap();
        config
            .s3_endpoints()
            .update::<_, ConfigError>(None, |_| Ok(()))
            .await
            .unwrap();
        assert_eq!(
            std::fs::read(dir.path().join("config/s3.cfg")).unwrap(),
            bytes
        );
    }
}
