//! Indexes: opened, appended to, closed (`backup-protocol.md` §3.2, §3.3).

use api_types::digest::Digest;
use api_types::names::ArchiveName;
use datastore::format::index::{AnyIndexReader, IndexFile as _};
use datastore::session::{ExpectedIndex, WriterId};
use serde::Deserialize;

use super::super::endpoint::Call;
use super::Backup;
use super::session::refused;
use super::statistics::Statistics;
use super::writers::{Claimed, Kind, Writer};
use crate::rest::answer::Answer;
use crate::rest::error::RestError;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Create {
    archive_name: ArchiveName,
    size: Option<u64>,
    reuse_csum: Option<Digest>,
}

/// Opens a dynamic index.
pub(super) async fn create_dynamic(call: Call<Backup>) -> Result<Answer, RestError> {
    let Create { archive_name, .. } = call.params.read()?;
    create(&call.session, archive_name, Kind::Dynamic, None).await
}

/// Opens a fixed index; one that begins as a copy of the last backup's, if the client knows that
/// one's checksum.
pub(super) async fn create_fixed(call: Call<Backup>) -> Result<Answer, RestError> {
    let Create {
        archive_name,
        size,
        reuse_csum,
    } = call.params.read()?;
    let kind = Kind::Fixed {
        size,
        incremental: reuse_csum.is_some(),
    };
    create(&call.session, archive_name, kind, reuse_csum).await
}

async fn create(
    backup: &Backup,
    name: ArchiveName,
    kind: Kind,
    reuse: Option<Digest>,
) -> Result<Answer, RestError> {
    let session = backup.active()?;
    let reserved = backup.writers().reserve(&name, kind);
    reserved.map_err(RestError::bad_request)?;
    let place = Place(Some(backup));
    let opened = match (kind, reuse) {
        (Kind::Dynamic, _) => session.open_dynamic_index(&name).await,
        (Kind::Fixed { size, .. }, None) => session.open_fixed_index(&name, size).await,
        (Kind::Fixed { size, .. }, Some(csum)) => {
            let size = size.ok_or_else(|| {
                RestError::bad_request("size is required for incremental backups")
            })?;
            let base = session.base().ok_or_else(|| {
                RestError::bad_request("cannot reuse index - no valid previous backup exists")
            })?;
            if !base.file_path(&name).is_file() {
                return Err(RestError::bad_request(
                    "cannot reuse index - no previous backup exists for archive",
                ));
            }
            let csum = *csum.as_bytes();
            session.open_fixed_index_reusing(&name, size, csum).await
        }
    };
    let id = opened.map_err(|error| refused(&error))?;
    place.take(id, name.clone(), kind);
    let path = format!("{}/{name}", backup.relative_path());
    backup.log(&format!(
        "created new {} index {} ({path:?})",
        kind.name(),
        id.0
    ));
    Answer::of(id.0)
}

/// A place for a writer, given back if it is not taken.
struct Place<'a>(Option<&'a Backup>);

impl Place<'_> {
    fn take(mut self, id: WriterId, name: ArchiveName, kind: Kind) {
        if let Some(backup) = self.0.take() {
            backup.writers().insert(id, name, kind);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(backup) = self.0 {
            backup.writers().release();
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Append {
    wid: u32,
    digest_list: Vec<Digest>,
    offset_list: Vec<u64>,
}

/// Appends known chunks to an index of this kind.
pub(super) async fn append(call: Call<Backup>, kind: &str) -> Result<Answer, RestError> {
    let Append {
        wid,
        digest_list,
        offset_list,
    } = call.params.read()?;
    if digest_list.len() != offset_list.len() {
        return Err(RestError::bad_request(format!(
            "offset list has wrong length ({} != {})",
            offset_list.len(),
            digest_list.len()
        )));
    }
    let backup = &*call.session;
    if backup.options.debug {
        backup.log(&format!("{kind}_append {} chunks", digest_list.len()));
    }
    let session = backup.active()?;
    let known = backup.writers().get(wid, kind).map(drop);
    known.map_err(RestError::bad_request)?;
    let chunks = offset_list.into_iter().zip(digest_list).collect();
    let appended = session.append(WriterId(wid), chunks).await;
    appended.map_err(|error| refused(&error))?;
    Ok(Answer::null())
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Close {
    wid: u32,
    chunk_count: u64,
    size: u64,
    csum: Digest,
}

/// Closes an index of this kind, if it is what the client thinks it is.
pub(super) async fn close(call: Call<Backup>, kind: &str) -> Result<Answer, RestError> {
    let Close {
        wid,
        chunk_count,
        size,
        csum,
    } = call.params.read()?;
    let backup = &*call.session;
    let session = backup.active()?;
    let id = WriterId(wid);
    let known = backup.writers().get(wid, kind).map(drop);
    known.map_err(RestError::bad_request)?;
    let progress = session
        .index_progress(id)
        .ok_or_else(|| RestError::bad_request(format!("{kind} writer '{wid}' not registered")))?;
    let claimed = Claimed { chunk_count, size };
    let closed = backup.writers().close(wid, kind, claimed, progress);
    let Writer { name, stats, .. } = closed.map_err(RestError::bad_request)?;
    let expected = ExpectedIndex {
        csum: Some(*csum.as_bytes()),
        ..ExpectedIndex::default()
    };
    let archive = session
        .close_index(id, expected)
        .await
        .map_err(|error| refused(&error))?;
    Statistics {
        name: &name,
        uuid: uuid_of(backup, &name).await,
        csum,
        size: archive.file.size,
        chunk_count: progress.appended,
        uploaded: stats,
    }
    .log(&*backup.task);
    backup.log(&format!("successfully closed {kind} index {wid}"));
    Ok(Answer::null())
}

/// The id of a closed index; nil if it cannot be read, since it is only for the log.
async fn uuid_of(backup: &Backup, name: &ArchiveName) -> uuid::Uuid {
    let snapshots = backup.store.snapshots();
    let snapshot = snapshots.snapshot_path(&backup.options.ns, &backup.options.dir);
    let (path, kind) = (snapshot.join(name.as_str()), name.archive_type());
    let env = backup.store.env();
    env.blocking(move || AnyIndexReader::open(&path, kind?).ok())
        .await
        .map_or(uuid::Uuid::nil(), |index| index.uuid())
}
