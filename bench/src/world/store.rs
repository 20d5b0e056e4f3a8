//! Datastores to measure.

use std::path::Path;

use anyhow::Result;
use api_types::datastore::DatastoreTuning;
use datastore::backend::s3::ownership::Instance;
use datastore::store::{BackendOptions, StoreOptions};

use crate::row::Setup;

/// Name of every datastore, and so the prefix of its keys.
pub const STORE: &str = "bench";

/// What opens the datastore at `base`.
pub fn options(base: &Path, setup: &Setup, backend: BackendOptions) -> Result<StoreOptions> {
    Ok(StoreOptions {
        name: STORE.parse()?,
        path: base.to_owned(),
        lock_dir: setup.dir("locks"),
        tuning: DatastoreTuning::default(),
        backend,
        instance: Instance {
            id: "instance-bench".to_owned(),
            hostname: "bench".to_owned(),
        },
        quarantine: None,
        env: setup.env.clone(),
    })
}
