//! What of a tree is stored and restored, and what happens to single files.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use client::tree::Error;
use client::tree::chunker::ChunkSize;
use client::tree::create::{CreateOptions, Devices, PayloadSink, ReusedChunk, create_split};
use client::tree::extract::{
    ExtractOptions, Ignore, Overwrite, Summary, extract, extract_path, write_file,
};
use client::tree::observer::{Observer, Problem};
use client::tree::pattern::Pattern;
use datastore::format::catalog::CatalogReader;
use pxar::{Accessor, At, Decoder, Forward, Step};

use crate::common::{Chunks, Mount, Notes, payload, split, unified};

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    let parse = |text: &&str| Pattern::parse(text.as_bytes()).unwrap();
    texts.iter().map(parse).collect()
}

/// Makes files and, where a name ends with a slash, directories.
fn tree(names: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in names {
        let path = root.path().join(name);
        match name.ends_with('/') {
            true => fs::create_dir_all(path).unwrap(),
            false => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, name).unwrap();
            }
        }
    }
    root
}

fn paths(archive: &[u8]) -> Vec<String> {
    let mut decoder = Decoder::new(At::new(archive), None).unwrap();
    let mut paths = Vec::new();
    while let Some(step) = decoder.step().unwrap() {
        if matches!(step, Step::Enter(_)) && !decoder.path().is_empty() {
            paths.push(String::from_utf8_lossy(decoder.path()).into_owned());
        }
    }
    paths
}

#[test]
fn excluded_paths() {
    let root = tree(&[
        "a.tmp", "keep.tmp", "d/b.tmp", "d/c", "d/e/c", "cache/x", "z",
    ]);
    fs::write(
        root.path().join("d/.pxarexclude"),
        "/c\n# all but\n!b.tmp\n[bad\n",
    )
    .unwrap();
    let options = CreateOptions {
        exclude: patterns(&["*.tmp", "!/keep.tmp", "cache/"]),
        ..CreateOptions::default()
    };
    let notes = Notes::default();
    let (archive, catalog, summary) = unified(root.path(), &options, &notes);
    let expected = [
        "d",
        "d/.pxarexclude",
        "d/b.tmp",
        "d/e",
        "d/e/c",
        "keep.tmp",
        "z",
        ".pxarexclude-cli",
    ];
    assert_eq!(paths(&archive), expected);
    assert_eq!(notes.of("d/.pxarexclude").len(), 1);
    assert_eq!(
        (summary.problems, summary.directories, summary.files),
        (1, 3, 5)
    );
    let mut catalog = CatalogReader::new(io::Cursor::new(catalog)).unwrap();
    assert_eq!(catalog.walk().unwrap().count(), 1 + expected.len());
    let accessor = Accessor::open(&archive[..], None).unwrap();
    let mut text = Vec::new();
    write_file(&accessor, Path::new("/.pxarexclude-cli"), &mut text).unwrap();
    assert_eq!(text, b"*.tmp\n!/keep.tmp\ncache/\n");

    let (parts, _) = split(root.path(), &options, ChunkSize::ARCHIVE, None, &notes);
    assert_eq!(paths(&parts.metadata), expected[..7]);
    let decoder = Decoder::new(At::new(&parts.metadata[..]), None).unwrap();
    let prelude = br#"{"exclude-patterns":"*.tmp\n!/keep.tmp\ncache/\n"}"#;
    assert_eq!(decoder.prelude(), Some(&prelude[..]));
}

#[test]
fn limits_of_a_tree() {
    let root = tree(&["a", "b", "lost+found/x", "d/lost+found/"]);
    let notes = Notes::default();
    let mut options = CreateOptions {
        entries_max: 5,
        ..CreateOptions::default()
    };
    let mut chunks = Chunks::default();
    let stream = payload(ChunkSize::ARCHIVE, &mut chunks);
    let refused = create_split(root.path(), &options, io::sink(), stream, None, &notes);
    assert!(matches!(refused, Err(Error::TooManyEntries { limit: 5 })));
    options.skip_lost_and_found = true;
    let (archive, _, _) = unified(root.path(), &options, &notes);
    assert_eq!(paths(&archive), ["a", "b", "d"]);

    let nothing = root.path().join("nothing");
    let stream = payload(ChunkSize::ARCHIVE, &mut chunks);
    let refused = create_split(&nothing, &options, io::sink(), stream, None, &notes);
    assert!(matches!(refused, Err(Error::Io { action: "open", .. })));
    let proc = Path::new("/proc");
    let stream = payload(ChunkSize::ARCHIVE, &mut chunks);
    let refused = create_split(proc, &options, io::sink(), stream, None, &notes);
    assert!(matches!(refused, Err(Error::NotA { .. })));
    notes.none();
}

#[test]
fn other_file_systems() {
    let root = tree(&["a", "mnt/"]);
    let Some(mount) = Mount::tmpfs(root.path().join("mnt")) else {
        return;
    };
    fs::write(mount.0.join("inside"), "").unwrap();
    let notes = Notes::default();
    let stored = |devices: Devices| {
        let options = CreateOptions {
            devices,
            ..CreateOptions::default()
        };
        paths(&unified(root.path(), &options, &notes).0)
    };
    assert_eq!(stored(Devices::Listed(Vec::new())), ["a", "mnt"]);
    assert_eq!(stored(Devices::All), ["a", "mnt", "mnt/inside"]);
    let listed = Devices::Listed(vec![mount.0.clone()]);
    assert_eq!(stored(listed), ["a", "mnt", "mnt/inside"]);
    notes.none();
}

/// A sink that does something to the tree once enough was written.
struct Meddler<F> {
    written: usize,
    after: usize,
    meddle: Option<F>,
}

impl<F: FnOnce()> io::Write for Meddler<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len();
        if self.written > self.after
            && let Some(meddle) = self.meddle.take()
        {
            meddle();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F: FnOnce()> PayloadSink for Meddler<F> {
    fn suggest_boundary(&mut self, _: u64) {}

    fn inject(&mut self, _: &[ReusedChunk]) -> io::Result<()> {
        Ok(())
    }
}

/// What is told of the files if something happens while the first one is read, so many others before
/// the last one.
fn told_if(others: usize, meddle: impl FnOnce(&Path)) -> Vec<(PathBuf, String)> {
    let root = tree(&["z"]);
    for number in 0..others {
        fs::write(root.path().join(format!("m{number}")), "").unwrap();
    }
    let large = fs::File::create(root.path().join("a")).unwrap();
    large.set_len(32 << 20).unwrap();
    let payload = Meddler {
        written: 0,
        after: 4 << 20,
        meddle: Some(|| meddle(root.path())),
    };
    let notes = Notes::default();
    let options = CreateOptions::default();
    let mut metadata = Vec::new();
    let summary = create_split(root.path(), &options, &mut metadata, payload, None, &notes);
    let notes = notes.0.into_inner();
    assert_eq!(summary.unwrap().problems, notes.len() as u64);
    assert!(paths(&metadata).contains(&"a".into()));
    notes
}

#[test]
fn files_that_change_while_they_are_read() {
    let set_len = |path: PathBuf, len: u64| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(len).unwrap();
    };
    let told = told_if(0, |root| set_len(root.join("a"), 31 << 20));
    assert_eq!(told.len(), 1);
    assert!(told[0].1.contains("last 1048576 bytes"), "{told:?}");
    let told = told_if(0, |root| set_len(root.join("a"), 33 << 20));
    assert_eq!(told.len(), 1);
    assert!(told[0].1.contains("grew"), "{told:?}");
    // Farther away than files are looked at ahead.
    let told = told_if(4000, |root| fs::remove_file(root.join("z")).unwrap());
    assert_eq!(told, [(PathBuf::from("z"), Problem::Vanished.to_string())]);
    let told = told_if(0, |root| fs::remove_file(root.join("a")).unwrap());
    assert_eq!(told, []);
}

fn restored(archive: &[u8], target: &Path, options: &ExtractOptions) -> (Summary, Notes) {
    let notes = Notes::default();
    let decoder = Decoder::new(Forward::new(archive), None).unwrap();
    let summary = extract(decoder, target, options, &notes).unwrap();
    assert_eq!(summary.problems, notes.0.borrow().len() as u64);
    (summary, notes)
}

#[test]
fn what_is_there_stays_unless_it_may_be_replaced() {
    let root = tree(&["d/f"]);
    symlink("f", root.path().join("d/l")).unwrap();
    fs::write(root.path().join("d/g"), "g").unwrap();
    fs::hard_link(root.path().join("d/g"), root.path().join("d/h")).unwrap();
    let notes = Notes::default();
    let (archive, _, _) = unified(root.path(), &CreateOptions::default(), &notes);
    let target = tree(&["d/f", "d/g", "d/h", "d/l"]);
    let write_all = || {
        for name in ["f", "g", "h", "l"] {
            let path = target.path().join("d").join(name);
            let _ = fs::remove_file(&path);
            fs::write(path, "old").unwrap();
        }
    };
    let read = |name: &str| fs::read(target.path().join("d").join(name)).unwrap();

    write_all();
    let mut options = ExtractOptions::default();
    let (_, notes) = restored(&archive, target.path(), &options);
    assert!(notes.of("d")[0].contains("--allow-existing-dirs"));
    options.allow_existing_dirs = true;
    let (_, notes) = restored(&archive, target.path(), &options);
    assert!(notes.of("d/f")[0].contains("--overwrite-files"));
    assert!(notes.of("d/l")[0].contains("--overwrite-symlinks"));
    // Not to an old file of the same name.
    assert_eq!(notes.0.borrow().len(), 4);
    for name in ["f", "g", "h", "l"] {
        assert_eq!(read(name), b"old");
    }
    options.overwrite.files = true;
    let (_, notes) = restored(&archive, target.path(), &options);
    assert!(notes.of("d/h")[0].contains("--overwrite-hardlinks"));
    assert_eq!(
        (read("f"), read("g"), read("h")),
        (b"d/f".to_vec(), b"g".to_vec(), b"old".to_vec())
    );
    write_all();
    options.overwrite = Overwrite::ALL;
    let (summary, notes) = restored(&archive, target.path(), &options);
    notes.none();
    assert_eq!(summary.entries, 5);
    let inode = |name: &str| {
        fs::metadata(target.path().join("d").join(name))
            .unwrap()
            .ino()
    };
    assert_eq!(inode("g"), inode("h"));
    assert_eq!(read("l"), b"d/f");

    options.strict = true;
    options.overwrite = Overwrite::default();
    let decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
    let failed = extract(decoder, target.path(), &options, &Notes::default());
    assert!(matches!(failed, Err(Error::File { path, .. }) if path == Path::new("d/f")));
}

#[test]
fn only_what_matches() {
    let root = tree(&["a/x.conf", "a/y", "b/c/z.conf", "d/e", "d/deep/f", "empty/"]);
    fs::hard_link(root.path().join("a/y"), root.path().join("b/link.conf")).unwrap();
    fs::hard_link(root.path().join("a/y"), root.path().join("b/more.conf")).unwrap();
    fs::set_permissions(root.path().join("b"), fs::Permissions::from_mode(0o750)).unwrap();
    let notes = Notes::default();
    let (archive, _, _) = unified(root.path(), &CreateOptions::default(), &notes);
    let accessor = Accessor::open(&archive[..], None).unwrap();
    let options = ExtractOptions {
        patterns: patterns(&["*.conf", "/d/", "!/d/e"]),
        ..ExtractOptions::default()
    };
    let target = tempfile::tempdir().unwrap();
    extract_path(&accessor, Path::new(""), target.path(), &options, &notes).unwrap();
    notes.none();
    let (again, _, _) = unified(target.path(), &CreateOptions::default(), &notes);
    let expected = [
        "a",
        "a/x.conf",
        "b",
        "b/c",
        "b/c/z.conf",
        "b/link.conf",
        "b/more.conf",
        "d",
        "d/deep",
        "d/deep/f",
    ];
    assert_eq!(paths(&again), expected);
    let stat = |name: &str| fs::metadata(target.path().join(name)).unwrap();
    assert_eq!(stat("b").mode() & 0o777, 0o750);
    assert_eq!(stat("b/link.conf").ino(), stat("b/more.conf").ino());
    assert_eq!(fs::read(target.path().join("b/link.conf")).unwrap(), b"a/y");

    // A stream cannot go back for the content.
    let target = tempfile::tempdir().unwrap();
    let (_, notes) = restored(&archive, target.path(), &options);
    assert!(notes.of("b/link.conf")[0].contains("'a/y'"));
}

#[test]
fn single_paths() {
    let root = tree(&["d/e/f", "d/e/g", "d/h", "x"]);
    fs::hard_link(root.path().join("d/h"), root.path().join("d/e/link")).unwrap();
    let notes = Notes::default();
    let (archive, _, _) = unified(root.path(), &CreateOptions::default(), &notes);
    let accessor = Accessor::open(&archive[..], None).unwrap();
    let options = ExtractOptions::default();
    let target = tempfile::tempdir().unwrap();
    let restore =
        |path: &str| extract_path(&accessor, Path::new(path), target.path(), &options, &notes);
    restore("/d/e").unwrap();
    restore("/x").unwrap();
    let (again, _, _) = unified(target.path(), &CreateOptions::default(), &notes);
    assert_eq!(paths(&again), ["f", "g", "link", "x"]);
    let mut out = Vec::new();
    assert_eq!(
        write_file(&accessor, Path::new("d/e/link"), &mut out).unwrap(),
        3
    );
    assert_eq!(out, b"d/h");
    assert!(matches!(restore("d/../x"), Err(Error::NotFound { .. })));
    let directory = write_file(&accessor, Path::new("d"), &mut out);
    assert!(matches!(directory, Err(Error::NotA { .. })));
    notes.none();
}

#[test]
fn what_is_ignored() {
    let root = tree(&["f"]);
    let path = root.path().join("f");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    rustix::fs::setxattr(&path, "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    let notes = Notes::default();
    let (archive, _, _) = unified(root.path(), &CreateOptions::default(), &notes);
    let target = tempfile::tempdir().unwrap();
    let options = ExtractOptions {
        ignore: Ignore {
            acls: true,
            xattrs: true,
            ownership: true,
            permissions: true,
            device_errors: true,
        },
        ..ExtractOptions::default()
    };
    let (_, notes) = restored(&archive, target.path(), &options);
    notes.none();
    let path = target.path().join("f");
    assert_ne!(fs::metadata(&path).unwrap().mode() & 0o777, 0o604);
    assert!(rustix::fs::getxattr(&path, "user.a", &mut [0; 9][..]).is_err());
}

/// Who hears of nothing.
struct Deaf;

impl Observer for Deaf {
    fn problem(&self, _: &Path, _: &Problem) {}
}

#[test]
fn deep_paths() {
    let root = tempfile::tempdir().unwrap();
    let name = "n".repeat(200);
    let mut path = root.path().to_path_buf();
    let mut directory = fs::File::open(root.path()).unwrap();
    for _ in 0..200 {
        rustix::fs::mkdirat(&directory, &*name, 0o755.into()).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        let inner = rustix::fs::openat(&directory, &*name, flags, 0.into()).unwrap();
        directory = inner.into();
        path.push(&name);
    }
    let notes = Notes::default();
    let (archive, _, summary) = unified(root.path(), &CreateOptions::default(), &notes);
    assert_eq!((summary.directories, summary.problems), (201, 0));
    let target = tempfile::tempdir().unwrap();
    let decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
    let options = ExtractOptions::default();
    let summary = extract(decoder, target.path(), &options, &Deaf).unwrap();
    assert_eq!((summary.entries, summary.problems), (200, 0));
    let (again, _, _) = unified(target.path(), &CreateOptions::default(), &notes);
    crate::common::assert_same(&again, &archive);
}
