//! Files, devices and pipes that something is restored into.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::options::Target;
use crate::tree::sys::durable::{sync_file, sync_file_system};

/// Zeros are recognised in pieces of this size.
const PIECE: usize = 64 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// What is written to, from the first byte to the last. A file that was made for this is removed
/// unless [`Output::finish`] is reached.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// Where zeros need not be written: a file that is empty at first.
    sparse: bool,
    created: Option<PathBuf>,
    position: u64,
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
            created: None,
            position: 0,
        }
    }

    fn open_path(path: &Path, overwrite: bool, size: u64) -> Result<Self> {
        let kind = match std::fs::metadata(path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = OpenOptions::new().write(true).create_new(true).open(path)?;
                let mut output = Self::to(file);
                output.sparse = true;
                output.created = Some(path.to_owned());
                return Ok(output);
            }
            Err(error) => return Err(error.into()),
        };
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
        let mut output = Self::to(file.truncate(true).open(path)?);
        output.sparse = true;
        Ok(output)
    }

    /// All was written; waits until it is on disk.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.sparse {
            self.file
                .set_len(self.position)
                .context("failed to set its length")?;
        }
        self.sync().context("failed to write all of it to the disk")?;
        self.created = None;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        sync_file(&self.file)?;
        if let Some(path) = &self.created {
            match File::open(directory_of(path)) {
                Ok(directory) => sync_file(directory)?,
                // One that may not be read takes everything around it along.
                Err(_) => sync_file_system(&self.file)?,
            }
        }
        Ok(())
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

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(path) = &self.created {
            // Half a file is worse than none; the error that led here is what matters.
            let _ = std::fs::remove_file(path);
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
