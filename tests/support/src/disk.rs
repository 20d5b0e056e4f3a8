//! Whether files are on disk.

use std::path::Path;
use std::process::Command;

/// Whether the system has found blocks for all of a file, which it does when it writes it to its
/// disk: until then a crash takes it. None where the file system does not tell.
#[must_use]
pub fn is_on_disk(file: &Path) -> Option<bool> {
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    let mut list = Command::new("filefrag");
    let listed = list.env("PATH", path).arg("-v").arg(file).output().ok()?;
    let extents = String::from_utf8_lossy(&listed.stdout).into_owned();
    listed
        .status
        .success()
        .then(|| !extents.contains("delalloc"))
}

/// Whether that is known of new files in `directory`; says so if not.
#[must_use]
pub fn tells_what_is_on_disk(directory: &Path) -> bool {
    let file = directory.join("not-on-disk");
    let written = std::fs::write(&file, vec![7; 100_000]);
    let told = written.is_ok() && is_on_disk(&file) == Some(false);
    let _ = std::fs::remove_file(file);
    if !told {
        eprintln!("not run: nobody tells what is on the disk of {directory:?}");
    }
    told
}
