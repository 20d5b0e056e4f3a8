//! Making the bucket equal to the local tree, path by path.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use api_types::names::ArchiveName;
use bytes::Bytes;
use s3_client::{PutMode, S3Client};
use tokio::time::Instant;

use crate::error::{Error, Result};

use super::super::S3Backend;
use super::super::keys::NAMESPACE_MARKER;
use super::locks::{PathLocks, Taken};

/// What a round of reconciling did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReconcileReport {
    /// Objects deleted since their local file is gone.
    pub deleted: usize,
    /// Objects put again since they differed from the local file.
    pub repaired: usize,
    /// Paths that could not be reconciled.
    pub failed: usize,
    /// Paths that somebody is changing at the moment.
    pub busy: usize,
    /// Paths still in the journal.
    pub open: usize,
}

/// What a round has found.
pub(super) struct Round {
    /// Looked at after their quarantines, which ended then.
    pub done: Vec<(String, Instant)>,
    /// Looked at for the first time, or put right by a request of which an earlier attempt may still
    /// be applied.
    pub waiting: Vec<String>,
    /// Their requests may still arrive.
    pub failed: Vec<String>,
    /// The end of a quarantine that begins now.
    pub until: Instant,
}

enum Repair {
    Delete,
    Put(Bytes),
}

impl S3Backend {
    /// Makes the object of every path in the cleanup journal equal to the local file, those first
    /// that a process which has ended left behind.
    ///
    /// Each path under the locks of whoever changes it, in any process ◆: a file that is being
    /// removed or moved elsewhere would be put back, and nobody would look again. What is locked is
    /// left for the next round. Only while the prefix is ours: another owner's tree is not to be made
    /// equal to ours ◆.
    ///
    /// # Errors
    /// If the prefix is not ours or the journal cannot be read or written; paths that fail stay in
    /// it.
    pub async fn reconcile_metadata(
        &self,
        client: &S3Client,
        locks: &PathLocks,
    ) -> Result<ReconcileReport> {
        self.cleanup.adopt(&self.env).await?;
        let mut report = ReconcileReport::default();
        let entries = self.cleanup.snapshot();
        if entries.is_empty() {
            return Ok(report);
        }
        let mut done = Vec::new();
        let mut waiting = Vec::new();
        let mut failed = Vec::new();
        // Snapshots whose manifest could not be brought in order: the rest of them waits.
        let mut unsettled = BTreeSet::new();
        for (path, until) in entries {
            if unsettled.contains(directory_of(&path)) {
                report.failed += 1;
                continue;
            }
            let fence = self.ownership.check(client, "repair metadata").await?;
            let fenced = client.signed_at(fence.signed_at);
            let result = match self.take(locks, &path).await {
                Ok(Taken::Busy) => {
                    report.busy += 1;
                    if is_manifest(&path) {
                        unsettled.insert(directory_of(&path).to_owned());
                    }
                    continue;
                }
                Ok(Taken::Held(held)) => {
                    let result = self.reconcile_path(&fenced, &path, &mut report).await;
                    self.env.blocking(move || held.release()).await;
                    result
                }
                Err(error) => Err(error),
            };
            match (result, until) {
                (Ok(true), Some(until)) if until <= self.env.now() => done.push((path, until)),
                (Ok(true), Some(_)) => {}
                (Ok(_), _) => waiting.push(path),
                (Err(error), _) => {
                    tracing::warn!(%path, %error, "unable to reconcile a metadata object");
                    report.failed += 1;
                    if is_manifest(&path) {
                        unsettled.insert(directory_of(&path).to_owned());
                    }
                    failed.push(path);
                }
            }
        }
        let until = self.env.now() + self.quarantine;
        let round = Round {
            done,
            waiting,
            failed,
            until,
        };
        self.cleanup.settle(&self.env, round).await?;
        report.open = self.cleanup.len();
        Ok(report)
    }

    /// A first look at paths that are in the journal by now, by a caller who holds their locks.
    ///
    /// # Errors
    /// If the prefix is not ours, or the bucket or the disk refuses.
    pub(crate) async fn reconcile_held(&self, client: &S3Client, paths: &[String]) -> Result<()> {
        let mut report = ReconcileReport::default();
        for path in paths {
            let fence = self.ownership.check(client, "repair metadata").await?;
            let fenced = client.signed_at(fence.signed_at);
            self.reconcile_path(&fenced, path, &mut report).await?;
        }
        Ok(())
    }

    async fn take(&self, locks: &PathLocks, path: &str) -> Result<Taken> {
        let (locks, path) = (locks.clone(), path.to_owned());
        self.env.blocking(move || locks.take(&path)).await
    }

    /// Whether no attempt of its requests is open.
    async fn reconcile_path(
        &self,
        client: &S3Client,
        relative: &str,
        report: &mut ReconcileReport,
    ) -> Result<bool> {
        let local = self.local.base().join(relative);
        let key = self.keys.content_file(relative)?;
        let head = client.head_object(&key).await?;
        let process = Arc::clone(&self.process);
        let look = move || {
            let wanted = wanted(&local)?;
            // Without its disk all of the tree is gone, and the bucket has the only copy ◆.
            if matches!(wanted, Repair::Delete) && !process.is_in_place() {
                return Err(Error::Refused(format!(
                    "'{}' is missing with all of its datastore's directory; is the disk mounted?",
                    local.display()
                )));
            }
            Ok(wanted)
        };
        match self.env.blocking(look).await? {
            Repair::Delete => {
                if head.is_none() {
                    return Ok(true);
                }
                report.deleted += 1;
                Ok(client.delete_object(&key).await?.is_settled())
            }
            Repair::Put(body) => {
                let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
                let md5 = openssl::hash::hash(openssl::hash::MessageDigest::md5(), &body);
                let same = head.is_some_and(|head| {
                    let content = head.etag.as_ref().and_then(s3_client::ETag::md5);
                    head.size == size
                        && content.is_none_or(|c| md5.as_ref().is_ok_and(|m| m[..] == c[..]))
                });
                if same {
                    return Ok(true);
                }
                report.repaired += 1;
                let put = client.put_object(&key, body, PutMode::Replace).await?;
                Ok(put.is_settled())
            }
        }
    }
}

pub(super) fn is_manifest(path: &str) -> bool {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name == ArchiveName::MANIFEST
}

pub(super) fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn wanted(local: &Path) -> Result<Repair> {
    // A namespace's marker exists in the bucket only: it stands for the directory.
    if local
        .file_name()
        .is_some_and(|name| name == NAMESPACE_MARKER)
    {
        let exists = local.parent().is_some_and(Path::is_dir);
        return Ok(if exists {
            Repair::Put(Bytes::new())
        } else {
            Repair::Delete
        });
    }
    match std::fs::read(local) {
        Ok(bytes) => Ok(Repair::Put(Bytes::from(bytes))),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Repair::Delete)
        }
        Err(error) => Err(Error::io("unable to read", local)(error)),
    }
}
