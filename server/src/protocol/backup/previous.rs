//! The last backup (`backup-protocol.md` §3.5).

use api_types::names::ArchiveName;
use serde::Deserialize;

use super::super::download::Download;
use super::super::endpoint::Call;
use super::Backup;
use super::session::refused;
use crate::rest::answer::Answer;
use crate::rest::error::RestError;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Previous {
    archive_name: ArchiveName,
}

/// A file of the last backup; the chunks of an index may be used from then on.
pub(super) async fn previous(call: Call<Backup>) -> Result<Answer, RestError> {
    let Previous { archive_name: name } = call.params.read()?;
    let backup = &*call.session;
    let session = backup.active()?;
    let Some(base) = session.base() else {
        return Err(RestError::bad_request("no valid previous backup"));
    };
    // Locked, so that what is open here is what is read below.
    let file = Download::open(base.file_path(&name), backup.store.env()).await?;
    if name.is_index() {
        backup.log(&format!(
            "register chunks in '{name}' from previous backup '{}'.",
            base.dir()
        ));
        session
            .load_base_index(&name)
            .await
            .map_err(|error| refused(&error))?;
    }
    backup.log(&format!(
        "download '{name}' from previous backup '{}'.",
        base.dir()
    ));
    Ok(file.into_answer())
}
