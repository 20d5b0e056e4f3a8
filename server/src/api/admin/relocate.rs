//! Groups and namespaces move within a datastore.

use api_types::access::Privilege;
use api_types::datastore::Operation;
use api_types::names::{BackupNamespace, DatastoreName};
use datastore::manage::relocate::NamespaceMove;
use hyper::Method;
use serde::Deserialize;

use crate::api::entry;
use crate::api::fields::{BACKUP_ID, BACKUP_TYPE, MAX_DEPTH, NAMESPACE, NS, STORE};
use crate::api::rights::{Reach, check_ns, owner_of};
use crate::api::target::{CHANGE, GroupParams, REMOVE, open, refused};
use crate::operations::background::start;
use crate::operations::relocate::{MoveGroup, MoveNamespace};
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};
use crate::task::TaskSpec;

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::POST,
        "/admin/datastore/{store}/move-group",
        "Move a group to another namespace.",
        &[
            STORE,
            NS,
            BACKUP_TYPE,
            BACKUP_ID,
            Param::optional(
                "target-ns",
                "Where it is to be; the root if absent.",
                NAMESPACE,
            ),
            Param::optional(
                "merge-group",
                "Join a group that is there already.",
                Schema::Boolean,
            )
            .or_flag(true),
        ],
        Access::ByHandler,
        |call| Box::pin(move_group(call)),
    ),
    entry(
        Method::POST,
        "/admin/datastore/{store}/move-namespace",
        "Move a namespace with all that is in it.",
        &[
            STORE,
            Param::required("ns", "The namespace.", NAMESPACE),
            Param::required("target-ns", "What it is to be called.", NAMESPACE),
            MAX_DEPTH,
            Param::optional(
                "delete-source",
                "Remove the namespaces that become empty.",
                Schema::Boolean,
            )
            .or_flag(true),
            Param::optional(
                "merge-groups",
                "Join groups that are there already.",
                Schema::Boolean,
            )
            .or_flag(true),
        ],
        Access::ByHandler,
        |call| Box::pin(move_namespace(call)),
    ),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MoveGroupParams {
    #[serde(flatten)]
    group: GroupParams,
    #[serde(default)]
    target_ns: BackupNamespace,
    merge_group: bool,
}

async fn move_group(call: Call) -> Result<Answer, RestError> {
    let params: MoveGroupParams = call.params.read()?;
    let MoveGroupParams {
        group: source,
        target_ns,
        merge_group,
    } = params;
    // Both before anything is opened: who may nothing learns nothing.
    let here = check_ns(
        &call,
        &source.store,
        &source.ns,
        REMOVE.full,
        REMOVE.partial,
    )?;
    let there = check_ns(
        &call,
        &source.store,
        &target_ns,
        CHANGE.full,
        CHANGE.partial,
    )?;
    let store = open(&call, &source.store, Operation::Write).await?;
    let group = source.group();
    for reach in [here, there] {
        // The owner goes along: it has to be the caller's own there, too.
        reach
            .check_owner(&call.auth_id, &store, &source.ns, &group)
            .await?;
    }
    if there == Reach::Own && owner_of(&store, &target_ns, &group).await?.is_some() {
        there
            .check_owner(&call.auth_id, &store, &target_ns, &group)
            .await?;
    }
    let work = MoveGroup {
        store: source.store,
        ns: source.ns,
        group,
        target_ns,
        merge: merge_group,
    };
    let spec = TaskSpec::new(MoveGroup::WORKER_TYPE, Some(work.worker_id()), call.auth_id);
    let upid = start(&call.server, spec, store, |task, store| async move {
        work.run(&*task, &store).await
    })?;
    Answer::of(upid)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MoveNamespaceParams {
    store: DatastoreName,
    ns: BackupNamespace,
    target_ns: BackupNamespace,
    max_depth: Option<usize>,
    delete_source: bool,
    merge_groups: bool,
}

async fn move_namespace(call: Call) -> Result<Answer, RestError> {
    let params: MoveNamespaceParams = call.params.read()?;
    for ns in [&params.ns, &params.target_ns] {
        let parent = ns.parent().unwrap_or_default();
        check_ns(
            &call,
            &params.store,
            &parent,
            &[Privilege::DatastoreModify],
            &[],
        )?;
    }
    let work = MoveNamespace {
        store: params.store,
        options: NamespaceMove {
            from: params.ns,
            to: params.target_ns,
            max_depth: params.max_depth,
            delete_source: params.delete_source,
            merge_groups: params.merge_groups,
        },
    };
    work.options.check().map_err(refused)?;
    let store = open(&call, &work.store, Operation::Write).await?;
    let worker_id = Some(work.worker_id());
    let spec = TaskSpec::new(MoveNamespace::WORKER_TYPE, worker_id, call.auth_id);
    let upid = start(&call.server, spec, store, |task, store| async move {
        work.run(&*task, &store).await
    })?;
    Answer::of(upid)
}
