//! Requests to file systems that no crate wraps.
#![allow(unsafe_code)]

use std::os::fd::AsFd;

use rustix::io::Result;
use rustix::ioctl::{Getter, Setter, ioctl, opcode};

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FsXattr {
    pub xflags: u32,
    pub extsize: u32,
    pub nextents: u32,
    pub projid: u32,
    pub cowextsize: u32,
    pub pad: [u8; 8],
}

const FS_IOC_FSGETXATTR: u32 = opcode::read::<FsXattr>(b'X', 31);
const FS_IOC_FSSETXATTR: u32 = opcode::write::<FsXattr>(b'X', 32);
const FAT_IOCTL_GET_ATTRIBUTES: u32 = opcode::read::<u32>(b'r', 0x10);
const FAT_IOCTL_SET_ATTRIBUTES: u32 = opcode::write::<u32>(b'r', 0x11);

/// Attributes that are about space on a disk.
pub fn get_fs_xattr(fd: impl AsFd) -> Result<FsXattr> {
    // SAFETY: FS_IOC_FSGETXATTR writes one `struct fsxattr`, of which any bits are valid, and
    // nothing else.
    unsafe { ioctl(fd, Getter::<FS_IOC_FSGETXATTR, FsXattr>::new()) }
}

/// Sets them.
pub fn set_fs_xattr(fd: impl AsFd, attributes: FsXattr) -> Result<()> {
    // SAFETY: FS_IOC_FSSETXATTR reads one `struct fsxattr`, and writes nothing.
    unsafe { ioctl(fd, Setter::<FS_IOC_FSSETXATTR, FsXattr>::new(attributes)) }
}

/// The attributes of a file on a FAT.
pub fn get_fat_attributes(fd: impl AsFd) -> Result<u32> {
    // SAFETY: FAT_IOCTL_GET_ATTRIBUTES writes one 32-bit number, and nothing else.
    unsafe { ioctl(fd, Getter::<FAT_IOCTL_GET_ATTRIBUTES, u32>::new()) }
}

/// Sets them.
pub fn set_fat_attributes(fd: impl AsFd, attributes: u32) -> Result<()> {
    // SAFETY: FAT_IOCTL_SET_ATTRIBUTES reads one 32-bit number, and writes nothing.
    unsafe { ioctl(fd, Setter::<FAT_IOCTL_SET_ATTRIBUTES, u32>::new(attributes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        let numbers = [
            FS_IOC_FSGETXATTR,
            FS_IOC_FSSETXATTR,
            FAT_IOCTL_GET_ATTRIBUTES,
            FAT_IOCTL_SET_ATTRIBUTES,
        ];
        assert_eq!(
            numbers,
            [0x801c_581f, 0x401c_5820, 0x8004_7210, 0x4004_7211]
        );
    }
}
