//! What monitoring asks for: numbers as Prometheus reads them, and whether the server works.
//!
//! `/healthz` says that the process answers ([`HEALTHY`]); `/readyz` whether it can do its work
//! ([`readiness`]); `/metrics` is [`metrics`].

mod exposition;
pub mod http;
pub mod readiness;

use std::sync::Arc;

use api_types::datastore::{DatastoreConfig, Operation};
use api_types::names::DatastoreName;
use api_types::status::GarbageCollectionStatus;

use crate::daemon::Server;
use crate::datastores::space::DiskSpace;
use crate::jobs::state::{JobState, JobStates, JobType};
use crate::task::list::TaskFilter;
use exposition::{Exposition, Kind};

/// The type of what [`metrics`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What `/healthz` answers.
pub const HEALTHY: &str = "ok\n";

/// All numbers.
///
/// # Errors
/// If the configuration cannot be read. A datastore that cannot be opened is there as one that is
/// not up.
pub async fn metrics(server: &Arc<Server>) -> anyhow::Result<String> {
    let mut out = Exposition::default();
    let running = TaskFilter {
        running: true,
        ..TaskFilter::default()
    };
    let tasks = server.tasks.clone();
    let running = server.env.blocking(move || tasks.list(&running)).await?;
    out.sample(
        "coffer_tasks_running",
        Kind::Gauge,
        "Worker tasks under way.",
        &[],
        running.entries.len(),
    );
    let states = JobStates::of(server);
    for config in server.config.datastores().load()?.entries {
        let looked = look(server, &config.name).await;
        let name = [("datastore", config.name.as_str())];
        out.sample(
            "coffer_datastore_up",
            Kind::Gauge,
            "Whether the datastore can be read.",
            &name,
            u8::from(looked.is_ok()),
        );
        if let Ok((space, gc)) = looked {
            of_datastore(&mut out, space, &gc, &config);
        }
        let (states, name) = (states.clone(), config.name.clone());
        let read = move || states.get(JobType::GarbageCollection, name.as_str());
        of_job(&mut out, &server.env.blocking(read).await, &config);
    }
    of_requests(&mut out, server);
    Ok(out.into_text())
}

async fn look(
    server: &Server,
    name: &DatastoreName,
) -> anyhow::Result<(DiskSpace, GarbageCollectionStatus)> {
    let store = server.stores.open(name, Operation::Read).await?;
    server.stores.look_at(&store).await
}

fn of_datastore(
    out: &mut Exposition,
    space: DiskSpace,
    gc: &GarbageCollectionStatus,
    config: &DatastoreConfig,
) {
    let name = [("datastore", config.name.as_str())];
    let mut gauge = |metric, help, value: u64| out.sample(metric, Kind::Gauge, help, &name, value);
    let help = "Bytes of the file system of the datastore or its cache.";
    gauge("coffer_datastore_total_bytes", help, space.total);
    gauge(
        "coffer_datastore_used_bytes",
        "Bytes in use there.",
        space.used,
    );
    gauge(
        "coffer_datastore_available_bytes",
        "Bytes to be had there.",
        space.avail,
    );
    gauge(
        "coffer_gc_index_files",
        "Index files that the last garbage collection read.",
        gc.index_file_count,
    );
    gauge(
        "coffer_gc_index_data_bytes",
        "Bytes of backups that these stand for.",
        gc.index_data_bytes,
    );
    gauge(
        "coffer_gc_disk_bytes",
        "Bytes of the chunks in use.",
        gc.disk_bytes,
    );
    gauge("coffer_gc_disk_chunks", "Chunks in use.", gc.disk_chunks);
    gauge(
        "coffer_gc_removed_bytes",
        "Bytes removed.",
        gc.removed_bytes,
    );
    gauge(
        "coffer_gc_removed_chunks",
        "Chunks removed.",
        gc.removed_chunks,
    );
    gauge(
        "coffer_gc_pending_bytes",
        "Bytes to be removed later.",
        gc.pending_bytes,
    );
    gauge(
        "coffer_gc_pending_chunks",
        "Chunks to be removed later.",
        gc.pending_chunks,
    );
    gauge(
        "coffer_gc_still_bad",
        "Corrupt chunks that stay.",
        gc.still_bad,
    );
}

fn of_job(out: &mut Exposition, state: &JobState, config: &DatastoreConfig) {
    if let JobState::Finished { end, .. } = state {
        let name = [("datastore", config.name.as_str())];
        out.sample(
            "coffer_gc_last_run_end_seconds",
            Kind::Gauge,
            "When the last garbage collection ended.",
            &name,
            end.endtime,
        );
        out.sample(
            "coffer_gc_last_run_success",
            Kind::Gauge,
            "Whether it ended well.",
            &name,
            u8::from(end.status.is_success()),
        );
    }
}

fn of_requests(out: &mut Exposition, server: &Server) {
    let made = server.s3.counters();
    for operation in s3_client::Operation::ALL {
        let counters = made.of(operation);
        let text = operation.to_string();
        let name = [("operation", text.as_str())];
        let mut counter =
            |metric, help, value: u64| out.sample(metric, Kind::Counter, help, &name, value);
        let help = "Attempts of requests to S3 that reached the server.";
        counter("coffer_s3_attempts_total", help, counters.attempts);
        counter(
            "coffer_s3_completed_total",
            "Requests answered.",
            counters.completed,
        );
        counter(
            "coffer_s3_retries_total",
            "Attempts after the first.",
            counters.retries,
        );
        let help = "Answers that asked to slow down.";
        counter("coffer_s3_throttled_total", help, counters.throttled);
        counter(
            "coffer_s3_broken_total",
            "Attempts without answer.",
            counters.broken,
        );
        counter(
            "coffer_s3_sent_bytes_total",
            "Bytes sent.",
            counters.bytes_out,
        );
        counter(
            "coffer_s3_received_bytes_total",
            "Bytes received.",
            counters.bytes_in,
        );
    }
}

#[cfg(test)]
mod tests {
    use s3_client::env::Env;

    use super::*;
    use crate::paths::Paths;
    use crate::s3::S3Options;

    #[tokio::test]
    async fn numbers() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let server = Server::open(paths, &S3Options::default(), Env::system()).unwrap();
        let text = format!("datastore: store1\n\tpath {}/none\n", dir.path().display());
        std::fs::write(dir.path().join("config/datastore.cfg"), text).unwrap();
        let text = metrics(&server).await.unwrap();
        assert!(
            text.contains("\ncoffer_datastore_up{datastore=\"store1\"} 0\n"),
            "{text}"
        );
        assert!(text.contains("coffer_tasks_running 0\n"), "{text}");
        let sent = "coffer_s3_attempts_total{operation=\"put object\"} 0\n";
        assert!(text.contains(sent), "{text}");
    }
}
