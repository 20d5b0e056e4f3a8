//! Where a user's keys, accepted fingerprints and tickets are.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use datastore::env::Env;

/// Directories of the user. Keys and fingerprints are where upstream's client has them, so that
/// either client finds them; tickets are our own.
#[derive(Clone, Debug, Default)]
pub struct Dirs {
    /// Lasting: `$XDG_CONFIG_HOME/proxmox-backup` or `~/.config/proxmox-backup`.
    pub config: Option<PathBuf>,
    /// Until the machine is shut down: `$XDG_RUNTIME_DIR/coffer-client`.
    pub runtime: Option<PathBuf>,
}

impl Dirs {
    /// Of the user whose environment it is.
    #[must_use]
    pub fn of_user() -> Self {
        let absolute = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let config = absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")));
        let runtime = absolute("XDG_RUNTIME_DIR").or_else(|| {
            let path = PathBuf::from(format!("/run/user/{}", nix::unistd::getuid()));
            path.is_dir().then_some(path)
        });
        Self {
            config: config.map(|path| path.join("proxmox-backup")),
            runtime: runtime.map(|path| path.join("coffer-client")),
        }
    }
}

/// Writes a file that its owner alone may read, whole or not at all; makes its directory.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = make_parent(path)?;
    // A name that nobody foresees, and never a file or link that is there.
    let temporary = dir.join(format!(".tmp-{:016x}", Env::system().random_u64()));
    let written = private_file(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // What is left of it is of no use; why it failed is what counts.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// As [`write_private`], but never over a file that is there.
pub fn create_private(path: &Path, content: &[u8]) -> io::Result<()> {
    make_parent(path)?;
    let mut file = private_file(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Locks a file against others who change it; makes its directory. Unlocked when dropped.
pub fn lock(path: &Path) -> io::Result<File> {
    make_parent(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path.with_extension("lock"))?;
    file.lock()?;
    Ok(file)
}

fn make_parent(path: &Path) -> io::Result<&Path> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    Ok(dir)
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}
