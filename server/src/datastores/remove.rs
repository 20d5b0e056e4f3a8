//! Removing a datastore, with its data or without (`datastore-layout.md` §8, `s3-backend.md` R-D7).

use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use api_types::datastore::{DatastoreConfig, MaintenanceMode, MaintenanceType};
use api_types::names::DatastoreName;
use datastore::manage::destroy::prepare_destruction;
use datastore::task::TaskContext;

use super::Datastores;
use super::create::remove_empty_dir;
use super::dependents::Dependents;
use crate::config::ConfigError;

/// How to remove a datastore.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Delete everything, in the bucket too.
    pub destroy_data: bool,
    /// Leave the in-use marker in the bucket, as when the bucket cannot be reached any more.
    pub keep_claim: bool,
}

impl Datastores {
    /// Removes a datastore from the configuration. Without `destroy_data` its data stays as it is,
    /// and another server may take the bucket prefix into use at once. The entry goes last, after
    /// its dependents: if one of the steps fails, all can be repeated.
    pub async fn remove(
        &self,
        task: &dyn TaskContext,
        name: &DatastoreName,
        options: RemoveOptions,
        dependents: &Dependents<'_>,
    ) -> Result<()> {
        if options.destroy_data {
            self.destroy(task, name).await?;
        } else if !options.keep_claim {
            self.release(task, name).await?;
        }
        dependents.remove(&self.config, name).await?;
        self.config
            .datastores()
            .update::<_, ConfigError>(None, |content| content.remove(name.as_str()))
            .await?;
        // Another datastore may come in its place.
        self.open.close(name).await;
        task.log(&format!(
            "datastore '{name}' removed from the configuration"
        ));
        dependents.forget_collections(name)
    }

    /// Gives the bucket prefix up; the data stays.
    async fn release(&self, task: &dyn TaskContext, name: &DatastoreName) -> Result<()> {
        let config = {
            let _lock = self.config.datastores().lock().await?;
            let config = self.config_of(name)?;
            self.check_idle(name)?;
            config
        };
        if is_being_deleted(&config) {
            bail!(
                "the data of datastore '{name}' is being deleted; finish that with --destroy-data"
            );
        }
        if !config.backend().is_s3() {
            return Ok(());
        }
        let advice = "unable to give the bucket prefix up; to remove the datastore all the same \
                      and leave the prefix claimed, use --keep-claim";
        let store = self.open_as(&config).await.context(advice)?;
        store.release_prefix(task).await.context(advice)?;
        task.log("bucket prefix given up");
        Ok(())
    }

    /// Deletes the data. From the beginning the datastore is in the maintenance mode `delete`, from
    /// which there is no return; an interrupted removal is continued by the next one.
    async fn destroy(&self, task: &dyn TaskContext, name: &DatastoreName) -> Result<()> {
        let config = self
            .config
            .datastores()
            .update(None, |content| {
                let config = content.get_mut(name.as_str())?;
                self.check_idle(name)?;
                config.maintenance_mode = Some(MaintenanceMode::new(MaintenanceType::Delete));
                anyhow::Ok(config.clone())
            })
            .await?;
        let base = config.absolute_path();
        let base = Path::new(&base);
        let is_s3 = config.backend().is_s3();
        if prepare_destruction(base, is_s3)? {
            let store = self.open_as(&config).await?;
            store.destroy(task).await?;
        }
        remove_remains(base).with_context(|| format!("unable to remove {}", base.display()))
    }

    fn check_idle(&self, name: &DatastoreName) -> Result<()> {
        let counts = self.active.counts(name)?;
        if counts.is_idle() {
            return Ok(());
        }
        bail!(
            "datastore '{name}' is in use by {} reading and {} writing operations; try again when \
             they have ended",
            counts.read,
            counts.write
        )
    }
}

fn is_being_deleted(config: &DatastoreConfig) -> bool {
    config
        .maintenance_mode
        .as_ref()
        .is_some_and(|mode| mode.ty == MaintenanceType::Delete)
}

/// The lock file and, if nothing else is in it, the directory.
fn remove_remains(base: &Path) -> io::Result<()> {
    match std::fs::remove_file(base.join(".lock")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    remove_empty_dir(base)
}
