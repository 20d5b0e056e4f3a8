//! Atomic replacement of a small file: temporary file in the same directory, fsync, rename.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Replaces the content of `path`; a reader sees the old content or the new one, nothing else, and
/// what was replaced survives a power loss.
///
/// The caller holds the lock that serialises writers: the temporary name carries the process id
/// only.
pub fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    replace(path, content, mode, true)
}

/// The same for what means nothing after a power loss: nobody waits for the disk.
pub fn replace_volatile(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    replace(path, content, mode, false)
}

fn replace(path: &Path, content: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary_name = name.to_owned();
    temporary_name.push(format!(".tmp_{}", std::process::id()));
    let temporary = parent.join(temporary_name);

    let written = write_new(&temporary, content, mode, durable)
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| match durable {
            true => File::open(parent)?.sync_all(),
            false => Ok(()),
        });
    if written.is_err() {
        // Nobody reads it under this name; the first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, content: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    // The mode given at open is cut by the umask and ignored for a left-over file.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    match durable {
        true => file.sync_all(),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_mode_are_replaced_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.cfg");
        for replace in [replace_file, replace_volatile] {
            std::fs::write(&path, "old").unwrap();
            replace(&path, b"new", 0o600).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }
}
