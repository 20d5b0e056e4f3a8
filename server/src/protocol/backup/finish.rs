//! The commit (`backup-protocol.md` §3.6).

use std::sync::PoisonError;

use datastore::format::{DataBlob, Manifest};

use super::super::endpoint::Call;
use super::Backup;
use super::session::{State, already_finished, refused};
use crate::rest::answer::Answer;
use crate::rest::error::RestError;

/// Commits the snapshot. Its locks are free before the client hears of it: the next backup of the
/// group may start at once.
pub(super) async fn finish(call: Call<Backup>) -> Result<Answer, RestError> {
    let backup = &*call.session;
    // Waits for the requests under way.
    let mut state = backup.state.write().await;
    let State::Active(session) = &*state else {
        return Err(already_finished());
    };
    if !backup.writers().is_empty() {
        return Err(RestError::bad_request(
            "found open index writer - unable to finish backup",
        ));
    }
    if backup.options.benchmark {
        // Nothing of it is kept.
        return Ok(Answer::null());
    }
    let uploaded = backup
        .manifest
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if session.files().is_empty() && uploaded.is_none() {
        return Err(RestError::bad_request(
            "backup does not contain valid files (file count == 0)",
        ));
    }
    let manifest = parse(uploaded.as_ref())
        .map_err(|why| RestError::bad_request(format!("unable to update manifest blob - {why}")))?;
    let _stop_with_task = backup.stop_with_task();
    session
        .commit(manifest)
        .await
        .map_err(|error| refused(&error))?;
    // The session, and with it all locks, goes here.
    *state = State::Finished;
    if backup.options.verify {
        let options = &backup.options;
        let lock = backup
            .store
            .locks()
            .snapshot_shared(&options.ns, &options.dir);
        // Somebody was faster: the verification says so.
        *backup
            .for_verify
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = lock.ok();
    }
    backup.log("successfully finished backup");
    Ok(Answer::null())
}

fn parse(uploaded: Option<&DataBlob>) -> Result<Manifest, String> {
    let blob = uploaded.ok_or("unable to load manifest: none was uploaded")?;
    Manifest::from_blob(blob, None).map_err(|error| error.to_string())
}
