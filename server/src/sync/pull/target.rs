//! Where a pulled snapshot goes: a new one, or one that is there and is made what its source has.

use anyhow::Result;
use api_types::digest::Digest;
use api_types::names::ArchiveName;
use bytes::Bytes;
use datastore::format::{DataBlob, FileInfo};
use datastore::session::{ResyncSession, Resynced, WriterSession};
use tokio_util::sync::CancellationToken;

/// A snapshot that is being written.
pub(super) enum Target {
    /// Nothing of it was here.
    New(Box<WriterSession>),
    /// It was here.
    Existing(Box<ResyncSession>),
}

impl Target {
    /// Whether the file is here as the manifest lists it, so that it need not be fetched.
    pub(super) async fn has_file(&self, file: &FileInfo) -> Result<bool> {
        match self {
            Self::New(_) => Ok(false),
            Self::Existing(session) => Ok(session.has_file(file).await?),
        }
    }

    /// Whether a chunk is here; if so it is protected from the collection.
    pub(super) async fn touch_known(&self, digest: Digest, size: u32) -> Result<bool> {
        Ok(match self {
            Self::New(session) => session.touch_known(digest, size).await?,
            Self::Existing(session) => session.touch_known(digest, size).await?,
        })
    }

    /// Stores a chunk.
    pub(super) async fn insert_chunk(
        &self,
        digest: Digest,
        size: u32,
        blob: DataBlob,
    ) -> Result<()> {
        match self {
            Self::New(session) => session.insert_chunk(digest, size, blob).await?,
            Self::Existing(session) => session.insert_chunk(digest, size, blob).await?,
        };
        Ok(())
    }

    /// Stores an index, all of whose chunks are here.
    pub(super) async fn put_index(&self, name: &ArchiveName, raw: Bytes) -> Result<()> {
        match self {
            Self::New(session) => session.add_index(name, raw).await.map(drop)?,
            Self::Existing(session) => session.replace_index(name, raw).await?,
        }
        Ok(())
    }

    /// Stores a blob.
    pub(super) async fn put_blob(&self, name: &ArchiveName, raw: Bytes) -> Result<()> {
        match self {
            Self::New(session) => session.add_blob(name, raw).await.map(drop)?,
            Self::Existing(session) => session.replace_blob(name, raw).await?,
        }
        Ok(())
    }

    /// Writes the manifest: from here on it is a backup like any other.
    pub(super) async fn commit(
        self,
        manifest: DataBlob,
        cancel: &CancellationToken,
    ) -> Result<Resynced> {
        match self {
            Self::New(session) => match session.commit_copy(manifest).await {
                Ok(()) => Ok(Resynced::Whole),
                Err(error) => {
                    Self::New(session).give_up().await;
                    Err(error.into())
                }
            },
            Self::Existing(session) => Ok(session.commit(manifest, cancel).await?),
        }
    }

    /// Removes what was written of a new snapshot; one that was here before stays.
    pub(super) async fn give_up(self) {
        if let Self::New(session) = self {
            let dir = session.dir().clone();
            if let Err(error) = session.abort().await {
                // The store sees to it later.
                tracing::warn!(snapshot = %dir, "leftovers of a pull stay for now: {error:#}");
            }
        }
    }
}
