//! Making one file.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use pxar::{Device, Metadata};
use rustix::fs::{Dev, FileType, Mode, OFlags, Stat, fstat, makedev, mknodat, openat, symlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::attributes::{Attributes, Inherited, Made};
use super::content::Failure;
use super::options::ExtractOptions;
use super::place::{Place, place, refused};
use crate::tree::Error;
use crate::tree::observer::Problem;
use crate::tree::report::as_path;
use crate::tree::sys::open::open_path;

/// Something that is restored.
pub struct Item<'a> {
    /// Below the target.
    pub path: &'a [u8],
    pub metadata: &'a Metadata,
}

impl Item<'_> {
    fn name(&self) -> &[u8] {
        last_name(self.path)
    }
}

/// Puts things into a directory.
pub struct Placer<'a> {
    pub directory: &'a OwnedFd,
    pub inherited: Inherited,
    pub options: &'a ExtractOptions,
    pub attributes: &'a Attributes<'a>,
}

impl Placer<'_> {
    /// Makes a file, in which `fill` writes something; how many bytes are in it. That the archive is
    /// out of reach is an error of its own.
    pub fn file(
        &self,
        item: &Item<'_>,
        fill: impl FnOnce(&OwnedFd) -> Result<u64, Failure>,
    ) -> Result<Result<u64, Problem>, Error> {
        let mode = match self.options.ignore.permissions {
            true => 0o666,
            false => 0o600,
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = |name: &[u8]| openat(self.directory, name, flags, Mode::from_raw_mode(mode));
        let overwrite = self.options.overwrite.files;
        let option = "--overwrite-files";
        let (file, place) = match Place::take(self.directory, item.name(), overwrite, option, make)
        {
            Ok(taken) => taken,
            Err(problem) => return Ok(Err(problem)),
        };
        let made = self.made(&file, true);
        self.attributes
            .before_content(item.path, &made, item.metadata);
        let written = match fill(&file) {
            Ok(written) => written,
            Err(failure) => {
                // Half a file looks like a whole one.
                place.clear();
                return failed(failure).map(Err);
            }
        };
        if let Err(problem) = place.settle() {
            return Ok(Err(problem));
        }
        self.attributes
            .after_content(item.path, &made, item.metadata);
        Ok(Ok(written))
    }

    pub fn symlink(&self, item: &Item<'_>, target: &[u8]) -> Result<bool, Problem> {
        let make = |name: &[u8]| symlinkat(target, self.directory, name);
        let overwrite = self.options.overwrite.symlinks;
        let option = "--overwrite-symlinks";
        place(self.directory, item.name(), overwrite, option, make)?;
        self.finish_by_path(item, FileType::Symlink, 0)
    }

    pub fn node(
        &self,
        item: &Item<'_>,
        kind: FileType,
        device: Option<&Device>,
    ) -> Result<bool, Problem> {
        let number = |number: u64| {
            u32::try_from(number).map_err(|_| Problem::Refused {
                why: format!("no device has the number {number}"),
            })
        };
        let device = match device {
            None => 0,
            Some(device) => makedev(number(device.major)?, number(device.minor)?),
        };
        let mode = Mode::from_raw_mode(0o600);
        let make = |name: &[u8]| mknodat(self.directory, name, kind, mode, device);
        let overwrite = self.options.overwrite.files;
        let option = "--overwrite-files";
        let ignored = self.options.ignore.device_errors
            && matches!(kind, FileType::BlockDevice | FileType::CharacterDevice);
        match place(self.directory, item.name(), overwrite, option, make) {
            Err(Problem::Io { source, .. }) if ignored && is_no_right(&source) => Ok(false),
            Err(problem) => Err(problem),
            Ok(()) => self.finish_by_path(item, kind, device),
        }
    }

    /// Restores what is known of something that was just made and could not be kept open.
    fn finish_by_path(
        &self,
        item: &Item<'_>,
        kind: FileType,
        device: Dev,
    ) -> Result<bool, Problem> {
        let file =
            open_path(self.directory, item.name()).map_err(|error| refused("open", error))?;
        let stat = fstat(&file).map_err(|error| refused("look at it", error))?;
        if !self.is_what_was_made(&stat, kind, device) {
            return Err(Problem::Refused {
                why: "something else has taken its place since it was made, and stays as it is"
                    .to_owned(),
            });
        }
        let made = self.made(&file, false);
        self.attributes
            .after_content(item.path, &made, item.metadata);
        Ok(true)
    }

    /// Whether it cannot be another's file, whose owner and mode are not ours to change.
    fn is_what_was_made(&self, stat: &Stat, kind: FileType, device: Dev) -> bool {
        // Some servers of files have an owner of their own for what root makes.
        let ours = self.options.ignore.ownership || stat.st_uid == geteuid().as_raw();
        let is_device = matches!(kind, FileType::BlockDevice | FileType::CharacterDevice);
        FileType::from_raw_mode(stat.st_mode) == kind
            && (!is_device || stat.st_rdev == device)
            && stat.st_nlink <= 1
            && ours
    }

    fn made<'b>(&self, file: &'b OwnedFd, open: bool) -> Made<'b> {
        Made {
            file,
            open,
            inherited: self.inherited,
            lent: 0,
        }
    }
}

/// Whether devices can be made by others only, or elsewhere.
fn is_no_right(error: &std::io::Error) -> bool {
    let error = Errno::from_io_error(error);
    error.is_some_and(|it| matches!(it, Errno::PERM | Errno::ACCESS | Errno::NOTSUP))
}

/// What it means if a file cannot be filled.
pub fn failed(failure: Failure) -> Result<Problem, Error> {
    match failure {
        Failure::Read(source) => match source.kind() {
            // The archive itself is out of reach.
            ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::PermissionDenied
            | ErrorKind::TimedOut => Err(pxar::Error::Io {
                action: "read",
                source,
            }
            .into()),
            _ => Ok(Problem::Io {
                action: "read what goes into it",
                source,
            }),
        },
        Failure::Write(error) => Ok(refused("write it", error)),
    }
}

/// A problem that a file has for itself; what hinders all others too is an error.
pub fn of_one_file(path: &[u8], problem: Problem) -> Result<Problem, Error> {
    let error = match &problem {
        Problem::Io { source, .. } => Errno::from_io_error(source),
        _ => None,
    };
    match error {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::IO) => {
            let path = as_path(path).to_path_buf();
            Err(Error::File { path, problem })
        }
        _ => Ok(problem),
    }
}

/// The last name of a path.
pub fn last_name(path: &[u8]) -> &[u8] {
    let mut names = path.rsplit(|byte| *byte == b'/');
    names.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use pxar::mode;
    use rustix::fs::{CWD, open};

    use super::*;
    use crate::tree::report::Notes;

    /// What a directory that others may write to has by the name of a pipe that was just made.
    #[test]
    fn what_took_the_place_of_something_that_was_made_stays_as_it_is() {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        let directory = open(temporary.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        let pipe = |name| mknodat(CWD, path(name), FileType::Fifo, 0o600.into(), 0).unwrap();
        pipe("good");
        pipe("linked");
        fs::hard_link(path("linked"), path("other")).unwrap();
        fs::write(path("file"), "").unwrap();
        fs::set_permissions(path("file"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", path("link")).unwrap();
        let mut metadata = Metadata::default();
        metadata.stat.mode = mode::FIFO | 0o644;
        metadata.stat.uid = geteuid().as_raw();
        metadata.stat.gid = rustix::process::getegid().as_raw();
        let notes = Notes::default();
        let options = ExtractOptions::default();
        let placer = Placer {
            directory: &directory,
            inherited: Inherited::default(),
            options: &options,
            attributes: &Attributes {
                ignore: options.ignore,
                reporter: &notes,
            },
        };
        let finish = |name: &str| {
            let item = Item {
                path: name.as_bytes(),
                metadata: &metadata,
            };
            placer.finish_by_path(&item, FileType::Fifo, 0)
        };
        for name in ["linked", "file", "link"] {
            assert!(
                matches!(finish(name), Err(Problem::Refused { .. })),
                "{name}"
            );
        }
        assert!(matches!(finish("good"), Ok(true)));
        let mode_of = |name| fs::metadata(path(name)).unwrap().mode() & 0o777;
        assert_eq!(mode_of("good"), 0o644);
        assert_eq!((mode_of("linked"), mode_of("file")), (0o600, 0o600));
        // Another's, and another device.
        let mut stat = fstat(open_path(&directory, b"good").unwrap()).unwrap();
        stat.st_uid += 1;
        assert!(!placer.is_what_was_made(&stat, FileType::Fifo, 0));
        let null = rustix::fs::stat("/dev/null").unwrap();
        let is_null = |number| {
            let mut stat = null;
            stat.st_uid = geteuid().as_raw();
            placer.is_what_was_made(&stat, FileType::CharacterDevice, number)
        };
        assert!(is_null(makedev(1, 3)) && !is_null(makedev(1, 5)));
        assert_eq!(notes.all().len(), 0);
    }
}
