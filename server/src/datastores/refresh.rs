//! Refresh of a datastore from its bucket, in the maintenance mode made for it
//! (`s3-backend.md` §13, §16).

use std::time::Duration;

use anyhow::{Result, bail};
use api_types::datastore::{DatastoreConfig, MaintenanceMode, MaintenanceType, Operation};
use api_types::names::DatastoreName;
use datastore::refresh::{RefreshOptions, RefreshReport};
use datastore::task::{TaskContext, check_abort};

use super::{Datastores, check_mode};

/// How often the operations under way are looked at.
const IDLE_POLL: Duration = Duration::from_secs(1);

impl Datastores {
    /// Rebuilds the local state of a datastore from its bucket.
    ///
    /// Nobody may use the datastore meanwhile, so it is in the maintenance mode `s3-refresh`. The
    /// mode ends with the refresh, however that ends: what a failed one leaves is the old state, or
    /// one that refuses to be used by itself. After a crash the mode stays, and the next refresh
    /// (or the administrator) ends it.
    pub async fn refresh(
        &self,
        task: &dyn TaskContext,
        name: &DatastoreName,
        options: RefreshOptions,
    ) -> Result<RefreshReport> {
        if options.dry_run {
            let store = self.open(name, Operation::Lookup).await?;
            return Ok(store.s3_refresh(task, options).await?);
        }
        let config = self.enter_refresh_mode(name).await?;
        let refreshed = self.refresh_alone(task, &config, options).await;
        let left = self.leave_refresh_mode(name).await;
        let report = refreshed?;
        left?;
        Ok(report)
    }

    async fn refresh_alone(
        &self,
        task: &dyn TaskContext,
        config: &DatastoreConfig,
        options: RefreshOptions,
    ) -> Result<RefreshReport> {
        self.wait_until_idle(task, &config.name).await?;
        let store = self.open_as(config).await?;
        Ok(store.s3_refresh(task, options).await?)
    }

    async fn enter_refresh_mode(&self, name: &DatastoreName) -> Result<DatastoreConfig> {
        self.config
            .datastores()
            .update(None, |content| {
                let config = content.get_mut(name.as_str())?;
                if !config.backend().is_s3() {
                    bail!("datastore '{name}' has no S3 backend, there is nothing to refresh from");
                }
                if !is_refreshing(config) {
                    check_mode(config, Operation::Write)?;
                }
                config.maintenance_mode = Some(MaintenanceMode::new(MaintenanceType::S3Refresh));
                Ok(config.clone())
            })
            .await
    }

    /// Ends the mode, unless somebody has set another one.
    async fn leave_refresh_mode(&self, name: &DatastoreName) -> Result<()> {
        self.config
            .datastores()
            .update(None, |content| {
                let config = content.get_mut(name.as_str())?;
                if is_refreshing(config) {
                    config.maintenance_mode = None;
                }
                Ok(())
            })
            .await
    }

    async fn wait_until_idle(&self, task: &dyn TaskContext, name: &DatastoreName) -> Result<()> {
        let mut logged = false;
        loop {
            check_abort(task)?;
            if self.active.counts(name)?.is_idle() {
                return Ok(());
            }
            if !logged {
                task.log("waiting for active operations to end");
                logged = true;
            }
            self.env.sleep(IDLE_POLL).await;
        }
    }
}

fn is_refreshing(config: &DatastoreConfig) -> bool {
    config
        .maintenance_mode
        .as_ref()
        .is_some_and(|mode| mode.ty == MaintenanceType::S3Refresh)
}
