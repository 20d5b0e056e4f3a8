//! Archives as file systems of the kernel.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};

use client::tree::chunker::ChunkSize;
use client::tree::create::CreateOptions;
use client::tree::extract::{ExtractOptions, extract};
use client::tree::mount::spawn;
use pxar::{Accessor, Decoder, Forward, Node, ReadAt, Step};

use crate::common::{Bytes, Notes, runner, split};
use crate::generated::{archive, trees};
use crate::round_trip::is_root;

/// What is mounted is stored again, and must come to the same, but for what FUSE does not show:
/// access lists, flags, which names are one file.
#[test]
fn mounted_trees() {
    if !is_root() || !fs::exists("/dev/fuse").unwrap() {
        eprintln!("not run: this machine does not mount archives");
        return;
    }
    let run = runner(15).run(&trees(), |(root, names)| {
        let archive = archive(&root, &names);
        let target = tempfile::tempdir().unwrap();
        let notes = Notes::default();
        let decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
        extract(decoder, target.path(), &ExtractOptions::default(), &notes).unwrap();
        let size = ChunkSize::ARCHIVE;
        let (parts, _) = split(target.path(), &CreateOptions::default(), size, None, &notes);
        let payload = Some(Bytes(parts.payload.stream()));
        let accessor = Accessor::open(Bytes(parts.metadata), payload).unwrap();

        let mount = tempfile::tempdir().unwrap();
        let mounted = spawn(accessor, mount.path()).unwrap();
        let (again, _) = split(mount.path(), &CreateOptions::default(), size, None, &notes);
        notes.none();
        let (shown, stored) = (shown(&again.metadata), shown(&archive));
        drop(mounted);
        assert_eq!(shown.len(), stored.len());
        for (shown, stored) in shown.iter().zip(&stored) {
            assert_eq!(shown, stored);
        }
        Ok(())
    });
    run.unwrap();
}

/// Bytes, and where they were read.
struct Watched {
    bytes: Bytes,
    reads: Mutex<Vec<u64>>,
}

impl ReadAt for Watched {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.reads.lock().unwrap().push(offset);
        self.bytes.read_at(buffer, offset)
    }
}

/// What is fetched ahead is what follows in the archive, so a file is read in the archive's order.
#[test]
fn a_file_that_is_read_in_order_is_read_in_order_in_the_archive() {
    if !is_root() || !fs::exists("/dev/fuse").unwrap() {
        eprintln!("not run: this machine does not mount archives");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(root.path().join("large"), &content).unwrap();
    let (options, size) = (CreateOptions::default(), ChunkSize::ARCHIVE);
    let (parts, _) = split(root.path(), &options, size, None, &Notes::default());
    let watched = |bytes| {
        let (bytes, reads) = (Bytes(bytes), Mutex::default());
        Arc::new(Watched { bytes, reads })
    };
    let payload = watched(parts.payload.stream());
    let archive = watched(parts.metadata);
    let accessor = Accessor::open(archive, Some(Arc::clone(&payload))).unwrap();
    let mount = tempfile::tempdir().unwrap();
    let mounted = spawn(accessor, mount.path()).unwrap();
    assert_eq!(fs::read(mount.path().join("large")).unwrap(), content);
    drop(mounted);
    let reads = payload.reads.lock().unwrap();
    // The kernel asks for far less than 4 MB at once; the first bytes of the payload are its own.
    let header = reads.iter().filter(|at| **at == 16).count();
    assert!(reads.len() > 10, "{reads:?}");
    assert_eq!(header, 1, "{reads:?}");
}

/// What FUSE shows of an archive: paths, metadata, sizes.
fn shown(archive: &[u8]) -> Vec<(String, String)> {
    let accessor = Accessor::open(archive, None).unwrap();
    let root = accessor.root().unwrap();
    let mut decoder = accessor.walk(&root).unwrap();
    let mut shown = Vec::new();
    while let Some(step) = decoder.step().unwrap() {
        let Step::Enter(node) = step else { continue };
        let mut inode = match node {
            Node::Inode(inode) => *inode,
            Node::Hardlink(link) => accessor.follow(&link).unwrap(),
        };
        inode.metadata.acl = pxar::Acl::default();
        inode.metadata.stat.flags = 0;
        let mut text = format!("{:?}", inode.metadata);
        text += &match inode.body {
            pxar::Body::File(payload) => payload.size.to_string(),
            body => format!("{body:?}"),
        };
        shown.push((decoder.path().escape_ascii().to_string(), text));
    }
    shown
}

#[test]
fn files_can_be_read_anywhere() {
    if !is_root() || !fs::exists("/dev/fuse").unwrap() {
        eprintln!("not run: this machine does not mount archives");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(root.path().join("large"), &content).unwrap();
    fs::create_dir(root.path().join("many")).unwrap();
    for number in 0..2000 {
        fs::write(root.path().join(format!("many/{number}")), [1]).unwrap();
    }
    fs::hard_link(root.path().join("many/7"), root.path().join("other")).unwrap();
    let notes = Notes::default();
    let (parts, _) = split(
        root.path(),
        &CreateOptions::default(),
        ChunkSize::ARCHIVE,
        None,
        &notes,
    );
    let payload = Some(Bytes(parts.payload.stream()));
    let accessor = Accessor::open(Bytes(parts.metadata), payload).unwrap();
    let mount = tempfile::tempdir().unwrap();
    let mounted = spawn(accessor, mount.path()).unwrap();
    let path = |name: &str| mount.path().join(name);
    assert_eq!(fs::read(path("large")).unwrap(), content);
    let file = fs::File::open(path("large")).unwrap();
    let mut piece = [0; 10];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut piece, 7_654_321).unwrap();
    assert_eq!(piece, content[7_654_321..7_654_331]);
    drop(file);
    assert_eq!(fs::read_dir(path("many")).unwrap().count(), 2000);
    let number = |name: &str| fs::metadata(path(name)).unwrap().ino();
    assert_eq!(number("many/7"), number("other"));
    assert!(fs::write(path("new"), "").is_err());
    assert!(fs::metadata(path("nothing")).is_err());
    drop(mounted);
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
}
