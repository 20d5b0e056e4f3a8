//! Files, devices and pipes that something is restored into.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempPath;

use super::options::Target;
use crate::tree::sys::durable::{sync_file, sync_file_system};

/// Zeros are recognised in pieces of this size.
const PIECE: usize = 64 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// What is written to, from the first byte to the last. A file that was made for this is removed
/// unless [`Output::finish`] is reached, and until then one that is there stays as it is.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// Where zeros need not be written: a file that is empty at first.
    sparse: bool,
    made: Option<Made>,
    position: u64,
}

/// A file that was made, and goes unless it is kept: half a file is worse than none.
#[derive(Debug)]
struct Made {
    path: TempPath,
    /// What it takes the place of once it is whole.
    instead_of: Option<PathBuf>,
}

impl Output {
    /// Opens the target for `size` bytes. Devices and pipes are written to as they are; a file that
    /// is there only if it may be overwritten.
    pub(super) fn open(target: &Target, overwrite: bool, size: u64) -> Result<Self> {
        match target {
            Target::Stdout => Ok(Self::to(io::stdout().as_fd().try_clone_to_owned()?.into())),
            Target::Path(path) => Self::open_path(path, overwrite, size)
                .with_context(|| format!("cannot write {target}")),
        }
    }

    fn to(file: File) -> Self {
        Self {
            file,
            sparse: false,
            made: None,
            position: 0,
        }
    }

    fn open_path(path: &Path, overwrite: bool, size: u64) -> Result<Self> {
        let there = match std::fs::metadata(path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = OpenOptions::new().write(true).create_new(true).open(path)?;
                let path = TempPath::try_from_path(path)?;
                return Ok(Self::made(file, path, None));
            }
            Err(error) => return Err(error.into()),
        };
        let kind = there.file_type();
        ensure!(
            !kind.is_dir(),
            "it is a directory, and this goes into a file"
        );
        let mut file = OpenOptions::new();
        file.write(true);
        if kind.is_block_device() {
            let mut file = file.open(path)?;
            let room = file.seek(SeekFrom::End(0))?;
            ensure!(
                room >= size,
                "the device has {room} bytes, {size} are needed"
            );
            file.rewind()?;
            return Ok(Self::to(file));
        }
        if !kind.is_file() {
            return Ok(Self::to(file.open(path)?));
        }
        if !overwrite {
            bail!("it exists; remove it, or give --overwrite");
        }
        Self::beside(path, &there).context(
            "it can be replaced only by a file that is made beside it; see to it that there is room \
             for both, or remove it first",
        )
    }

    fn made(file: File, path: TempPath, instead_of: Option<PathBuf>) -> Self {
        let made = Some(Made { path, instead_of });
        Self {
            sparse: true,
            made,
            ..Self::to(file)
        }
    }

    /// Begins a file that will take the place of the one that is there, or of the one that the link
    /// that is there leads to.
    fn beside(path: &Path, there: &Metadata) -> Result<Self> {
        let path = std::fs::canonicalize(path)?;
        let beside = tempfile::Builder::new()
            .prefix(".coffer-restore-")
            .tempfile_in(directory_of(&path))?;
        let (file, beside) = beside.into_parts();
        // Where the owner cannot be the same, the rights of others would be those of strangers.
        let owned = fchown(&file, Some(there.uid()), Some(there.gid())).is_ok();
        let mode = there.mode() & if owned { 0o777 } else { 0o700 };
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(Self::made(file, beside, Some(path)))
    }

    /// All was written; waits until it is on disk.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.sparse {
            self.file
                .set_len(self.position)
                .context("failed to set its length")?;
        }
        let unsynced = "failed to write all of it to the disk";
        sync_file(&self.file).context(unsynced)?;
        let Some(made) = self.made.take() else {
            return Ok(());
        };
        let path = made.keep()?;
        let synced = match File::open(directory_of(&path)) {
            Ok(directory) => sync_file(directory),
            // One that may not be read takes everything around it along.
            Err(_) => sync_file_system(&self.file),
        };
        synced.context(unsynced)
    }

    fn skip(&mut self, count: usize) -> io::Result<()> {
        let count = i64::try_from(count).map_err(io::Error::other)?;
        self.file.seek(SeekFrom::Current(count))?;
        Ok(())
    }
}

fn directory_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = if self.sparse {
            let piece = &bytes[..bytes.len().min(PIECE)];
            if *piece == ZEROS[..piece.len()] {
                self.skip(piece.len())?;
                piece.len()
            } else {
                self.file.write(piece)?
            }
        } else {
            self.file.write(bytes)?
        };
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Made {
    /// It is whole, and goes where it belongs; where that is.
    fn keep(self) -> Result<PathBuf> {
        match self.instead_of {
            Some(path) => {
                let replaced = self.path.persist(&path);
                replaced.context("failed to replace the file that is there")?;
                Ok(path)
            }
            None => Ok(self.path.keep()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn path(path: &Path) -> Target {
        Target::Path(path.to_owned())
    }

    #[test]
    fn zeros_become_holes_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image");
        let mut content = vec![0; 8 << 20];
        content[5 << 20] = 1;
        let size = content.len() as u64;
        let mut output = Output::open(&path(&file), false, size).unwrap();
        output.write_all(&content).unwrap();
        output.finish().unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), content);
        assert!(std::fs::metadata(&file).unwrap().blocks() * 512 < 1 << 20);
        // Over what is there, only if that is wanted, and then over all of it.
        std::fs::write(&file, vec![7; content.len() + 5]).unwrap();
        assert!(Output::open(&path(&file), false, size).is_err());
        let mut output = Output::open(&path(&file), true, size).unwrap();
        output.write_all(&content).unwrap();
        output.finish().unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), content);
        assert!(std::fs::metadata(&file).unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn what_is_finished_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        if !support::tells_what_is_on_disk(dir.path()) {
            return;
        }
        let file = dir.path().join("image");
        let mut output = Output::open(&path(&file), false, 100_000).unwrap();
        output.write_all(&[7; 100_000]).unwrap();
        output.finish().unwrap();
        assert_eq!(support::is_on_disk(&file), Some(true));
    }

    #[test]
    fn a_file_is_replaced_by_a_whole_one_only() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("image"), dir.path().join("link"));
        std::fs::write(&file, "what was there").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("image", &link).unwrap();
        let there = || std::fs::read_dir(dir.path()).unwrap().count();
        for target in [&file, &link] {
            let mut output = Output::open(&path(target), true, 10).unwrap();
            output.write_all(b"half").unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), b"what was there");
            drop(output);
            assert_eq!(std::fs::read(&file).unwrap(), b"what was there");
            assert_eq!(there(), 2);
        }
        let mut output = Output::open(&path(&link), true, 10).unwrap();
        output.write_all(b"what is new").unwrap();
        output.finish().unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"what is new");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert!(link.is_symlink());
        assert_eq!(there(), 2);
    }

    #[test]
    fn half_a_new_file_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image");
        let mut output = Output::open(&path(&file), false, 10).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert!(!file.exists());
        assert!(Output::open(&path(dir.path()), true, 10).is_err());
    }
}
