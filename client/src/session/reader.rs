//! A reader session: the files of a snapshot, each checked against the manifest.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use anyhow::{Context as _, Result, bail, ensure};
use api_types::names::{ArchiveName, BackupDir, BackupNamespace};
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::env::Env;
use datastore::format::{
    CryptConfig, DataBlob, FileInfo, MAX_BLOB_PLAIN, Manifest, SignatureStatus,
};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::archive::Archive;
use super::cache::Cache;
use super::fault::Interrupted;
use super::fetcher::{Fetcher, Wanted};
use super::files::{MAX_INDEX, MAX_MANIFEST, index_of};
use super::limiter::Limiter;
use super::open;
use super::spool::Spooled;
use super::task::Task;
use super::workers::Workers;
use crate::remote::Remote;

const PROTOCOL: &str = "proxmox-backup-reader-protocol-v1";
/// Bytes of chunks to be kept where files are read here and there.
pub const CACHE: u64 = 96 << 20;
/// As many as it takes to read in order, beside something else that needs memory.
pub const SMALL_CACHE: u64 = 24 << 20;
/// A blob as it is stored.
const MAX_BLOB_ENCODED: u64 = MAX_BLOB_PLAIN + 44;

/// A session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReaderSession(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fetcher: Fetcher,
    manifest: Manifest,
    signature: Option<SignatureStatus>,
    cache: Cache<Fetch>,
    handle: Handle,
    cancelled: CancellationToken,
}

/// A chunk on its way, or there.
pub(super) type Fetch = Shared<BoxFuture<'static, Result<Bytes, Arc<anyhow::Error>>>>;

impl ReaderSession {
    /// Opens a session and reads the manifest, which must be signed with `key` if it is signed and
    /// there is one. `cache` bytes of chunks are kept, for all archives together.
    pub async fn open(
        remote: &Remote,
        ns: &BackupNamespace,
        dir: &BackupDir,
        key: Option<Arc<CryptConfig>>,
        limiter: Option<Limiter>,
        cache: u64,
        env: &Env,
    ) -> Result<Self> {
        let query = open::query(remote, ns, dir);
        let connection = open::connect(remote, "/reader", PROTOCOL, query)
            .await
            .with_context(|| format!("failed to open snapshot {dir}"))?;
        let read = async {
            let target = format!("download?file-name={}", ArchiveName::MANIFEST);
            let raw = connection.download(&target, MAX_MANIFEST).await?;
            let manifest = Manifest::from_blob(&DataBlob::from_bytes(raw)?, None)?;
            let signature = key.as_ref().map(|key| manifest.verify_signature(key));
            anyhow::Ok((signature.transpose()?, manifest))
        };
        let read = read.await;
        let read = read.with_context(|| format!("failed to read the manifest of {dir}"))?;
        let (signature, manifest) = read;
        ensure!(
            manifest.backup_dir() == *dir,
            "the manifest of {dir} is that of another snapshot, {}",
            manifest.backup_dir()
        );
        Ok(Self(Arc::new(Inner {
            fetcher: Fetcher {
                connection,
                key,
                workers: Workers::new(env),
                limiter,
                env: env.clone(),
                refused: AtomicU32::new(0),
            },
            manifest,
            signature,
            cache: Cache::new(cache),
            handle: Handle::current(),
            cancelled: CancellationToken::new(),
        })))
    }

    /// What is in the snapshot.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// What a user who has given a key should know: that nothing was checked by it.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let unsigned = self.0.signature == Some(SignatureStatus::Unsigned);
        unsigned.then(|| {
            let dir = self.manifest().backup_dir();
            format!("{dir} is not signed: the key cannot show whether it was changed")
        })
    }

    /// The manifest's entry of a file.
    pub fn file(&self, name: &ArchiveName) -> Result<&FileInfo> {
        let manifest = self.manifest();
        manifest.lookup_file(name.as_str()).with_context(|| {
            let names = manifest.files().iter();
            let names: Vec<_> = names.map(|file| file.filename.client_name()).collect();
            let name = name.client_name();
            format!("the snapshot has no '{name}', only: {}", names.join(", "))
        })
    }

    /// The content of a blob.
    pub async fn blob(&self, name: &ArchiveName) -> Result<Vec<u8>> {
        let file = self.file(name)?;
        let target = format!("download?file-name={name}");
        let read = async {
            let raw = self.0.fetcher.download(&target, MAX_BLOB_ENCODED).await?;
            let blob = DataBlob::from_bytes(raw)?;
            ensure!(
                blob.raw_size() == file.size && blob.raw_csum() == *file.csum.as_bytes(),
                "it is not the file that the manifest lists"
            );
            if blob.is_encrypted() {
                self.0.key(file)?;
            }
            let key = self.0.fetcher.key.clone();
            let decoded = move || blob.decode(key.as_deref(), MAX_BLOB_PLAIN);
            Ok(self.0.fetcher.workers.run(decoded).await??)
        };
        let content: Result<_> = read.await;
        content.with_context(|| format!("failed to read {name}"))
    }

    /// The log of the client that made the backup, which no manifest lists.
    pub async fn client_log(&self) -> Result<Vec<u8>> {
        let name = ArchiveName::CLIENT_LOG;
        let target = format!("download?file-name={name}");
        let raw = self.0.fetcher.download(&target, MAX_BLOB_ENCODED).await;
        let blob = DataBlob::from_bytes(raw.with_context(|| format!("failed to read {name}"))?)?;
        blob.verify_crc()?;
        Ok(blob.decode(self.0.fetcher.key.as_deref(), MAX_BLOB_PLAIN)?)
    }

    /// An archive of chunks.
    pub async fn archive(&self, name: &ArchiveName) -> Result<Archive> {
        let file = self.file(name)?;
        let encrypted = file.crypt_mode == CryptMode::Encrypt;
        if encrypted {
            self.0.key(file)?;
        }
        let target = format!("download?file-name={name}");
        let read = async {
            let raw = self.0.spool(&target, MAX_INDEX).await?;
            index_of(file, raw, &self.0.fetcher.env).await
        };
        let index = read.await;
        let index = index.with_context(|| format!("failed to read the index of {name}"))?;
        Ok(Archive::new(self.clone(), name, index, encrypted))
    }

    /// Whoever reads chunks gets an error from now on, at once.
    pub fn cancel(&self) {
        self.0.cancelled.cancel();
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// Most bytes that it makes sense to read ahead.
    pub(super) fn ahead(&self) -> u64 {
        self.0.cache.limit() / 2
    }

    /// Fetches a chunk, unless it is there or on its way.
    pub(super) fn chunk(&self, wanted: Wanted) -> Fetch {
        if self.0.cancelled.is_cancelled() {
            return std::future::ready(Err(Arc::new(Interrupted.into())))
                .boxed()
                .shared();
        }
        let make = || {
            let (inner, handle) = (Arc::clone(&self.0), self.handle());
            let task = Task::spawn(handle, async move {
                let fetched = tokio::select! {
                    fetched = inner.fetcher.chunk(wanted) => fetched,
                    () = inner.cancelled.cancelled() => Err(Interrupted.into()),
                };
                if fetched.is_err() {
                    // Who asks again may have more luck.
                    inner.cache.remove(&wanted.digest);
                }
                fetched
            });
            task.map(|fetched| fetched.map_err(Arc::new))
                .boxed()
                .shared()
        };
        self.0.cache.get(&wanted.digest, wanted.size, make)
    }
}

impl Inner {
    /// Downloads what may be too large for memory.
    async fn spool(&self, target: &str, limit: u64) -> Result<Spooled> {
        let fetcher = &self.fetcher;
        let download = fetcher.connection.spool(target, limit, &fetcher.env);
        let downloaded = match &fetcher.limiter {
            Some(limiter) => limiter.during(download, |(_, length)| *length).await,
            None => download.await,
        };
        Ok(downloaded?.0)
    }

    /// The key for an encrypted file.
    fn key(&self, file: &FileInfo) -> Result<&CryptConfig> {
        if let Some(key) = &self.fetcher.key {
            return Ok(key);
        }
        let name = &file.filename;
        match self.manifest.key_fingerprint()? {
            Some(key) => bail!(
                "{name} is encrypted with the key {}; give it by --keyfile",
                key.short_id()
            ),
            None => bail!("{name} is encrypted; give its key by --keyfile"),
        }
    }
}
