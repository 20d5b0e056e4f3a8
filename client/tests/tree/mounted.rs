//! File systems of a test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// File systems that were mounted; unmounted in the end, the last one first.
#[derive(Debug, Default)]
pub struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Mounts one; says so if that is not possible here.
    pub fn mount(&mut self, what: &[&str], at: &Path) -> bool {
        let mount = Command::new("mount").args(what).arg(at).output();
        let mounted = mount.is_ok_and(|it| it.status.success());
        if mounted {
            self.0.push(at.to_path_buf());
        } else {
            eprintln!("not run: nothing can be mounted here");
        }
        mounted
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for at in self.0.iter().rev() {
            let umount = Command::new("umount").arg(at).status();
            assert!(umount.unwrap().success());
        }
    }
}
