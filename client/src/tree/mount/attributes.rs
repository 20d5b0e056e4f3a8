//! What `stat(2)` and `getxattr(2)` tell of a file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use pxar::{Body, Device, Inode, Mtime};
use rustix::fs::makedev;

/// The attribute with capabilities, which archives have in a place of their own.
const FCAPS: &[u8] = b"security.capability";
const BLOCK: u64 = 512;

/// What `stat(2)` tells.
pub fn stat(number: u64, inode: &Inode) -> FileAttr {
    let stat = &inode.metadata.stat;
    let mtime = time(stat.mtime);
    let (size, device) = match &inode.body {
        Body::File(payload) => (payload.size, 0),
        Body::Symlink(target) => (target.len() as u64, 0),
        Body::BlockDevice(device) | Body::CharDevice(device) => (0, device_number(device)),
        Body::Directory | Body::Fifo | Body::Socket => (0, 0),
    };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(BLOCK),
        atime: mtime,
        mtime,
        ctime: mtime,
        crtime: mtime,
        kind: kind(&inode.body),
        perm: u16::try_from(stat.permissions()).unwrap_or_default(),
        nlink: 1,
        uid: stat.uid,
        gid: stat.gid,
        rdev: device,
        blksize: 4096,
        flags: 0,
    }
}

/// The type.
pub fn kind(body: &Body) -> FileType {
    match body {
        Body::Directory => FileType::Directory,
        Body::File(_) => FileType::RegularFile,
        Body::Symlink(_) => FileType::Symlink,
        Body::BlockDevice(_) => FileType::BlockDevice,
        Body::CharDevice(_) => FileType::CharDevice,
        Body::Fifo => FileType::NamedPipe,
        Body::Socket => FileType::Socket,
    }
}

/// Names of extended attributes, each with a NUL behind it.
pub fn attribute_names(inode: &Inode) -> Vec<u8> {
    let mut names = Vec::new();
    for xattr in &inode.metadata.xattrs {
        names.extend_from_slice(&xattr.name);
        names.push(0);
    }
    if inode.metadata.fcaps.is_some() {
        names.extend_from_slice(FCAPS);
        names.push(0);
    }
    names
}

/// The value of an extended attribute.
pub fn attribute<'a>(inode: &'a Inode, name: &[u8]) -> Option<&'a [u8]> {
    if name == FCAPS {
        return inode.metadata.fcaps.as_deref();
    }
    let mut xattrs = inode.metadata.xattrs.iter();
    let found = xattrs.find(|xattr| xattr.name == name)?;
    Some(&found.value)
}

/// What is beyond the clock is shown as its beginning.
fn time(mtime: Mtime) -> SystemTime {
    let secs = Duration::from_secs(mtime.secs.unsigned_abs());
    let whole = match mtime.secs {
        0.. => UNIX_EPOCH.checked_add(secs),
        _ => UNIX_EPOCH.checked_sub(secs),
    };
    let nanos = Duration::from_nanos(mtime.nanos.into());
    let time = whole.and_then(|whole| whole.checked_add(nanos));
    time.unwrap_or(UNIX_EPOCH)
}

/// The kernel's protocol has 32 bits of it.
fn device_number(device: &Device) -> u32 {
    let number = |number: u64| u32::try_from(number).ok();
    let whole = number(device.major).zip(number(device.minor));
    whole
        .and_then(|(major, minor)| u32::try_from(makedev(major, minor)).ok())
        .unwrap_or_default()
}
