//! Restores to where there is no room.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use client::tree::Error;
use client::tree::create::CreateOptions;
use client::tree::extract::{ExtractOptions, extract};
use pxar::{Decoder, Forward};
use rustix::fs::{CWD, FileType, mknodat};

use crate::common::{Notes, unified};
use crate::mounted::Mounts;

/// What is missing of one file is missing of all that follow: the restore ends, instead of telling so
/// of each.
#[test]
fn a_file_system_without_room_for_more_files_ends_it() {
    let plant = |root: &Path, name: &str| match name {
        "small" => fs::write(root.join(name), "1").unwrap(),
        "large" => fs::write(root.join(name), vec![1; 200_000]).unwrap(),
        "directory" => fs::create_dir(root.join(name)).unwrap(),
        "symlink" => symlink("a", root.join(name)).unwrap(),
        "pipe" => mknodat(CWD, root.join(name), FileType::Fifo, 0o600.into(), 0).unwrap(),
        _ => {
            fs::write(root.join("a"), "1").unwrap();
            fs::hard_link(root.join("a"), root.join(name)).unwrap();
        }
    };
    for name in ["small", "large", "directory", "symlink", "pipe", "z"] {
        let root = tempfile::tempdir().unwrap();
        plant(root.path(), name);
        let notes = Notes::default();
        let (archive, _, _) = unified(root.path(), &CreateOptions::default(), &notes);
        notes.none();
        // One for each file and one for the root, which is enough, and one less.
        let enough = fs::read_dir(root.path()).unwrap().count() + 1;
        for inodes in [enough, enough - 1] {
            let target = tempfile::tempdir().unwrap();
            let mut mounts = Mounts::new();
            let options = format!("size=1m,nr_inodes={inodes}");
            if !mounts.mount(&["-t", "tmpfs", "-o", &options, "none"], target.path()) {
                return;
            }
            let options = ExtractOptions::default();
            let decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
            let restored = extract(decoder, target.path(), &options, &notes);
            notes.none();
            match restored {
                Ok(summary) => assert_eq!((summary.problems, inodes), (0, enough)),
                Err(Error::File { path, .. }) => assert_eq!(path, Path::new(name)),
                Err(error) => panic!("{name}: {error:?}"),
            }
        }
    }
}
