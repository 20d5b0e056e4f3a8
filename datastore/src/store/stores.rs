//! The open datastores of this process: one object per datastore, however often it is asked for.
//!
//! A configuration change must not give running sessions and the next collection two different
//! digest tables (H1, H3): tuning changes are applied to the open object, and only a changed
//! backend or path makes a new one, which is refused while the old one is in use.
//!
//! A daemon [keeps](Stores::keep) its datastores open while nobody uses them, since what is left to
//! do later ([`tend`](super::tend)) is partly known to the open object only. What is kept but not
//! in use gives way to a changed configuration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use api_types::names::DatastoreName;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, Result};

use super::{BackendOptions, DataStore, StoreOptions};

/// The open datastores of a process.
#[derive(Debug, Default)]
pub struct Stores {
    places: Mutex<HashMap<DatastoreName, Arc<Place>>>,
}

/// Locked while its datastore is opened or closed; others do not wait for that.
type Place = tokio::sync::Mutex<Occupant>;

#[derive(Debug, Default)]
struct Occupant {
    open: Weak<DataStore>,
    kept: Option<Kept>,
}

/// A datastore that stays open while nobody uses it.
#[derive(Debug)]
struct Kept {
    store: Arc<DataStore>,
    tending: Option<Tending>,
}

/// [`DataStore::tend_regularly`] as a task, which ends when this is dropped.
#[derive(Debug)]
struct Tending {
    stop: DropGuard,
    task: JoinHandle<()>,
}

/// What is to become of a datastore, see [`Stores::keep`].
#[derive(Debug)]
pub enum Keep {
    /// It stays open, and is seen to.
    Tended(Box<StoreOptions>),
    /// It stays open, and nothing of it is changed.
    Open(Box<StoreOptions>),
    /// It is closed as soon as nobody uses it.
    Closed,
}

impl Stores {
    /// Opens a datastore, or returns the open one with the new tuning options applied.
    ///
    /// # Errors
    /// If opening fails, or the open one lives elsewhere than `options` say.
    pub async fn open(&self, options: StoreOptions) -> Result<Arc<DataStore>> {
        let place = self.place(&options.name);
        let mut occupant = place.lock().await;
        occupant.open(options).await
    }

    /// Keeps a datastore open from now on, or no longer. What to do is asked when nobody else is
    /// opening or closing it: whoever has changed the configuration and then
    /// [closes](Self::close) the datastore knows that it is not opened again by the old one.
    ///
    /// # Errors
    /// Those of `wanted`, and if the datastore cannot be opened.
    pub async fn keep<E: From<Error>>(
        &self,
        name: &DatastoreName,
        wanted: impl FnOnce() -> std::result::Result<Keep, E>,
    ) -> std::result::Result<(), E> {
        let place = self.place(name);
        let mut occupant = place.lock().await;
        let (options, tended) = match wanted()? {
            Keep::Closed => {
                occupant.close().await;
                return Ok(());
            }
            Keep::Tended(options) => (options, true),
            Keep::Open(options) => (options, false),
        };
        let store = occupant.open(*options).await?;
        let kept = occupant.kept.get_or_insert(Kept {
            store,
            tending: None,
        });
        match (tended, kept.tending.take()) {
            (true, None) => kept.tending = Some(Tending::start(&kept.store)),
            (false, Some(tending)) => tending.end().await,
            (_, tending) => kept.tending = tending,
        }
        Ok(())
    }

    /// Keeps a datastore open no longer; it is closed when nobody uses it any more.
    pub async fn close(&self, name: &DatastoreName) {
        let place = self.place(name);
        place.lock().await.close().await;
    }

    fn place(&self, name: &DatastoreName) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(name.clone()).or_default())
    }
}

impl Occupant {
    async fn open(&mut self, options: StoreOptions) -> Result<Arc<DataStore>> {
        if let Some(store) = self.fitting(&options).await? {
            store.set_tuning(options.tuning);
            return Ok(store);
        }
        let env = options.env.clone();
        let store = env.blocking(move || DataStore::open(options)).await?;
        self.open = Arc::downgrade(&store);
        Ok(store)
    }

    /// The open one, unless it is not in use and `options` ask for another.
    async fn fitting(&mut self, options: &StoreOptions) -> Result<Option<Arc<DataStore>>> {
        let Some(store) = self.open.upgrade() else {
            return Ok(None);
        };
        let is_there = is_there(&store).await;
        if is_there && is_made_of(&store, options) {
            return Ok(Some(store));
        }
        drop(store);
        self.close_if_idle().await;
        let Some(store) = self.open.upgrade() else {
            return Ok(None);
        };
        if !is_there || store.base != options.path || !same_home(&store, &options.backend) {
            return Err(Error::Refused(format!(
                "datastore '{}' is in use at {} with its old backend; try again when its \
                 tasks have ended",
                store.name,
                store.base.display()
            )));
        }
        Ok(Some(store))
    }

    async fn close_if_idle(&mut self) {
        let is_idle = |kept: &Kept| {
            let own = 1 + usize::from(kept.tending.is_some());
            Arc::strong_count(&kept.store) <= own
        };
        if self.kept.as_ref().is_some_and(is_idle) {
            self.close().await;
        }
    }

    async fn close(&mut self) {
        if let Some(tending) = self.kept.take().and_then(|kept| kept.tending) {
            tending.end().await;
        }
    }
}

impl Tending {
    fn start(store: &Arc<DataStore>) -> Self {
        let cancel = CancellationToken::new();
        let (store, until) = (Arc::clone(store), cancel.clone());
        Self {
            stop: cancel.drop_guard(),
            task: tokio::spawn(async move { store.tend_regularly(&until).await }),
        }
    }

    async fn end(self) {
        drop(self.stop);
        // It has no result; a panic in it was reported when it happened.
        let _ = self.task.await;
    }
}

/// Whether its directory is still the one that was opened, and not another in its place.
async fn is_there(store: &Arc<DataStore>) -> bool {
    let process = Arc::clone(&store.process);
    store.env.blocking(move || process.is_in_place()).await
}

/// Whether opening with these options would make the same object, but for the tuning.
fn is_made_of(store: &DataStore, options: &StoreOptions) -> bool {
    if store.base != options.path {
        return false;
    }
    match (store.backend.s3(), &options.backend) {
        (None, BackendOptions::Filesystem) => true,
        (
            Some(backend),
            BackendOptions::S3 {
                client,
                max_cache_bytes,
            },
        ) => {
            backend.client.is_same_as(client)
                && backend.cache.max_bytes() == *max_cache_bytes
                && backend.quarantine == options.quarantine()
        }
        _ => false,
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
