//! More files than are looked at or made by one thread at once: the order stays that of the archive.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use client::tree::create::CreateOptions;
use client::tree::extract::{ExtractOptions, extract};
use pxar::{Decoder, Forward, Node, Step};

use crate::common::{Notes, assert_same, unified};

/// Small files and large ones, links to both, directories in directories, all of them read-only.
fn make(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for number in 0..40_usize {
        let below = format!("d{number:02}/below");
        let directory = root.join(&below);
        fs::create_dir_all(&directory).unwrap();
        paths.extend([format!("d{number:02}"), below.clone()]);
        for file in 0..100_usize {
            let size = match (number + file) % 97 {
                0 => 2_000_000,
                rest => rest * 50,
            };
            let name = format!("f{file:02}");
            let byte = u8::try_from((number + file) % 251).unwrap();
            fs::write(directory.join(&name), vec![byte; size]).unwrap();
            paths.push(format!("{below}/{name}"));
        }
        for (name, target) in [("g0", "f00"), ("g1", "f99")] {
            fs::hard_link(directory.join(target), directory.join(name)).unwrap();
            paths.push(format!("{below}/{name}"));
        }
        for directory in [&directory, &root.join(format!("d{number:02}"))] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o555)).unwrap();
        }
    }
    paths
}

fn entered(archive: &[u8]) -> (Vec<String>, usize) {
    let mut decoder = Decoder::new(Forward::new(archive), None).unwrap();
    let (mut paths, mut links) = (Vec::new(), 0);
    while let Some(step) = decoder.step().unwrap() {
        let Step::Enter(node) = step else { continue };
        links += usize::from(matches!(node, Node::Hardlink(_)));
        if !decoder.path().is_empty() {
            paths.push(String::from_utf8(decoder.path().to_vec()).unwrap());
        }
    }
    (paths, links)
}

#[test]
fn the_order_is_that_of_the_names() {
    let root = tempfile::tempdir().unwrap();
    let expected = make(root.path());
    let (notes, options) = (Notes::default(), CreateOptions::default());
    let (archive, catalog, summary) = unified(root.path(), &options, &notes);
    assert_eq!(entered(&archive), (expected, 80));
    assert_eq!((summary.files, summary.hard_links), (4000, 80));
    let again = unified(root.path(), &options, &notes);
    assert!(again.0 == archive && again.1 == catalog);

    let target = tempfile::tempdir().unwrap();
    let decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
    let options = ExtractOptions::default();
    let summary = extract(decoder, target.path(), &options, &notes).unwrap();
    assert_eq!(summary.entries, 4000 + 80 + 80);
    let (restored, _, _) = unified(target.path(), &CreateOptions::default(), &notes);
    assert_same(&restored, &archive);
    notes.none();
}
