//! The local disks, and what of the chunks is on them, followed operation by operation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use api_types::digest::Digest;
use datastore::disk::{Observer as _, Operation};
use datastore::store::state_dir::StateDir;
use scenarios::power::{Disk as Recorder, Loss, Lost};

use crate::universe::{Set, Universe, one};

/// A disk with a datastore's directory.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Knows what of it is on the disk for sure.
    recorder: Arc<Recorder>,
    /// The datastore's directory.
    pub base: PathBuf,
    /// The directory of its locks.
    pub locks: PathBuf,
    /// The installation that it belongs to.
    pub instance: String,
    /// Nobody uses it any more: its contents live on in another one, or it is abandoned.
    pub retired: bool,
    /// Chunks with a local file.
    pub files: Set,
    /// Chunks whose local file has a payload.
    pub payloads: Set,
}

impl Disk {
    /// A disk, as it is found.
    pub fn new(base: PathBuf, locks: PathBuf, instance: &str, universe: &Universe) -> Result<Self> {
        let mut disk = Self {
            recorder: Recorder::watch(&base)?,
            base,
            locks,
            instance: instance.to_owned(),
            retired: false,
            files: 0,
            payloads: 0,
        };
        for chunk in 0..crate::universe::PLAIN + crate::universe::CRYPT {
            disk.look(chunk, universe);
        }
        Ok(disk)
    }

    /// Whether the path is on this disk.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.base) || path.starts_with(&self.locks)
    }

    /// Path of a chunk's local file.
    #[must_use]
    pub fn chunk_path(&self, chunk: u8, universe: &Universe) -> PathBuf {
        let hex = universe.digest(chunk).to_hex();
        self.base.join(".chunks").join(&hex[..4]).join(hex)
    }

    fn look(&mut self, chunk: u8, universe: &Universe) {
        let metadata = std::fs::symlink_metadata(self.chunk_path(chunk, universe));
        let (file, payload) = match metadata {
            Ok(metadata) => (true, metadata.len() > 0),
            Err(_) => (false, false),
        };
        let set = |set: &mut Set, is: bool| match is {
            true => *set |= one(chunk),
            false => *set &= !one(chunk),
        };
        set(&mut self.files, file);
        set(&mut self.payloads, payload);
    }

    /// Follows an operation that was done.
    pub fn done(&mut self, operation: &Operation<'_>, universe: &Universe) {
        self.recorder.after(operation, Ok(()));
        let second = match operation {
            Operation::Rename { to, .. } | Operation::HardLink { to, .. } => Some(*to),
            _ => None,
        };
        for path in [Some(operation.path()), second].into_iter().flatten() {
            if let Some(chunk) = chunk_of(path, universe) {
                self.look(chunk, universe);
            }
        }
    }

    /// Whether a record of the delete journal names the chunk.
    #[must_use]
    pub fn is_journaled(&self, chunk: u8, universe: &Universe) -> bool {
        let journal = StateDir::of(&self.base).delete_journal();
        // A journal that is lost is one that says nothing for certain: nobody believes anything.
        !journal.exists() || names(&journal, universe.digest(chunk))
    }

    /// Whether the chunk is on the list of damaged ones.
    #[must_use]
    pub fn is_listed_bad(&self, chunk: u8, universe: &Universe) -> bool {
        names(&StateDir::of(&self.base).bad_list(), universe.digest(chunk))
    }

    /// Whether the local state is to be rebuilt before anybody believes it.
    #[must_use]
    pub fn is_distrusted(&self) -> bool {
        let flag = StateDir::of(&self.base).read_rebuild_needed();
        !matches!(flag, Ok(None))
    }

    /// Makes in another place what a power failure may leave now.
    pub fn what_is_left(&self, base: &Path, choice: u64) -> Result<()> {
        let unsynced = u64::try_from(self.recorder.unsynced())? + 1;
        let loss = match choice % 3 {
            0 => Loss::Any { seed: choice },
            kind => Loss::Ordered {
                kept: usize::try_from((choice >> 8) % unsynced)?,
                lost: if kind == 1 { Lost::Length } else { Lost::Bytes },
            },
        };
        std::fs::create_dir_all(base)?;
        Ok(self.recorder.leave(loss, base)?)
    }

    /// Copies everything to another place: what a process that ends here leaves.
    pub fn image(&self, base: &Path, locks: &Path) -> Result<()> {
        scenarios::facts::copy_tree(&self.base, base)?;
        if self.locks.exists() {
            scenarios::facts::copy_tree(&self.locks, locks)?;
        }
        Ok(())
    }
}

/// The chunk whose local file has this path.
#[must_use]
pub fn chunk_of(path: &Path, universe: &Universe) -> Option<u8> {
    let name = path.file_name()?.to_str()?;
    if name.len() != 64 {
        return None;
    }
    universe.number(&Digest::from_hex(name).ok()?)
}

/// Whether a text file names the digest; a file that cannot be read names everything.
fn names(path: &Path, digest: &Digest) -> bool {
    match std::fs::read_to_string(path) {
        Ok(text) => text.contains(&digest.to_hex()),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}
