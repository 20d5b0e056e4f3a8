//! Downloads of the files of a snapshot, as they are and decoded.

use std::fs::File;

use api_types::names::{ArchiveName, SnapshotPath};
use bytes::Bytes;
use datastore::format::blob::{DataBlob, MAX_BLOB_PLAIN};

use crate::api::download_entry;
use crate::api::fields::{BACKUP_ID, BACKUP_TIME, BACKUP_TYPE, FILE_NAME, NS, STORE};
use crate::api::stream::{self, answer, body, place_for, whole};
use crate::api::target::{READ, SnapshotParams, refused};
use crate::datastores::OpenDatastore;
use crate::operations::archive::{Archive, check_plain};
use crate::rest::answer::{Answer, full};
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::table::{Access, Endpoint};

/// The type of contents of which nothing is known.
pub(super) const CONTENT_TYPE: &str = "application/octet-stream";

const FILE: &[Param] = &[STORE, NS, BACKUP_TYPE, BACKUP_ID, BACKUP_TIME, FILE_NAME];

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    download_entry(
        "/admin/datastore/{store}/download",
        "Download a file of a snapshot as it is stored.",
        FILE,
        Access::ByHandler,
        |call| Box::pin(download(call)),
    ),
    download_entry(
        "/admin/datastore/{store}/download-decoded",
        "Download the contents of an archive that is not encrypted.",
        FILE,
        Access::ByHandler,
        |call| Box::pin(download_decoded(call)),
    ),
];

async fn download(call: Call) -> Result<Answer, RestError> {
    let (params, name) = target(&call)?;
    let store = READ.open_group(&call, &params.group).await?;
    let file = open_file(&store, &params.path(), &name).await?;
    let file = tokio::fs::File::from_std(file);
    let place = stream::download(&call)?;
    let body = body(&call.server.env, |sink| async move {
        let (_open, _place) = (store, place);
        sink.send_all(file).await
    });
    Ok(answer(body, CONTENT_TYPE))
}

fn target(call: &Call) -> Result<(SnapshotParams, ArchiveName), RestError> {
    let name = call.text::<ArchiveName>(FILE_NAME.name)?;
    Ok((call.params.read()?, name))
}

/// Opens a file of a snapshot, or says that it is not there.
pub(super) async fn open_file(
    store: &OpenDatastore,
    snapshot: &SnapshotPath,
    name: &ArchiveName,
) -> Result<File, RestError> {
    let path = store
        .snapshots()
        .file_path(&snapshot.ns, &snapshot.dir, name.as_str())
        .map_err(refused)?;
    let opened = {
        let path = path.clone();
        store.env().blocking(move || File::open(path)).await
    };
    opened.map_err(|error| {
        RestError::bad_request(format!("File open failed: '{}': {error}", path.display()))
    })
}

async fn download_decoded(call: Call) -> Result<Answer, RestError> {
    let (params, name) = target(&call)?;
    let store = READ.open_group(&call, &params.group).await?;
    let snapshot = params.path();
    if !name.is_index() {
        check_plain(&store, &snapshot, &name).await?;
        let place = call.server.places.decode().await?;
        let plain = decoded_blob(&store, &snapshot, &name).await?;
        drop(place);
        let body = match place_for(&call.server, plain.len())? {
            None => full(plain),
            Some(large) => whole(large, plain.into()),
        };
        return Ok(answer(body, CONTENT_TYPE));
    }
    // What is missing is said before anything is sent.
    open_file(&store, &snapshot, &name).await?;
    // A removal in between would take the chunks away from under the download.
    let lock = store
        .locks()
        .snapshot_shared(&snapshot.ns, &snapshot.dir)
        .map_err(refused)?;
    let archive = Archive::open(&call.server.memory, &store, &snapshot, &name).await?;
    let place = stream::download(&call)?;
    let body = body(&call.server.env, |sink| async move {
        let (_open, _lock, _place) = (store, lock, place);
        for i in 0..archive.count() {
            if !sink.send_next(archive.chunk(i)).await? {
                break;
            }
        }
        Ok(())
    });
    Ok(answer(body, CONTENT_TYPE))
}

async fn decoded_blob(
    store: &OpenDatastore,
    snapshot: &SnapshotPath,
    name: &ArchiveName,
) -> Result<Vec<u8>, RestError> {
    let (snapshots, snapshot, name) = (store.snapshots().clone(), snapshot.clone(), name.clone());
    store
        .env()
        .blocking(move || {
            let raw =
                snapshots.read_file(&snapshot.ns, &snapshot.dir, name.as_str(), MAX_BLOB_PLAIN)?;
            let raw = raw.ok_or_else(|| {
                RestError::bad_request(format!(
                    "File open failed: '{name}' of snapshot '{}' does not exist",
                    snapshot.dir
                ))
            })?;
            let blob = DataBlob::from_bytes(Bytes::from(raw))?;
            blob.verify_crc()?;
            if blob.is_encrypted() {
                return Err(RestError::bad_request(format!(
                    "cannot decode '{name}' - is encrypted"
                ))
                .into());
            }
            anyhow::Ok(blob.decode(None, MAX_BLOB_PLAIN)?)
        })
        .await
        .map_err(RestError::from)
}
