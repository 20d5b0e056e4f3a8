//! The two ends of a session.
//!
//! # A chunk that is found missing while a session finishes (G13)
//!
//! A collection *marks* a chunk as lost after it has looked for the object, at any moment of a
//! finish. The unsafe interleaving: the session looks whether a chunk of its is lost (no) · the
//! collection marks D as lost · the manifest is written, the session ends: a committed snapshot
//! names D, and the collection's list of snapshots to be failed, made from its mark, may not have
//! it. So the look is repeated *after* the local manifest is there, by comparing a counter that
//! every marking raises under the digest's lock:
//!
//! | D is marked as lost | then |
//! |---|---|
//! | before the first look | refused, nothing was written |
//! | between the looks, before the local manifest | refused; the manifest object goes with the abort |
//! | between the local manifest and the second look | the local manifest is taken away again; nobody could build upon it, the group lock is ours |
//! | after the second look | the snapshot was committed first. It is in the register's list of [recent finishes](super::registry::SessionRegistry::recent_finishes), which the collection reads after its last marking, and fails it there like the others |
//!
//! What another process marks reaches the counter when the file of losses is read, which precedes
//! each look ([`losses`](crate::backend::s3::losses)).
//!
//! The list is written before the first look and read after the last marking, so a snapshot is
//! refused, or on the list, or both. A later session that takes such a snapshot as its base is
//! refused by the same look, since it knows D from there, until somebody has uploaded D.

use std::collections::HashMap;
use std::sync::Arc;

use api_types::datastore::SyncLevel;
use api_types::digest::Digest;
use api_types::names::{ArchiveName, BackupDir, SnapshotPath};
use bytes::Bytes;
use s3_client::S3Client;
use tokio_util::sync::CancellationToken;

use crate::atomic_file::Durability;
use crate::backend::s3::S3Backend;
use crate::error::{Error, Result};
use crate::format::blob::DataBlob;
use crate::format::manifest::{FileInfo, Manifest};
use crate::store::DataStore;

use super::WriterSession;
use super::state::Finish;

impl WriterSession {
    /// Commits the snapshot with this manifest (upload statistics are added to it).
    ///
    /// The manifest is the commit record: everything that it names is in the bucket and visible
    /// locally before it is written, and the session leaves the register only after it is. No other
    /// call of the session goes on meanwhile or afterwards. After an error the session can still be
    /// [aborted](Self::abort); if the error came before anything was done (an open index, a call
    /// under way), it can also be continued.
    ///
    /// # Errors
    /// If a call is under way, an index is still open, there is no archive, the base is gone, a
    /// chunk of the session was found missing meanwhile, the prefix is not ours any more, or the
    /// manifest cannot be stored.
    pub async fn commit(&self, mut manifest: Manifest) -> Result<()> {
        let finish = self.begin_finish()?;
        let stats = self.state().stats;
        manifest.set_chunk_upload_stats(&stats);
        let raw = manifest
            .to_blob()
            .map_err(Error::format(format!("manifest of {}", self.dir)))?
            .into_raw();
        self.finish(finish, raw).await
    }

    /// Commits the snapshot with the manifest of another datastore, byte for byte.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit), or if it lists other files than the session has stored.
    pub async fn commit_copy(&self, blob: DataBlob) -> Result<()> {
        let manifest = Manifest::from_blob(&blob, None)
            .map_err(Error::format(format!("manifest of {}", self.dir)))?;
        self.check_files(&manifest)?;
        let finish = self.begin_finish()?;
        self.finish(finish, blob.into_raw()).await
    }

    /// The rest of a commit: `raw` is the manifest.
    async fn finish(&self, finish: Finish<'_>, raw: Bytes) -> Result<()> {
        let path = SnapshotPath::new(self.options.ns.clone(), self.dir.clone());
        self.hold.registration.finishing(path);
        self.store.learn_losses().await?;
        // The counter before the look: what is marked between the two is looked for once more.
        let losses = self.store.table.losses();
        self.hold.may_finish(losses);
        self.check_base()?;
        self.check_chunks().await?;
        self.put_manifest(raw.clone()).await?;
        self.check_since(losses).await?;
        let level = self.store.tuning().sync_level();
        if level == SyncLevel::Filesystem && self.client.is_none() {
            // What it names is on disk before the commit record is.
            let chunks = self.store.chunks.clone();
            self.holding(move || chunks.sync_filesystem()).await?;
        }
        // Durable before the client hears of it: a finished snapshot that a power loss makes look
        // unfinished is one that a prune removes, from the bucket too.
        let durability = match (level, &self.client) {
            (SyncLevel::None, None) => Durability::Lazy,
            _ => Durability::Synced,
        };
        self.write_local(ArchiveName::MANIFEST, raw, durability)
            .await?;
        if let Err(error) = self.check_since(losses).await {
            self.take_manifest_away().await?;
            return Err(error);
        }
        if level == SyncLevel::Filesystem && self.client.is_some() {
            let chunks = self.store.chunks.clone();
            self.holding(move || chunks.sync_filesystem()).await?;
        }
        self.hold.settle();
        finish.succeed();
        Ok(())
    }

    /// Removes what the session has written.
    ///
    /// Recorded in the cleanup journal first: what cannot be removed now, and what a late request
    /// of a cancelled call still does, is repaired by [`tend`](crate::store::DataStore::tend). In
    /// the bucket the manifest goes first, if one was sent, and nothing else before it is gone.
    ///
    /// # Errors
    /// If the journal cannot be written or the local directory cannot be removed; the next `tend`
    /// tries again.
    pub async fn abort(self) -> Result<()> {
        self.state().writers.clear();
        let (ns, dir) = (&self.options.ns, &self.dir);
        let (manifest, others) = self.hold.objects();
        let remote = self.store.backend.s3().zip(self.client.as_ref());
        let all: Vec<String> = manifest.iter().chain(&others).cloned().collect();
        if let Some((backend, _)) = remote.filter(|_| !all.is_empty()) {
            backend.cleanup.add(&self.store.env, all).await?;
        }
        let snapshots = self.store.snapshots.clone();
        let (local_ns, local_dir) = (ns.clone(), dir.clone());
        self.holding(move || snapshots.remove_snapshot_dir(&local_ns, &local_dir))
            .await?;
        let cleared = async {
            if let Some((backend, client)) = remote {
                delete_objects(backend, client, manifest, others).await?;
            }
            if self.group_is_new {
                let group = &self.options.group;
                self.store
                    .remove_group_if_empty(self.client.as_ref(), ns, group)
                    .await?;
            }
            Ok(())
        };
        match cleared.await {
            Ok(()) => self.hold.settle(),
            Err(Error::Aborted) => {}
            Err(error) => {
                tracing::warn!(snapshot = %dir, %error, "leftovers of an aborted backup stay for now");
            }
        }
        Ok(())
    }

    /// What the manifest of a copy lists is what was stored.
    fn check_files(&self, manifest: &Manifest) -> Result<()> {
        let stored = self.files();
        let is_stored = |file: &FileInfo| {
            stored.iter().any(|own| {
                own.name == file.filename
                    && own.size == file.size
                    && own.csum == *file.csum.as_bytes()
            })
        };
        let listed = manifest.files();
        let missing = listed.iter().find(|file| !is_stored(file));
        let refused = match missing {
            Some(file) => format!("{} of its manifest was not stored", file.filename),
            None if listed.len() < stored.len() => "its manifest lists not all its files".into(),
            None if manifest.backup_dir() != self.dir => {
                format!("its manifest is that of {}", manifest.backup_dir())
            }
            None => return Ok(()),
        };
        Err(Error::Refused(format!(
            "unable to finish {}: {refused}",
            self.dir
        )))
    }

    fn check_base(&self) -> Result<()> {
        match &self.base {
            Some(base) if !base.is_untouched() => Err(Error::Refused(format!(
                "unable to finish {}: its base snapshot was removed meanwhile, so chunks may be gone",
                self.dir
            ))),
            _ => Ok(()),
        }
    }

    /// Nothing that the indexes name may have gone missing meanwhile ◆.
    async fn check_chunks(&self) -> Result<()> {
        let lost = self.store.lost_of(&self.state().known);
        self.store.refuse_lost(&self.dir, lost).await
    }

    /// The same for what went missing since that count of losses.
    async fn check_since(&self, losses: u64) -> Result<()> {
        self.store.learn_losses().await?;
        match self.store.table.losses() == losses {
            true => Ok(()),
            false => self.check_chunks().await,
        }
    }

    async fn put_manifest(&self, raw: Bytes) -> Result<()> {
        let (ns, dir) = (&self.options.ns, &self.dir);
        if let (Some(backend), Some(client)) = (self.store.backend.s3(), &self.client) {
            let relative = self.store.relative_file(ns, dir, ArchiveName::MANIFEST);
            self.hold.may_have_sent(ArchiveName::MANIFEST);
            backend.put_manifest(client, &relative, raw).await?;
        }
        Ok(())
    }

    /// Makes the snapshot unfinished again, locally; its objects are the abort's.
    async fn take_manifest_away(&self) -> Result<()> {
        let (ns, dir) = (self.options.ns.clone(), self.dir.clone());
        // Whoever changes the manifest of a finished snapshot does so under its lock.
        let never = CancellationToken::new();
        let _lock = self.store.locks.manifest(&ns, &dir, &never).await?;
        let snapshots = self.store.snapshots.clone();
        self.holding(move || snapshots.remove_file(&ns, &dir, ArchiveName::MANIFEST))
            .await?;
        Ok(())
    }
}

impl DataStore {
    /// What other processes have found out meanwhile: which chunks are missing or damaged.
    pub(super) async fn learn_from_others(&self) -> Result<()> {
        if let Some(backend) = self.backend.s3() {
            let this = Arc::clone(backend);
            self.env.blocking(move || this.bad_list.look()).await?;
        }
        self.learn_losses().await
    }

    /// Which chunks other processes have found to be missing; they count as lost from now on.
    pub(crate) async fn learn_losses(&self) -> Result<()> {
        match self.backend.s3() {
            Some(backend) => backend.learn_losses().await,
            None => Ok(()),
        }
    }

    /// Those of these chunks, which a snapshot names, that were found missing ◆.
    pub(super) fn lost_of(&self, known: &HashMap<Digest, u32>) -> Vec<Digest> {
        if !self.table.has_lost() {
            return Vec::new();
        }
        let is_lost = |digest: &&Digest| self.table.with(digest, |slot| slot.is_lost());
        known.keys().filter(is_lost).copied().collect()
    }

    /// Fails if one of these is still lost. Presence goes before a chunk counts as lost: what is
    /// present was uploaded since, by another process.
    pub(super) async fn refuse_lost(&self, dir: &BackupDir, lost: Vec<Digest>) -> Result<()> {
        if lost.is_empty() {
            return Ok(());
        }
        let (table, chunks) = (Arc::clone(&self.table), Arc::clone(&self.chunks));
        let is_still_lost = move |digest: &Digest| -> Result<bool> {
            table.with(digest, |slot| {
                let is_present = chunks.stat_chunk(slot.digest())?.is_some();
                slot.set_lost(slot.is_lost() && !is_present);
                Ok(slot.is_lost())
            })
        };
        let find = move || -> Result<Option<Digest>> {
            for digest in lost {
                if is_still_lost(&digest)? {
                    return Ok(Some(digest));
                }
            }
            Ok(None)
        };
        match self.env.blocking(find).await? {
            Some(digest) => Err(Error::Refused(format!(
                "unable to finish {dir}: chunk {digest} was found missing meanwhile; the next \
                 backup will upload it"
            ))),
            None => Ok(()),
        }
    }
}

/// Deletes a backup's objects, the manifest before all others.
async fn delete_objects(
    backend: &S3Backend,
    client: &S3Client,
    manifest: Option<String>,
    others: Vec<String>,
) -> Result<()> {
    if manifest.is_none() && others.is_empty() {
        return Ok(());
    }
    let fence = backend.ownership.check(client, "delete a backup").await?;
    let fenced = client.signed_at(fence.signed_at);
    if let Some(manifest) = manifest {
        backend.delete_metadata(&fenced, &manifest).await?;
    }
    if others.is_empty() {
        return Ok(());
    }
    let resisted = backend.delete_metadata_files(&fenced, &others).await?;
    match resisted.into_iter().next() {
        None => Ok(()),
        Some((path, reason)) => Err(Error::Refused(format!(
            "unable to delete {path} from the bucket: {reason}"
        ))),
    }
}
