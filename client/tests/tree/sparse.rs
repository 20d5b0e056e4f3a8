//! Files with holes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use client::tree::chunker::ChunkSize;
use client::tree::create::CreateOptions;
use client::tree::extract::{ExtractOptions, extract};
use pxar::{At, Decoder};

use crate::common::{Notes, assert_same, split, unified};

const MIB: u64 = 1 << 20;

/// Where there is data, by length.
const DATA: [(u64, usize); 4] = [
    (0, 5000),
    (7 * MIB + 4096, 70_000),
    (20 * MIB, 1),
    (33 * MIB - 10, 10),
];

/// Files of which one ends with a hole and one is nothing else, as they are or with all zeros.
fn plant(root: &Path, dense: bool) {
    for (name, length, data) in [
        ("between", 33 * MIB, &DATA[..]),
        ("end", 48 * MIB + 3, &DATA[1..3]),
        ("nothing", 16 * MIB, &[]),
        ("small", 9000, &DATA[..1]),
    ] {
        let file = File::create(root.join(name)).unwrap();
        file.set_len(length).unwrap();
        if dense {
            let zeros = vec![0; usize::try_from(length).unwrap()];
            file.write_all_at(&zeros, 0).unwrap();
        }
        for (at, count) in data {
            file.write_all_at(&vec![7; *count], *at).unwrap();
        }
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        file.set_modified(time).unwrap();
    }
    let directory = File::open(root).unwrap();
    directory.set_modified(UNIX_EPOCH).unwrap();
}

fn blocks(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// What this thread was given by reading.
fn read_bytes() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

#[test]
fn holes_are_stored_as_zeros_without_reading_them_and_come_back_as_holes() {
    let (sparse, dense) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(sparse.path(), false);
    plant(dense.path(), true);
    let notes = Notes::default();
    let options = CreateOptions::default();
    let before = read_bytes();
    let (archive, _, summary) = unified(sparse.path(), &options, &notes);
    let (parts, _) = split(sparse.path(), &options, ChunkSize::ARCHIVE, None, &notes);
    let read = read_bytes() - before;
    assert!(read < 4 * MIB, "{read} bytes were read");
    assert!(summary.bytes > 97 * MIB);
    // To the byte what a file without holes comes to.
    assert_same(&archive, &unified(dense.path(), &options, &notes).0);
    let (all, _) = split(dense.path(), &options, ChunkSize::ARCHIVE, None, &notes);
    assert_same(&parts.metadata, &all.metadata);
    assert_eq!(parts.payload.entries, all.payload.entries);

    let target = tempfile::tempdir().unwrap();
    let decoder = Decoder::new(At::new(&archive[..]), None).unwrap();
    extract(decoder, target.path(), &ExtractOptions::default(), &notes).unwrap();
    for name in ["between", "end", "nothing", "small"] {
        let [restored, stored] = [&target, &dense].map(|dir| dir.path().join(name));
        assert!(
            fs::read(&restored).unwrap() == fs::read(stored).unwrap(),
            "{name}"
        );
        assert!(blocks(&restored) < MIB, "{name}: {}", blocks(&restored));
    }
    notes.none();
}

/// The end of a file that shrinks is missing, whether it was data or a hole.
#[test]
fn a_hole_that_is_cut_off_is_told() {
    let root = tempfile::tempdir().unwrap();
    let file = File::create(root.path().join("a")).unwrap();
    file.set_len(64 * MIB).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    let notes = Notes::default();
    let meddler = Cutter { file, written: 0 };
    let options = CreateOptions::default();
    client::tree::create::create_split(
        root.path(),
        &options,
        std::io::sink(),
        meddler,
        None,
        &notes,
    )
    .unwrap();
    let told = notes.of("a");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("last 50331648 bytes"), "{told:?}");
}

/// Cuts the file once some of it has come.
struct Cutter {
    file: File,
    written: usize,
}

impl std::io::Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.written < 8 << 20 && self.written + bytes.len() >= 8 << 20 {
            self.file.set_len(16 * MIB)?;
        }
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl client::tree::create::PayloadSink for Cutter {
    fn suggest_boundary(&mut self, _: u64) {}

    fn inject(&mut self, _: &[client::tree::create::ReusedChunk]) -> std::io::Result<()> {
        Ok(())
    }
}
