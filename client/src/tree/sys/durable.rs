//! Waiting until what was written is on its disk.

use std::os::fd::AsFd;

use rustix::fs::{fsync, syncfs};
use rustix::io::{Errno, Result, retry_on_intr};

/// Waits until all that was written to the file system of an open file is on its disk.
///
/// # Errors
/// If something could not be written since the file was opened.
pub fn sync_file_system(file: impl AsFd) -> Result<()> {
    unless_unknown(retry_on_intr(|| syncfs(&file)))
}

/// Waits until a file is on its disk; of a directory, its names.
///
/// # Errors
/// If some of it could not be written.
pub fn sync_file(file: impl AsFd) -> Result<()> {
    unless_unknown(retry_on_intr(|| fsync(&file)))
}

/// There is nothing to wait for where the system does not know the question: pipes, some network
/// file systems.
fn unless_unknown(synced: Result<()>) -> Result<()> {
    match synced {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_question_that_is_not_known_is_no_error() {
        let (pipe, _end) = std::io::pipe().unwrap();
        assert_eq!(fsync(&pipe), Err(Errno::INVAL));
        assert_eq!(sync_file(&pipe), Ok(()));
        for error in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
            assert_eq!(unless_unknown(Err(error)), Err(error));
        }
    }
}
