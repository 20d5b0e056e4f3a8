//! The daemon keeps its datastores open and sees to what is left to do in them, used or not.
//!
//! What an unfinished session left, metadata that a lost request may still change and quarantines
//! of deletes are known to the open datastore; were it closed whenever nobody uses it, that would be
//! forgotten or start over each time. How each datastore is to be kept follows from the
//! configuration, which is looked at again every few seconds: the command line changes it too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Error, Result};
use api_types::datastore::MaintenanceType;
use api_types::names::DatastoreName;
use datastore::store::Keep;

use super::Datastores;
use super::mounted::is_mounted;
use crate::daemon::server::Server;

/// Between two looks at the configuration.
const ROUND: Duration = Duration::from_secs(10);

/// Keeps the datastores until the daemon is to end.
pub async fn run_keeper(server: Arc<Server>) {
    let mut keeper = Keeper::new(Arc::clone(&server.stores));
    loop {
        keeper.look().await;
        tokio::select! {
            () = server.shutdown.cancelled() => break,
            () = server.stores.made.notified() => {}
            () = server.env.sleep(ROUND) => {}
        }
    }
    keeper.end().await;
}

/// What is kept, each with the last trouble.
#[derive(Debug)]
pub struct Keeper {
    stores: Arc<Datastores>,
    known: BTreeMap<DatastoreName, String>,
    trouble: String,
}

impl Keeper {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(stores: Arc<Datastores>) -> Self {
        Self {
            stores,
            known: BTreeMap::new(),
            trouble: String::new(),
        }
    }

    /// Does as the configuration says. What fails is told once, and tried again by the next call.
    pub async fn look(&mut self) {
        match self.stores.config.datastores().load() {
            Ok(content) => {
                self.trouble.clear();
                for config in content.entries {
                    self.known.entry(config.name).or_default();
                }
            }
            Err(error) => {
                let told = tell(&self.trouble, &error.into(), "unable to read datastores");
                self.trouble = told;
                return;
            }
        }
        let names: Vec<_> = self.known.keys().cloned().collect();
        for name in names {
            match self.stores.keep(&name).await {
                Ok(true) => {
                    self.known.insert(name, String::new());
                }
                Ok(false) => {
                    self.known.remove(&name);
                }
                Err(error) => {
                    let last = self.known.entry(name.clone()).or_default();
                    *last = tell(last, &error, &format!("unable to keep datastore '{name}'"));
                }
            }
        }
    }

    /// Closes them all.
    pub async fn end(self) {
        for name in self.known.keys() {
            let (open, owned) = (Arc::clone(&self.stores.open), name.clone());
            let closed = self
                .stores
                .in_time(name, async move { open.close(&owned).await });
            if let Err(error) = closed.await {
                tracing::warn!("datastore '{name}' is left open: {error:#}");
            }
        }
    }
}

/// Logs what is not the trouble of last time; returns the trouble.
fn tell(last: &str, error: &Error, what: &str) -> String {
    let trouble = format!("{error:#}");
    if trouble != last {
        tracing::warn!("{what}: {trouble}");
    }
    trouble
}

impl Datastores {
    /// Keeps a datastore as its configuration says, or closes one that is not configured any more.
    /// Returns whether it is configured.
    async fn keep(self: &Arc<Self>, name: &DatastoreName) -> Result<bool> {
        let (stores, owned) = (Arc::clone(self), name.clone());
        self.in_time(name, async move { stores.keep_now(&owned).await })
            .await?
    }

    async fn keep_now(&self, name: &DatastoreName) -> Result<bool> {
        let removable = self
            .config_of(name)
            .ok()
            .filter(|config| config.backing_device.is_some());
        let is_away = match removable {
            Some(config) => self.env.blocking(move || !is_mounted(&config)).await,
            None => false,
        };
        let mut is_configured = true;
        let wanted = || {
            let content = self.config.datastores().load()?;
            let found = content.entries.iter().find(|config| config.name == *name);
            let Some(config) = found else {
                is_configured = false;
                return Ok(Keep::Closed);
            };
            if is_away {
                return Ok(Keep::Closed);
            }
            let mode = config.maintenance_mode.as_ref();
            match mode.map(|mode| mode.ty) {
                None => Ok(Keep::Tended(Box::new(self.options(config)?))),
                Some(MaintenanceType::ReadOnly) => Ok(Keep::Open(Box::new(self.options(config)?))),
                // Nothing of it is to stay open, or (a refresh by another process) to stay known.
                Some(_) => Ok(Keep::Closed),
            }
        };
        self.open.keep::<Error>(name, wanted).await?;
        Ok(is_configured)
    }
}

#[cfg(test)]
mod tests {
    use api_types::datastore::{MaintenanceMode, Operation};
    use s3_client::env::Env;

    use super::*;
    use crate::config::ConfigError;
    use crate::paths::Paths;
    use crate::s3::S3Options;

    async fn set_mode(server: &Server, mode: Option<MaintenanceType>) {
        let changed = server
            .config
            .datastores()
            .update::<_, ConfigError>(None, |content| {
                content.get_mut("store1")?.maintenance_mode = mode.map(MaintenanceMode::new);
                Ok(())
            });
        changed.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_on_a_device_that_is_not_there_is_no_trouble() {
        let dir = support::scratch().unwrap();
        let paths = Paths::below(dir.path());
        let server = Server::open(paths, &S3Options::default(), Env::system()).unwrap();
        let file = server.paths.config.join("datastore.cfg");
        let away = "datastore: away\n\tpath backup\n\tbacking-device 0a0b0c0d-no-such-device\n";
        std::fs::write(file, away).unwrap();
        let mut keeper = Keeper::new(Arc::clone(&server.stores));
        keeper.look().await;
        assert_eq!(keeper.known[&"away".parse().unwrap()], "");
        keeper.end().await;
    }

    #[tokio::test]
    async fn datastores_stay_open_as_their_configuration_says() {
        let dir = support::scratch().unwrap();
        let paths = Paths::below(dir.path());
        let server = Server::open(paths, &S3Options::default(), Env::system()).unwrap();
        let name: DatastoreName = "store1".parse().unwrap();
        let path = dir.path().join("base");
        let properties = [("path".to_owned(), path.display().to_string())];
        let config = api_types::datastore::DatastoreConfig::from_properties("store1", &properties);
        server.config.add_datastore(config.unwrap()).await.unwrap();
        let mut keeper = Keeper::new(Arc::clone(&server.stores));

        keeper.look().await;
        assert!(!keeper.known[&name].is_empty(), "it is not there yet");
        std::fs::create_dir_all(path.join(".chunks")).unwrap();
        keeper.look().await;
        assert_eq!(keeper.known[&name], "");
        let opened = async || server.stores.open(&name, Operation::Lookup).await.unwrap();
        let weak = Arc::downgrade(&*opened().await);
        assert_eq!(weak.strong_count(), 2, "kept, and seen to");

        set_mode(&server, Some(MaintenanceType::ReadOnly)).await;
        keeper.look().await;
        assert_eq!(weak.strong_count(), 1, "kept as it is");
        set_mode(&server, Some(MaintenanceType::Offline)).await;
        keeper.look().await;
        assert_eq!(weak.strong_count(), 0);
        set_mode(&server, None).await;
        keeper.look().await;
        let weak = Arc::downgrade(&*opened().await);
        assert_eq!(weak.strong_count(), 2);

        let removed = server
            .config
            .datastores()
            .update::<_, ConfigError>(None, |content| content.remove("store1").map(drop));
        removed.await.unwrap();
        keeper.look().await;
        assert_eq!(weak.strong_count(), 0);
        assert!(keeper.known.is_empty());
        keeper.end().await;
    }
}
