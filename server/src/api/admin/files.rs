//! Downloads of single files, and of directories, out of archives.

use api_types::names::ArchiveName;

use super::catalog::{FILE_PATH, decode_path, names};
use super::download::{CONTENT_TYPE, open_file};
use crate::api::download_entry;
use crate::api::fields::{ARCHIVE_NAME, BACKUP_ID, BACKUP_TIME, BACKUP_TYPE, NS, STORE};
use crate::api::stream::{self, SinkWriter, answer, body};
use crate::api::target::{READ, SnapshotParams, refused};
use crate::operations::files::{Files, Found, shown};
use crate::operations::pack::{self, Source};
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

const TAR: Param = Param::optional(
    "tar",
    "Download a directory as tar, compressed with zstd, not as zip.",
    Schema::Boolean,
)
.or_flag(false);

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[download_entry(
    "/admin/datastore/{store}/pxar-file-download",
    "Download a file out of an archive that is not encrypted; a directory as zip or tar.",
    &[
        STORE,
        NS,
        BACKUP_TYPE,
        BACKUP_ID,
        BACKUP_TIME,
        FILE_PATH,
        ARCHIVE_NAME,
        TAR,
    ],
    Access::ByHandler,
    |call| Box::pin(download(call)),
)];

/// The archive, and the path in it.
fn target(call: &Call) -> Result<(ArchiveName, Vec<Vec<u8>>), RestError> {
    let path = decode_path(call.params.text(FILE_PATH.name).unwrap_or_default())?;
    let mut path: Vec<Vec<u8>> = names(&path).into_iter().map(<[u8]>::to_vec).collect();
    if let Some(name) = call.optional(ARCHIVE_NAME.name)? {
        return Ok((name, path));
    }
    if path.is_empty() {
        return Err(RestError::parameter(FILE_PATH.name, "no archive is named"));
    }
    let name = String::from_utf8_lossy(&path.remove(0)).parse();
    let bad =
        |error: api_types::ParseError| RestError::parameter(FILE_PATH.name, error.to_string());
    Ok((name.map_err(bad)?, path))
}

async fn download(call: Call) -> Result<Answer, RestError> {
    let params: SnapshotParams = call.params.read()?;
    let (name, path) = target(&call)?;
    let store = READ.open_group(&call, &params.group).await?;
    let snapshot = params.path();
    open_file(&store, &snapshot, &name).await?;
    // A removal in between would take the chunks away from under the download.
    let lock = store
        .locks()
        .snapshot_shared(&snapshot.ns, &snapshot.dir)
        .map_err(refused)?;
    let place = stream::download(&call)?;
    let reading = call.server.places.read().await?;
    let files = Files::open(&call.server.memory, &store, &snapshot, &name, true).await?;
    let env = store.env().clone();
    let (files, path, found) = env
        .blocking(move || {
            let found = files.find(&slices(&path));
            (files, path, found)
        })
        .await;
    drop(reading);
    let held = (store, lock, place);
    let directory = match found? {
        Found::Directory(directory) => directory,
        Found::File(archive, range) => {
            let body = body(&env, |sink| async move {
                let _held = held;
                let mut range = range;
                while !range.is_empty() {
                    let piece = async {
                        let piece = archive.piece(&range).await?;
                        range.start += piece.len() as u64;
                        anyhow::Ok(piece)
                    };
                    if !sink.send_next(piece).await? {
                        break;
                    }
                }
                Ok(())
            });
            return Ok(answer(body, CONTENT_TYPE));
        }
    };
    let tar = call.flag(TAR.name);
    let place = call.server.places.pack()?;
    let body = body(&env.clone(), move |sink| async move {
        let (_held, _place) = (held, place);
        env.blocking(move || {
            let path = slices(&path);
            let source = Source {
                accessor: files.accessor(),
                directory: &directory,
                path: &path,
                wanted: &|| sink.is_open(),
            };
            let out = SinkWriter::new(sink.clone());
            let packed = if tar {
                pack::tar_zst(&source, out)
            } else {
                pack::zip(&source, out)
            };
            packed.map_err(|error| error.context(format!("cannot pack '{}'", shown(&path))))
        })
        .await
    });
    let content_type = if tar {
        "application/zstd"
    } else {
        "application/zip"
    };
    Ok(answer(body, content_type))
}

fn slices(path: &[Vec<u8>]) -> Vec<&[u8]> {
    path.iter().map(Vec::as_slice).collect()
}
