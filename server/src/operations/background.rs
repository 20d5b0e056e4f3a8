//! Operations as tasks of the daemon, in the background.

use std::future::Future;
use std::sync::Arc;

use anyhow::Result;
use api_types::upid::Upid;

use super::counted_client;
use super::prepared::Prepared;
use crate::daemon::Server;
use crate::datastores::OpenDatastore;
use crate::requests::RequestCount;
use crate::task::{TaskSpec, WorkerTask};

/// Starts work on a datastore; the requests that it makes are counted at the end of its log.
pub fn start<F, Fut>(
    server: &Arc<Server>,
    spec: TaskSpec,
    store: OpenDatastore,
    work: F,
) -> Result<Upid>
where
    F: FnOnce(Arc<WorkerTask>, OpenDatastore) -> Fut + Send + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let requests = counted_client(&store).map(RequestCount::start);
    server.spawn_task(spec, |task| async move {
        let result = work(Arc::clone(&task), store).await;
        if let Some(requests) = requests {
            requests.log(&*task);
        }
        result
    })
}

/// Starts what has been prepared.
pub fn start_prepared(server: &Arc<Server>, prepared: Prepared) -> Result<Upid> {
    let Prepared { spec, store, work } = prepared;
    start(server, spec, store, work)
}
