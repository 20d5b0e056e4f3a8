//! Tar, with what POSIX has beyond the old format (pax): times to the nanosecond, extended
//! attributes.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use pxar::{Body, Device, Metadata, Mtime};
use tar::{Builder, EntryType, Header};
use zstd::Encoder;

/// The longest link that a header has room for.
const MAX_LINK: usize = 100;
/// The largest number of a device that one has room for.
const MAX_DEVICE: u32 = 0o7_777_777;

pub struct Packer<W: Write>(Builder<Encoder<'static, W>>);

impl<W: Write> Packer<W> {
    pub fn new(out: W) -> Result<Self> {
        let level = zstd::DEFAULT_COMPRESSION_LEVEL;
        Ok(Self(Builder::new(Encoder::new(out, level)?)))
    }

    pub fn finish(self) -> Result<()> {
        self.0.into_inner()?.finish()?.flush()?;
        Ok(())
    }

    /// A header, behind another one with what has no room in it.
    fn header(
        &mut self,
        kind: EntryType,
        metadata: &Metadata,
        link: Option<&[u8]>,
    ) -> Result<Header> {
        let mut header = Header::new_gnu();
        let stat = &metadata.stat;
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(stat.permissions());
        header.set_uid(stat.uid.into());
        header.set_gid(stat.gid.into());
        header.set_mtime(u64::try_from(stat.mtime.secs).unwrap_or_default());
        let mut more = Vec::new();
        if let Some(link) = link {
            if link.len() <= MAX_LINK {
                header.set_link_name_literal(link)?;
            } else {
                more.push(("linkpath".to_owned(), link.to_vec()));
            }
        }
        more.extend(extended(metadata));
        let more = more.iter();
        self.0
            .append_pax_extensions(more.map(|(name, value)| (name.as_str(), value.as_slice())))?;
        Ok(header)
    }

    fn append(&mut self, mut header: Header, path: &[u8], content: &mut dyn Read) -> Result<()> {
        let path = Path::new(OsStr::from_bytes(path));
        let appended = self.0.append_data(&mut header, path, content);
        appended.with_context(|| format!("cannot pack '{}'", path.display()))
    }
}

/// What the old format has no room for.
fn extended(metadata: &Metadata) -> Vec<(String, Vec<u8>)> {
    let mtime = metadata.stat.mtime;
    let mut extended = Vec::new();
    if mtime.nanos != 0 || mtime.secs < 0 {
        extended.push(("mtime".to_owned(), decimal(mtime).into_bytes()));
    }
    let capability = metadata.fcaps.iter();
    let capability = capability.map(|value| (&b"security.capability"[..], value.as_slice()));
    let xattrs = metadata.xattrs.iter();
    let xattrs = xattrs.map(|xattr| (xattr.name.as_slice(), xattr.value.as_slice()));
    for (name, value) in xattrs.chain(capability) {
        // As GNU tar writes them.
        let name = String::from_utf8_lossy(name);
        let name = name.replace('%', "%25").replace('=', "%3D");
        extended.push((format!("SCHILY.xattr.{name}"), value.to_vec()));
    }
    extended
}

/// Seconds with a fraction. Nanoseconds count forward, also before 1970.
fn decimal(mtime: Mtime) -> String {
    let nanos = i128::from(mtime.secs) * 1_000_000_000 + i128::from(mtime.nanos);
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    format!(
        "{sign}{}.{:09}",
        nanos / 1_000_000_000,
        nanos % 1_000_000_000
    )
}

impl<W: Write> super::Packer for Packer<W> {
    fn directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()> {
        let header = self.header(EntryType::Directory, metadata, None)?;
        self.append(header, &[path, b"/"].concat(), &mut io::empty())
    }

    fn file(
        &mut self,
        path: &[u8],
        metadata: &Metadata,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        let mut header = self.header(EntryType::Regular, metadata, None)?;
        header.set_size(size);
        self.append(header, path, content)
    }

    fn symlink(&mut self, path: &[u8], metadata: &Metadata, target: &[u8]) -> Result<()> {
        let header = self.header(EntryType::Symlink, metadata, Some(target))?;
        self.append(header, path, &mut io::empty())
    }

    fn special(&mut self, path: &[u8], metadata: &Metadata, body: &Body) -> Result<()> {
        let (kind, device) = match body {
            Body::BlockDevice(device) => (EntryType::Block, *device),
            Body::CharDevice(device) => (EntryType::Char, *device),
            Body::Fifo => (EntryType::Fifo, Device { major: 0, minor: 0 }),
            _ => return Ok(()),
        };
        let number = |number: u64| {
            let fits = u32::try_from(number).ok().filter(|it| *it <= MAX_DEVICE);
            fits.with_context(|| format!("no device has the number {number}"))
        };
        let mut header = self.header(kind, metadata, None)?;
        header.set_device_major(number(device.major)?)?;
        header.set_device_minor(number(device.minor)?)?;
        self.append(header, path, &mut io::empty())
    }

    fn link(&mut self, path: &[u8], first: &[u8]) -> Result<bool> {
        let header = self.header(EntryType::Link, &Metadata::default(), Some(first))?;
        self.append(header, path, &mut io::empty())?;
        Ok(true)
    }
}
