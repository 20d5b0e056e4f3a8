//! Trees of any shape come back as they were.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Tree, accessed, copy, decoded};
use proptest::collection::vec;
use proptest::prelude::*;
use pxar::{
    Accessor, Acl, AclEntry, At, Body, Decoder, DefaultAcl, Device, Encoder, Error, Forward,
    Metadata, Mtime, Node, Stat, Step, Xattr, mode,
};

/// A step of whoever writes a tree.
#[derive(Clone, Debug)]
enum Change {
    Enter(Metadata),
    Leave,
    File(Metadata, Vec<u8>),
    /// Another name of one of the files before.
    Link(prop::sample::Index),
    Special(Metadata, Body),
}

fn of_type(mut metadata: Metadata, file_type: u64) -> Metadata {
    metadata.stat.mode = file_type | (metadata.stat.mode & 0o7777);
    metadata
}

fn acl() -> impl Strategy<Value = Acl> {
    let entry =
        || (any::<u64>(), any::<u64>()).prop_map(|(id, permissions)| AclEntry { id, permissions });
    let entries = move || vec(entry(), 0..3);
    let default = any::<[u64; 4]>().prop_map(|[user_obj, group_obj, other, mask]| DefaultAcl {
        user_obj,
        group_obj,
        other,
        mask,
    });
    let default = prop::option::of(default);
    (
        entries(),
        entries(),
        any::<Option<u64>>(),
        default,
        entries(),
        entries(),
    )
        .prop_map(
            |(users, groups, group_obj, default, default_users, default_groups)| Acl {
                users,
                groups,
                group_obj,
                default,
                default_users,
                default_groups,
            },
        )
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let numbers = any::<(u16, u64, u32, u32, i64)>();
    let xattr = ("[a-z.]{1,9}", vec(any::<u8>(), 0..9)).prop_map(|(name, value)| Xattr {
        name: name.into_bytes(),
        value,
    });
    let fcaps = prop::option::of(vec(any::<u8>(), 0..25));
    (
        numbers,
        0..1_000_000_000_u32,
        vec(xattr, 0..3),
        acl(),
        fcaps,
        any::<Option<u64>>(),
    )
        .prop_map(
            |((mode, flags, uid, gid, secs), nanos, xattrs, acl, fcaps, quota_project_id)| {
                Metadata {
                    stat: Stat {
                        mode: u64::from(mode),
                        flags,
                        uid,
                        gid,
                        mtime: Mtime { secs, nanos },
                    },
                    xattrs,
                    acl,
                    fcaps,
                    quota_project_id,
                    passed_over: 0,
                }
            },
        )
}

fn body() -> impl Strategy<Value = (Body, u64)> {
    let device = || any::<(u64, u64)>().prop_map(|(major, minor)| Device { major, minor });
    prop_oneof![
        vec(1_u8.., 1..20).prop_map(|target| (Body::Symlink(target), mode::SYMLINK)),
        device().prop_map(|device| (Body::BlockDevice(device), mode::BLOCK_DEVICE)),
        device().prop_map(|device| (Body::CharDevice(device), mode::CHAR_DEVICE)),
        Just((Body::Fifo, mode::FIFO)),
        Just((Body::Socket, mode::SOCKET)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let directory = metadata().prop_map(|it| Change::Enter(of_type(it, mode::DIRECTORY)));
    let file = (metadata(), vec(any::<u8>(), 0..50))
        .prop_map(|(metadata, content)| Change::File(of_type(metadata, mode::FILE), content));
    let special = (metadata(), body()).prop_map(|(metadata, (body, file_type))| {
        Change::Special(of_type(metadata, file_type), body)
    });
    prop_oneof![
        2 => directory,
        1 => Just(Change::Leave),
        3 => file,
        1 => any::<prop::sample::Index>().prop_map(Change::Link),
        2 => special,
    ]
}

/// What is expected at a path: places in the archive are left out.
type Expected = std::collections::BTreeMap<String, (Metadata, Option<Body>, Option<Vec<u8>>)>;

fn without_places(tree: Tree) -> Expected {
    let file = |(path, (node, content)): (String, (Node, Option<Vec<u8>>))| match node {
        Node::Hardlink(link) => (path, (Metadata::default(), None, Some(link.path))),
        Node::Inode(inode) => {
            let body = Some(inode.body).filter(|body| !matches!(body, Body::File(_)));
            (path, (inode.metadata, body, content))
        }
    };
    tree.into_iter().map(file).collect()
}

/// An archive, and what is in it.
fn build(
    root: &Metadata,
    changes: &[Change],
    split: bool,
) -> ((Vec<u8>, Option<Vec<u8>>), Expected) {
    let root = of_type(root.clone(), mode::DIRECTORY);
    let mut encoder = if split {
        Encoder::split(Vec::new(), Vec::new(), Some(b"{}"), &root)
    } else {
        Encoder::unified(Vec::new(), &root)
    }
    .unwrap();
    let mut expected = Expected::from([(String::new(), (root, Some(Body::Directory), None))]);
    let mut open: Vec<String> = Vec::new();
    let mut files: Vec<(String, u64)> = Vec::new();
    for (number, change) in changes.iter().enumerate() {
        let name = format!("{number:x}");
        let path = open
            .iter()
            .chain([&name])
            .cloned()
            .collect::<Vec<_>>()
            .join("/");
        match change {
            Change::Enter(metadata) => {
                encoder.enter(name.as_bytes(), metadata).unwrap();
                open.push(name);
                expected.insert(path, (metadata.clone(), Some(Body::Directory), None));
            }
            Change::Leave => assert_eq!(encoder.leave().is_ok(), open.pop().is_some()),
            Change::File(metadata, content) => {
                let size = content.len() as u64;
                let written = encoder
                    .file(name.as_bytes(), metadata, size, &content[..])
                    .unwrap();
                assert_eq!(written.missing, 0);
                files.push((path.clone(), written.name_at));
                expected.insert(path, (metadata.clone(), None, Some(content.clone())));
            }
            Change::Link(_) if files.is_empty() => {}
            Change::Link(which) => {
                let (first, at) = &files[which.index(files.len())];
                encoder
                    .hard_link(name.as_bytes(), first.as_bytes(), *at)
                    .unwrap();
                let first = first.clone().into_bytes();
                expected.insert(path, (Metadata::default(), None, Some(first)));
            }
            Change::Special(metadata, body) => {
                encoder.special(name.as_bytes(), metadata, body).unwrap();
                expected.insert(path, (metadata.clone(), Some(body.clone()), None));
            }
        }
    }
    for _ in open {
        encoder.leave().unwrap();
    }
    (encoder.finish().unwrap(), expected)
}

proptest! {
    #[test]
    fn what_is_written_is_read_in_both_ways(
        root in metadata(),
        changes in vec(change(), 0..40),
        split: bool,
    ) {
        let ((archive, payload), expected) = build(&root, &changes, split);
        let (archive, payload) = (&archive[..], payload.as_deref());
        let mut decoder = Decoder::new(Forward::new(archive), payload.map(Forward::new)).unwrap();
        prop_assert_eq!(decoder.version(), if split { 2 } else { 1 });
        prop_assert_eq!(decoder.prelude(), split.then_some(&b"{}"[..]));
        prop_assert_eq!(&without_places(decoded(&mut decoder).unwrap()), &expected);
        let accessor = Accessor::open(archive, payload).unwrap();
        prop_assert_eq!(&without_places(accessed(&accessor).unwrap()), &expected);
        for (path, _) in expected.iter().filter(|it| !it.0.is_empty()) {
            let names = path.split('/').map(str::as_bytes);
            let found = accessor.lookup(names).unwrap();
            prop_assert!(found.is_some(), "{}", path);
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_survived(
        root in metadata(),
        changes in vec(change(), 0..12),
        split: bool,
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let ((archive, payload), _) = build(&root, &changes, split);
        let read = |archive: &[u8]| {
            let payload = payload.as_deref();
            let random = Accessor::open(archive, payload).and_then(|it| accessed(&it));
            let forward = Decoder::new(At::new(archive), payload.map(At::new))
                .and_then(|mut decoder| decoded(&mut decoder));
            [random.err(), forward.err()]
        };
        let at = at.index(archive.len());
        for error in read(&archive[..at]) {
            prop_assert!(matches!(error, Some(Error::Corrupt { .. })), "{:?}", error);
        }
        let mut changed = archive.clone();
        changed[at] ^= 1 << bit;
        read(&changed);
    }
}

/// A directory's metadata.
fn directory() -> Metadata {
    of_type(Metadata::default(), mode::DIRECTORY)
}

#[test]
fn what_an_archive_cannot_hold_is_refused() {
    let file = of_type(Metadata::default(), mode::FILE);
    let mut encoder = Encoder::unified(Vec::new(), &directory()).unwrap();
    let refused = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
    };
    refused(encoder.leave());
    for name in [&b""[..], b"..", b"a/b", b"a\0"] {
        refused(encoder.enter(name, &directory()));
    }
    refused(encoder.file(b"a", &directory(), 0, &b""[..]).map(drop));
    refused(encoder.hard_link(b"a", b"b", u64::MAX));
    refused(encoder.hard_link(b"a", b"", 0));
    refused(encoder.reused_file(b"a", &file, 16, 1).map(drop));
    refused(encoder.special(b"a", &file, &Body::Fifo));
    refused(encoder.special(b"a", &directory(), &Body::Directory));
    encoder.enter(b"a", &directory()).unwrap();
    refused(encoder.finish().map(drop));
}

#[test]
fn a_file_that_changed_meanwhile_keeps_its_length() {
    let file = of_type(Metadata::default(), mode::FILE);
    let mut encoder = Encoder::split(Vec::new(), Vec::new(), None, &directory()).unwrap();
    let short = encoder.file(b"short", &file, 5, &b"abc"[..]).unwrap();
    let long = encoder.file(b"long", &file, 2, &b"abc"[..]).unwrap();
    assert_eq!((short.missing, long.missing), (2, 0));
    let (archive, payload) = encoder.finish().unwrap();
    let payload = payload.unwrap();
    let mut decoder = Decoder::new(At::new(&archive[..]), Some(At::new(&payload[..]))).unwrap();
    let tree = decoded(&mut decoder).unwrap();
    assert_eq!(tree["short"].1.as_deref(), Some(&b"abc\0\0"[..]));
    assert_eq!(tree["long"].1.as_deref(), Some(&b"ab"[..]));
}

/// Gives two pieces, then an error.
struct Broken(u8);

impl std::io::Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.0.checked_sub(1);
        self.0 = left.ok_or_else(|| std::io::Error::other("a bad sector"))?;
        buffer.fill(1);
        Ok(buffer.len())
    }
}

/// Neither is in the archive: a file that cannot be read, and what cannot be stored.
#[test]
fn what_cannot_be_added_leaves_no_trace() {
    let file = of_type(Metadata::default(), mode::FILE);
    let link = of_type(Metadata::default(), mode::SYMLINK);
    let mut bad_time = file.clone();
    bad_time.stat.mtime.nanos = 1_000_000_000;
    let mut bad_xattr = file.clone();
    bad_xattr.xattrs.push(Xattr {
        name: vec![b'x'; 255],
        value: vec![0; 65536],
    });
    for split in [false, true] {
        let mut archive = Vec::new();
        let mut payload = Vec::new();
        let mut encoder = match split {
            true => Encoder::split(&mut archive, &mut payload, None, &directory()).unwrap(),
            false => Encoder::unified(&mut archive, &directory()).unwrap(),
        };
        encoder.file(b"a", &file, 1, &b"a"[..]).unwrap();
        let added = encoder.file(b"b", &file, 1 << 20, Broken(0));
        assert!(matches!(added, Err(Error::Content { .. })));
        let added = encoder.file(b"c", &file, 1 << 20, Broken(2));
        assert_eq!(added.is_err(), split);
        for bad in [&bad_time, &bad_xattr] {
            assert!(encoder.file(b"d", bad, 1, &b"d"[..]).is_err());
            assert!(encoder.reused_file(b"d", bad, 16, 1).is_err());
        }
        let empty = Body::Symlink(Vec::new());
        assert!(encoder.special(b"e", &link, &empty).is_err());
        encoder.file(b"f", &file, 1, &b"f"[..]).unwrap();
        encoder.finish().unwrap();
        let input = At::new(&archive[..]);
        let contents = split.then(|| At::new(&payload[..]));
        let tree = decoded(&mut Decoder::new(input, contents).unwrap()).unwrap();
        assert_eq!(tree["a"].1.as_deref(), Some(&b"a"[..]));
        assert_eq!(tree["f"].1.as_deref(), Some(&b"f"[..]));
        let read = 512 << 10;
        match split {
            true => assert_eq!(tree.len(), 3),
            // What follows is there; the file could not be taken back.
            false => assert_eq!(
                tree["c"].1.as_deref(),
                Some(&[vec![1; read], vec![0; read]].concat()[..])
            ),
        }
    }
}

#[test]
fn contents_of_the_last_backup_are_referred_to() {
    let file = of_type(Metadata::default(), mode::FILE);
    let mut encoder = Encoder::split(Vec::new(), Vec::new(), None, &directory()).unwrap();
    encoder.file(b"new", &file, 3, &b"new"[..]).unwrap();
    let at = encoder.payload_position().unwrap();
    assert_eq!(at, 16 + 16 + 3);
    // What is put in between has something before the content that is used.
    let mut old = b"garbage".to_vec();
    old.extend(0x2814_7a1b_0b7c_1a25_u64.to_le_bytes());
    old.extend(19_u64.to_le_bytes());
    old.extend(b"old");
    encoder.skip_payload(old.len() as u64);
    encoder.reused_file(b"old", &file, at + 7, 3).unwrap();
    let (archive, payload) = encoder.finish().unwrap();
    let mut payload = payload.unwrap();
    payload.splice(35..35, old);
    let mut decoder =
        Decoder::new(Forward::new(&archive[..]), Some(Forward::new(&payload[..]))).unwrap();
    let tree = decoded(&mut decoder).unwrap();
    assert_eq!(tree["old"].1.as_deref(), Some(&b"old"[..]));
    let accessor = Accessor::open(&archive[..], Some(&payload[..])).unwrap();
    assert_eq!(accessed(&accessor).unwrap(), tree);
}

#[test]
fn an_archive_is_copied_to_the_same_bytes() {
    let changes = [
        Change::Enter(directory()),
        Change::File(of_type(Metadata::default(), mode::FILE), vec![1, 2, 3]),
        Change::Leave,
        Change::Enter(directory()),
    ];
    let ((archive, _), _) = build(&directory(), &changes, false);
    let mut decoder = Decoder::new(At::new(&archive[..]), None).unwrap();
    assert!(matches!(decoder.step().unwrap(), Some(Step::Enter(_))));
    let mut encoder = Encoder::unified(Vec::new(), &directory()).unwrap();
    copy(&mut decoder, &mut encoder).unwrap();
    assert_eq!(encoder.finish().unwrap().0, archive);
}
