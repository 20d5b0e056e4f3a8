//! A reader's lease: only a process that has one may keep what comes from the bucket.
//!
//! To get one the bucket may have to be asked. A client waits for that a moment only: what is here can
//! be read without a lease, and so can what comes from the bucket, which is just not kept until the
//! lease is there. With a bucket out of reach that is the difference between a restore out of the
//! cache and none.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use datastore::store::DataStore;
use datastore::store::lease::WriterLease;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a session waits for it before it begins without.
const PATIENCE: Duration = Duration::from_secs(2);

/// A lease that is there or may still come. Both ends when this is dropped.
#[derive(Debug)]
pub(super) struct ReaderLease {
    _lease: Arc<OnceLock<WriterLease>>,
    _asking: DropGuard,
}

impl ReaderLease {
    /// Asks for a lease; nothing on a filesystem datastore, where nothing is fetched.
    pub async fn ask(store: &Arc<DataStore>) -> Option<Self> {
        store.backend().s3()?;
        let cancel = CancellationToken::new();
        let lease = Arc::new(OnceLock::new());
        let asking = tokio::spawn({
            let (store, cancel, lease) = (Arc::clone(store), cancel.clone(), Arc::clone(&lease));
            async move {
                match store.try_writer_lease(&cancel).await {
                    // There is no other that sets it.
                    Ok(granted) => drop(lease.set(granted)),
                    Err(error) => {
                        tracing::debug!(store = %store.name(), %error, "a reader caches nothing");
                    }
                }
            }
        });
        tokio::select! {
            _ = asking => {}
            () = store.env().sleep(PATIENCE) => {}
        }
        Some(Self {
            _lease: lease,
            _asking: cancel.drop_guard(),
        })
    }
}
