//! Attributes of `chattr(1)` and of FAT (`pxar.md` §8).

use std::os::fd::AsFd;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Result;

use super::ioctl::{get_fat_attributes, set_fat_attributes};

/// In archives, and as `FS_IOC_GETFLAGS` has it.
const CHATTR: [(u64, u32); 10] = [
    (APPEND_ONLY, 0x20),
    (NOATIME, 0x80),
    (COMPRESS, 0x4),
    (NOCOW, 0x0080_0000),
    (0x10_0000, 0x40),        // no dump
    (0x20_0000, 0x0001_0000), // dirsync
    (IMMUTABLE, 0x10),
    (0x80_0000, 0x8), // sync
    (NOCOMPRESS, 0x400),
    (PROJECT_INHERIT, 0x2000_0000),
];
/// In archives, and as `FAT_IOCTL_GET_ATTRIBUTES` has it.
const FAT: [(u64, u32); 3] = [(0x2000, 2), (0x4000, 4), (0x8000, 32)];

const APPEND_ONLY: u64 = 0x1_0000;
const IMMUTABLE: u64 = 0x40_0000;
const NOATIME: u64 = 0x2_0000;
const COMPRESS: u64 = 0x4_0000;
const NOCOW: u64 = 0x8_0000;
const NOCOMPRESS: u64 = 0x100_0000;
const PROJECT_INHERIT: u64 = 0x200_0000;

/// Those that only have an effect, or only can be set, before something is in the file.
pub const BEFORE_CONTENT: u64 = NOATIME | COMPRESS | NOCOW | NOCOMPRESS | PROJECT_INHERIT;

/// Those with which a file cannot get further names.
pub const AFTER_NAMES: u64 = APPEND_ONLY | IMMUTABLE;

/// What `chattr(1)` set.
///
/// # Errors
/// `ENOTTY` and the like where the file system has no such attributes.
pub fn chattr_flags(fd: impl AsFd) -> Result<u64> {
    Ok(to_archive(&CHATTR, ioctl_getflags(fd)?.bits()))
}

/// What a FAT has.
///
/// # Errors
/// If the file is on something else.
pub fn fat_flags(fd: impl AsFd) -> Result<u64> {
    Ok(to_archive(&FAT, get_fat_attributes(fd)?))
}

/// Sets and clears flags; leaves the others as they are.
///
/// # Errors
/// If that is not allowed, or not possible there.
pub fn change_flags(fd: impl AsFd, set: u64, clear: u64) -> Result<()> {
    let change = |table: &[(u64, u32)], old: u32| {
        old & !from_archive(table, clear) | from_archive(table, set)
    };
    if from_archive(&CHATTR, set | clear) != 0 {
        let old = ioctl_getflags(&fd)?.bits();
        let new = change(&CHATTR, old);
        if new != old {
            ioctl_setflags(&fd, IFlags::from_bits_retain(new))?;
        }
    }
    if from_archive(&FAT, set | clear) != 0 {
        let old = get_fat_attributes(&fd)?;
        set_fat_attributes(fd, change(&FAT, old))?;
    }
    Ok(())
}

fn to_archive(table: &[(u64, u32)], system: u32) -> u64 {
    let set = table.iter().filter(|(_, bit)| system & bit != 0);
    set.fold(0, |flags, (flag, _)| flags | flag)
}

fn from_archive(table: &[(u64, u32)], flags: u64) -> u32 {
    let set = table.iter().filter(|(flag, _)| flags & flag != 0);
    set.fold(0, |system, (_, bit)| system | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_has_its_counterpart() {
        for table in [&CHATTR[..], &FAT] {
            let all = from_archive(table, u64::MAX);
            assert_eq!(all.count_ones() as usize, table.len());
            assert_eq!(from_archive(table, to_archive(table, u32::MAX)), all);
        }
        assert_eq!(
            to_archive(&CHATTR, 0x10 | 0x8_0000),
            0x40_0000,
            "no extents"
        );
        assert_eq!(BEFORE_CONTENT, 0x30e_0000);
    }
}
