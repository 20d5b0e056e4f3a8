//! Work on a datastore that takes its time: verification, prune, garbage collection, refresh.

use std::sync::Arc;

use api_types::access::Privilege;
use api_types::datastore::Operation;
use api_types::names::{
    BackupDir, BackupGroup, BackupId, BackupNamespace, BackupTime, BackupType, DatastoreName,
};
use api_types::prune::KeepOptions;
use datastore::refresh::RefreshOptions;
use datastore::task::SilentTask;
use datastore::verify::VerifyOptions;
use hyper::Method;
use serde::Deserialize;

use crate::api::entry;
use crate::api::fields::{
    ANY_ID, ANY_TIME, ANY_TYPE, BACKUP_ID, BACKUP_TYPE, DRY_RUN, KEEP_DAILY, KEEP_HOURLY,
    KEEP_LAST, KEEP_MONTHLY, KEEP_WEEKLY, KEEP_YEARLY, MAX_DEPTH, NS, STORE, THREADS,
};
use crate::api::rights::may_touch;
use crate::api::target::{GroupParams, REMOVE, VERIFY, open};
use crate::jobs::run;
use crate::jobs::state::JobStates;
use crate::operations::background::{start, start_prepared};
use crate::operations::gc::GcJobStatus;
use crate::operations::prune::{Prune, WORKER_TYPE as PRUNE};
use crate::operations::verify::{Target, Verification};
use crate::operations::{all_groups, counted_client};
use crate::requests::RequestCount;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};
use crate::task::{Echo, Signals, TaskSpec};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::POST,
        "/admin/datastore/{store}/verify",
        "Verify a datastore, a namespace, a group or a snapshot.",
        &[
            STORE,
            NS,
            ANY_TYPE,
            ANY_ID,
            ANY_TIME,
            Param::optional(
                "ignore-verified",
                "Skip snapshots that have been verified.",
                Schema::Boolean,
            )
            .or_flag(true),
            Param::optional(
                "outdated-after",
                "But not if that was more than so many days ago.",
                Schema::integer(0, i64::MAX),
            ),
            MAX_DEPTH,
            Param::optional("read-threads", "Chunks read at once.", THREADS),
            Param::optional("verify-threads", "Chunks checked at once.", THREADS),
        ],
        Access::ByHandler,
        |call| Box::pin(verify(call)),
    ),
    entry(
        Method::POST,
        "/admin/datastore/{store}/prune",
        "Remove snapshots of a group that no rule keeps.",
        &[
            STORE,
            NS,
            BACKUP_TYPE,
            BACKUP_ID,
            KEEP_LAST,
            KEEP_HOURLY,
            KEEP_DAILY,
            KEEP_WEEKLY,
            KEEP_MONTHLY,
            KEEP_YEARLY,
            DRY_RUN,
            Param::optional("use-task", "Do it in the background.", Schema::Boolean).or_flag(false),
        ],
        Access::ByHandler,
        |call| Box::pin(prune(call)),
    ),
    entry(
        Method::POST,
        "/admin/datastore/{store}/prune-datastore",
        "Remove snapshots of all groups that no rule keeps.",
        &[
            STORE,
            NS,
            MAX_DEPTH,
            KEEP_LAST,
            KEEP_HOURLY,
            KEEP_DAILY,
            KEEP_WEEKLY,
            KEEP_MONTHLY,
            KEEP_YEARLY,
            DRY_RUN,
        ],
        Access::ByHandler,
        |call| Box::pin(prune_datastore(call)),
    ),
    entry(
        Method::POST,
        "/admin/datastore/{store}/gc",
        "Collect garbage.",
        &[STORE],
        Access::Privileges {
            path: "/datastore/{store}",
            any: &[Privilege::DatastoreModify],
        },
        |call| Box::pin(start_gc(call)),
    ),
    entry(
        Method::GET,
        "/admin/datastore/{store}/gc",
        "Tell what the last garbage collection did.",
        &[STORE],
        Access::Privileges {
            path: "/datastore/{store}",
            any: &[Privilege::DatastoreAudit],
        },
        |call| Box::pin(gc_status(call)),
    ),
    entry(
        Method::PUT,
        "/admin/datastore/{store}/s3-refresh",
        "Rebuild the local state of a datastore from its bucket.",
        &[STORE],
        Access::Privileges {
            path: "/datastore/{store}",
            any: &[Privilege::DatastoreModify],
        },
        |call| Box::pin(s3_refresh(call)),
    ),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct VerifyParams {
    store: DatastoreName,
    #[serde(default)]
    ns: BackupNamespace,
    backup_type: Option<BackupType>,
    backup_id: Option<BackupId>,
    backup_time: Option<BackupTime>,
    ignore_verified: bool,
    outdated_after: Option<i64>,
    max_depth: Option<usize>,
    read_threads: Option<u32>,
    verify_threads: Option<u32>,
}

impl VerifyParams {
    fn target(&self) -> Result<Option<Target>, RestError> {
        match (self.backup_type, &self.backup_id, self.backup_time) {
            (None, None, None) => Ok(None),
            (Some(ty), Some(id), time) => {
                let group = BackupGroup::new(ty, id.clone());
                Ok(Some(match time {
                    None => Target::Group(group),
                    Some(time) => Target::Snapshot(BackupDir::new(group, time)),
                }))
            }
            _ => Err(RestError::bad_request(
                "parameters do not specify a backup group or snapshot",
            )),
        }
    }
}

async fn verify(call: Call) -> Result<Answer, RestError> {
    let params: VerifyParams = call.params.read()?;
    let target = params.target()?;
    let (store, reach) = VERIFY.open_ns(&call, &params.store, &params.ns).await?;
    if let Some(Target::Group(group) | Target::Snapshot(BackupDir { group, .. })) = &target {
        reach
            .check_owner(&call.auth_id, &store, &params.ns, group)
            .await?;
    }
    let verification = Verification {
        store: params.store,
        ns: params.ns,
        target,
        max_depth: params.max_depth,
        options: VerifyOptions {
            ignore_verified: params.ignore_verified,
            outdated_after: params.outdated_after,
            read_threads: params.read_threads,
            verify_threads: params.verify_threads,
            ..VerifyOptions::default()
        },
    };
    let may_verify = may_touch(
        &call.server.access,
        &call.auth_id,
        VERIFY.full,
        VERIFY.partial,
        &store,
    );
    let spec = TaskSpec::new(
        verification.worker_type(),
        Some(verification.worker_id()),
        call.auth_id,
    );
    let upid = start(&call.server, spec, store, |task, store| async move {
        let report = verification.run(&*task, &store, &may_verify).await?;
        report.into_task_result()?;
        Ok(())
    })?;
    Answer::of(upid)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PruneParams {
    #[serde(flatten)]
    group: GroupParams,
    #[serde(flatten)]
    keep: KeepOptions,
    dry_run: bool,
    use_task: bool,
}

async fn prune(call: Call) -> Result<Answer, RestError> {
    let params: PruneParams = call.params.read()?;
    let store = REMOVE.open_group(&call, &params.group).await?;
    let prune = Prune {
        group: Some(params.group.group()),
        store: params.group.store,
        ns: params.group.ns,
        max_depth: None,
        keep: params.keep,
        dry_run: params.dry_run,
    };
    if prune.dry_run {
        let report = prune.run(&SilentTask::new(), &store, &all_groups).await?;
        return Answer::of(report.items);
    }
    let spec = TaskSpec::new(PRUNE, Some(prune.worker_id()), call.auth_id);
    if params.use_task {
        let upid = start(&call.server, spec, store, |task, store| async move {
            prune.run(&*task, &store, &all_groups).await.map(|_| ())
        })?;
        return Answer::of(upid);
    }
    let requests = counted_client(&store).map(RequestCount::start);
    let outcome = call
        .server
        .tasks
        .run(spec, Echo::None, Signals::Ignore, |task| async move {
            let report = prune.run(&*task, &store, &all_groups).await;
            if let Some(requests) = requests {
                requests.log(&*task);
            }
            report
        })
        .await?;
    Answer::of(outcome.value?.items)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PruneDatastoreParams {
    store: DatastoreName,
    #[serde(default)]
    ns: BackupNamespace,
    max_depth: Option<usize>,
    #[serde(flatten)]
    keep: KeepOptions,
    dry_run: bool,
}

async fn prune_datastore(call: Call) -> Result<Answer, RestError> {
    let params: PruneDatastoreParams = call.params.read()?;
    let (store, _) = REMOVE.open_ns(&call, &params.store, &params.ns).await?;
    let prune = Prune {
        store: params.store,
        ns: params.ns,
        group: None,
        max_depth: params.max_depth,
        keep: params.keep,
        dry_run: params.dry_run,
    };
    let may_prune = may_touch(
        &call.server.access,
        &call.auth_id,
        REMOVE.full,
        REMOVE.partial,
        &store,
    );
    let spec = TaskSpec::new(PRUNE, Some(prune.worker_id()), call.auth_id);
    let upid = start(&call.server, spec, store, |task, store| async move {
        prune.run(&*task, &store, &may_prune).await.map(|_| ())
    })?;
    Answer::of(upid)
}

async fn start_gc(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(STORE.name)?;
    let site = call.server.site();
    let prepared = run::garbage_collection(&site, &name, call.auth_id, None).await?;
    Answer::of(start_prepared(&call.server, prepared)?)
}

async fn gc_status(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(STORE.name)?;
    // Refused in maintenance like every other look into the datastore.
    let _open = open(&call, &name, Operation::Read).await?;
    let config = call.server.stores.config_of(&name)?;
    Answer::of(GcJobStatus::of(&config, &JobStates::of(&call.server), &call.server.env).await)
}

async fn s3_refresh(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(STORE.name)?;
    let config = call.server.stores.config_of(&name)?;
    let client = call.server.stores.client(&config)?.ok_or_else(|| {
        RestError::bad_request(format!(
            "datastore '{name}' has no S3 backend, there is nothing to refresh from"
        ))
    })?;
    let requests = RequestCount::start(client);
    let stores = Arc::clone(&call.server.stores);
    let spec = TaskSpec::new("s3-refresh", Some(name.to_string()), call.auth_id.clone());
    let upid = call.server.spawn_task(spec, |task| async move {
        let refreshed = stores
            .refresh(&*task, &name, RefreshOptions::default())
            .await;
        requests.log(&*task);
        refreshed.map(|_| ())
    })?;
    Answer::of(upid)
}
