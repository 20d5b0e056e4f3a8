//! The first half of a refresh: the metadata tree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::names::ArchiveName;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use s3_client::{ETag, ListOptions, ListPrefix, ListedObject, S3Client};
use serde::Serialize;

use crate::atomic_file::{self, ReplaceOptions};
use crate::backend::s3::bounded::get_listed;
use crate::backend::s3::journal::sync_file_system;
use crate::disk;
use crate::error::{Error, Result};
use crate::format::blob::DataBlob;
use crate::format::index::AnyIndexReader;
use crate::format::manifest::Manifest;
use crate::store::DataStore;
use crate::store::lease::MaintenanceLease;
use crate::task::{Progress, TaskContext, check_abort};

use super::swap;
use super::tree_key::{SnapshotFile, TreeKey};

/// GETs in flight.
const PARALLEL_GETS: usize = 32;
/// Problems that are listed one by one in the task log.
const MAX_LISTED: usize = 100;

/// What the first half did.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MetadataReport {
    /// Metadata objects in the bucket.
    pub objects: u64,
    /// Files taken over from the local tree, their size and content being the object's.
    pub reused: u64,
    /// Objects fetched (in a dry run: that would be).
    pub fetched: u64,
    /// Bytes fetched.
    pub fetched_bytes: u64,
    /// Snapshots that only the local tree had.
    pub only_local: Vec<String>,
    /// Snapshots that only the bucket had.
    pub only_remote: Vec<String>,
    /// Objects that were not understood and left alone.
    pub unknown: Vec<String>,
    /// Damaged or incomplete things.
    pub problems: Vec<String>,
}

impl MetadataReport {
    /// Writes the report to the task log.
    pub fn log(&self, task: &dyn TaskContext) {
        task.log(&format!(
            "{} metadata objects: {} reused, {} fetched ({} bytes)",
            self.objects, self.reused, self.fetched, self.fetched_bytes
        ));
        for (what, list) in [
            ("only in the local tree", &self.only_local),
            ("only in the bucket", &self.only_remote),
        ] {
            for snapshot in list.iter().take(MAX_LISTED) {
                task.log(&format!("{what}: {snapshot}"));
            }
        }
        for key in self.unknown.iter().take(MAX_LISTED) {
            task.warn(&format!("object not understood, left alone: {key}"));
        }
        for problem in self.problems.iter().take(MAX_LISTED) {
            task.warn(problem);
        }
        let more = self.problems.len().saturating_sub(MAX_LISTED);
        if more > 0 {
            task.warn(&format!("{more} more problems"));
        }
    }
}

struct Entry {
    relative: String,
    kind: TreeKey,
    object: ListedObject,
}

struct Fetched {
    bytes: u64,
    problem: Option<String>,
}

impl DataStore {
    pub(super) async fn refresh_metadata(
        self: &Arc<Self>,
        client: &S3Client,
        task: &dyn TaskContext,
        lease: &Arc<MaintenanceLease>,
        dry_run: bool,
    ) -> Result<MetadataReport> {
        let mut report = MetadataReport::default();
        let entries = self.list_tree(client, task, &mut report).await?;
        self.compare_snapshots(&entries, &mut report);
        let total = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if !dry_run {
            swap::prepare(&self.state)?;
        }
        let mut results = stream::iter(entries)
            .map(|entry| self.bring(client, entry, lease, dry_run))
            .buffer_unordered(PARALLEL_GETS);
        let mut done = 0;
        while let Some(fetched) = results.try_next().await? {
            check_abort(task)?;
            done += 1;
            task.progress(Progress::new(
                "refresh metadata",
                done,
                Some(total),
                "objects",
            ));
            match fetched {
                None => report.reused += 1,
                Some(fetched) => {
                    report.fetched += 1;
                    report.fetched_bytes += fetched.bytes;
                    report.problems.extend(fetched.problem);
                }
            }
        }
        drop(results);
        if !dry_run {
            let (base, state) = (self.base.clone(), self.state.clone());
            let exchange = move || swap::exchange(&base, &state, || sync_file_system(&base));
            self.blocking_held(lease, exchange).await?;
        }
        Ok(report)
    }

    async fn list_tree(
        &self,
        client: &S3Client,
        task: &dyn TaskContext,
        report: &mut MetadataReport,
    ) -> Result<Vec<Entry>> {
        let Some(backend) = self.backend.s3() else {
            return Ok(Vec::new());
        };
        let prefix = ListPrefix::from(&backend.keys.content()?);
        let mut listing = client.list(prefix, ListOptions::default());
        let mut entries = Vec::new();
        while let Some(page) = listing.next_page().await {
            check_abort(task)?;
            for object in page?.objects {
                report.objects += 1;
                let relative = backend.keys.content_path(&object.key).map(str::to_owned);
                match relative.and_then(|path| TreeKey::parse(&path).map(|kind| (path, kind))) {
                    Some((relative, kind)) => entries.push(Entry {
                        relative,
                        kind,
                        object,
                    }),
                    None => report.unknown.push(object.key.to_string()),
                }
            }
        }
        let owners: BTreeSet<&str> = entries
            .iter()
            .filter_map(|entry| entry.relative.strip_suffix("/owner"))
            .collect();
        let mut ownerless = BTreeSet::new();
        for entry in &entries {
            if let Some(snapshot) = snapshot_of(entry)
                && let Some((group, _)) = snapshot.rsplit_once('/')
                && !owners.contains(group)
            {
                ownerless.insert(format!("group {group} has no owner object"));
            }
        }
        report.problems.extend(ownerless);
        Ok(entries)
    }

    fn compare_snapshots(&self, entries: &[Entry], report: &mut MetadataReport) {
        let remote: BTreeSet<String> = entries.iter().filter_map(snapshot_of).collect();
        let mut local = BTreeSet::new();
        if let Ok(namespaces) = self
            .snapshots
            .namespaces(&api_types::names::BackupNamespace::root(), None)
        {
            for ns in namespaces {
                for group in self.snapshots.list_groups(&ns).unwrap_or_default() {
                    for info in self
                        .snapshots
                        .list_snapshots(&ns, &group)
                        .unwrap_or_default()
                    {
                        let path = self.snapshots.snapshot_path(&ns, &info.dir);
                        if let Ok(relative) = path.strip_prefix(&self.base) {
                            local.insert(relative.display().to_string());
                        }
                    }
                }
            }
        }
        report.only_local = local.difference(&remote).cloned().collect();
        report.only_remote = remote.difference(&local).cloned().collect();
    }

    /// Brings one object into the new tree; `None` if a local file serves.
    async fn bring(
        &self,
        client: &S3Client,
        entry: Entry,
        lease: &Arc<MaintenanceLease>,
        dry_run: bool,
    ) -> Result<Option<Fetched>> {
        let target = swap::new_tree(&self.state).join(&entry.relative);
        if entry.kind == TreeKey::Namespace {
            let dir = target.parent().map(Path::to_owned).unwrap_or_default();
            if !dry_run {
                disk::create_dir_all(&dir, 0o755).map_err(Error::io("unable to create", &dir))?;
            }
            return Ok(None);
        }
        let sources = [
            self.base.join(&entry.relative),
            swap::partial_tree(&self.state).join(&entry.relative),
        ];
        let (object, place) = (entry.object.clone(), target.clone());
        let reuse = move || reuse(&sources, &object, (!dry_run).then_some(place.as_path()));
        if self.blocking_held(lease, reuse).await? {
            return Ok(None);
        }
        if dry_run {
            return Ok(Some(Fetched {
                bytes: entry.object.size,
                problem: None,
            }));
        }
        let Some(object) = get_listed(client, &entry.object.key, entry.object.size).await? else {
            let problem = Some(format!("{} was listed but is gone", entry.object.key));
            return Ok(Some(Fetched { bytes: 0, problem }));
        };
        self.blocking_held(lease, move || {
            let problem = validate(&entry, &object.body)
                .err()
                .map(|error| format!("{}: {error}", entry.object.key));
            place_file(&target, &object.body)?;
            let bytes = u64::try_from(object.body.len()).unwrap_or(u64::MAX);
            Ok(Some(Fetched { bytes, problem }))
        })
        .await
    }
}

fn snapshot_of(entry: &Entry) -> Option<String> {
    match entry.kind {
        TreeKey::SnapshotFile(_) => entry
            .relative
            .rsplit_once('/')
            .map(|(dir, _)| dir.to_owned()),
        TreeKey::Namespace | TreeKey::GroupFile => None,
    }
}

/// Links a local file into the new tree if its size and content are the object's.
fn reuse(sources: &[PathBuf], object: &ListedObject, target: Option<&Path>) -> Result<bool> {
    let Some(md5) = object.etag.as_ref().and_then(ETag::md5) else {
        return Ok(false);
    };
    for source in sources {
        let Ok(metadata) = std::fs::symlink_metadata(source) else {
            continue;
        };
        if !metadata.is_file() || metadata.len() != object.size {
            continue;
        }
        let Ok(bytes) = std::fs::read(source) else {
            continue;
        };
        let Ok(found) = openssl::hash::hash(openssl::hash::MessageDigest::md5(), &bytes) else {
            continue;
        };
        if found[..] != md5[..] {
            continue;
        }
        let Some(target) = target else {
            return Ok(true);
        };
        create_parent(target)?;
        // A link costs nothing; where the file system has none, the bytes are at hand.
        return match disk::hard_link(source, target) {
            Ok(()) => Ok(true),
            Err(_) => place_file(target, &bytes).map(|()| true),
        };
    }
    Ok(false)
}

fn place_file(target: &Path, bytes: &[u8]) -> Result<()> {
    create_parent(target)?;
    Ok(atomic_file::replace(
        target,
        bytes,
        &ReplaceOptions::default(),
    )?)
}

fn create_parent(target: &Path) -> Result<()> {
    let dir = target.parent().unwrap_or(target);
    disk::create_dir_all(dir, 0o755).map_err(Error::io("unable to create", dir))
}

/// Whether a fetched object is what its name says.
fn validate(entry: &Entry, body: &Bytes) -> std::result::Result<(), String> {
    let TreeKey::SnapshotFile(kind) = entry.kind else {
        return Ok(());
    };
    let name = entry.relative.rsplit('/').next().unwrap_or_default();
    match kind {
        SnapshotFile::Protected => Ok(()),
        SnapshotFile::Blob => DataBlob::from_bytes(body.clone())
            .and_then(|blob| blob.verify_crc())
            .map_err(|error| error.to_string()),
        SnapshotFile::Manifest => DataBlob::from_bytes(body.clone())
            .and_then(|blob| Manifest::from_blob(&blob, None))
            .map(|_| ())
            .map_err(|error| error.to_string()),
        SnapshotFile::Index => {
            let name: ArchiveName = name
                .parse()
                .map_err(|e: api_types::ParseError| e.to_string())?;
            let Some(archive_type) = name.archive_type() else {
                return Ok(());
            };
            AnyIndexReader::from_bytes(body.clone(), name.to_string(), archive_type)
                .map(|_| ())
                .map_err(|error| error.to_string())
        }
    }
}
