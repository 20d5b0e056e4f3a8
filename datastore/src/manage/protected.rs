//! Which snapshots the bucket says are protected (`s3-backend.md` §9, R-D8).
//!
//! A snapshot is protected if either side says so: a crash in the middle of lifting a protection,
//! or another server's marker, must not cost a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use api_types::names::{BackupDir, BackupGroup, BackupNamespace, SnapshotPath};
use futures_util::{StreamExt, TryStreamExt, stream};
use s3_client::{ListOptions, S3Client};

use crate::backend::s3::S3Backend;
use crate::error::Result;
use crate::snapshot::PROTECTED_MARKER;
use crate::store::DataStore;

/// Up to so many snapshots of a group are asked for one by one; for more, the group is listed.
const MAX_HEADS: usize = 4;
/// Requests at once.
const CONCURRENCY: usize = 8;

impl DataStore {
    /// The snapshots among `candidates` that are protected in the bucket.
    pub(super) async fn protected_in_bucket(
        &self,
        backend: &S3Backend,
        client: &S3Client,
        candidates: &[SnapshotPath],
    ) -> Result<BTreeSet<SnapshotPath>> {
        let mut groups: BTreeMap<(&BackupNamespace, &BackupGroup), Vec<&SnapshotPath>> =
            BTreeMap::new();
        for path in candidates {
            groups
                .entry((&path.ns, &path.dir.group))
                .or_default()
                .push(path);
        }
        let (few, many): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|(_, paths)| paths.len() <= MAX_HEADS);
        // The futures are made before they are streamed: a closure in the stream would keep the
        // compiler from seeing that the whole may move between threads.
        let heads: Vec<_> = few
            .into_iter()
            .flat_map(|(_, paths)| paths)
            .map(|path| self.is_marked(backend, client, path))
            .collect();
        let mut protected: BTreeSet<SnapshotPath> = stream::iter(heads)
            .buffer_unordered(CONCURRENCY)
            .try_filter_map(|found| std::future::ready(Ok(found)))
            .try_collect()
            .await?;
        let listings: Vec<_> = many
            .into_iter()
            .map(|((ns, group), _)| list_marked(backend, client, ns, group))
            .collect();
        let listed: Vec<Vec<SnapshotPath>> = stream::iter(listings)
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        protected.extend(listed.into_iter().flatten());
        Ok(protected)
    }

    async fn is_marked(
        &self,
        backend: &S3Backend,
        client: &S3Client,
        path: &SnapshotPath,
    ) -> Result<Option<SnapshotPath>> {
        let relative = self.relative_file(&path.ns, &path.dir, PROTECTED_MARKER);
        let head = client
            .head_object(&backend.keys.content_file(&relative)?)
            .await?;
        Ok(head.map(|_| path.clone()))
    }
}

/// The protected snapshots of one group, by a listing of its directory.
async fn list_marked(
    backend: &S3Backend,
    client: &S3Client,
    ns: &BackupNamespace,
    group: &BackupGroup,
) -> Result<Vec<SnapshotPath>> {
    let dir = backend.keys.content_dir(&ns.path_of(&group.path()))?;
    let mut listing = client.list(dir.clone(), ListOptions::default());
    let mut marked = Vec::new();
    while let Some(page) = listing.next_page().await {
        for object in page?.objects {
            let Some(relative) = object.key.relative_to(&dir) else {
                continue;
            };
            let Some((time, PROTECTED_MARKER)) = relative.split_once('/') else {
                continue;
            };
            if let Ok(time) = time.parse() {
                let dir = BackupDir::new(group.clone(), time);
                marked.push(SnapshotPath::new(ns.clone(), dir));
            }
        }
    }
    Ok(marked)
}
