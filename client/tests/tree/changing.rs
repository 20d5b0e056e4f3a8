//! Trees that change while they are stored, or are not as archives want them.

use std::fs;
use std::path::{Path, PathBuf};

use client::tree::chunker::ChunkSize;
use client::tree::create::CreateOptions;
use client::tree::observer::{Observer, Problem};
use pxar::{Body, Node};
use rustix::fs::{AtFlags, Mode, OFlags, linkat, mkdirat, open, openat};

use crate::common::{Listed, Notes, listed, split};

/// Does something when an entry is found.
struct When<'a> {
    at: &'static str,
    what: &'a dyn Fn(),
    notes: Notes,
}

impl Observer for When<'_> {
    fn entry(&self, path: &Path) {
        if path == Path::new(self.at) {
            (self.what)();
        }
    }

    fn problem(&self, path: &Path, problem: &Problem) {
        self.notes.problem(path, problem);
    }
}

fn content(listed: &[Listed], path: &str) -> Option<Vec<u8>> {
    let found = listed.iter().find(|(at, ..)| at == path.as_bytes());
    found.and_then(|(_, _, content)| content.clone())
}

/// Editors write a new file and give it the name of the old one.
#[test]
fn a_file_that_is_replaced_while_it_waits_is_stored() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { root.path().join(name) };
    fs::write(path("a"), "old").unwrap();
    fs::write(path("b"), "old").unwrap();
    fs::write(path("c"), [1; 100_000]).unwrap();
    let size = ChunkSize::from_kib(4096).unwrap();
    let options = CreateOptions::default();
    let notes = Notes::default();
    let (first, _) = split(root.path(), &options, size, None, &notes);
    notes.none();

    // Of the old chunk nearly nothing is left, so the others are read.
    fs::write(path("c"), [2; 100]).unwrap();
    let replace = || {
        fs::write(path("new"), "new content").unwrap();
        fs::rename(path("new"), path("a")).unwrap();
        fs::remove_file(path("b")).unwrap();
        fs::create_dir(path("b")).unwrap();
    };
    let when = When {
        at: "c",
        what: &replace,
        notes: Notes::default(),
    };
    let (second, summary) = split(root.path(), &options, size, Some(&first), &when);
    let listed = listed(&second);
    assert_eq!(content(&listed, "a").unwrap(), b"new content");
    assert_eq!(content(&listed, "b"), None);
    assert_eq!(when.notes.of("a"), [""; 0]);
    assert!(when.notes.of("b")[0].contains("replaced"));
    assert_eq!(summary.files, 2);
}

/// Stores a tree in one go, and renames its directory `d` once all of it was looked at.
fn store_while_moved(root: &Path) -> (Vec<Listed>, Notes) {
    let moved = || fs::rename(root.join("d"), root.join("elsewhere")).unwrap();
    let when = When {
        at: "a",
        what: &moved,
        notes: Notes::default(),
    };
    let size = ChunkSize::from_kib(4096).unwrap();
    let (archive, _) = split(root, &CreateOptions::default(), size, None, &when);
    (listed(&archive), when.notes)
}

/// Too large to be read ahead.
static LARGE: [u8; 200_000] = [7; 200_000];

/// More files wait than stay open.
#[test]
fn files_that_wait_are_found_in_a_directory_that_moves() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), "").unwrap();
    fs::create_dir_all(root.path().join("d/e")).unwrap();
    for number in 0..20 {
        fs::write(root.path().join(format!("d/e/{number:02}")), LARGE).unwrap();
    }
    let (listed, notes) = store_while_moved(root.path());
    notes.none();
    for number in 0..20 {
        let path = format!("d/e/{number:02}");
        assert!(content(&listed, &path).unwrap() == LARGE, "{path}");
    }
}

/// Nor do all their directories stay open: what cannot be found then did not vanish.
#[test]
fn what_is_lost_with_a_directory_that_moves_is_told() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), "").unwrap();
    for number in 0..20 {
        let directory = root.path().join(format!("d/{number:02}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("f"), LARGE).unwrap();
    }
    let (listed, notes) = store_while_moved(root.path());
    let mut stored = 0;
    for number in 0..20 {
        let path = format!("d/{number:02}/f");
        match content(&listed, &path) {
            Some(content) => {
                assert!(content == LARGE, "{path}");
                assert_eq!(notes.of(&path), [""; 0]);
                stored += 1;
            }
            None => assert_eq!(notes.of(&path), [Problem::Moved.to_string()]),
        }
    }
    // Eight files stay open, and the directories of four others.
    assert_eq!(stored, 12);
}

/// No archive can say where a link leads whose first name is that long.
#[test]
fn a_link_to_a_very_long_path_is_a_file() {
    let root = tempfile::tempdir().unwrap();
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let top = open(root.path(), flags, Mode::empty()).unwrap();
    let mut directory = open(root.path(), flags, Mode::empty()).unwrap();
    for _ in 0..17 {
        let name = "a".repeat(250);
        mkdirat(&directory, &name, Mode::RWXU).unwrap();
        directory = openat(&directory, &name, flags, Mode::empty()).unwrap();
    }
    let write = OFlags::CREATE | OFlags::WRONLY;
    let file = openat(&directory, "f", write, Mode::RWXU).unwrap();
    rustix::io::write(file, b"content").unwrap();
    for name in ["y", "z"] {
        linkat(&directory, "f", &top, name, AtFlags::empty()).unwrap();
    }
    let size = ChunkSize::from_kib(64).unwrap();
    let options = CreateOptions::default();
    let notes = Notes::default();
    let (first, summary) = split(root.path(), &options, size, None, &notes);
    assert_eq!((summary.files, summary.hard_links), (2, 1));
    let listed_first = listed(&first);
    assert_eq!(content(&listed_first, "y").unwrap(), b"content");
    let (_, y, _) = &listed_first.iter().find(|it| it.0 == b"y").unwrap();
    assert!(matches!(y, Some(Node::Inode(it)) if matches!(it.body, Body::File(_))));
    let (_, z, _) = &listed_first.iter().find(|it| it.0 == b"z").unwrap();
    assert!(matches!(z, Some(Node::Hardlink(it)) if it.path == b"y"));
    let (second, summary) = split(root.path(), &options, size, Some(&first), &notes);
    assert_eq!((summary.files, summary.hard_links), (2, 1));
    assert_eq!(listed(&second), listed_first);
    notes.none();
}
