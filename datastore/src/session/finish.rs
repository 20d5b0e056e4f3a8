//! The two ends of a session.

use api_types::datastore::SyncLevel;
use api_types::names::ArchiveName;
use bytes::Bytes;

use crate::atomic_file::Durability;
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;

use super::WriterSession;

impl WriterSession {
    /// Commits the snapshot with this manifest (upload statistics are added to it).
    ///
    /// The manifest is the commit record: everything that it names is in the bucket and visible
    /// locally before it is written, and the session leaves the register only after it is. After an
    /// error the session can still be [aborted](Self::abort).
    ///
    /// # Errors
    /// If an index is still open, there is no archive, the base is gone, a chunk of the session was
    /// found missing meanwhile, the prefix is not ours any more, or the manifest cannot be stored.
    pub async fn commit(&self, mut manifest: Manifest) -> Result<()> {
        self.check_complete()?;
        self.check_chunks()?;
        let stats = self.state().stats;
        manifest.set_chunk_upload_stats(&stats);
        let raw = manifest
            .to_blob()
            .map_err(Error::format(format!("manifest of {}", self.dir)))?
            .into_raw();
        self.store_manifest(raw).await?;
        if self.store.tuning().sync_level() == SyncLevel::Filesystem {
            let chunks = self.store.chunks.clone();
            self.store
                .env
                .blocking(move || chunks.sync_filesystem())
                .await?;
        }
        Ok(())
    }

    /// Removes what the session has written; what cannot be removed now is removed later.
    ///
    /// # Errors
    /// If the local directory cannot be removed. Bucket objects that resist are in the cleanup
    /// journal.
    pub async fn abort(self) -> Result<()> {
        self.state().writers.clear();
        let (ns, dir) = (&self.options.ns, &self.dir);
        if let (Some(backend), Some(client)) = (self.store.backend.s3(), &self.client) {
            let mut files: Vec<String> = vec![ArchiveName::MANIFEST.to_owned()];
            files.extend(self.state().files.iter().map(|file| file.name.to_string()));
            let relative: Vec<String> = files
                .iter()
                .map(|name| self.store.relative_file(ns, dir, name))
                .collect();
            let deleted = match backend.ownership.check(client, "delete a backup").await {
                Ok(fence) => {
                    let fenced = client.signed_at(fence.signed_at);
                    backend.delete_metadata_files(&fenced, &relative).await
                }
                Err(error) => {
                    // Not sent; the journal waits until the prefix is ours (again).
                    backend.cleanup.add(&self.store.env, relative).await?;
                    Err(error)
                }
            };
            if let Err(error) = deleted {
                tracing::warn!(snapshot = %dir, %error, "leftovers of an aborted backup stay in the bucket for now");
            }
        }
        self.store.snapshots.remove_snapshot_dir(ns, dir)?;
        if self.group_is_new {
            self.store
                .remove_group_if_empty(self.client.as_ref(), ns, &self.options.group)
                .await?;
        }
        Ok(())
    }

    fn check_complete(&self) -> Result<()> {
        let state = self.state();
        if !state.writers.is_empty() {
            return Err(Error::Refused(format!(
                "unable to finish {}: {} index writers are still open",
                self.dir,
                state.writers.len()
            )));
        }
        if state.files.is_empty() {
            return Err(Error::Refused(format!(
                "unable to finish {}: it is empty",
                self.dir
            )));
        }
        Ok(())
    }

    /// Nothing that the indexes name may have gone missing meanwhile ◆.
    fn check_chunks(&self) -> Result<()> {
        if self.base.as_ref().is_some_and(|base| !base.is_untouched()) {
            return Err(Error::Refused(format!(
                "unable to finish {}: its base snapshot was removed meanwhile, so chunks may be gone",
                self.dir
            )));
        }
        let state = self.state();
        let lost = state.known.keys().find(|digest| {
            self.store.table.has_lost() && self.store.table.with(digest, |slot| slot.is_lost())
        });
        match lost {
            Some(digest) => Err(Error::Refused(format!(
                "unable to finish {}: chunk {digest} was found missing meanwhile; the next backup \
                 will upload it",
                self.dir
            ))),
            None => Ok(()),
        }
    }

    async fn store_manifest(&self, raw: Bytes) -> Result<()> {
        let (ns, dir) = (&self.options.ns, &self.dir);
        if let (Some(backend), Some(client)) = (self.store.backend.s3(), &self.client) {
            let relative = self.store.relative_file(ns, dir, ArchiveName::MANIFEST);
            backend.put_manifest(client, &relative, raw.clone()).await?;
            // Durable before the client hears of it: a finished snapshot that a power loss makes
            // look unfinished is one that a prune removes, from the bucket too.
            let synced = Durability::Synced;
            return self.write_local(ArchiveName::MANIFEST, raw, synced).await;
        }
        self.write_local(ArchiveName::MANIFEST, raw, Durability::Lazy)
            .await
    }
}
