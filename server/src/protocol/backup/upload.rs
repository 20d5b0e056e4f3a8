//! Chunks and blobs (`backup-protocol.md` §3.1, §3.4).

use std::pin::pin;
use std::sync::PoisonError;

use api_types::digest::Digest;
use api_types::names::{ArchiveName, ArchiveType};
use datastore::format::{DataBlob, FormatError};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use super::super::endpoint::Call;
use super::super::intake::{IntakeError, Upload};
use super::Backup;
use super::session::refused;
use crate::rest::answer::Answer;
use crate::rest::error::RestError;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Chunk {
    wid: u32,
    digest: Digest,
    size: u32,
    encoded_size: u64,
}

/// Stores a chunk for a writer of this kind.
pub(super) async fn chunk(call: Call<Backup>, kind: &str) -> Result<Answer, RestError> {
    let Chunk {
        wid,
        digest,
        size,
        encoded_size,
    } = call.params.read()?;
    let backup = &*call.session;
    // Read before anything is refused: a client that is still sending does not look for an answer.
    let Upload { bytes, share } =
        backup
            .intake
            .read(call.body, encoded_size)
            .await
            .map_err(|error| match error {
                IntakeError::TooLong { .. } => {
                    RestError::bad_request("uploaded chunk is larger than announced.")
                }
                IntakeError::TooShort { .. } => {
                    RestError::bad_request("uploaded chunk has unexpected size.")
                }
                error @ (IntakeError::TooMany
                | IntakeError::TooManyOfAll
                | IntakeError::Broken(_)) => RestError::bad_request(error.to_string()),
            })?;
    let session = backup.active()?;
    let allowed = backup.writers().check_chunk(wid, kind, size);
    allowed.map_err(RestError::bad_request)?;
    let blob = DataBlob::from_bytes(bytes).map_err(|error| damaged(&error))?;
    let stored = {
        let _permit = backup.inserts.acquire().await;
        session.insert_chunk(digest, size, blob).await
    };
    drop(share);
    let stored = stored.map_err(|error| refused(&error))?;
    let registered = backup.writers().register_chunk(wid, kind, size, &stored);
    registered.map_err(RestError::bad_request)?;
    if backup.options.debug {
        backup.log(&format!("upload_chunk done: {size} bytes, {digest}"));
    }
    Answer::of(digest)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Blob {
    file_name: ArchiveName,
    encoded_size: u64,
}

/// Stores a blob of the snapshot, or takes its manifest.
pub(super) async fn blob(call: Call<Backup>) -> Result<Answer, RestError> {
    let Blob {
        file_name,
        encoded_size,
    } = call.params.read()?;
    let backup = &*call.session;
    let Upload { bytes, share } =
        backup
            .intake
            .read(call.body, encoded_size)
            .await
            .map_err(|error| match error {
                IntakeError::TooLong { announced } => RestError::bad_request(format!(
                    "got blob with unexpected length ({announced} != more)"
                )),
                IntakeError::TooShort {
                    announced,
                    received,
                } => RestError::bad_request(format!(
                    "got blob with unexpected length ({announced} != {received})"
                )),
                error @ (IntakeError::TooMany
                | IntakeError::TooManyOfAll
                | IntakeError::Broken(_)) => RestError::bad_request(error.to_string()),
            })?;
    let session = backup.active()?;
    if file_name.archive_type() != Some(ArchiveType::Blob) {
        return Err(RestError::bad_request(format!(
            "wrong blob file extension: '{file_name}'"
        )));
    }
    if file_name.is_manifest() {
        let blob = DataBlob::from_bytes(bytes).map_err(|error| damaged(&error))?;
        blob.verify_crc().map_err(|error| damaged(&error))?;
        let mut manifest = backup
            .manifest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        session.count_manifest(&blob);
        *manifest = Some(blob);
    } else {
        session
            .add_blob(&file_name, bytes)
            .await
            .map_err(|error| refused(&error))?;
    }
    drop(share);
    let snapshots = backup.store.snapshots();
    let snapshot = snapshots.snapshot_path(&backup.options.ns, &backup.options.dir);
    let path = snapshot.join(file_name.as_str());
    backup.log(&format!(
        "add blob {path:?} ({encoded_size} bytes, comp: {encoded_size})"
    ));
    Ok(Answer::null())
}

/// Takes whatever comes.
pub(super) async fn speedtest(call: Call<Backup>) -> Result<Answer, RestError> {
    let mut body = pin!(call.body);
    let mut received = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(RestError::from)?;
        let length = frame.data_ref().map_or(0, |data| data.len());
        received = received.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
    }
    if call.session.options.debug {
        call.session
            .log(&format!("speedtest: received {received} bytes"));
    }
    Ok(Answer::null())
}

fn damaged(error: &FormatError) -> RestError {
    RestError::bad_request(error.to_string())
}
