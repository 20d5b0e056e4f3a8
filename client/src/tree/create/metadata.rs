//! All that is known of a file beside what is in it.

use std::io;

use pxar::{Metadata, Mtime, Stat, Xattr, limits};
use rustix::fs::FileType;
use rustix::io::{Errno, Result};

use super::file_system::{FileSystem, FileSystems};
use crate::tree::observer::Problem;
use crate::tree::sys::xattr::{Handle, Reader};
use crate::tree::sys::{acl, flags, project, xattr};

const FCAPS: &[u8] = b"security.capability";

/// Reads it; keeps its memory from file to file.
pub struct MetadataReader {
    attributes: Reader,
    file_systems: FileSystems,
}

impl MetadataReader {
    pub fn new() -> Self {
        Self {
            attributes: Reader::new(),
            file_systems: FileSystems::default(),
        }
    }

    /// Whether nothing of this file's file system belongs into a backup.
    pub fn is_virtual(&mut self, file: Handle<'_>, stat: &rustix::fs::Stat) -> bool {
        self.file_systems.of(file, stat.st_dev).is_virtual
    }

    /// What is known of an open file; what cannot be read is missing, and told to `problem`.
    pub fn read(
        &mut self,
        file: Handle<'_>,
        stat: &rustix::fs::Stat,
        problem: &mut dyn FnMut(Problem),
    ) -> Metadata {
        let mut metadata = Metadata {
            stat: convert(stat),
            ..Metadata::default()
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut failed = |action: &'static str, error: Errno| {
            let source = io::Error::from(error);
            problem(Problem::Io { action, source });
        };
        if matches!(kind, FileType::RegularFile | FileType::Directory) {
            let system = self.file_systems.of(file, stat.st_dev);
            match read_flags(file, system) {
                Ok(flags) => metadata.stat.flags = flags,
                Err(error) => failed("read the flags of", error),
            }
            match read_project(file, system) {
                Ok(id) => metadata.quota_project_id = id,
                Err(error) => failed("read the quota project of", error),
            }
        }
        let directory = kind == FileType::Directory;
        let mut nonsense = false;
        let (mut room, mut excess) = (limits::ATTRIBUTES, 0);
        let read = self.attributes.read(file, is_stored, |name, value| {
            if is_access(name) {
                nonsense |= !add_access(&mut metadata, name, value, directory);
                return;
            }
            match room.checked_sub(Xattr::stored_len(name, value)) {
                Some(left) => {
                    room = left;
                    metadata.xattrs.push(Xattr {
                        name: name.to_vec(),
                        value: value.to_vec(),
                    });
                }
                None => excess += 1,
            }
        });
        match read {
            Err(Errno::TOOBIG) => problem(Problem::LargeAttributes),
            Err(error) => failed("read the extended attributes of", error),
            Ok(()) if nonsense => failed("understand the access list of", Errno::INVAL),
            Ok(()) => {}
        }
        if excess > 0 {
            problem(Problem::ManyAttributes { missing: excess });
        }
        metadata
    }
}

/// The rules of `pxar.md` §9.
fn is_stored(name: &[u8]) -> bool {
    xattr::is_stored(name) || is_access(name)
}

/// Whether archives have items of their own for it: it says who may do what.
fn is_access(name: &[u8]) -> bool {
    name == FCAPS || name == acl::ACCESS || name == acl::DEFAULT
}

/// False if the value makes no sense.
fn add_access(metadata: &mut Metadata, name: &[u8], value: &[u8], directory: bool) -> bool {
    match name {
        FCAPS => metadata.fcaps = Some(value.to_vec()),
        acl::ACCESS => return acl::read_access(&mut metadata.acl, value),
        acl::DEFAULT if directory => return acl::read_default(&mut metadata.acl, value),
        _ => {}
    }
    true
}

fn read_flags(file: Handle<'_>, system: &mut FileSystem) -> Result<u64> {
    let mut all = 0;
    if system.chattr {
        all |= if_supported(&mut system.chattr, flags::chattr_flags(file))?.unwrap_or_default();
    }
    if system.fat {
        all |= if_supported(&mut system.fat, flags::fat_flags(file))?.unwrap_or_default();
    }
    Ok(all)
}

fn read_project(file: Handle<'_>, system: &mut FileSystem) -> Result<Option<u64>> {
    if !system.projects {
        return Ok(None);
    }
    let id = if_supported(&mut system.projects, project::project_id(file))?;
    Ok(id.flatten())
}

/// Notes if the file system does not have something.
fn if_supported<T>(supported: &mut bool, result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOTTY | Errno::NOSYS | Errno::NOTSUP | Errno::INVAL) => {
            *supported = false;
            Ok(None)
        }
        // Not this file.
        Err(Errno::PERM | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What `stat(2)` said, as archives have it.
pub fn convert(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        mode: stat.st_mode.into(),
        flags: 0,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Mtime {
            secs: stat.st_mtime,
            // Some file systems in user space say what cannot be.
            nanos: u32::try_from(stat.st_mtime_nsec).map_or(0, |nanos| nanos.min(999_999_999)),
        },
    }
}
