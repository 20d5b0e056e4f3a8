//! What is known of a file beside what is in it, onto the file.

use std::os::fd::{AsFd as _, OwnedFd};

use pxar::{Metadata, Mtime, mode};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, chmod, chownat, fchmod, fchown,
    fstat, futimens, utimensat,
};
use rustix::io::{Errno, Result};
use rustix::process::geteuid;

use super::options::Ignore;
use super::place::refused;
use crate::tree::observer::Problem;
use crate::tree::report::Tell;
use crate::tree::sys::xattr::{Handle, is_stored};
use crate::tree::sys::{acl, flags, project};

const FCAPS: &[u8] = b"security.capability";
/// Bits of a mode that lend rights of the owner.
const SET_ID: u32 = 0o6000;

/// A file that was made.
pub struct Made<'a> {
    /// Itself.
    pub file: &'a OwnedFd,
    /// Whether that was opened to be read or written.
    pub open: bool,
    /// What it has taken over from its directory.
    pub inherited: Inherited,
    /// Permissions that it is given for now, whatever those of the archive are.
    pub lent: u32,
}

/// What new files in a directory take over from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inherited {
    /// Access lists.
    pub lists: bool,
    /// Flags that were restored to it.
    pub flags: u64,
}

impl Made<'_> {
    fn handle(&self) -> Handle<'_> {
        match self.open {
            true => Handle::new(self.file),
            false => Handle::path_only(self.file),
        }
    }

    fn change_owner(&self, uid: u32, gid: u32) -> Result<()> {
        // To the system this number says that nothing changes.
        if [uid, gid].contains(&u32::MAX) {
            return Err(Errno::INVAL);
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match self.open {
            true => fchown(self.file, uid, gid),
            false => chownat(self.file, c"", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    fn owner(&self) -> Result<(u32, u32)> {
        let stat = fstat(self.file)?;
        Ok((stat.st_uid, stat.st_gid))
    }

    fn change_mode(&self, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self.open {
            true => fchmod(self.file, mode),
            // Leads to the file itself, which is no link.
            false => chmod(self.handle().proc_path(), mode),
        }
    }

    fn change_mtime(&self, mtime: Mtime) -> Result<()> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: mtime.secs,
                tv_nsec: mtime.nanos.into(),
            },
        };
        if self.open {
            return futimens(self.file, &times);
        }
        match utimensat(self.file, c"", &times, AtFlags::EMPTY_PATH) {
            // Linux before 5.8.
            Err(Errno::INVAL) => self.change_times_by_name(&times),
            set => set,
        }
    }

    /// As systems do it that know files only by names; even of a link this one leads no further.
    fn change_times_by_name(&self, times: &Timestamps) -> Result<()> {
        utimensat(CWD, self.handle().proc_path(), times, AtFlags::empty())
    }
}

/// Restores what is known of files; what is not possible is reported.
pub struct Attributes<'a> {
    pub ignore: Ignore,
    pub reporter: &'a dyn Tell,
}

impl Attributes<'_> {
    /// What must be there before anything is in the file.
    pub fn before_content(&self, path: &[u8], made: &Made<'_>, metadata: &Metadata) {
        let flags = metadata.stat.flags & flags::BEFORE_CONTENT;
        let set = flags::change_flags(made.file, flags, made.inherited.flags & !flags);
        self.check(path, "set flags", set);
        // Into a directory of another project no file can be linked.
        if let Some(id) = metadata.quota_project_id {
            let set = project::set_project_id(made.file, id);
            self.check(path, "set the quota project", set);
        }
    }

    /// What would keep a file from having further names.
    pub fn after_names(&self, path: &[u8], file: &OwnedFd, flags: u64) {
        let set = flags::change_flags(file, flags & flags::AFTER_NAMES, 0);
        self.check(path, "set flags", set);
    }

    /// All the rest; the permissions that it should have without those that it is lent, if any.
    pub fn after_content(&self, path: &[u8], made: &Made<'_>, metadata: &Metadata) -> Option<u32> {
        let kind = metadata.stat.file_type();
        let handle = made.handle();
        if !self.ignore.xattrs {
            for xattr in &metadata.xattrs {
                if !is_stored(&xattr.name) {
                    let name = xattr.name.escape_ascii();
                    let why = format!("archives cannot have an attribute '{name}'");
                    self.reporter.problem(path, Problem::Refused { why });
                    continue;
                }
                let set = handle.set(&xattr.name, &xattr.value);
                self.check(path, "set extended attributes", set);
            }
        }
        if !self.ignore.xattrs && metadata.passed_over > 0 {
            let count = metadata.passed_over;
            let why = format!("{count} extended attributes beyond the first 16 MiB of them");
            self.reporter.problem(path, Problem::Refused { why });
        }
        let owned = self.owner(path, made, metadata);
        if let Some(fcaps) = &metadata.fcaps {
            self.check(path, "set capabilities", handle.set(FCAPS, fcaps));
        }
        let mut permissions = None;
        if kind != mode::SYMLINK {
            // First, since with a list the mode has other rights for the group than without.
            let listed = self.access_lists(path, made, metadata);
            if !self.ignore.permissions {
                // Rights of another owner than the archive's are nobody's to give.
                let denied = if owned { 0 } else { SET_ID };
                let mode = match listed {
                    true => metadata.stat.permissions(),
                    false => acl::mode_without_list(&metadata.acl, &metadata.stat),
                };
                let mode = mode & !denied;
                self.mode(path, made, mode | made.lent);
                permissions = Some(mode);
            }
        }
        let set = made.change_mtime(metadata.stat.mtime);
        self.check(path, "set the time of modification", set);
        if matches!(kind, mode::FILE | mode::DIRECTORY) {
            let later = match kind {
                mode::FILE => flags::AFTER_NAMES,
                _ => 0,
            };
            let flags = metadata.stat.flags & !flags::BEFORE_CONTENT & !later;
            let set = flags::change_flags(made.file, flags, 0);
            self.check(path, "set flags", set);
        }
        permissions
    }

    /// Restores permissions.
    pub fn mode(&self, path: &[u8], made: &Made<'_>, mode: u32) {
        self.check(path, "set permissions", made.change_mode(mode));
    }

    /// Restores the owner; whether the file has that of the archive now.
    fn owner(&self, path: &[u8], made: &Made<'_>, metadata: &Metadata) -> bool {
        let wanted = (metadata.stat.uid, metadata.stat.gid);
        if made.owner() == Ok(wanted) {
            return true;
        }
        if self.ignore.ownership {
            return false;
        }
        let set = made.change_owner(wanted.0, wanted.1);
        let action = "set the owner";
        match set {
            Err(Errno::PERM) if !geteuid().is_root() => self.reporter.not_root(path, action),
            set => self.check(path, action, set),
        }
        set.is_ok()
    }

    /// Restores the access lists; whether the file has that of the archive now, if any.
    fn access_lists(&self, path: &[u8], made: &Made<'_>, metadata: &Metadata) -> bool {
        if self.ignore.acls {
            return false;
        }
        let access = acl::access_value(&metadata.acl, &metadata.stat);
        let listed = self.access_list(path, made, acl::ACCESS, access);
        if metadata.stat.file_type() == mode::DIRECTORY {
            self.access_list(path, made, acl::DEFAULT, acl::default_value(&metadata.acl));
        }
        listed
    }

    /// Sets or removes one; whether that worked.
    fn access_list(
        &self,
        path: &[u8],
        made: &Made<'_>,
        name: &[u8],
        value: Option<Option<Vec<u8>>>,
    ) -> bool {
        let set = match value {
            Some(Some(value)) => made.handle().set(name, &value),
            Some(None) if made.inherited.lists => made.handle().remove(name),
            Some(None) => Ok(()),
            None => Err(Errno::INVAL),
        };
        self.check(path, "set access lists", set);
        set.is_ok()
    }

    fn check(&self, path: &[u8], action: &'static str, result: Result<()>) {
        match result {
            Ok(()) => {}
            Err(error @ (Errno::PERM | Errno::NOTSUP | Errno::NOTTY | Errno::NOSYS)) => {
                self.reporter.denied(path, action, error);
            }
            // Of a restore nothing has vanished that was there before.
            Err(error) => self.reporter.problem(path, refused(action, error)),
        }
    }
}

/// Whether a directory has access lists; new files in it take over some.
pub fn has_lists(directory: &OwnedFd) -> bool {
    let directory = directory.as_fd();
    let handle = Handle::new(&directory);
    handle.has(acl::DEFAULT) || handle.has(acl::ACCESS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;
    use crate::tree::report::{Note, Notes};
    use crate::tree::sys::open::open_path;

    /// As of a directory that somebody removes while it is restored.
    #[test]
    fn what_is_gone_did_not_vanish_while_it_was_backed_up() {
        for error in [Errno::NOENT, Errno::STALE] {
            let notes = Notes::default();
            let attributes = Attributes {
                ignore: Ignore::default(),
                reporter: &notes,
            };
            attributes.check(b"f", "set flags", Err(error));
            let notes = notes.all();
            let [Note::Problem(problem)] = &notes[..] else {
                panic!("{} notes", notes.len());
            };
            assert_eq!(
                problem.to_string(),
                format!("cannot set flags: {}", std::io::Error::from(error))
            );
        }
    }

    #[test]
    fn attributes_that_the_decoder_passed_over_are_told() {
        let temporary = tempfile::tempdir().unwrap();
        let file: OwnedFd = fs::File::create(temporary.path().join("f")).unwrap().into();
        let made = Made {
            file: &file,
            open: true,
            inherited: Inherited::default(),
            lent: 0,
        };
        for xattrs in [false, true] {
            let notes = Notes::default();
            let attributes = Attributes {
                ignore: Ignore {
                    xattrs,
                    ownership: true,
                    ..Ignore::default()
                },
                reporter: &notes,
            };
            let mut metadata = Metadata::default();
            metadata.stat.mode = mode::FILE | 0o644;
            metadata.passed_over = 3;
            attributes.after_content(b"f", &made, &metadata);
            let notes = notes.all();
            let told = notes.iter().any(|note| {
                matches!(note, Note::Problem(problem) if problem.to_string().starts_with("3 ext"))
            });
            assert_eq!(told, !xattrs);
        }
    }

    #[test]
    fn times_of_what_cannot_be_opened_are_set_by_name_too() {
        let temporary = tempfile::tempdir().unwrap();
        let (file, link) = (temporary.path().join("file"), temporary.path().join("link"));
        fs::write(&file, "").unwrap();
        symlink("file", &link).unwrap();
        let before = fs::metadata(&file).unwrap().mtime();
        let directory = fs::File::open(temporary.path()).unwrap();
        let opened = open_path(&directory, b"link").unwrap();
        let made = Made {
            file: &opened,
            open: false,
            inherited: Inherited::default(),
            lent: 0,
        };
        for secs in [-5, 1234] {
            let at = |tv_sec| Timespec { tv_sec, tv_nsec: 7 };
            let times = Timestamps {
                last_access: at(0),
                last_modification: at(secs),
            };
            made.change_times_by_name(&times).unwrap();
            let stat = fs::symlink_metadata(&link).unwrap();
            assert_eq!((stat.mtime(), stat.mtime_nsec()), (secs, 7));
        }
        assert_eq!(fs::metadata(&file).unwrap().mtime(), before);
    }
}
