//! A backup session: what a client does to make a snapshot.
//!
//! The session ends with the last clone of it. If that is before [`BackupSession::finish`], the
//! server removes what was uploaded.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Digest;
use api_types::names::{ArchiveName, BackupDir, BackupNamespace};
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::env::Env;
use datastore::format::index::{AnyIndexReader, IndexFile as _};
use datastore::format::{DataBlob, FileInfo, MAX_CHUNK_ENCODED, Manifest, SignatureStatus};
use hyper::Method;
use serde_json::{Value, json};

use super::connection::{Body, Connection};
use super::crypt::Crypt;
use super::files::{MAX_INDEX, MAX_MANIFEST, index_of};
use super::known::Known;
use super::limiter::Limiter;
use super::open;
use super::progress::Progress;
use super::upload::Upload;
use super::workers::Workers;
use crate::remote::Remote;

const PROTOCOL: &str = "proxmox-backup-protocol-v1";

/// A session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BackupSession(Arc<Shared>);

/// What all parts of a session use.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connection: Connection,
    pub(super) crypt: Crypt,
    pub(super) known: Arc<Known>,
    pub(super) workers: Workers,
    pub(super) limiter: Option<Limiter>,
    pub(super) env: Env,
}

/// How a session is opened.
#[derive(Debug)]
pub struct BackupRequest<'a> {
    /// Where the snapshot goes.
    pub ns: &'a BackupNamespace,
    /// The snapshot.
    pub dir: &'a BackupDir,
    /// How it is protected.
    pub crypt: Crypt,
    /// The server should not keep the chunks in its cache.
    pub no_cache: bool,
    /// Most bytes a second.
    pub limiter: Option<Limiter>,
    /// What it may take of the machine.
    pub workers: Workers,
}

/// Which kind of index an archive has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// Chunks cut by content.
    Dynamic,
    /// Chunks of one size, of an image whose size may be known.
    Fixed {
        /// Size of the image.
        size: Option<u64>,
    },
}

impl IndexKind {
    /// How endpoints begin.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Fixed { .. } => "fixed",
        }
    }
}

impl BackupSession {
    /// Opens a session.
    pub async fn open(remote: &Remote, request: BackupRequest<'_>, env: &Env) -> Result<Self> {
        let mut query = open::query(remote, request.ns, request.dir);
        query.push(("benchmark", "false".to_owned()));
        if request.no_cache {
            query.push(("no-cache", "true".to_owned()));
        }
        let connection = open::connect(remote, "/backup", PROTOCOL, query)
            .await
            .with_context(|| format!("failed to start a backup of {}", request.dir))?;
        Ok(Self(Arc::new(Shared {
            connection,
            crypt: request.crypt,
            known: Arc::default(),
            workers: request.workers,
            limiter: request.limiter,
            env: env.clone(),
        })))
    }

    /// When the last backup of the group was made, if the server takes it for a good one.
    pub async fn previous_backup_time(&self) -> Result<Option<i64>> {
        let time = self
            .call(Method::GET, "previous_backup_time", Body::None)
            .await;
        let time = time.context("failed to ask for the last backup")?;
        Ok(time.as_i64())
    }

    /// The manifest of the last backup.
    pub async fn previous_manifest(&self) -> Result<Manifest> {
        let target = format!("previous?archive-name={}", ArchiveName::MANIFEST);
        let raw = self.0.connection.download(&target, MAX_MANIFEST).await;
        let raw = raw.context("failed to download the manifest of the last backup")?;
        Ok(Manifest::from_blob(&DataBlob::from_bytes(raw)?, None)?)
    }

    /// Checks that a manifest was made by whoever has our key.
    pub fn trusts(&self, manifest: &Manifest) -> Result<()> {
        let Some(key) = self.0.crypt.signer() else {
            return Ok(());
        };
        let status = manifest.verify_signature(key)?;
        ensure!(status == SignatureStatus::Valid, "it is not signed");
        Ok(())
    }

    /// Whether chunks of such a file of the last backup can be part of this one.
    #[must_use]
    pub fn can_reuse(&self, file: &FileInfo) -> bool {
        let encrypted = |mode: CryptMode| mode == CryptMode::Encrypt;
        encrypted(file.crypt_mode) == encrypted(self.0.crypt.mode())
    }

    /// The index of an archive of the last backup, which must be as its manifest says: its chunks
    /// need not be uploaded.
    pub async fn previous_index(&self, file: &FileInfo) -> Result<AnyIndexReader> {
        let name = file.filename.as_str();
        let read = async {
            let target = format!("previous?archive-name={name}");
            let env = &self.0.env;
            let (raw, _) = self.0.connection.spool(&target, MAX_INDEX, env).await?;
            let index = index_of(file, raw, env).await?;
            let known = Arc::clone(&self.0.known);
            let learn = move || {
                let mut digests = Vec::new();
                let mut entries = index.entries();
                while entries.next_digests(&mut digests)? {
                    known.extend(digests.drain(..));
                }
                drop(entries);
                anyhow::Ok(index)
            };
            env.blocking(learn).await
        };
        read.await
            .with_context(|| format!("failed to get the last backup's index of {name}"))
    }

    /// Opens an archive of chunks.
    pub async fn upload(
        &self,
        name: &ArchiveName,
        kind: IndexKind,
        progress: &Arc<Progress>,
    ) -> Result<Upload> {
        let size = match kind {
            IndexKind::Fixed { size: Some(size) } => format!("&size={size}"),
            _ => String::new(),
        };
        let target = format!("{}_index?archive-name={name}{size}", kind.name());
        let wid = self.call(Method::POST, &target, Body::None).await;
        let wid = wid.with_context(|| format!("{name}: failed to create its index"))?;
        let wid = wid
            .as_u64()
            .with_context(|| format!("{name}: the server gave its index no number"))?;
        let session = Arc::clone(&self.0);
        Ok(Upload::start(session, name, kind, wid, progress))
    }

    /// Uploads a file without chunks.
    pub async fn blob(&self, name: &ArchiveName, data: &[u8]) -> Result<FileInfo> {
        let encode = || format!("failed to encode {name}");
        let blob = self
            .0
            .crypt
            .encode(data, &self.0.env)
            .with_context(encode)?;
        self.encoded_blob(name, blob).await
    }

    /// Uploads a blob as it is.
    pub async fn encoded_blob(&self, name: &ArchiveName, blob: DataBlob) -> Result<FileInfo> {
        let info = FileInfo {
            filename: name.clone(),
            crypt_mode: self.0.crypt.mode(),
            size: blob.raw_size(),
            csum: Digest::from_bytes(blob.raw_csum()),
        };
        ensure!(
            blob.raw_size() <= MAX_CHUNK_ENCODED,
            "{name}: the server takes no file of more than 16 MiB that is not an archive of chunks"
        );
        if let Some(limiter) = &self.0.limiter {
            limiter.pass(blob.raw_size()).await;
        }
        let target = format!("blob?encoded-size={}&file-name={name}", blob.raw_size());
        let body = Body::Raw(blob.into_raw());
        self.call(Method::POST, &target, body)
            .await
            .with_context(|| format!("failed to upload {name}"))?;
        Ok(info)
    }

    /// Signs the manifest if there is a key, uploads it, and ends the backup.
    pub async fn finish(self, mut manifest: Manifest) -> Result<()> {
        if let Some(key) = self.0.crypt.signer() {
            manifest.sign(key)?;
        }
        self.encoded_blob(&ArchiveName::MANIFEST.parse()?, manifest.to_blob()?)
            .await?;
        self.call(Method::POST, "finish", Body::None)
            .await
            .context("the server could not finish the backup")?;
        Ok(())
    }

    async fn call(&self, method: Method, target: &str, body: Body) -> Result<Value> {
        self.0.connection.call(method, target, body).await
    }
}

impl Shared {
    /// Uploads a chunk.
    pub(super) async fn send_chunk(
        &self,
        kind: IndexKind,
        wid: u64,
        digest: &Digest,
        size: usize,
        encoded: Bytes,
    ) -> Result<()> {
        if let Some(limiter) = &self.limiter {
            limiter.pass(encoded.len() as u64).await;
        }
        let target = format!(
            "{}_chunk?digest={digest}&encoded-size={}&size={size}&wid={wid}",
            kind.name(),
            encoded.len()
        );
        let body = Body::Raw(encoded);
        let sent = self.connection.call(Method::POST, &target, body).await;
        sent.with_context(|| format!("failed to upload chunk {digest}"))?;
        Ok(())
    }

    /// Appends chunks to an index.
    pub(super) async fn append(
        &self,
        kind: IndexKind,
        wid: u64,
        offsets: &[u64],
        digests: &[Digest],
    ) -> Result<()> {
        let body = json!({ "digest-list": digests, "offset-list": offsets, "wid": wid });
        let target = format!("{}_index", kind.name());
        let appended = self
            .connection
            .call(Method::PUT, &target, Body::Json(body))
            .await;
        appended.context("failed to append to its index")?;
        Ok(())
    }

    /// Closes an index.
    pub(super) async fn close(
        &self,
        kind: IndexKind,
        wid: u64,
        count: u64,
        size: u64,
        csum: [u8; 32],
    ) -> Result<()> {
        let csum = hex::encode(csum);
        let target = format!(
            "{}_close?chunk-count={count}&csum={csum}&size={size}&wid={wid}",
            kind.name()
        );
        let closed = self.connection.call(Method::POST, &target, Body::None);
        closed.await.context("failed to close its index")?;
        Ok(())
    }
}
