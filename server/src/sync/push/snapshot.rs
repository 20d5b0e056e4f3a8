//! One snapshot, from the local datastore into a session of the other server.

use anyhow::{Context as _, Result, bail, ensure};
use api_types::names::{ArchiveName, ArchiveType, BackupDir, BackupNamespace};
use bytes::Bytes;
use client::session::{BackupRequest, BackupSession, Crypt};
use datastore::format::{DataBlob, FileInfo, MAX_BLOB_PLAIN, Manifest};
use datastore::locks::LockFile;

use super::Push;

/// Longest header of a blob.
const HEADER: u64 = 44;

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
        let log: ArchiveName = ArchiveName::CLIENT_LOG.parse()?;
        if let Some(raw) = self.read_blob(route, &log).await? {
            session
                .encoded_blob(&log, DataBlob::from_bytes(raw)?)
                .await?;
        }
        session.finish(manifest).await?;
        Ok(true)
    }

    /// Locks the snapshot and reads its manifest; nothing if it has gone or was never finished.
    async fn hold(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
    ) -> Result<Option<(LockFile, Manifest)>> {
        let (locks, at, of) = (self.source.locks().clone(), ns.clone(), dir.clone());
        let exists = self.source.snapshots().clone();
        let locked = self.source.env().blocking(move || {
            // No lock file for what is not there.
            if !exists.snapshot_exists(&at, &of)? {
                return Ok(None);
            }
            locks.snapshot_shared(&at, &of).map(Some)
        });
        let lock = match locked.await {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                self.log(&format!("snapshot {dir} has vanished, skipped"));
                return Ok(None);
            }
            Err(error) if error.is_busy() => {
                self.warn(&format!(
                    "snapshot {dir} is being changed, skipped - {error}"
                ));
                return Ok(None);
            }
            Err(error) => return Err(error).context(format!("failed to lock snapshot {dir}")),
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
                let raw = self.read_blob(route, name).await?;
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

    async fn read_blob(&self, route: Route<'_>, name: &ArchiveName) -> Result<Option<Bytes>> {
        let snapshots = self.source.snapshots().clone();
        let (ns, dir, name) = (route.ns.clone(), route.dir.clone(), name.clone());
        let read = self.source.env().blocking(move || {
            snapshots.read_file(&ns, &dir, name.as_str(), MAX_BLOB_PLAIN + HEADER)
        });
        Ok(read.await?.map(Bytes::from))
    }
}
