//! Long operations as worker tasks in the foreground.

use std::future::Future;
use std::sync::Arc;

use anyhow::Result;
use api_types::auth::Authid;
use s3_client::S3Client;

use super::Session;
use crate::operations::counted_client;
use crate::operations::prepared::Prepared;
use crate::requests::RequestCount;
use crate::task::{Echo, Signals, TaskSpec, WorkerTask};

impl Session {
    /// Runs `work` as a task of type `worker_type` on `worker_id`, its log on standard output (on
    /// standard error if that carries JSON). Ctrl-C asks it to stop. The requests made through
    /// `client` are counted at the end of the log.
    pub(super) async fn work<T, F, Fut>(
        &self,
        worker_type: &str,
        worker_id: String,
        client: Option<S3Client>,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Arc<WorkerTask>) -> Fut,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let spec = TaskSpec::new(worker_type, Some(worker_id), Authid::root());
        self.foreground(spec, client, work).await
    }

    /// Does what has been prepared, likewise.
    pub(super) async fn run_prepared(&self, prepared: Prepared) -> Result<()> {
        let Prepared { spec, store, work } = prepared;
        let client = counted_client(&store);
        self.foreground(spec, client, |task| work(task, store))
            .await
    }

    async fn foreground<T, F, Fut>(
        &self,
        spec: TaskSpec,
        client: Option<S3Client>,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Arc<WorkerTask>) -> Fut,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let echo = if self.format.is_json() {
            Echo::Stderr
        } else {
            Echo::Stdout
        };
        let requests = client.map(RequestCount::start);
        let counted = |task: Arc<WorkerTask>| {
            let running = work(Arc::clone(&task));
            async move {
                let result = running.await;
                if let Some(requests) = requests {
                    requests.log(&*task);
                }
                result
            }
        };
        let outcome = self.tasks.run(spec, echo, Signals::Abort, counted).await?;
        outcome.value
    }
}
