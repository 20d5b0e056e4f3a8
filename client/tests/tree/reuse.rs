//! Unchanged files are not read again, and nothing else changes by that.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use client::tree::chunker::ChunkSize;
use client::tree::create::CreateOptions;
use client::tree::extract::{ExtractOptions, extract};
use proptest::prelude::*;
use pxar::{Accessor, At, Body, Decoder, Node, Place, Step};

use crate::common::{Notes, Split, assert_same, listed, runner, split, unified};

/// Bytes that do not repeat.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let bytes = (0..len).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    });
    bytes.collect()
}

/// What happens to a tree between two backups.
#[derive(Clone, Debug)]
enum Edit {
    Write(u8, usize),
    Append(u8),
    Remove(u8),
    Rename(u8, u8),
    Link(u8, u8),
    Touch(u8),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (any::<u8>(), 0_usize..100_000).prop_map(|(at, len)| Edit::Write(at, len)),
        any::<u8>().prop_map(Edit::Append),
        any::<u8>().prop_map(Edit::Remove),
        (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Edit::Rename(from, to)),
        (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Edit::Link(from, to)),
        any::<u8>().prop_map(Edit::Touch),
    ];
    prop::collection::vec(edit, 0..12)
}

fn path(root: &Path, which: u8) -> PathBuf {
    let which = which % 48;
    root.join(format!("d{}", which % 5))
        .join(format!("f{which}"))
}

fn apply(root: &Path, edit: &Edit, seed: u64) {
    let gone = match edit {
        Edit::Write(at, len) => fs::write(path(root, *at), noise(seed, *len)),
        Edit::Append(at) => fs::OpenOptions::new()
            .append(true)
            .open(path(root, *at))
            .and_then(|mut file| file.write_all(b"more")),
        Edit::Remove(at) => fs::remove_file(path(root, *at)),
        Edit::Rename(from, to) => fs::rename(path(root, *from), path(root, *to)),
        Edit::Link(from, to) => fs::hard_link(path(root, *from), path(root, *to)),
        Edit::Touch(at) => fs::File::open(path(root, *at)).and_then(|file| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seed % 1_000_000);
            file.set_modified(time)
        }),
    };
    // What is not there, or is there already, stays as it is.
    drop(gone);
}

/// Positions in the payload ascend, as upstream's readers want it.
fn assert_ascending(archive: &Split) {
    let mut decoder = Decoder::new(At::new(&archive.metadata[..]), None).unwrap();
    let mut last = 0;
    while let Some(step) = decoder.step().unwrap() {
        if let Step::Enter(Node::Inode(inode)) = step
            && let Body::File(payload) = inode.body
            && let Place::Reference(at) = payload.place
        {
            assert!(at > last, "{at} after {last}");
            last = at;
        }
    }
}

#[test]
fn changed_trees() {
    let size = ChunkSize::from_kib(64).unwrap();
    let options = CreateOptions::default();
    let sizes = prop::collection::vec(0_usize..200_000, 48);
    let cases = (any::<u64>(), sizes, prop::collection::vec(edits(), 1..4));
    let run = runner(40).run(&cases, |(seed, sizes, rounds)| {
        let root = tempfile::tempdir().unwrap();
        for number in 0..5 {
            fs::create_dir(root.path().join(format!("d{number}"))).unwrap();
        }
        for (at, len) in (0..).zip(sizes) {
            fs::write(path(root.path(), at), noise(seed ^ u64::from(at), len)).unwrap();
        }
        let notes = Notes::default();
        let (mut previous, _) = split(root.path(), &options, size, None, &notes);
        for (round, edits) in rounds.into_iter().enumerate() {
            for (number, edit) in edits.iter().enumerate() {
                apply(root.path(), edit, seed ^ (round * 100 + number) as u64);
            }
            let (whole, _) = split(root.path(), &options, size, None, &notes);
            let (next, summary) = split(root.path(), &options, size, Some(&previous), &notes);
            prop_assert_eq!(listed(&next), listed(&whole));
            assert_ascending(&next);
            let reuse = summary.reuse;
            prop_assert_eq!(reuse.files + reuse.read_files, summary.files);
            prop_assert!(
                edits.len() > 3 || reuse.bytes > summary.bytes / 4,
                "{:?}",
                summary
            );

            // A sequential reader finds its way through what is left over in the chunks.
            let target = tempfile::tempdir().unwrap();
            let payload = next.payload.stream();
            let inputs = (At::new(&next.metadata[..]), Some(At::new(&payload[..])));
            let decoder = Decoder::new(inputs.0, inputs.1).unwrap();
            extract(decoder, target.path(), &ExtractOptions::default(), &notes).unwrap();
            let (expected, _, _) = unified(root.path(), &options, &notes);
            let (restored, _, _) = unified(target.path(), &options, &notes);
            assert_same(&restored, &expected);
            notes.none();
            previous = next;
        }
        Ok(())
    });
    run.unwrap();
}

/// As the stream of a session does it, which is what the tests write to.
#[test]
fn chunks_begin_where_files_do() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..200 {
        let path = root.path().join(format!("{number:03}"));
        fs::write(path, noise(number, 40_000)).unwrap();
    }
    let size = ChunkSize::from_kib(64).unwrap();
    let options = CreateOptions::default();
    let notes = Notes::default();
    let (archive, _) = split(root.path(), &options, size, None, &notes);
    let index = archive.payload.index();
    let beginning = |end: u64| (end - 16).is_multiple_of(40_016);
    let at_files = index.iter().filter(|chunk| beginning(chunk.end)).count();
    assert!(at_files > 190, "{at_files} of {}", index.len());
}

#[test]
fn nothing_changed() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..300 {
        let path = root.path().join(format!("{number:03}"));
        fs::write(path, noise(number, 20_000)).unwrap();
    }
    let size = ChunkSize::from_kib(64).unwrap();
    let options = CreateOptions::default();
    let notes = Notes::default();
    let (first, _) = split(root.path(), &options, size, None, &notes);
    let (second, summary) = split(root.path(), &options, size, Some(&first), &notes);
    assert_eq!((summary.reuse.files, summary.reuse.read_files), (300, 0));
    assert_eq!(summary.reuse.padding, 32);
    assert_eq!(
        second.payload.entries.len(),
        first.payload.entries.len() + 2
    );
    assert_eq!(listed(&second), listed(&first));
    notes.none();
}

#[test]
fn a_previous_archive_that_is_damaged_or_empty_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), noise(1, 100_000)).unwrap();
    fs::write(root.path().join("b"), noise(2, 100_000)).unwrap();
    let size = ChunkSize::from_kib(64).unwrap();
    let options = CreateOptions::default();
    let notes = Notes::default();
    let (good, _) = split(root.path(), &options, size, None, &notes);
    notes.none();

    let damage = |place: usize| {
        let mut damaged = good.clone();
        damaged.metadata[place] ^= 0x55;
        damaged
    };
    // Its beginning, the name of the second file, the table.
    let accessor = Accessor::open(&good.metadata[..], None).unwrap();
    let second = accessor.lookup([&b"b"[..]]).unwrap().unwrap();
    let name = usize::try_from(second.position).unwrap();
    for place in [0, name, good.metadata.len() - 20] {
        let notes = Notes::default();
        let (next, _) = split(root.path(), &options, size, Some(&damage(place)), &notes);
        assert_eq!(listed(&next), listed(&good));
        assert_eq!(notes.of("").len(), 1, "{place}");
    }
    // An index of something else.
    let mut other = good.clone();
    other.payload.entries.truncate(1);
    let notes = Notes::default();
    let (next, summary) = split(root.path(), &options, size, Some(&other), &notes);
    assert_eq!(listed(&next), listed(&good));
    assert_eq!(summary.reuse.files, 0);
}
