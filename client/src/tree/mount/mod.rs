//! An archive as a file system, by FUSE.

mod attributes;
mod file_system;

use std::path::Path;

use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use pxar::{Accessor, ReadAt};

use super::Error;
use file_system::FileSystem;

/// A mounted archive. It is unmounted when this is dropped.
#[derive(Debug)]
pub struct Mounted(BackgroundSession);

impl Mounted {
    /// Whether somebody has unmounted it, so that [`Mounted::wait`] does not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.guard.is_finished()
    }

    /// Serves it until somebody unmounts it.
    ///
    /// # Errors
    /// If it cannot be served any more.
    pub fn wait(self) -> std::io::Result<()> {
        self.0.join()
    }
}

/// Mounts an archive read-only at a directory, and serves it from a thread of its own.
///
/// # Errors
/// If it cannot be mounted.
pub fn spawn<A>(archive: Accessor<A>, at: &Path) -> Result<Mounted, Error>
where
    A: ReadAt + Send + Sync + 'static,
{
    let file_system = FileSystem::new(archive)?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        // By the archive's owners and modes.
        MountOption::DefaultPermissions,
        MountOption::FSName("coffer".into()),
        MountOption::Subtype("pxar".into()),
    ];
    if rustix::process::geteuid().is_root() {
        config.acl = SessionACL::All;
    }
    let session = fuser::spawn_mount(file_system, at, &config).map_err(failed("mount at", at))?;
    Ok(Mounted(session))
}

/// Mounts an archive read-only at a directory and serves it until it is unmounted.
///
/// # Errors
/// If it cannot be mounted.
pub fn mount<A>(archive: Accessor<A>, at: &Path) -> Result<(), Error>
where
    A: ReadAt + Send + Sync + 'static,
{
    spawn(archive, at)?.wait().map_err(failed("serve", at))
}

fn failed(action: &'static str, at: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        action,
        path: at.to_path_buf(),
        source,
    }
}
