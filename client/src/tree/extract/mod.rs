//! An archive to a directory, a file of it to anywhere.

mod attributes;
mod batch;
mod closing;
mod content;
mod crew;
mod directories;
mod file_systems;
mod links;
mod options;
mod pending;
mod place;
mod placer;
mod run;

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use pxar::{Accessor, Body, Decoder, Entry, Inode, Input, Node, ReadAt, Step};

use super::Error;
use super::observer::Observer;
use super::report::Reporter;
use super::sys::open::raise_limit;
use attributes::Attributes;
use crew::Crew;
use links::{Follow, Never};
use run::Extractor;

pub use options::{ExtractOptions, Ignore, Overwrite};

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files of any type.
    pub entries: u64,
    /// Bytes of the regular files.
    pub bytes: u64,
    /// Problems with single files.
    pub problems: u64,
}

/// Restores a whole archive as it streams by; the root becomes `target`, which is made if it is
/// not there.
///
/// # Errors
/// If the archive is damaged, `target` cannot be written at all, or options ask for strictness.
/// Single files are only reported.
pub fn extract<I: Input>(
    archive: Decoder<I>,
    target: &Path,
    options: &ExtractOptions,
    observer: &dyn Observer,
) -> Result<Summary, Error> {
    extract_tree(archive, b"", &Never, target, options, observer)
}

/// Restores what is at `path` of an archive: a directory becomes `target`, anything else is put
/// into it under its last name. Reads nothing else of the archive.
///
/// # Errors
/// As [`extract`], and if nothing is at `path`.
pub fn extract_path<A: ReadAt>(
    archive: &Accessor<A>,
    path: &Path,
    target: &Path,
    options: &ExtractOptions,
    observer: &dyn Observer,
) -> Result<Summary, Error> {
    let entry = find(archive, path)?;
    if entry.is_directory() {
        let base = names(path).join(&b'/');
        let tree = archive.walk(&entry)?;
        return extract_tree(tree, &base, archive, target, options, observer);
    }
    raise_limit();
    let inode = resolve(archive, &entry)?;
    let content = match &inode.body {
        Body::File(payload) => Some(Box::new(archive.contents(payload)?) as Box<dyn Read>),
        _ => None,
    };
    let reporter = Reporter::new(observer).strict(options.strict);
    let attributes = Attributes {
        ignore: options.ignore,
        reporter: &reporter,
    };
    let names = names(path);
    let base = names.split_last().map(|(_, around)| around.join(&b'/'));
    let base = base.unwrap_or_default();
    Crew::during(target, options, |crew| {
        let parts = (options, &attributes, &reporter, crew);
        let extractor = Extractor::new(target, &base, None, parts, archive)?;
        extractor.single(&entry.name, &inode, content)
    })
}

/// Writes the content of the regular file at `path` to `out`; how many bytes.
///
/// # Errors
/// If nothing is at `path`, or no file, or it cannot be read or written.
pub fn write_file<A: ReadAt>(
    archive: &Accessor<A>,
    path: &Path,
    out: &mut (impl Write + ?Sized),
) -> Result<u64, Error> {
    let inode = resolve(archive, &find(archive, path)?)?;
    let Body::File(payload) = &inode.body else {
        return Err(Error::NotA {
            path: path.to_path_buf(),
            wanted: "a regular file",
        });
    };
    let mut content = archive.contents(payload)?;
    io::copy(&mut content, out).map_err(|source| Error::Io {
        action: "write the content of",
        path: path.to_path_buf(),
        source,
    })
}

fn extract_tree<I: Input>(
    mut archive: Decoder<I>,
    base: &[u8],
    follow: &dyn Follow,
    target: &Path,
    options: &ExtractOptions,
    observer: &dyn Observer,
) -> Result<Summary, Error> {
    raise_limit();
    let reporter = Reporter::new(observer).strict(options.strict);
    let attributes = Attributes {
        ignore: options.ignore,
        reporter: &reporter,
    };
    let metadata = match archive.step()? {
        Some(Step::Enter(Node::Inode(root))) => Some(Box::new(root.metadata)),
        _ => None,
    };
    Crew::during(target, options, |crew| {
        let parts = (options, &attributes, &reporter, crew);
        Extractor::new(target, base, metadata, parts, follow)?.run(&mut archive)
    })
}

/// What is at a path of an archive.
fn find<A: ReadAt>(archive: &Accessor<A>, path: &Path) -> Result<Entry, Error> {
    let found = archive.lookup(names(path).iter().copied())?;
    found.ok_or_else(|| Error::NotFound {
        path: path.to_path_buf(),
    })
}

/// The names of a path from the root, which may have a slash in front. No archive has `..`.
fn names(path: &Path) -> Vec<&[u8]> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.as_bytes()),
        Component::ParentDir => Some(&b".."[..]),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// The file, by whatever name it was found.
fn resolve<A: ReadAt>(archive: &Accessor<A>, entry: &Entry) -> Result<Inode, Error> {
    match &entry.node {
        Node::Inode(inode) => Ok((**inode).clone()),
        Node::Hardlink(link) => Ok(archive.follow(link)?),
    }
}
