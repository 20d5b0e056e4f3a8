//! Where a user's keys, accepted fingerprints and tickets are.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use datastore::env::Env;
use nix::unistd::{User, getuid};

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
    ///
    /// # Errors
    /// If the system cannot say where the user is at home. Nobody may take that for a home without a
    /// key.
    pub fn of_user() -> Result<Self> {
        Self::of(|name| std::env::var_os(name).map(PathBuf::from), home)
    }

    /// Of these variables; `home` is asked if none says where the user is at home, as in a service of
    /// the system.
    fn of(
        variable: impl Fn(&str) -> Option<PathBuf>,
        home: impl FnOnce() -> Result<Option<PathBuf>>,
    ) -> Result<Self> {
        let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
        let config = match absolute("XDG_CONFIG_HOME") {
            Some(path) => Some(path),
            None => match absolute("HOME") {
                Some(path) => Some(path),
                None => home()?.filter(|path| path.is_absolute()),
            }
            .map(|home| home.join(".config")),
        };
        let runtime = absolute("XDG_RUNTIME_DIR").or_else(|| {
            let path = PathBuf::from(format!("/run/user/{}", getuid()));
            path.is_dir().then_some(path)
        });
        Ok(Self {
            config: config.map(|path| path.join("proxmox-backup")),
            runtime: runtime.map(|path| path.join("coffer-client")),
        })
    }
}

/// Where the user is at home, as the system knows it; nowhere if it does not know the user.
fn home() -> Result<Option<PathBuf>> {
    let uid = getuid();
    let user = User::from_uid(uid)
        .with_context(|| format!("failed to look up the home directory of user {uid}; set HOME"))?;
    Ok(user.map(|user| user.dir))
}

/// Whether there is something at a path, be it a link that leads nowhere.
///
/// # Errors
/// If that is not certain: what cannot be looked at, or is behind a link that leads nowhere, may
/// well be there.
pub fn is_there(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for parent in path.ancestors().skip(1) {
        match parent.symlink_metadata() {
            // It is there, so what is missing is not behind it, unless it leads nowhere.
            Ok(_) => return parent.metadata().map(|_| false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_user_without_variables_is_at_home_where_the_system_says() {
        let config = |variables: &[(&str, &str)], home: Result<Option<PathBuf>>| {
            let variable = |name: &str| {
                let found = variables.iter().find(|it| it.0 == name);
                found.map(|it| PathBuf::from(it.1))
            };
            Dirs::of(variable, || home).map(|dirs| dirs.config)
        };
        let root = || Ok(Some(PathBuf::from("/root")));
        for (variables, expected) in [
            (&[][..], "/root/.config/proxmox-backup"),
            (&[("HOME", "")], "/root/.config/proxmox-backup"),
            (&[("HOME", "/h")], "/h/.config/proxmox-backup"),
            (
                &[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")],
                "/x/proxmox-backup",
            ),
        ] {
            let found = config(variables, root()).unwrap();
            assert_eq!(found, Some(PathBuf::from(expected)), "{variables:?}");
        }
        assert_eq!(config(&[], Ok(None)).unwrap(), None);
        let unknown = || Err(anyhow::anyhow!("no answer"));
        assert!(config(&[], unknown()).is_err());
        assert!(config(&[("HOME", "/h")], unknown()).is_ok());
        let of_this_user = User::from_uid(getuid()).unwrap();
        assert_eq!(home().unwrap(), of_this_user.map(|user| user.dir));
    }

    #[test]
    fn only_what_is_certainly_missing_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "").unwrap();
        symlink("/nowhere/at/all", path("dangling")).unwrap();
        symlink("round", path("round")).unwrap();
        assert!(is_there(&path("file")).unwrap());
        assert!(is_there(&path("dangling")).unwrap());
        assert!(!is_there(&path("no")).unwrap());
        assert!(!is_there(&path("no/such/directory")).unwrap());
        for uncertain in ["dangling/key", "dangling/d/key", "round/key", "file/key"] {
            assert!(is_there(&path(uncertain)).is_err(), "{uncertain}");
        }
    }
}
