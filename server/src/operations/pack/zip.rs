//! Zip. Its directory is at the end, so all names are in memory until then.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pxar::{Body, Metadata, mode};
use zip::write::{FullFileOptions, SimpleFileOptions, StreamWriter};
use zip::{DateTime, ZipWriter};

/// What the directory at the end may take. A million names of usual length.
const MAX_DIRECTORY: usize = 640 << 20;
/// What an entry takes there beside its name.
const ENTRY: usize = 512;
/// From here on, packed or not, lengths may need 64 bits. Packing can make longer, a little.
const LARGE: u64 = 0xf000_0000;

pub struct Packer<W: Write> {
    /// Dropped before the file.
    given_up: GivenUp,
    zip: ZipWriter<StreamWriter<Output<W>>>,
    directory: usize,
}

/// Keeps a file that is dropped in the middle from getting the end of a whole one.
#[derive(Default)]
struct GivenUp(Rc<Cell<bool>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

struct Output<W> {
    out: W,
    given_up: Rc<Cell<bool>>,
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.given_up.get() {
            return Ok(bytes.len());
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Packer<W> {
    pub fn new(out: W) -> Self {
        let given_up = GivenUp::default();
        let out = Output {
            out,
            given_up: Rc::clone(&given_up.0),
        };
        Self {
            given_up,
            zip: ZipWriter::new_stream(out),
            directory: 0,
        }
    }

    pub fn finish(self) -> Result<()> {
        let Self {
            given_up: _until_the_end,
            zip,
            ..
        } = self;
        zip.finish()?.into_inner().flush()?;
        Ok(())
    }

    /// Makes room for an entry.
    fn enter(&mut self, path: &[u8]) -> Result<()> {
        check(path)?;
        self.directory += path.len() + ENTRY;
        if self.directory > MAX_DIRECTORY {
            bail!("too many files for a zip file; download it as tar");
        }
        Ok(())
    }

    fn start(&mut self, path: &[u8], metadata: &Metadata, size: u64) -> Result<()> {
        self.enter(path)?;
        let options = options(metadata, size)?.name(path);
        let started = self.zip.start_file_with_options(options);
        started.with_context(|| format!("cannot pack '{}'", path.escape_ascii()))
    }
}

/// Some systems take a backslash for a slash.
fn check(path: &[u8]) -> Result<()> {
    let mut names = path.split(|byte| matches!(byte, b'/' | b'\\'));
    if path.starts_with(b"\\") || names.any(|name| name == b"..") {
        let path = path.escape_ascii();
        bail!("a zip file cannot hold '{path}', download it as tar");
    }
    Ok(())
}

fn options(metadata: &Metadata, size: u64) -> Result<FullFileOptions<'static, 'static>> {
    let stat = &metadata.stat;
    let mode = u32::try_from(stat.mode).unwrap_or_default();
    let options = SimpleFileOptions::default()
        .external_attributes(mode << 16)
        .last_modified_time(local_time(stat.mtime.secs))
        .large_file(size >= LARGE);
    // The same in UTC, which is a number of 31 bits.
    let seconds = i32::try_from(stat.mtime.secs).ok();
    let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
    Ok(match seconds {
        Some(_) => options.with_extended_timestamp(seconds, None, None)?,
        None => options.into_full_options(),
    })
}

/// The time of a zone that nobody knows; UTC here. It begins with 1980.
fn local_time(seconds: i64) -> DateTime {
    let time = Timestamp::from_second(seconds).map(|time| TimeZone::UTC.to_datetime(time));
    let converted = time.ok().and_then(|time| {
        let part = |number: i8| u8::try_from(number).unwrap_or_default();
        DateTime::from_date_and_time(
            u16::try_from(time.year()).ok()?,
            part(time.month()),
            part(time.day()),
            part(time.hour()),
            part(time.minute()),
            part(time.second()),
        )
        .ok()
    });
    converted.unwrap_or(DateTime::DEFAULT)
}

impl<W: Write> super::Packer for Packer<W> {
    fn directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()> {
        let path = [path, b"/"].concat();
        if let Ok(text) = str::from_utf8(&path) {
            self.enter(&path)?;
            return Ok(self.zip.add_directory(text, options(metadata, 0)?)?);
        }
        // A file whose name ends with a slash is a directory too.
        let mut metadata = metadata.clone();
        metadata.stat.mode = mode::FILE | u64::from(metadata.stat.permissions());
        self.start(&path, &metadata, 0)
    }

    fn file(
        &mut self,
        path: &[u8],
        metadata: &Metadata,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        self.start(path, metadata, size)?;
        io::copy(content, &mut self.zip)?;
        Ok(())
    }

    fn symlink(&mut self, path: &[u8], metadata: &Metadata, target: &[u8]) -> Result<()> {
        self.start(path, metadata, target.len() as u64)?;
        self.zip.write_all(target)?;
        Ok(())
    }

    fn special(&mut self, _: &[u8], _: &Metadata, _: &Body) -> Result<()> {
        Ok(())
    }

    fn link(&mut self, _: &[u8], _: &[u8]) -> Result<bool> {
        Ok(false)
    }
}
