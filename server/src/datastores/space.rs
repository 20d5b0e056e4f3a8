//! How full a file system is, and with a datastore what is in use of it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use api_types::status::GarbageCollectionStatus;
use datastore::gc::status_file::read_status;
use datastore::store::DataStore;
use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::Datastores;

/// Room of the file system that holds a directory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskSpace {
    /// All of it.
    pub total: u64,
    /// In use.
    pub used: u64,
    /// To be had by processes without special rights.
    pub avail: u64,
}

impl DiskSpace {
    /// Of the file system that holds `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let stat = statvfs(path).map_err(|errno| {
            let error = io::Error::from(errno);
            io::Error::new(
                error.kind(),
                format!("unable to get the usage of {}: {error}", path.display()),
            )
        })?;
        let block = stat.fragment_size();
        let bytes = |blocks: u64| blocks.saturating_mul(block);
        Ok(Self {
            total: bytes(stat.blocks()),
            used: bytes(stat.blocks().saturating_sub(stat.blocks_free())),
            avail: bytes(stat.blocks_available()),
        })
    }
}

/// How full a datastore's disk is, and what its last collection said. Asked on a thread that may
/// wait: a disk that hangs must hold up nobody else.
async fn look(store: Arc<DataStore>) -> (io::Result<DiskSpace>, GarbageCollectionStatus) {
    let base = store.base().to_owned();
    let look = move || (DiskSpace::of(&base), read_status(&base));
    store.env().blocking(look).await
}

impl Datastores {
    /// How full a datastore's disk is, and what its last collection said, unless the disk hangs.
    pub async fn look_at(
        &self,
        store: &Arc<DataStore>,
    ) -> Result<(DiskSpace, GarbageCollectionStatus)> {
        let looked = self.in_time(store.name(), look(Arc::clone(store)));
        let (space, status) = looked.await?;
        Ok((space?, status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_room_and_a_missing_directory_is_named() {
        let dir = support::scratch().unwrap();
        let space = DiskSpace::of(dir.path()).unwrap();
        assert!(space.total > 0 && space.used <= space.total && space.avail <= space.total);
        let error = DiskSpace::of(&dir.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
