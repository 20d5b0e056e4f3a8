//! Datastores: which there are, how full they are, who is using them.

use api_types::access::{Privilege, Privileges};
use api_types::datastore::{BackendType, DatastoreConfig, Operation};
use api_types::names::{BackupNamespace, BackupType, DatastoreName};
use api_types::status::{Counts, DatastoreStatus, S3Statistics, TypeCounts};
use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::api::entry;
use crate::api::fields::STORE;
use crate::api::rights::{Reach, reach};
use crate::api::target::{LIST, open, refused};
use crate::datastores::OpenDatastore;
use crate::datastores::space::look;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

const MODIFY: Access = Access::Privileges {
    path: "/datastore/{store}",
    any: &[Privilege::DatastoreModify],
};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/admin/datastore",
        "List the datastores that the caller may see.",
        &[],
        Access::Anybody,
        |call| Box::pin(list(call)),
    ),
    entry(
        Method::GET,
        "/admin/datastore/{store}/status",
        "Tell how full a datastore is.",
        &[
            STORE,
            Param::optional(
                "verbose",
                "Count groups and snapshots, too.",
                Schema::Boolean,
            )
            .or_flag(false),
        ],
        Access::ByHandler,
        |call| Box::pin(status(call)),
    ),
    entry(
        Method::POST,
        "/admin/datastore/{store}/mount",
        "Says that devices are mounted by the system.",
        &[STORE],
        MODIFY,
        |call| Box::pin(mount(call)),
    ),
    entry(
        Method::POST,
        "/admin/datastore/{store}/unmount",
        "Says that devices are detached by the system.",
        &[STORE],
        MODIFY,
        |call| Box::pin(mount(call)),
    ),
    entry(
        Method::GET,
        "/admin/datastore/{store}/active-operations",
        "Count the operations under way on a datastore.",
        &[STORE],
        Access::Privileges {
            path: "/datastore/{store}",
            any: &[Privilege::DatastoreAudit],
        },
        |call| Box::pin(active_operations(call)),
    ),
];

/// How far someone sees into a datastore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The datastore itself.
    Store,
    /// Only that it exists, since they may see something in it.
    Name,
}

/// How far the caller sees into a datastore, if at all.
#[must_use]
pub fn sight(call: &Call, store: &DatastoreName) -> Option<Sight> {
    let path = ["datastore", store.as_str()];
    let access = &call.server.access;
    let itself = Privileges::of(&[Privilege::DatastoreAudit, Privilege::DatastoreBackup]);
    if access.privileges(&call.auth_id, &path).has_any(itself) {
        Some(Sight::Store)
    } else if access
        .privileges(&call.auth_id, &path)
        .has_any(Privileges::NAMESPACE)
        || access.has_any_below(&call.auth_id, &path, Privileges::NAMESPACE)
    {
        Some(Sight::Name)
    } else {
        None
    }
}

/// Whether the directory of a datastore on a removable device is there.
#[must_use]
pub fn mount_status(config: &DatastoreConfig) -> &'static str {
    if config.backing_device.is_none() {
        "nonremovable"
    } else if std::path::Path::new(&config.absolute_path())
        .join(".chunks")
        .is_dir()
    {
        "mounted"
    } else {
        "notmounted"
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Item {
    store: DatastoreName,
    /// Null if there is none, or it is none of the caller's business.
    comment: Option<String>,
    mount_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance: Option<String>,
    backend_type: BackendType,
}

async fn list(call: Call) -> Result<Answer, RestError> {
    let datastores = call.server.config.datastores().load().map_err(refused)?;
    let items: Vec<Item> = datastores
        .entries
        .iter()
        .filter_map(|config| {
            let sight = sight(&call, &config.name)?;
            let comment = config.comment.as_ref().map(ToString::to_string);
            Some(Item {
                store: config.name.clone(),
                comment: comment.filter(|_| sight == Sight::Store),
                mount_status: mount_status(config),
                maintenance: config
                    .maintenance_mode
                    .as_ref()
                    .map(|mode| mode.ty.to_string()),
                backend_type: config.backend().backend_type(),
            })
        })
        .collect();
    Answer::of(items)
}

async fn status(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(STORE.name)?;
    let Some(sight) = sight(&call, &name) else {
        return Err(RestError::new(
            StatusCode::FORBIDDEN,
            "permission check failed",
        ));
    };
    let store = open(&call, &name, Operation::Read).await?;
    let s3 = store.backend().s3().map(|backend| {
        let made = backend.client().counters().upstream();
        S3Statistics {
            downloaded: made.downloaded,
            uploaded: made.uploaded,
            get: made.get,
            post: made.post,
            put: made.put,
            head: made.head,
            delete: made.delete,
        }
    });
    let backend_type = s3.map_or(BackendType::Filesystem, |_| BackendType::S3);
    let mut status = DatastoreStatus {
        total: 0,
        used: 0,
        avail: 0,
        backend_type,
        gc_status: None,
        counts: None,
        s3_statistics: None,
    };
    if sight == Sight::Store {
        let (space, gc_status) = look(&store).await;
        let space = space.map_err(refused)?;
        (status.total, status.used, status.avail) = (space.total, space.used, space.avail);
        status.s3_statistics = s3;
        if call.flag("verbose") {
            status.gc_status = Some(gc_status);
            status.counts = Some(counts(&call, &store).await?);
        }
    }
    Answer::of(status)
}

/// Groups and snapshots of all namespaces, as far as the caller may see them.
async fn counts(call: &Call, store: &OpenDatastore) -> Result<Counts, RestError> {
    let mut counts = Counts::default();
    let root = BackupNamespace::root();
    for item in store.list_namespaces(&root, None).await.map_err(refused)? {
        let reach = reach(
            &call.server.access,
            &call.auth_id,
            store.name(),
            &item.ns,
            LIST.full,
            LIST.partial,
        );
        let Some(reach) = reach else { continue };
        count_groups(call, store, &item.ns, reach, &mut counts).await?;
    }
    Ok(counts)
}

async fn count_groups(
    call: &Call,
    store: &OpenDatastore,
    ns: &BackupNamespace,
    reach: Reach,
    counts: &mut Counts,
) -> Result<(), RestError> {
    for group in store.list_groups(ns).await.map_err(refused)? {
        if !reach.includes(group.owner.as_ref(), &call.auth_id) {
            continue;
        }
        let count = match group.backup_type {
            BackupType::Ct => &mut counts.ct,
            BackupType::Host => &mut counts.host,
            BackupType::Vm => &mut counts.vm,
        };
        let count = count.get_or_insert_with(TypeCounts::default);
        count.groups += 1;
        count.snapshots += group.backup_count;
    }
    Ok(())
}

/// An unprivileged server cannot mount; there is nothing to mount for most datastores anyway.
async fn mount(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(STORE.name)?;
    let access = &call.server.access;
    access.require(&call.auth_id, &["system", "disks"], &[Privilege::SysModify])?;
    let config = call.server.stores.config_of(&name)?;
    Err(RestError::bad_request(if config.backing_device.is_none() {
        format!("datastore '{name}' is not removable")
    } else {
        format!(
            "the device of datastore '{name}' is mounted and unmounted by the system, not by this \
             server"
        )
    }))
}

async fn active_operations(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(STORE.name)?;
    call.server.stores.config_of(&name)?;
    Answer::of(call.server.stores.active_counts(&name)?)
}
