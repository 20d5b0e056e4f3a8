//! Snapshots: listing, files, notes, protection, removal, the client's log.

use std::time::Duration;

use api_types::datastore::Operation;
use api_types::names::{BackupId, BackupNamespace, BackupType, DatastoreName};
use datastore::format::blob::MAX_BLOB_PLAIN;
use hyper::Method;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::api::entry;
use crate::api::fields::{ANY_ID, ANY_TYPE, BACKUP_ID, BACKUP_TIME, BACKUP_TYPE, NOTES, NS, STORE};
use crate::api::target::{
    CHANGE, FILES, LIST, REMOVE, Rule, SnapshotParams, UPLOAD, client, refused,
};
use crate::rest::answer::Answer;
use crate::rest::body::{self, Limits};
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, BodyUse, Endpoint};

/// A blob has at most this many bytes of header.
const MAX_HEADER: u64 = 64;

const SNAPSHOT: &[Param] = &[STORE, NS, BACKUP_TYPE, BACKUP_ID, BACKUP_TIME];

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/admin/datastore/{store}/snapshots",
        "List the snapshots of a namespace.",
        &[STORE, NS, ANY_TYPE, ANY_ID],
        Access::ByHandler,
        |call| Box::pin(list(call)),
    ),
    entry(
        Method::DELETE,
        "/admin/datastore/{store}/snapshots",
        "Remove a snapshot.",
        SNAPSHOT,
        Access::ByHandler,
        |call| Box::pin(forget(call)),
    ),
    entry(
        Method::GET,
        "/admin/datastore/{store}/files",
        "List the files of a snapshot.",
        SNAPSHOT,
        Access::ByHandler,
        |call| Box::pin(files(call)),
    ),
    entry(
        Method::GET,
        "/admin/datastore/{store}/notes",
        "Get the notes of a snapshot.",
        SNAPSHOT,
        Access::ByHandler,
        |call| Box::pin(notes(call)),
    ),
    entry(
        Method::PUT,
        "/admin/datastore/{store}/notes",
        "Set the notes of a snapshot.",
        &[STORE, NS, BACKUP_TYPE, BACKUP_ID, BACKUP_TIME, NOTES],
        Access::ByHandler,
        |call| Box::pin(set_notes(call)),
    ),
    entry(
        Method::GET,
        "/admin/datastore/{store}/protected",
        "Tell whether a snapshot is protected from removal.",
        SNAPSHOT,
        Access::ByHandler,
        |call| Box::pin(protected(call)),
    ),
    entry(
        Method::PUT,
        "/admin/datastore/{store}/protected",
        "Protect a snapshot from removal, or lift the protection.",
        &[
            STORE,
            NS,
            BACKUP_TYPE,
            BACKUP_ID,
            BACKUP_TIME,
            Param::required("protected", "Whether to protect it.", Schema::Boolean),
        ],
        Access::ByHandler,
        |call| Box::pin(set_protected(call)),
    ),
    Endpoint {
        method: Method::POST,
        path: "/admin/datastore/{store}/upload-backup-log",
        about: "Store the client's log of a backup, a blob.",
        params: SNAPSHOT,
        access: Access::ByHandler,
        body: BodyUse::Stream,
        handler: |call| Box::pin(upload_log(call)),
    },
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ListParams {
    store: DatastoreName,
    #[serde(default)]
    ns: BackupNamespace,
    backup_type: Option<BackupType>,
    backup_id: Option<BackupId>,
}

async fn list(call: Call) -> Result<Answer, RestError> {
    let params: ListParams = call.params.read()?;
    let (store, reach) = LIST.open_ns(&call, &params.store, &params.ns).await?;
    let mut items = store
        .list_snapshots(&params.ns, params.backup_type, params.backup_id.as_ref())
        .await
        .map_err(refused)?;
    items.retain(|item| reach.includes(item.owner.as_ref(), &call.auth_id));
    Answer::of(items)
}

async fn files(call: Call) -> Result<Answer, RestError> {
    let params: SnapshotParams = call.params.read()?;
    let store = FILES.open_group(&call, &params.group).await?;
    let files = store.list_files(&params.group.ns, &params.dir()).await;
    Answer::of(files.map_err(refused)?)
}

async fn forget(call: Call) -> Result<Answer, RestError> {
    let params: SnapshotParams = call.params.read()?;
    let store = REMOVE.open_group(&call, &params.group).await?;
    store
        .forget_snapshot(
            client(&store).as_ref(),
            &params.path(),
            &CancellationToken::new(),
        )
        .await
        .map_err(|error| RestError::bad_request(format!("failed to delete snapshot - {error}")))?;
    Ok(Answer::null())
}

async fn notes(call: Call) -> Result<Answer, RestError> {
    let params: SnapshotParams = call.params.read()?;
    let store = LIST.open_group(&call, &params.group).await?;
    let notes = store.snapshot_notes(&params.group.ns, &params.dir()).await;
    Answer::of(notes.map_err(refused)?)
}

async fn set_notes(call: Call) -> Result<Answer, RestError> {
    let params: SnapshotParams = call.params.read()?;
    let store = CHANGE.open_group(&call, &params.group).await?;
    let notes = call.params.text(NOTES.name).unwrap_or_default();
    store
        .set_snapshot_notes(
            client(&store).as_ref(),
            &params.group.ns,
            &params.dir(),
            notes,
            &CancellationToken::new(),
        )
        .await
        .map_err(refused)?;
    Ok(Answer::null())
}

async fn protected(call: Call) -> Result<Answer, RestError> {
    let params: SnapshotParams = call.params.read()?;
    let store = LIST.open_group(&call, &params.group).await?;
    let protected = store.protection(&params.group.ns, &params.dir()).await;
    Answer::of(protected.map_err(refused)?)
}

async fn set_protected(call: Call) -> Result<Answer, RestError> {
    let params: SnapshotParams = call.params.read()?;
    let store = CHANGE.open_group(&call, &params.group).await?;
    store
        .set_protection(
            client(&store).as_ref(),
            &params.group.ns,
            &params.dir(),
            call.flag("protected"),
        )
        .await
        .map_err(refused)?;
    Ok(Answer::null())
}

async fn upload_log(mut call: Call) -> Result<Answer, RestError> {
    let params: SnapshotParams = call.params.read()?;
    // Nothing is kept from changing the datastore while the client takes its time.
    let may_upload = Rule {
        operation: Operation::Read,
        ..UPLOAD
    };
    drop(may_upload.open_group(&call, &params.group).await?);
    let mut share = call.server.places.upload(call.peer);
    let env = call.server.env.clone();
    let body = std::mem::take(&mut call.body);
    let limits = Limits {
        bytes: usize::try_from(MAX_BLOB_PLAIN + MAX_HEADER).unwrap_or(usize::MAX),
        time: Duration::from_secs(600),
        pause: Duration::from_secs(30),
    };
    let raw = body::read(&env, body, limits, Some(&mut share)).await?;
    let store = UPLOAD.open_group(&call, &params.group).await?;
    store
        .store_client_log(
            client(&store).as_ref(),
            &params.group.ns,
            &params.dir(),
            raw,
            &CancellationToken::new(),
        )
        .await
        .map_err(refused)?;
    Ok(Answer::null())
}
