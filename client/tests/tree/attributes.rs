//! Files with very many extended attributes.

use std::fs;

use client::tree::chunker::ChunkSize;
use client::tree::create::CreateOptions;
use client::tree::extract::{ExtractOptions, extract};
use pxar::{Decoder, Forward, Node, limits};
use rustix::fs::{XattrFlags, setxattr};

use crate::common::{Mount, Notes, Split, listed, split, unified};

fn attributes(archive: &Split, path: &str) -> usize {
    let listed = listed(archive);
    let found = listed.iter().find(|(at, ..)| at == path.as_bytes());
    match found {
        Some((_, Some(Node::Inode(inode)), Some(content))) => {
            assert_eq!(content, b"content");
            inode.metadata.xattrs.len()
        }
        other => panic!("{path}: {other:?}"),
    }
}

/// An archive never has more of them than are read again.
#[test]
fn more_attributes_than_are_read_are_not_stored() {
    let root = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(root.path().to_path_buf()) else {
        return;
    };
    let (tree, target) = (mount.0.join("tree"), mount.0.join("target"));
    fs::create_dir_all(&tree).unwrap();
    fs::create_dir_all(&target).unwrap();
    for name in ["f", "g"] {
        fs::write(tree.join(name), "content").unwrap();
    }
    for number in 0..300 {
        let name = format!("user.{number:04}");
        let value = vec![b'x'; 65_536];
        setxattr(tree.join("f"), &*name, &value, XattrFlags::empty()).unwrap();
    }
    let len = 16 + 10 + 65_536;
    let stored = usize::try_from(limits::ATTRIBUTES / len).unwrap();
    let told = format!("{} of its extended attributes", 300 - stored);

    let (notes, options) = (Notes::default(), CreateOptions::default());
    let (archive, _, summary) = unified(&tree, &options, &notes);
    assert_eq!((summary.files, summary.problems), (2, 1));
    assert!(notes.of("f")[0].contains(&told), "{notes:?}");
    let size = ChunkSize::ARCHIVE;
    let (parts, _) = split(&tree, &options, size, None, &Notes::default());
    assert_eq!(attributes(&parts, "f"), stored);
    assert_eq!(attributes(&parts, "g"), 0);
    // It is held back for reuse, found not to be worth it, and opened again.
    let notes = Notes::default();
    let (again, summary) = split(&tree, &options, size, Some(&parts), &notes);
    assert_eq!((summary.reuse.files, summary.problems), (0, 1));
    assert_eq!(notes.of("f").len(), 1);
    assert_eq!(listed(&again), listed(&parts));

    let notes = Notes::default();
    let decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
    extract(decoder, &target, &ExtractOptions::default(), &notes).unwrap();
    notes.none();
    let list = rustix::fs::listxattr(target.join("f"), &mut vec![0; 65_536][..]);
    assert_eq!(list.unwrap(), stored * "user.0000\0".len());
}
