//! Where things live: the four directories of an installation.
//!
//! | directory | default | content |
//! |---|---|---|
//! | config | `/etc/coffer` | configuration files, keys |
//! | state | `/var/lib/coffer` | instance id, state of jobs |
//! | log | `/var/log/coffer` | task logs below `tasks/` |
//! | run | `/run/coffer` | locks, requests between processes |
//!
//! `--dir` (or `COFFER_DIR`) puts all of them below one directory, so that everything runs
//! unprivileged; the options for single directories override it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Command line options and environment variables that choose the directories.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Directories")]
pub struct PathOptions {
    /// One directory for everything: config, state, log and run below it.
    #[arg(long, env = "COFFER_DIR", global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Directory of the configuration files [default: /etc/coffer].
    #[arg(long, env = "COFFER_CONFIG_DIR", global = true, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// Directory of persistent state [default: /var/lib/coffer].
    #[arg(long, env = "COFFER_STATE_DIR", global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Directory of logs [default: /var/log/coffer].
    #[arg(long, env = "COFFER_LOG_DIR", global = true, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Directory of locks and other runtime files [default: /run/coffer].
    #[arg(long, env = "COFFER_RUN_DIR", global = true, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
}

/// The directories in use; absolute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paths {
    /// Configuration files and keys.
    pub config: PathBuf,
    /// Persistent state.
    pub state: PathBuf,
    /// Logs.
    pub log: PathBuf,
    /// Locks and other runtime files.
    pub run: PathBuf,
}

impl PathOptions {
    /// The directories that these options mean.
    pub fn resolve(&self) -> Result<Paths> {
        let choose = |own: &Option<PathBuf>, below: &str, default: &str| {
            let path = match (own, &self.dir) {
                (Some(own), _) => own.clone(),
                (None, Some(dir)) => dir.join(below),
                (None, None) => PathBuf::from(default),
            };
            std::path::absolute(&path)
                .with_context(|| format!("failed to make the path {} absolute", path.display()))
        };
        Ok(Paths {
            config: choose(&self.config_dir, "config", "/etc/coffer")?,
            state: choose(&self.state_dir, "state", "/var/lib/coffer")?,
            log: choose(&self.log_dir, "log", "/var/log/coffer")?,
            run: choose(&self.run_dir, "run", "/run/coffer")?,
        })
    }
}

impl Paths {
    /// Everything below `dir`, as with `--dir`.
    #[must_use]
    pub fn below(dir: &Path) -> Self {
        Self {
            config: dir.join("config"),
            state: dir.join("state"),
            log: dir.join("log"),
            run: dir.join("run"),
        }
    }

    /// Creates the directories that are missing, closed to others.
    pub fn create(&self) -> Result<()> {
        let modes = [
            (&self.config, 0o700),
            (&self.state, 0o750),
            (&self.log, 0o755),
            (&self.run, 0o755),
        ];
        for (path, mode) in modes {
            create_dir(path, mode)?;
        }
        Ok(())
    }

    /// The locks of the datastore `store` (groups, snapshots, manifests).
    #[must_use]
    pub fn datastore_locks(&self, store: &str) -> PathBuf {
        self.run.join("locks").join(store)
    }
}

/// Creates the directory `path` and those above it.
pub(crate) fn create_dir(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| {
            format!(
                "failed to create the directory {} (choose another place with --dir)",
                path.display()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_directories_override_the_common_one() {
        let options = PathOptions {
            dir: Some("/srv/x".into()),
            log_dir: Some("/logs".into()),
            ..PathOptions::default()
        };
        let paths = options.resolve().unwrap();
        assert_eq!(
            paths,
            Paths {
                log: "/logs".into(),
                ..Paths::below(Path::new("/srv/x"))
            }
        );
    }

    #[test]
    fn without_options_the_system_directories_are_used() {
        let paths = PathOptions::default().resolve().unwrap();
        assert_eq!(paths.config, Path::new("/etc/coffer"));
        assert_eq!(paths.run, Path::new("/run/coffer"));
    }
}
