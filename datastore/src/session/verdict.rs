//! What a re-sync makes of a snapshot that has failed here (G13, ADR 23).
//!
//! That chunks of a snapshot are missing or damaged is said by its manifest, and after a restart by
//! nothing else; it keeps the next backup from naming them without an upload. The manifest of the
//! source knows nothing of it, and often differs from ours only by it. So the source's manifest
//! comes alone only after every chunk of every index that it lists is present: inserted, or answered
//! "duplicate", in this session. Otherwise the verification that is here goes into it.

use std::path::PathBuf;

use api_types::digest::Digest;
use api_types::names::{ArchiveType, SnapshotPath};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::format::blob::DataBlob;
use crate::format::index::AnyIndexReader;
use crate::format::manifest::{FileInfo, Manifest};

use super::copy::read_chunks;
use super::resync::ResyncSession;

/// How a re-sync ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resynced {
    /// The snapshot is what its source has.
    Whole,
    /// The same, but it still counts as failed.
    StillFailed {
        /// A chunk that is missing here; none if it was found failed while the session ended.
        missing: Option<Digest>,
    },
}

/// What there is to say of the snapshot that is here, before the manifest of the source is written.
#[derive(Debug)]
pub(super) struct Looked {
    standing: Standing,
    missing: Option<Digest>,
}

/// Whether the snapshot that is here may be the base of a backup.
#[derive(Debug, PartialEq)]
enum Standing {
    /// As far as is known.
    Sound,
    /// No, says its manifest.
    Failed(Box<Manifest>),
    /// No, since its manifest cannot be read.
    Unreadable,
}

impl ResyncSession {
    /// Looks how the snapshot stands, and if it is no base, whether all chunks of its files are
    /// here. All that are here are known to the session afterwards.
    pub(super) async fn look(
        &self,
        manifest: &Manifest,
        cancel: &CancellationToken,
    ) -> Result<Looked> {
        let standing = self.standing().await?;
        let missing = match standing {
            Standing::Sound => None,
            _ => self.first_missing(manifest, cancel).await?,
        };
        Ok(Looked { standing, missing })
    }

    /// The manifest to be written, if there is anything to write; the caller holds the manifest's
    /// lock, so that nobody finds the snapshot failed between this and the writing.
    pub(super) async fn merged(
        &self,
        (mut manifest, source): (Manifest, DataBlob),
        looked: Looked,
    ) -> Result<(Option<Bytes>, Resynced)> {
        let now = self.standing().await?;
        let whole = Ok((Some(source.into_raw()), Resynced::Whole));
        let unchanged = now == looked.standing;
        let missing = looked.missing;
        match now {
            Standing::Sound => whole,
            _ if unchanged && missing.is_none() => whole,
            Standing::Failed(local) => {
                manifest.copy_verify_state(&local);
                let raw = match manifest == *local {
                    true => None,
                    false => {
                        let what = format!("manifest of {}", self.path().dir);
                        let blob = manifest.to_blob().map_err(Error::format(what))?;
                        Some(blob.into_raw())
                    }
                };
                Ok((raw, Resynced::StillFailed { missing }))
            }
            Standing::Unreadable => {
                let what = missing.map_or_else(
                    || "it became unreadable meanwhile".into(),
                    |digest| format!("it is unreadable, and chunk {digest} is missing"),
                );
                Err(Error::Refused(format!(
                    "unable to replace the manifest of {}: {what}; sync it with resync-corrupt",
                    self.path().dir
                )))
            }
        }
    }

    async fn standing(&self) -> Result<Standing> {
        let SnapshotPath { ns, dir } = self.path();
        match self.store().load_manifest(ns, dir).await {
            Ok(manifest) if manifest.has_failed() => Ok(Standing::Failed(Box::new(manifest))),
            Ok(_) => Ok(Standing::Sound),
            Err(error) if error.is_not_found() => Err(error),
            Err(Error::Format { .. } | Error::Local(_)) => Ok(Standing::Unreadable),
            Err(error) => Err(error),
        }
    }

    /// The first chunk of the indexes here that is neither known to the session nor present.
    async fn first_missing(
        &self,
        manifest: &Manifest,
        cancel: &CancellationToken,
    ) -> Result<Option<Digest>> {
        for file in manifest.files() {
            let Some((path, kind)) = self.index_path(file)? else {
                continue;
            };
            let read = move || -> Result<Vec<(Digest, u32)>> {
                let what = path.display().to_string();
                let index =
                    AnyIndexReader::open(&path, kind).map_err(Error::format(what.clone()))?;
                Ok(read_chunks(&index, &what)?.0)
            };
            for (digest, length) in self.store().env.blocking(read).await? {
                if cancel.is_cancelled() {
                    return Err(Error::Aborted);
                }
                if !self.knows(&digest) && !self.touch_known(digest, length).await? {
                    return Ok(Some(digest));
                }
            }
        }
        Ok(None)
    }

    fn index_path(&self, file: &FileInfo) -> Result<Option<(PathBuf, ArchiveType)>> {
        let kind = file.filename.archive_type();
        let Some(kind) = kind.filter(|kind| *kind != ArchiveType::Blob) else {
            return Ok(None);
        };
        let SnapshotPath { ns, dir } = self.path();
        let name = file.filename.as_str();
        let path = self.store().snapshots.file_path(ns, dir, name)?;
        Ok(Some((path, kind)))
    }
}
