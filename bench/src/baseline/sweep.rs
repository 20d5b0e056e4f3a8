//! Phase 2 of the baseline on a filesystem: every directory, every entry, by its access time.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Chunks that stay.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Chunks removed.
    pub removed: u64,
}

/// Removes what was last used before `min_atime`, of all 65 536 directories below `.chunks`.
pub fn sweep(base: &Path, min_atime: i64) -> Result<Swept> {
    // The chunk store's, taken for each entry.
    let mutex = Mutex::new(());
    let mut swept = Swept::default();
    for prefix in 0..=u16::MAX {
        let path = base.join(format!(".chunks/{prefix:04x}"));
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = Dir::open(&path, flags, Mode::empty())
            .with_context(|| format!("cannot open {}", path.display()))?;
        let mut names: Vec<PathBuf> = Vec::new();
        for entry in directory.iter() {
            let name = entry?.file_name().to_str().unwrap_or_default().to_owned();
            if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                names.push(name.into());
            }
        }
        for name in &names {
            let _held = mutex.lock().unwrap_or_else(PoisonError::into_inner);
            let stat = fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
                continue;
            }
            if stat.st_atime < min_atime {
                unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir)?;
                swept.removed += 1;
            } else {
                swept.kept += 1;
                swept.kept_bytes += u64::try_from(stat.st_size)?;
            }
        }
    }
    Ok(swept)
}
