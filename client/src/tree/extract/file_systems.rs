//! The file systems that something was restored to.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::fstat;

use crate::tree::Error;
use crate::tree::sys::durable::sync_file_system;

/// The file systems that something is restored to: that of the target, and what is mounted in it.
pub struct FileSystems {
    target: PathBuf,
    /// By their devices, a directory of each, which was opened before anything was written: what
    /// goes wrong from then on is told of by it.
    known: Vec<(u64, Arc<OwnedFd>)>,
}

impl FileSystems {
    /// None, around this target.
    pub fn new(target: &Path) -> Self {
        Self {
            target: target.to_path_buf(),
            known: Vec::new(),
        }
    }

    /// Something will be restored into this directory.
    pub fn add(&mut self, directory: &Arc<OwnedFd>) {
        if let Ok(stat) = fstat(directory)
            && self.known.iter().all(|(device, _)| *device != stat.st_dev)
        {
            self.known.push((stat.st_dev, Arc::clone(directory)));
        }
    }

    /// Waits until all that was restored is on disk.
    pub fn sync(&self) -> Result<(), Error> {
        for (_, directory) in &self.known {
            sync_file_system(directory).map_err(|error| Error::Io {
                action: "write all that was restored to the disk of",
                path: self.target.clone(),
                source: error.into(),
            })?;
        }
        Ok(())
    }
}
