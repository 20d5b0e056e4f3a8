//! A directory for the targets that read files, in memory where the machine has such a place.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

thread_local! {
    static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() };
}

/// An empty directory, the same at each call: what was in it is gone.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn empty() -> PathBuf {
    let path = DIRECTORY.with(|cell| cell.get_or_init(create).path().to_path_buf());
    for entry in std::fs::read_dir(&path).expect("the scratch directory can be listed") {
        let entry = entry.expect("the scratch directory can be listed").path();
        let removed = if entry.is_dir() {
            std::fs::remove_dir_all(&entry)
        } else {
            std::fs::remove_file(&entry)
        };
        removed.expect("the scratch directory can be emptied");
    }
    path
}

/// A file `name` with that content in an empty directory.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = empty().join(name);
    std::fs::write(&path, content).expect("a scratch file can be written");
    path
}

fn create() -> TempDir {
    let memory = Path::new("/dev/shm");
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("coffer-fuzz-");
        builder
    };
    builder()
        .tempdir_in(memory)
        .or_else(|_| builder().tempdir())
        .expect("a scratch directory can be made")
}
