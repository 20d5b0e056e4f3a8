//! What is in a small file, read before it is its turn.

use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{Stat, fstat};
use rustix::io::{Errno, read as read_some};

/// Larger files are only opened.
pub const MAX: usize = 128 << 10;

/// All that is in an open file, if nothing about it needs attention: no error, and no change since
/// `before`.
pub fn read(file: &OwnedFd, before: &Stat) -> Option<Vec<u8>> {
    let size = usize::try_from(before.st_size).ok()?;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        match read_some(file, spare_capacity(&mut bytes)) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
    let after = fstat(file).ok()?;
    let state = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    (bytes.len() == size && state(&after) == state(before)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_as_it_is_is_read_ahead() {
        let file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &file, b"content").unwrap();
        std::io::Seek::rewind(&mut &file).unwrap();
        let open = || -> OwnedFd {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            std::fs::File::open(path).unwrap().into()
        };
        let before = fstat(&file).unwrap();
        assert_eq!(read(&open(), &before).unwrap(), b"content");
        let empty = tempfile::tempfile().unwrap();
        let stat = fstat(&empty).unwrap();
        assert_eq!(read(&empty.into(), &stat).unwrap(), b"");

        let mut longer = before;
        longer.st_size += 1;
        let mut shorter = before;
        shorter.st_size -= 1;
        let mut older = before;
        older.st_mtime -= 1;
        for changed in [longer, shorter, older] {
            assert_eq!(read(&open(), &changed), None);
        }
    }
}
