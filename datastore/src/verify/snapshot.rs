//! One snapshot: its files, and the verdict in its manifest.

use std::time::Duration;

use api_types::names::{ArchiveName, ArchiveType, SnapshotPath};
use api_types::status::{SnapshotVerifyState, VerifyState};
use bytes::Bytes;

use crate::backend::s3::delete::is_fatal;
use crate::error::{Error, Result};
use crate::format::blob::{DataBlob, MAX_BLOB_PLAIN};
use crate::format::manifest::{FileInfo, Manifest};
use crate::locks::LockFile;

use super::VerifyMode;
use super::index::FileResult;
use super::mirror::Mirror;
use super::run::Run;

/// A verdict in the bucket that would change its time only is not written again within this time.
const SAME_VERDICT_SECS: i64 = 3600;
/// What took hours to find out is worth waiting for a sync that puts a large index into the bucket.
const VERDICT_PATIENCE: Duration = Duration::from_secs(120);
const SECS_PER_DAY: i64 = 86_400;

/// How a snapshot came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SnapshotResult {
    Sound,
    Failed,
    Skipped,
}

impl Run<'_> {
    /// Verifies a snapshot; `lock` is its shared lock if the caller has taken it already.
    pub(super) async fn verify_snapshot(
        &self,
        path: &SnapshotPath,
        lock: Option<LockFile>,
        mirror: Option<&Mirror>,
    ) -> Result<SnapshotResult> {
        let SnapshotPath { ns, dir } = path;
        let name = format!("{}:{dir}", self.store.name);
        let loaded = self.store.load_manifest(ns, dir).await;
        if let Ok(manifest) = &loaded
            && self.is_recent(manifest)
        {
            self.task
                .log(&format!("SKIPPED: verify {name} (recently verified)"));
            return Ok(SnapshotResult::Skipped);
        }
        let _lock = match lock.map_or_else(|| self.store.locks.snapshot_shared(ns, dir), Ok) {
            Ok(lock) => lock,
            Err(error) => {
                let error = Error::from(error);
                self.task.log(&format!(
                    "SKIPPED: verify {name} - could not acquire snapshot lock: {error}"
                ));
                return Ok(SnapshotResult::Skipped);
            }
        };
        // Only what is read under the lock counts.
        let loaded = self.store.load_manifest(ns, dir).await;
        let manifest = match loaded {
            Ok(manifest) => manifest,
            Err(_) if !self.exists(path).await? => {
                self.task
                    .log(&format!("SKIPPED: verify {name} - snapshot vanished"));
                return Ok(SnapshotResult::Skipped);
            }
            Err(error) => {
                self.task
                    .log(&format!("verify {name} - manifest load error: {error}"));
                return Ok(SnapshotResult::Failed);
            }
        };
        self.task.log(&format!("verify {name}"));
        let mut result = FileResult::default();
        for file in manifest.files() {
            self.check_abort()?;
            self.task.log(&format!("  check {}", file.filename));
            let found = self.verify_file(path, file).await?;
            result.errors += found.errors;
            result.unknown += found.unknown;
        }
        if let Some(mirror) = mirror {
            // Only sound local files are worth comparing with, and putting back.
            match result.errors {
                0 => self.compare_mirror(path, mirror).await?,
                _ => self
                    .task
                    .log("  the copies in the bucket were not compared"),
            }
        }
        let written = self.write_verdict(path, &manifest, result).await?;
        let sound = result == FileResult::default() && written;
        Ok(if sound {
            SnapshotResult::Sound
        } else {
            SnapshotResult::Failed
        })
    }

    async fn verify_file(&self, path: &SnapshotPath, file: &FileInfo) -> Result<FileResult> {
        let name = &file.filename;
        let local = self
            .store
            .snapshots
            .file_path(&path.ns, &path.dir, name.as_str())?;
        match name.archive_type() {
            Some(kind @ (ArchiveType::FixedIndex | ArchiveType::DynamicIndex)) => {
                self.verify_index(local, file, kind).await
            }
            Some(ArchiveType::Blob) => Ok(self.verify_blob(path, file).await),
            None => {
                self.task
                    .log(&format!("{name}: not the name of an archive"));
                Ok(FileResult {
                    errors: 1,
                    unknown: 0,
                })
            }
        }
    }

    async fn verify_blob(&self, path: &SnapshotPath, file: &FileInfo) -> FileResult {
        let (path, name, expected) = (path.clone(), file.filename.clone(), file.clone());
        let read = self.store.local(move |snapshots| {
            snapshots.read_file(&path.ns, &path.dir, name.as_str(), MAX_BLOB_PLAIN)
        });
        let checked = match read.await {
            Ok(Some(raw)) => {
                self.store
                    .env
                    .blocking(move || check_blob(Bytes::from(raw), &expected))
                    .await
            }
            Ok(None) => Err(Error::NotFound {
                what: file.filename.to_string(),
            }),
            Err(error) => Err(error),
        };
        if let Err(error) = checked {
            self.task.log(&format!("{}: {error}", file.filename));
            return FileResult {
                errors: 1,
                unknown: 0,
            };
        }
        FileResult::default()
    }

    /// Whether the options say to leave a snapshot with this manifest alone.
    fn is_recent(&self, manifest: &Manifest) -> bool {
        if !self.options.ignore_verified {
            return false;
        }
        let Ok(Some(state)) = manifest.verify_state() else {
            return false;
        };
        let Some(max_age) = self.options.outdated_after else {
            return true;
        };
        let age = self
            .store
            .env
            .unix_secs()
            .saturating_sub(state.upid.starttime());
        age.div_euclid(SECS_PER_DAY) <= max_age
    }

    /// Records the verdict in the manifest, if there is one; false if that failed.
    async fn write_verdict(
        &self,
        path: &SnapshotPath,
        manifest: &Manifest,
        result: FileResult,
    ) -> Result<bool> {
        let verdict = match result {
            FileResult { errors: 1.., .. } => VerifyState::Failed,
            // What could not be looked at may be sound: no verdict.
            FileResult { unknown: 1.., .. } => return Ok(true),
            _ if self.options.mode == VerifyMode::Quick => return Ok(true),
            _ => VerifyState::Ok,
        };
        let Some(upid) = &self.upid else {
            return Ok(true);
        };
        let state = SnapshotVerifyState {
            upid: upid.clone(),
            state: verdict,
        };
        let client = self.remote.as_ref().map(|remote| &remote.client);
        let SnapshotPath { ns, dir } = path;
        // A sync may have made another backup of it meanwhile, of which nobody has seen anything, and
        // a collection may have found a chunk missing that was there when it was looked at. That it
        // failed is said in any case ◆: also the other backup may name what was found damaged.
        let mut is_other = false;
        let change = |current: &mut Manifest| {
            is_other = !current.is_same_backup(manifest);
            let has_failed_since = current.has_failed() && !current.is_judged_like(manifest);
            let may_be_said = !is_other && !has_failed_since;
            let is_said = self.remote.is_some() && self.is_same_verdict(current, verdict);
            if !is_said && (may_be_said || verdict == VerifyState::Failed) {
                current.set_verify_state(Some(&state));
            }
        };
        let updated = async {
            let (store, cancel) = (self.store, self.task.cancel());
            let lock = store
                .locks
                .manifest_within(VERDICT_PATIENCE, ns, dir, cancel);
            let _lock = lock.await?;
            store.change_manifest(client, ns, dir, change).await
        };
        let updated = updated.await;
        if is_other {
            self.task.log(&format!(
                "{dir} was synced while it was verified: what it is now was not looked at"
            ));
        }
        match updated {
            Ok(()) => Ok(true),
            Err(error) if is_fatal(&error) => Err(error),
            Err(error) => {
                self.task.log(&format!(
                    "unable to store the verify state of {dir}: {error}"
                ));
                Ok(false)
            }
        }
    }

    fn is_same_verdict(&self, manifest: &Manifest, verdict: VerifyState) -> bool {
        let Ok(Some(state)) = manifest.verify_state() else {
            return false;
        };
        let age = self
            .store
            .env
            .unix_secs()
            .saturating_sub(state.upid.starttime());
        state.state == verdict && (0..SAME_VERDICT_SECS).contains(&age)
    }

    async fn exists(&self, path: &SnapshotPath) -> Result<bool> {
        let path = path.clone();
        self.store
            .local(move |snapshots| snapshots.snapshot_exists(&path.ns, &path.dir))
            .await
    }
}

/// Length, checksum, CRC, and that it decodes if it is plain.
fn check_blob(raw: Bytes, file: &FileInfo) -> Result<()> {
    let what = || ArchiveName::to_string(&file.filename);
    let size = u64::try_from(raw.len()).unwrap_or(u64::MAX);
    if size != file.size {
        return Err(Error::Refused(format!(
            "wrong size ({} != {size})",
            file.size
        )));
    }
    let blob = DataBlob::from_bytes(raw).map_err(Error::format(what()))?;
    if blob.raw_csum() != *file.csum.as_bytes() {
        return Err(Error::Refused("wrong checksum".into()));
    }
    blob.verify_crc().map_err(Error::format(what()))?;
    if !blob.is_encrypted() {
        blob.plain(None, MAX_BLOB_PLAIN)
            .map_err(Error::format(what()))?;
    }
    Ok(())
}
