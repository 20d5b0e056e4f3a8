//! `/config/datastore`: datastores are created, configured and removed.

use std::sync::Arc;
use std::time::Duration;

use api_types::access::Privilege;
use api_types::auth::Userid;
use api_types::datastore::{
    DatastoreBackend, DatastoreConfig, DatastorePath, DatastoreTuning, MaintenanceMode,
    NotificationThresholds,
};
use api_types::names::DatastoreName;
use api_types::s3::BucketName;
use hyper::Method;
use s3_client::S3Client;
use s3_client::env::Env;

use super::entries::{digest, entry as made, failed, given};
use crate::api::entry;
use crate::api::fields::{
    COMMENT, DIGEST, KEEP_DAILY, KEEP_HOURLY, KEEP_LAST, KEEP_MONTHLY, KEEP_WEEKLY, KEEP_YEARLY,
    LINE, SCHEDULE,
};
use crate::api::rights::has_any;
use crate::api::target::refused;
use crate::config::ConfigError;
use crate::config::jobs::PruneJob;
use crate::datastores::create::CreateRequest;
use crate::datastores::dependents::Dependents;
use crate::datastores::remove::RemoveOptions;
use crate::jobs::state::{JobStates, JobType};
use crate::requests::RequestCount;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::{Param, joined};
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};
use crate::s3::bucket_answers;
use crate::task::TaskSpec;

const NAME: Param = Param::required(
    "name",
    "Name of the datastore.",
    Schema::text::<DatastoreName>("datastore name"),
);
const GC_SCHEDULE: Param = Param::optional("gc-schedule", "When garbage is collected.", SCHEDULE);
const GC_ON_UNMOUNT: Param = Param::optional(
    "gc-on-unmount",
    "Collect garbage before a removable device is detached.",
    Schema::Boolean,
);
const PRUNE_SCHEDULE: Param = Param::optional(
    "prune-schedule",
    "When to prune; makes a prune job.",
    SCHEDULE,
);
const VERIFY_NEW: Param =
    Param::optional("verify-new", "Verify each new snapshot.", Schema::Boolean);
const NOTIFY_USER: Param = Param::optional(
    "notify-user",
    "Whom to notify.",
    Schema::text::<Userid>("user id"),
);
const NOTIFY: Param = Param::optional("notify", "What to notify about.", LINE);
const NOTIFICATION_MODE: Param = Param::optional(
    "notification-mode",
    "How to notify.",
    Schema::Choice(&["legacy-sendmail", "notification-system"]),
);
const TUNING: Param = Param::optional(
    "tuning",
    "Knobs.",
    Schema::text::<DatastoreTuning>("property string"),
);
const MAINTENANCE_MODE: Param = Param::optional(
    "maintenance-mode",
    "What may be done with it at present.",
    Schema::text::<MaintenanceMode>("property string"),
);
const THRESHOLDS: Param = Param::optional(
    "notification-thresholds",
    "Request counts that are worth a notification.",
    Schema::text::<NotificationThresholds>("property string"),
);
const COUNTER_RESET: Param = Param::optional(
    "counter-reset-schedule",
    "When the request counters begin anew.",
    SCHEDULE,
);
const DELETE: Param = Param::optional(
    "delete",
    "Properties to unset.",
    Schema::Array(&Schema::Choice(&[
        "comment",
        "gc-schedule",
        "gc-on-unmount",
        "prune-schedule",
        "keep-last",
        "keep-hourly",
        "keep-daily",
        "keep-weekly",
        "keep-monthly",
        "keep-yearly",
        "verify-new",
        "notify-user",
        "notify",
        "notification-mode",
        "tuning",
        "maintenance-mode",
        "notification-thresholds",
        "counter-reset-schedule",
    ])),
);
/// What a datastore may have.
const OPTIONS: [Param; 18] = [
    COMMENT,
    GC_SCHEDULE,
    GC_ON_UNMOUNT,
    PRUNE_SCHEDULE,
    KEEP_LAST,
    KEEP_HOURLY,
    KEEP_DAILY,
    KEEP_WEEKLY,
    KEEP_MONTHLY,
    KEEP_YEARLY,
    VERIFY_NEW,
    NOTIFY_USER,
    NOTIFY,
    NOTIFICATION_MODE,
    TUNING,
    MAINTENANCE_MODE,
    THRESHOLDS,
    COUNTER_RESET,
];
const NEW: [Param; 24] = joined(&[
    &[
        NAME,
        Param::required(
            "path",
            "Its directory; with a bucket that of its cache.",
            Schema::text::<DatastorePath>("path"),
        ),
        Param::optional(
            BACKING_DEVICE,
            "UUID of a removable device; not supported.",
            LINE,
        ),
        Param::optional(
            "backend",
            "Where the data lives.",
            Schema::text::<DatastoreBackend>("property string"),
        ),
        Param::optional(
            "reuse-datastore",
            "Take the data that is already there into use.",
            Schema::Boolean,
        )
        .or_flag(false),
        Param::optional(
            "overwrite-in-use",
            "Take the bucket prefix over from another server.",
            Schema::Boolean,
        )
        .or_flag(false),
    ],
    &OPTIONS,
]);
const CHANGED: [Param; 21] = joined(&[&[NAME, DELETE, DIGEST], &OPTIONS]);
const BACKING_DEVICE: &str = "backing-device";
/// What belongs to a prune job instead.
const PRUNE_SETTINGS: [&str; 7] = [
    "prune-schedule",
    "keep-last",
    "keep-hourly",
    "keep-daily",
    "keep-weekly",
    "keep-monthly",
    "keep-yearly",
];
/// How long a bucket may take to answer.
const BUCKET_PATIENCE: Duration = Duration::from_secs(30);
/// Most characters of a job's name.
const MAX_JOB_ID: usize = 32;

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/config/datastore",
        "List the configurations of the datastores.",
        &[],
        Access::Anybody,
        |call| Box::pin(list(call)),
    ),
    entry(
        Method::POST,
        "/config/datastore",
        "Create a datastore.",
        &NEW,
        Access::Privileges {
            path: "/datastore",
            any: &[Privilege::DatastoreAllocate],
        },
        |call| Box::pin(create(call)),
    ),
    entry(
        Method::GET,
        "/config/datastore/{name}",
        "Show the configuration of a datastore.",
        &[NAME],
        Access::Privileges {
            path: "/datastore/{name}",
            any: &[Privilege::DatastoreAudit],
        },
        |call| Box::pin(show(call)),
    ),
    entry(
        Method::PUT,
        "/config/datastore/{name}",
        "Change the configuration of a datastore.",
        &CHANGED,
        Access::Privileges {
            path: "/datastore/{name}",
            any: &[Privilege::DatastoreModify],
        },
        |call| Box::pin(update(call)),
    ),
    entry(
        Method::DELETE,
        "/config/datastore/{name}",
        "Remove a datastore, with its data if asked to.",
        &[
            NAME,
            Param::optional(
                "keep-job-configs",
                "Keep its jobs and access rights.",
                Schema::Boolean,
            )
            .or_flag(false),
            Param::optional("destroy-data", "Delete its data.", Schema::Boolean).or_flag(false),
            DIGEST,
        ],
        Access::Privileges {
            path: "/datastore/{name}",
            any: &[Privilege::DatastoreAllocate],
        },
        |call| Box::pin(remove(call)),
    ),
];

fn said(error: ConfigError) -> RestError {
    failed(error, NAME.name, "datastore")
}

async fn list(call: Call) -> Result<Answer, RestError> {
    let content = call.server.config.datastores().load().map_err(refused)?;
    let seen: Vec<&DatastoreConfig> = content
        .entries
        .iter()
        .filter(|config| {
            let path = ["datastore", config.name.as_str()];
            has_any(&call, &path, &[Privilege::DatastoreAudit])
        })
        .collect();
    Answer::of(seen)?.with("digest", &content.digest)
}

async fn show(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(NAME.name)?;
    let content = call.server.config.datastores().load().map_err(refused)?;
    Answer::of(content.get(name.as_str()).map_err(said)?)?.with("digest", &content.digest)
}

/// Refuses a bucket that cannot be had, before there is a task.
async fn check_bucket(env: &Env, client: &S3Client) -> Result<(), RestError> {
    let answers = bucket_answers(client, env, BUCKET_PATIENCE).await;
    answers.map_err(|reason| {
        let bucket = client.bucket().map_or("", BucketName::as_str);
        RestError::bad_request(format!(
            "unable to access bucket '{bucket}' by endpoint '{}': {reason}",
            client.endpoint_id()
        ))
    })
}

async fn create(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(NAME.name)?;
    if call.params.get(BACKING_DEVICE).is_some() {
        return Err(RestError::parameter(
            BACKING_DEVICE,
            "removable datastores are not supported: mount the device by the system and create a \
             datastore in a directory of it",
        ));
    }
    let mut other = vec![NAME.name, "reuse-datastore", "overwrite-in-use"];
    other.extend(PRUNE_SETTINGS);
    let properties = given(&call, &other).replace_in(Vec::new(), &[]);
    let config: DatastoreConfig = made(DatastoreConfig::SECTION_TYPE, name.as_str(), &properties)?;
    let existing = call.server.config.datastores().load().map_err(refused)?;
    call.server
        .config
        .check_new_datastore(&existing, &config)
        .map_err(said)?;
    let prune_job = prune_job(&call, &name)?;
    let request = CreateRequest {
        config: config.clone(),
        reuse: call.flag("reuse-datastore"),
        overwrite_in_use: call.flag("overwrite-in-use"),
    };
    let client = call.server.stores.client(&config)?;
    if let Some(client) = &client {
        check_bucket(&call.server.env, client).await?;
    }
    let requests = client.map(RequestCount::start);
    let spec = TaskSpec::new("create-datastore", Some(name.to_string()), call.auth_id);
    let server = Arc::clone(&call.server);
    let upid = call.server.spawn_task(spec, |task| async move {
        let created = server.stores.create(&*task, &request).await;
        if let Some(requests) = requests {
            requests.log(&*task);
        }
        created?;
        let states = JobStates::of(&server);
        if config.gc_schedule.is_some() {
            states.touch(JobType::GarbageCollection, name.as_str())?;
        }
        if let Some(job) = prune_job {
            states.touch(JobType::Prune, &job.id)?;
            server
                .config
                .prune_jobs()
                .update::<_, ConfigError>(None, |content| content.insert(job))
                .await?;
        }
        Ok(())
    })?;
    Answer::of(upid)
}

/// The job that the prune settings of a new datastore become.
fn prune_job(call: &Call, name: &DatastoreName) -> Result<Option<PruneJob>, RestError> {
    if call.params.text(PRUNE_SCHEDULE.name).is_none() {
        return Ok(None);
    }
    let mut unique = [0; 16];
    call.server.env.fill_random(&mut unique);
    let mut id = format!(
        "default-{name}-{}",
        uuid::Builder::from_random_bytes(unique).into_uuid()
    );
    id.truncate(MAX_JOB_ID);
    let mut properties = vec![("store".to_owned(), name.to_string())];
    for key in PRUNE_SETTINGS {
        let Some(value) = call.params.get(key) else {
            continue;
        };
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let key = if key == PRUNE_SCHEDULE.name {
            "schedule"
        } else {
            key
        };
        properties.push((key.to_owned(), text));
    }
    made("prune", &id, &properties).map(Some)
}

async fn update(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(NAME.name)?;
    if PRUNE_SETTINGS
        .iter()
        .any(|key| call.params.get(key).is_some())
    {
        return Err(RestError::bad_request(
            "datastore prune settings have been replaced by prune jobs",
        ));
    }
    let rescheduled = call
        .server
        .config
        .datastores()
        .update(digest(&call), |content| {
            let config = content.get_mut(name.as_str())?;
            let changed: DatastoreConfig = super::entries::changed(&call, config, &[NAME.name])?;
            check_maintenance(config, &changed)?;
            let rescheduled = changed.gc_schedule != config.gc_schedule;
            *config = changed;
            anyhow::Ok(rescheduled)
        })
        .await?;
    if rescheduled {
        JobStates::of(&call.server).touch(JobType::GarbageCollection, name.as_str())?;
    }
    Ok(Answer::null())
}

/// A datastore that is being deleted does not come back.
fn check_maintenance(old: &DatastoreConfig, new: &DatastoreConfig) -> anyhow::Result<()> {
    let next = new.maintenance_mode.as_ref().map(|mode| mode.ty);
    match &old.maintenance_mode {
        Some(mode) if !mode.ty.may_become(next) => anyhow::bail!(
            "datastore '{}' is being deleted: its maintenance mode is final",
            old.name
        ),
        _ => Ok(()),
    }
}

async fn remove(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(NAME.name)?;
    let mut content = call.server.config.datastores().load().map_err(refused)?;
    if digest(&call).is_some_and(|expected| expected != content.digest) {
        return Err(refused(ConfigError::Modified));
    }
    let config = content.remove(name.as_str()).map_err(said)?;
    let options = RemoveOptions {
        destroy_data: call.flag("destroy-data"),
        keep_claim: false,
    };
    let keep_jobs = call.flag("keep-job-configs");
    let requests = call.server.stores.client(&config)?.map(RequestCount::start);
    let spec = TaskSpec::new("delete-datastore", Some(name.to_string()), call.auth_id);
    let server = Arc::clone(&call.server);
    let upid = call.server.spawn_task(spec, |task| async move {
        let states = JobStates::of(&server);
        let dependents = Dependents {
            states: &states,
            rights: server.access.acl(),
            keep: keep_jobs,
        };
        let stores = &server.stores;
        let removed = stores.remove(&*task, &name, options, &dependents).await;
        if let Some(requests) = requests {
            requests.log(&*task);
        }
        removed
    })?;
    Answer::of(upid)
}
