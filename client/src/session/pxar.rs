//! Archives of files in a snapshot, in one part or in two.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use api_types::names::ArchiveName;
use pxar::{Accessor, At, Decoder};

use super::archive::Archive;
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
        let is_split = self.manifest().lookup_file(metadata.as_str()).is_some();
        if is_split && self.manifest().lookup_file(name.as_str()).is_none_or(|file| file.filename == metadata || file.filename == payload) {
            let (archive, payload) = (self.archive(&metadata).await?, self.archive(&payload).await?);
            return Ok(PxarArchive {
                archive,
                payload: Some(payload),
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

    /// For all of it, in its own order. Blocks.
    pub fn decoder(&self) -> Result<Decoder<At<Archive>>, pxar::Error> {
        let stream = |archive: &Archive| At::new(archive.clone().streaming());
        Decoder::new(stream(&self.archive), self.payload.as_ref().map(stream))
    }
}
