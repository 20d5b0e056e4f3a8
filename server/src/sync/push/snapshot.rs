//! One snapshot, from the local datastore into a session of the other server.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use api_types::names::{ArchiveName, ArchiveType, BackupDir, BackupNamespace};
use bytes::Bytes;
use client::session::{BackupRequest, BackupSession, Crypt};
use datastore::format::{DataBlob, FileInfo, MAX_BLOB_PLAIN, MAX_CHUNK_ENCODED, Manifest};
use datastore::local_error::LocalResult;
use datastore::locks::LockFile;

use super::Push;

/// Longest header of a blob.
const HEADER: u64 = 44;

/// How long to wait for whoever changes a snapshot, and between two looks.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// A snapshot here, and where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    /// The namespace here.
    pub ns: &'a BackupNamespace,
    /// The namespace there.
    pub target_ns: &'a BackupNamespace,
    /// The snapshot, here and there.
    pub dir: &'a BackupDir,
}

impl Push {
    /// Pushes a snapshot; whether there was one to push. `has_previous` = the target has an older
    /// one of the group. A session that fails leaves nothing at the target.
    pub(super) async fn push_snapshot(&self, route: Route<'_>, has_previous: bool) -> Result<bool> {
        let Route { ns, target_ns, dir } = route;
        // Neither prune nor removal touch it, and so neither does garbage collection its chunks.
        let Some((_lock, manifest)) = self.hold(ns, dir).await? else {
            return Ok(false);
        };
        let env = self.source.env();
        let request = BackupRequest {
            ns: target_ns,
            dir,
            // All is sent as it is stored.
            crypt: Crypt::default(),
            no_cache: false,
            limiter: None,
            workers: self.workers.clone(),
        };
        let session = BackupSession::open(self.target.remote(), request, env).await?;
        let previous = match has_previous {
            true => self.previous_manifest(&session).await,
            false => None,
        };
        for file in manifest.files() {
            self.push_file(&session, route, file, previous.as_ref())
                .await
                .with_context(|| format!("failed to push '{}' of {dir}", file.filename))?;
        }
        if let Err(error) = self.push_client_log(&session, route).await {
            // It is not part of the backup: without it the snapshot is whole, and others follow.
            self.warn(&format!(
                "the client's log of {dir} is not pushed: {error:#}"
            ));
        }
        session.finish(manifest).await?;
        Ok(true)
    }

    /// Locks the snapshot and reads its manifest; nothing if it has gone or was never finished. One
    /// that stays locked is an error, which ends the group: passed over, it would never come.
    async fn hold(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
    ) -> Result<Option<(LockFile, Manifest)>> {
        let locked = self.lock(ns, dir).await;
        let Some(lock) = locked.with_context(|| format!("failed to lock snapshot {dir}"))? else {
            self.log(&format!("snapshot {dir} has vanished, skipped"));
            return Ok(None);
        };
        match self.source.load_manifest(ns, dir).await {
            Ok(manifest) => Ok(Some((lock, manifest))),
            Err(error) if error.is_not_found() => {
                self.warn(&format!("snapshot {dir} has no manifest, skipped"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Locks the snapshot if there is one, waiting a little for whoever changes it.
    async fn lock(&self, ns: &BackupNamespace, dir: &BackupDir) -> LocalResult<Option<LockFile>> {
        let env = self.source.env();
        let deadline = env.now() + LOCK_PATIENCE;
        loop {
            let (locks, at, of) = (self.source.locks().clone(), ns.clone(), dir.clone());
            let exists = self.source.snapshots().clone();
            let locked = env.blocking(move || {
                // No lock file for what is not there.
                if !exists.snapshot_exists(&at, &of)? {
                    return Ok(None);
                }
                locks.snapshot_shared(&at, &of).map(Some)
            });
            match locked.await {
                Err(error) if error.is_busy() && env.now() < deadline => {
                    env.sleep(LOCK_PAUSE).await;
                }
                locked => return locked,
            }
        }
    }

    /// What the target's last snapshot of the group consists of. Without it all chunks are sent.
    async fn previous_manifest(&self, session: &BackupSession) -> Option<Manifest> {
        match session.previous_manifest().await {
            Ok(manifest) => Some(manifest),
            Err(error) => {
                self.log(&format!("all chunks are sent - {error:#}"));
                None
            }
        }
    }

    async fn push_file(
        &self,
        session: &BackupSession,
        route: Route<'_>,
        file: &FileInfo,
        previous: Option<&Manifest>,
    ) -> Result<()> {
        let name = &file.filename;
        match name.archive_type() {
            Some(ArchiveType::Blob) => {
                let raw = self.read_blob(route, name, MAX_BLOB_PLAIN + HEADER).await?;
                let blob = DataBlob::from_bytes(raw.context("it is missing")?)?;
                ensure!(
                    blob.raw_size() == file.size && blob.raw_csum() == *file.csum.as_bytes(),
                    "it is not the file that the manifest lists; verify the snapshot"
                );
                session.encoded_blob(name, blob).await?;
                Ok(())
            }
            Some(kind) => {
                let previous = previous.and_then(|manifest| manifest.lookup_file(name.as_str()));
                self.push_index(session, route, (file, kind), previous)
                    .await
            }
            None => bail!("its type is not known"),
        }
    }

    /// Pushes the log of the client that made the backup, if there is one. Whoever has stored it was
    /// allowed more than a session is.
    async fn push_client_log(&self, session: &BackupSession, route: Route<'_>) -> Result<()> {
        let name: ArchiveName = ArchiveName::CLIENT_LOG.parse()?;
        let raw = self.read_blob(route, &name, MAX_CHUNK_ENCODED).await?;
        if let Some(raw) = raw {
            session
                .encoded_blob(&name, DataBlob::from_bytes(raw)?)
                .await?;
        }
        Ok(())
    }

    async fn read_blob(
        &self,
        route: Route<'_>,
        name: &ArchiveName,
        limit: u64,
    ) -> Result<Option<Bytes>> {
        let snapshots = self.source.snapshots().clone();
        let (ns, dir, name) = (route.ns.clone(), route.dir.clone(), name.clone());
        let read = self
            .source
            .env()
            .blocking(move || snapshots.read_file(&ns, &dir, name.as_str(), limit));
        Ok(read.await?.map(Bytes::from))
    }
}
