//! Archives of files in a snapshot, in one part or in two.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use api_types::names::ArchiveName;
use pxar::{Accessor, At, Decoder};

use super::archive::Archive;
use super::progress::Progress;
use super::reader::ReaderSession;

/// An archive of files.
#[derive(Clone, Debug)]
pub struct PxarArchive {
    /// All of it, or its tree.
    pub archive: Archive,
    /// The contents, if they are in another part.
    pub payload: Option<Archive>,
}

/// The names of the two parts of an archive: `root.mpxar.didx` and `root.ppxar.didx` of
/// `root.pxar.didx`, or of either of them.
pub fn split_names(name: &ArchiveName) -> Result<(ArchiveName, ArchiveName)> {
    let stem = ["pxar", "mpxar", "ppxar"].iter().find_map(|extension| {
        let stem = name.client_name().strip_suffix(extension)?;
        stem.strip_suffix('.')
    });
    let stem = stem.with_context(|| format!("{name} is no archive of files (.pxar)"))?;
    let part = |kind: &str| format!("{stem}.{kind}.didx").parse();
    Ok((part("mpxar")?, part("ppxar")?))
}

impl ReaderSession {
    /// Opens an archive by its name, `root.pxar`, whether it is in one part or in two.
    pub async fn pxar(&self, name: &ArchiveName) -> Result<PxarArchive> {
        let (metadata, payload) = split_names(name)?;
        if self.manifest().lookup_file(metadata.as_str()).is_some() {
            return Ok(PxarArchive {
                archive: self.archive(&metadata).await?,
                payload: Some(self.archive(&payload).await?),
            });
        }
        Ok(PxarArchive {
            archive: self.archive(name).await?,
            payload: None,
        })
    }
}

impl PxarArchive {
    /// For single files of it. Blocks.
    pub fn accessor(&self) -> Result<Accessor<Arc<Archive>>, pxar::Error> {
        let payload = self.payload.clone().map(Arc::new);
        Accessor::open(Arc::new(self.archive.clone()), payload)
    }

    /// What is in front of its tree, if anything is. Blocks.
    pub fn prelude(&self) -> Result<Option<Vec<u8>>, pxar::Error> {
        let archive = At::new(self.archive.clone());
        let payload = self.payload.clone().map(At::new);
        let decoder = Decoder::new(archive, payload)?;
        Ok(decoder.prelude().map(<[u8]>::to_vec))
    }

    /// For its entries in its own order, all of which will be read. Blocks.
    pub fn decoder(&self) -> Result<Decoder<At<Archive>>, pxar::Error> {
        let stream = |archive: &Archive| At::new(archive.clone().streaming());
        Decoder::new(stream(&self.archive), self.payload.as_ref().map(stream))
    }

    /// Counts what is read.
    #[must_use]
    pub fn counted(self, progress: &Arc<Progress>) -> Self {
        Self {
            archive: self.archive.counted(progress),
            payload: self.payload.map(|payload| payload.counted(progress)),
        }
    }
}
