//! What a task asked of S3, for the end of its log.

use datastore::task::TaskContext;
use s3_client::{CounterSnapshot, S3Client, TaskKind};

/// Counts the requests of a client from a moment on.
#[derive(Debug)]
pub struct RequestCount {
    client: S3Client,
    before: [CounterSnapshot; TaskKind::ALL.len()],
}

impl RequestCount {
    /// Counts from now on.
    #[must_use]
    pub fn start(client: S3Client) -> Self {
        Self {
            before: TaskKind::ALL.map(|kind| client.counters_of(kind)),
            client,
        }
    }

    /// Writes a line to the log for each purpose that requests were made for.
    pub fn log(&self, task: &dyn TaskContext) {
        for (kind, before) in TaskKind::ALL.iter().zip(&self.before) {
            let made = self.client.counters_of(*kind).since(before);
            if made.total().attempts > 0 {
                task.log(&format!("S3 requests ({}): {made}", kind.name()));
            }
        }
    }
}
