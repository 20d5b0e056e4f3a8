//! The reader session and its endpoints.

use std::sync::Arc;

use anyhow::Result;
use api_types::digest::Digest;
use api_types::names::{ArchiveName, ArchiveType, BackupDir, BackupNamespace};
use bytes::Bytes;
use datastore::format::index::AnyIndexReader;
use datastore::locks::LockFile;
use datastore::store::DataStore;
use datastore::task::TaskContext;
use hyper::StatusCode;
use s3_client::TaskKind;
use s3_client::env::Env;
use serde::Deserialize;

use super::super::download::Download;
use super::super::endpoint::{Call, Endpoint, Session};
use super::super::http;
use super::super::memory::Memory;
use super::fetch::Chunks;
use super::lease::ReaderLease;
use crate::rest::answer::{Answer, full};
use crate::rest::error::RestError;

/// Bytes of a speed test's answer.
const SPEEDTEST: usize = 1 << 20;

/// What a client wants to read.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// The namespace.
    pub ns: BackupNamespace,
    /// The snapshot.
    pub dir: BackupDir,
    /// Every request is logged.
    pub debug: bool,
}

/// A session that is open, before it is a task.
#[derive(Debug)]
pub struct Opened {
    store: Arc<DataStore>,
    options: ReaderOptions,
    lock: LockFile,
    lease: Option<ReaderLease>,
}

/// A running restore.
pub struct Reader {
    store: Arc<DataStore>,
    task: Arc<dyn TaskContext>,
    options: ReaderOptions,
    chunks: Chunks,
    _lock: LockFile,
    _lease: Option<ReaderLease>,
}

impl Reader {
    /// Opens a session: the snapshot stays while it lives.
    pub async fn open(store: Arc<DataStore>, options: ReaderOptions) -> Result<Opened, RestError> {
        let ReaderOptions { ns, dir, .. } = &options;
        let refuse_missing = || {
            let exists = store.snapshots().snapshot_exists(ns, dir);
            match exists.map_err(|error| local(&error))? {
                true => Ok(()),
                false => Err(RestError::bad_request(format!(
                    "snapshot {dir} does not exist."
                ))),
            }
        };
        // No lock files for whatever is asked for; and it may go until it is locked.
        refuse_missing()?;
        let lock = store
            .locks()
            .snapshot_shared(ns, dir)
            .map_err(|error| local(&error))?;
        refuse_missing()?;
        let lease = ReaderLease::ask(&store).await;
        Ok(Opened {
            store,
            options,
            lock,
            lease,
        })
    }

    fn log(&self, message: &str) {
        self.task.log(message);
    }
}

impl Opened {
    /// The session as a task of its own.
    pub fn into_task(self, task: Arc<dyn TaskContext>, memory: &Arc<Memory>) -> Arc<Reader> {
        let client = self.store.client(TaskKind::Restore, task.cancel());
        let reader = Arc::new(Reader {
            task,
            chunks: Chunks::new(Arc::clone(&self.store), client, memory),
            store: self.store,
            options: self.options,
            _lock: self.lock,
            _lease: self.lease,
        });
        reader.log(&format!(
            "starting new backup reader datastore '{}': {:?}",
            reader.store.name(),
            reader.store.base()
        ));
        reader
    }
}

impl Session for Reader {
    fn endpoints() -> &'static [Endpoint<Self>] {
        super::ENDPOINTS
    }

    fn task(&self) -> &dyn TaskContext {
        &*self.task
    }

    fn env(&self) -> &Env {
        self.store.env()
    }

    fn is_verbose(&self) -> bool {
        self.options.debug
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    file_name: ArchiveName,
}

/// A file of the snapshot; the chunks of an index may be read from then on.
pub(super) async fn download(call: Call<Reader>) -> Result<Answer, RestError> {
    let File { file_name: name } = call.params.read()?;
    let reader = &call.session;
    let ReaderOptions { ns, dir, .. } = &reader.options;
    let path = reader
        .store
        .snapshots()
        .file_path(ns, dir, name.as_str())
        .map_err(|error| local(&error))?;
    reader.log(&format!("download {path:?}"));
    let kind = match name.archive_type() {
        Some(kind @ (ArchiveType::FixedIndex | ArchiveType::DynamicIndex)) => kind,
        _ => {
            let file = Download::open(path, reader.store.env()).await?;
            return Ok(file.into_answer());
        }
    };
    let file = Download::open(path.clone(), reader.store.env())
        .await
        .map_err(|error| RestError::bad_request(error.message))?;
    let (allowing, index) = (Arc::clone(reader), path.clone());
    let env = reader.store.env();
    env.blocking(move || {
        let index = AnyIndexReader::open(&index, kind)?;
        allowing.chunks.allow(&index)
    })
    .await
    .map_err(|error| RestError::bad_request(format!("unable to open index {path:?} - {error}")))?;
    reader.log(&format!("register chunks in '{name}' as downloadable."));
    Ok(file.into_answer())
}

#[derive(Deserialize)]
struct Chunk {
    digest: Digest,
}

/// A chunk that one of the session's indexes names, as it is stored.
pub(super) async fn chunk(call: Call<Reader>) -> Result<Answer, RestError> {
    let Chunk { digest } = call.params.read()?;
    let reader = &*call.session;
    if !reader.chunks.is_allowed(&digest) {
        // The boundary for those who may read their own backups only: what they cannot name by an
        // index of theirs is not theirs.
        return Err(RestError::new(
            StatusCode::UNAUTHORIZED,
            format!("download chunk {digest} not allowed"),
        ));
    }
    let path = reader.store.chunks().chunk_path(&digest);
    if reader.options.debug {
        reader.log(&format!("download chunk {path:?}"));
    }
    let bytes = reader.chunks.read(digest).await.map_err(|error| {
        // What the bucket does not give now is not missing: who takes it for that restores less.
        let status = match error.is_transient() {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::BAD_REQUEST,
        };
        RestError::new(status, format!("reading file {path:?} failed: {error}"))
    })?;
    Ok(http::bytes(full(bytes)))
}

/// So many bytes.
pub(super) fn speedtest() -> Answer {
    static BYTES: [u8; SPEEDTEST] = [65; SPEEDTEST];
    http::bytes(full(Bytes::from_static(&BYTES)))
}

fn local(error: &datastore::local_error::LocalError) -> RestError {
    RestError::bad_request(error.to_string())
}
