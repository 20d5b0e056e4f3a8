//! The base of a backup: the group's last finished snapshot, locked and pinned.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use api_types::names::{ArchiveName, BackupDir};

use crate::error::{Error, Result};
use crate::format::index::AnyIndexReader;
use crate::format::manifest::Manifest;
use crate::locks::LockFile;
use crate::store::DataStore;

use super::copy::read_chunks;
use super::registry::{Pin, Registration};
use super::{SessionOptions, WriterSession};

/// A finished snapshot that stays until the session's own indexes are visible.
///
/// Chunks reused through it are neither uploaded nor stamped; nothing else protects them ◆. So it
/// is share-locked, its index files are open and known to the mark, and the commit looks whether
/// its directory is still the same one.
#[derive(Debug)]
pub struct BaseSnapshot {
    dir: BackupDir,
    path: PathBuf,
    inode: u64,
    manifest: Manifest,
    _lock: LockFile,
}

impl BaseSnapshot {
    /// Finds, locks and pins the base of a new snapshot; `None` if the group has no usable one.
    ///
    /// A snapshot that failed its verification is no base: a client never uploads a chunk that it
    /// knows from its base ◆.
    pub(super) async fn find(
        store: &Arc<DataStore>,
        options: &SessionOptions,
        registration: &Registration,
    ) -> Result<Option<Self>> {
        let Some(dir) = store.snapshots.last_finished(&options.ns, &options.group)? else {
            return Ok(None);
        };
        let lock = store.locks.snapshot_shared(&options.ns, &dir)?;
        let path = store.snapshots.snapshot_path(&options.ns, &dir);
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            return Ok(None);
        };
        let Ok(manifest) = store.load_manifest(&options.ns, &dir).await else {
            tracing::warn!(snapshot = %dir, "unreadable manifest: not used as base");
            return Ok(None);
        };
        if let Some(backend) = store.backend.s3()
            && backend.losses.are_open()
        {
            tracing::warn!(
                snapshot = %dir,
                "not used as base: chunks are missing, and it is not known yet from which snapshots"
            );
            return Ok(None);
        }
        if manifest.has_failed() {
            // The backup uploads everything.
            return Ok(None);
        }
        if dir.time >= options.time {
            return Err(Error::Refused(format!(
                "backup timestamp is older than last backup. ({} is not after {})",
                options.time, dir
            )));
        }
        let Some(info) = store.snapshots.snapshot_info(&options.ns, &dir)? else {
            return Ok(None);
        };
        let mut pins = Vec::new();
        for name in info.index_files() {
            let name: ArchiveName = name
                .parse()
                .map_err(|error| Error::Refused(format!("base {dir}: {error}")))?;
            let Some(archive_type) = name.archive_type() else {
                continue;
            };
            let file_path = path.join(name.as_str());
            let file =
                std::fs::File::open(&file_path).map_err(Error::io("unable to open", &file_path))?;
            pins.push(Pin {
                file,
                archive_type,
                name: file_path.display().to_string(),
            });
        }
        registration.pin(pins);
        Ok(Some(Self {
            dir,
            path,
            inode: metadata.ino(),
            manifest,
            _lock: lock,
        }))
    }

    /// Which snapshot it is.
    #[must_use]
    pub fn dir(&self) -> &BackupDir {
        &self.dir
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Path of one of its files.
    #[must_use]
    pub fn file_path(&self, name: &ArchiveName) -> PathBuf {
        self.path.join(name.as_str())
    }

    /// Whether the directory is still the one that was locked.
    pub(super) fn is_untouched(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode)
    }
}

impl WriterSession {
    /// Opens an index of the base; its chunks may be named by this session's indexes from now on.
    ///
    /// # Errors
    /// If there is no base, or its index is missing, unreadable or does not match its manifest.
    pub async fn load_base_index(&self, name: &ArchiveName) -> Result<AnyIndexReader> {
        let _call = self.begin("load an index of its base")?;
        let no_such = || Error::NotFound {
            what: format!("archive {name} of a base snapshot"),
        };
        let base = self.base.as_ref().ok_or_else(no_such)?;
        let archive_type = name.archive_type().ok_or_else(no_such)?;
        let path = base.file_path(name);
        let expected = base
            .manifest
            .lookup_file(name.as_str())
            .map(|file| file.csum);
        let (index, chunks) = self
            .store
            .env
            .blocking(move || -> Result<_> {
                let what = path.display().to_string();
                let index = AnyIndexReader::open(&path, archive_type)
                    .map_err(Error::format(what.clone()))?;
                let (chunks, summary) = read_chunks(&index, &what)?;
                if expected.is_some_and(|csum| *csum.as_bytes() != summary.csum) {
                    return Err(Error::Refused(format!(
                        "{what} does not match its manifest"
                    )));
                }
                Ok((index, chunks))
            })
            .await?;
        self.state().known.extend(chunks);
        Ok(index)
    }
}
