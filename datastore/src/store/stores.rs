//! The open datastores of this process: one object per datastore, however often it is asked for.
//!
//! A configuration change must not give running sessions and the next collection two different
//! digest tables (H1, H3): tuning changes are applied to the open object, and only a changed
//! backend or path makes a new one, which is refused while the old one is in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use api_types::names::DatastoreName;

use crate::error::{Error, Result};

use super::{BackendOptions, DataStore, StoreOptions};

/// The open datastores of a process.
#[derive(Debug, Default)]
pub struct Stores {
    open: Mutex<HashMap<DatastoreName, Weak<DataStore>>>,
}

impl Stores {
    /// Opens a datastore, or returns the open one with the new tuning options applied.
    ///
    /// # Errors
    /// If opening fails, or the open one lives elsewhere than `options` say.
    pub fn open(&self, options: StoreOptions) -> Result<Arc<DataStore>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(&options.name).and_then(Weak::upgrade) {
            if store.base != options.path || !same_home(&store, &options.backend) {
                return Err(Error::Refused(format!(
                    "datastore '{}' is in use at {} with its old backend; try again when its \
                     tasks have ended",
                    store.name,
                    store.base.display()
                )));
            }
            store.set_tuning(options.tuning);
            return Ok(store);
        }
        let name = options.name.clone();
        let store = DataStore::open(options)?;
        open.insert(name, Arc::downgrade(&store));
        Ok(store)
    }
}

fn same_home(store: &DataStore, options: &BackendOptions) -> bool {
    match (store.backend.s3(), options) {
        (None, BackendOptions::Filesystem) => true,
        (Some(backend), BackendOptions::S3 { client, .. }) => {
            backend.client.bucket() == client.bucket()
                && backend.client.endpoint_id() == client.endpoint_id()
        }
        _ => false,
    }
}
