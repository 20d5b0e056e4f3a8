//! An operation that is ready to be started as a task: by the daemon in the background, by
//! `coffer-manager` in the foreground.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use anyhow::Result;
use futures_util::future::BoxFuture;

use crate::datastores::OpenDatastore;
use crate::task::{TaskSpec, WorkerTask};

/// What is done as a task on an open datastore.
pub type Work =
    Box<dyn FnOnce(Arc<WorkerTask>, OpenDatastore) -> BoxFuture<'static, Result<()>> + Send>;

/// An operation on a datastore that is open for it. What else it needs, such as the lock of a job,
/// it holds already; dropped without being started, it gives all that back.
pub struct Prepared {
    /// What the task is called.
    pub spec: TaskSpec,
    /// What it works on.
    pub store: OpenDatastore,
    /// What it does.
    pub work: Work,
}

impl Prepared {
    /// `work` on `store`, as the task `spec`.
    pub fn new<F, Fut>(spec: TaskSpec, store: OpenDatastore, work: F) -> Self
    where
        F: FnOnce(Arc<WorkerTask>, OpenDatastore) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        Self {
            spec,
            store,
            work: Box::new(move |task, store| Box::pin(work(task, store))),
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}
