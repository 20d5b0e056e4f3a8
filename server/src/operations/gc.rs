//! Garbage collection of a datastore, and what there is to say about its job.

use std::path::Path;

use anyhow::Result;
use api_types::datastore::DatastoreConfig;
use api_types::names::DatastoreName;
use api_types::status::{GarbageCollectionStatus, TaskStatus};
use datastore::gc::status_file::read_status;
use jiff::tz::TimeZone;
use s3_client::env::Env;
use serde::Serialize;

use crate::jobs::calendar::CalendarEvent;
use crate::jobs::state::{JobLock, JobState, JobStates, JobType};

/// Type of the task.
pub const WORKER_TYPE: &str = "garbage_collection";

/// The last result, and the job: when it ran, when it will.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GcJobStatus {
    /// The datastore.
    pub store: DatastoreName,
    /// The last result.
    #[serde(flatten)]
    pub status: GarbageCollectionStatus,
    /// When it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// When it runs next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run: Option<i64>,
    /// When the last run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_endtime: Option<i64>,
    /// How the last run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_state: Option<TaskStatus>,
    /// Seconds that the last run took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
}

impl GcJobStatus {
    /// Of the datastore of this configuration, read on a thread that may wait for the disk.
    pub async fn of(config: &DatastoreConfig, jobs: &JobStates, env: &Env) -> Self {
        let (config, jobs) = (config.clone(), jobs.clone());
        env.blocking(move || Self::read(&config, &jobs)).await
    }

    fn read(config: &DatastoreConfig, jobs: &JobStates) -> Self {
        let state = jobs.get(JobType::GarbageCollection, config.name.as_str());
        let schedule = config.gc_schedule.as_ref().map(ToString::to_string);
        let event = schedule
            .as_ref()
            .and_then(|text| text.parse::<CalendarEvent>().ok());
        let last = match &state {
            JobState::Finished { upid, end, .. } => Some((upid.starttime(), end)),
            _ => None,
        };
        Self {
            store: config.name.clone(),
            status: read_status(Path::new(&config.absolute_path())),
            next_run: event
                .and_then(|event| event.next_after(state.last_end(), &TimeZone::system())),
            schedule,
            last_run_endtime: last.as_ref().map(|(_, end)| end.endtime),
            last_run_state: last.as_ref().map(|(_, end)| end.status.clone()),
            duration: last.map(|(start, end)| end.endtime - start),
        }
    }
}

/// Takes the lock of the datastore's job.
pub fn lock(jobs: &JobStates, store: &DatastoreName) -> Result<JobLock> {
    jobs.try_lock(JobType::GarbageCollection, store.as_str())?
        .ok_or_else(|| anyhow::anyhow!("garbage collection already running"))
}
