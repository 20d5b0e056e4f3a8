//! Archives made by upstream's encoder.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Tree, accessed, decoded, vector};
use pxar::{
    Accessor, Acl, AclEntry, At, Body, Decoder, Device, Encoder, Error, Forward, Inode, Metadata,
    Mtime, Node, Place, Stat, Step, Xattr,
};

fn stat(mode: u64, (uid, gid): (u32, u32), secs: i64, nanos: u32) -> Metadata {
    Metadata {
        stat: Stat {
            mode,
            flags: 0,
            uid,
            gid,
            mtime: Mtime { secs, nanos },
        },
        ..Metadata::default()
    }
}

/// The tree of `test-vectors.md` §8, with where the contents and the target of the link are.
fn expected(contents: [Place; 2], target: u64) -> Tree {
    let directory = || stat(0o040_755, (1000, 1001), 1_700_000_000, 123_456_789);
    let mut capabilities = vec![1, 0, 0, 2, 0, 4];
    capabilities.resize(20, 0);
    let binary = Metadata {
        xattrs: vec![Xattr {
            name: b"user.a".to_vec(),
            value: b"val".to_vec(),
        }],
        acl: Acl {
            users: vec![AclEntry {
                id: 33,
                permissions: 6,
            }],
            ..Acl::default()
        },
        fcaps: Some(capabilities),
        quota_project_id: Some(7),
        ..stat(0o104_755, (0, 0), -5, 999_000_000)
    };
    let file = |place: Place, size: u64| Body::File(pxar::Payload { place, size });
    let disk = Device { major: 8, minor: 1 };
    let inode = |path: &str, metadata: Metadata, body: Body, content: Option<&[u8]>| {
        let node = Node::Inode(Box::new(Inode { metadata, body }));
        (path.to_owned(), (node, content.map(<[u8]>::to_vec)))
    };
    let link = Node::Hardlink(pxar::Hardlink {
        path: b"a.txt".to_vec(),
        target,
    });
    Tree::from([
        inode("", directory(), Body::Directory, None),
        inode(
            "a.txt",
            stat(0o100_644, (1000, 1001), 1_700_000_001, 0),
            file(contents[0], 5),
            Some(b"hello"),
        ),
        inode("d", directory(), Body::Directory, None),
        inode("d/b.bin", binary, file(contents[1], 3), Some(&[1, 2, 3])),
        ("d/c.lnk".into(), (link, None)),
        inode(
            "dev",
            stat(0o060_660, (0, 6), 1_700_000_004, 0),
            Body::BlockDevice(disk),
            None,
        ),
        inode(
            "fifo",
            stat(0o010_600, (0, 0), 1_700_000_003, 0),
            Body::Fifo,
            None,
        ),
        inode(
            "l",
            stat(0o120_777, (0, 0), 1_700_000_002, 1),
            Body::Symlink(b"a.txt".to_vec()),
            None,
        ),
    ])
}

#[test]
fn a_whole_archive() {
    let Some(archive) = vector("pxar_v1") else {
        return;
    };
    let expected = expected([Place::Inline(150), Place::Inline(441)], 56);
    let mut decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
    assert_eq!((decoder.version(), decoder.prelude()), (1, None));
    assert_eq!(decoded(&mut decoder).unwrap(), expected);
    let accessor = Accessor::open(&archive[..], None).unwrap();
    assert_eq!(accessed(&accessor).unwrap(), expected);
}

#[test]
fn an_archive_in_two_parts() {
    let (Some(archive), Some(payload)) = (vector("pxar_v2_meta"), vector("pxar_v2_payload")) else {
        return;
    };
    let expected = expected([Place::Reference(16), Place::Reference(37)], 126);
    let mut decoder =
        Decoder::new(Forward::new(&archive[..]), Some(Forward::new(&payload[..]))).unwrap();
    assert_eq!(decoder.version(), 2);
    let prelude: &[u8] = br#"{"exclude-patterns":"*.tmp\n"}"#;
    assert_eq!(decoder.prelude(), Some(prelude));
    assert_eq!(decoded(&mut decoder).unwrap(), expected);
    let accessor = Accessor::open(&archive[..], Some(&payload[..])).unwrap();
    assert_eq!(accessed(&accessor).unwrap(), expected);

    // The metadata alone can be listed, not read.
    let accessor = Accessor::open(&archive[..], None).unwrap();
    assert_eq!(accessor.list(&accessor.root().unwrap()).unwrap().count(), 5);
    assert!(matches!(accessed(&accessor), Err(Error::NoPayload)));
    let mut decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
    assert!(matches!(decoded(&mut decoder), Err(Error::NoPayload)));
}

#[test]
fn a_root_alone() {
    let Some(archive) = vector("pxar_v1_empty") else {
        return;
    };
    let accessor = Accessor::open(&archive[..], None).unwrap();
    let root = accessor.root().unwrap();
    assert!(root.is_directory() && root.name.is_empty());
    assert_eq!(accessor.list(&root).unwrap().count(), 0);
    assert!(accessor.lookup([&b"x"[..]]).unwrap().is_none());
    let mut decoder = Decoder::new(At::new(&archive[..]), None).unwrap();
    assert!(matches!(decoder.step().unwrap(), Some(Step::Enter(_))));
    assert_eq!(decoder.step().unwrap(), Some(Step::Leave));
    assert_eq!(decoder.step().unwrap(), None);
}

#[test]
fn paths_links_and_subtrees() {
    let (Some(archive), Some(payload)) = (vector("pxar_v2_meta"), vector("pxar_v2_payload")) else {
        return;
    };
    let accessor = Accessor::open(&archive[..], Some(&payload[..])).unwrap();
    let lookup = |path: &[&[u8]]| accessor.lookup(path.iter().copied()).unwrap();
    assert!(lookup(&[b"a.txt", b"x"]).is_none());
    assert!(lookup(&[b"d", b"a.txt"]).is_none());
    let link = lookup(&[b"d", b"c.lnk"]).unwrap();
    assert!(link.inode().is_none());
    let Node::Hardlink(link) = link.node else {
        panic!("{link:?}")
    };
    let target = lookup(&[b"a.txt"]).unwrap();
    assert_eq!(Some(&accessor.follow(&link).unwrap()), target.inode());
    assert!(accessor.walk(&target).is_err());

    let directory = lookup(&[b"d"]).unwrap();
    let mut walk = accessor.walk(&directory).unwrap();
    let below: Vec<String> = decoded(&mut walk).unwrap().into_keys().collect();
    assert_eq!(below, ["", "b.bin", "c.lnk"]);
}

#[test]
fn steps_say_where_they_are() {
    let Some(archive) = vector("pxar_v1") else {
        return;
    };
    let mut decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
    let mut seen = Vec::new();
    while let Some(step) = decoder.step().unwrap() {
        let path = String::from_utf8(decoder.path().to_vec()).unwrap();
        assert_eq!(path.rsplit('/').next().unwrap().as_bytes(), decoder.name());
        seen.push(match step {
            Step::Enter(_) => path,
            Step::Leave => format!("{path} ends"),
        });
    }
    let expected = [
        "", "a.txt", "d", "d/b.bin", "d/c.lnk", "d ends", "dev", "fifo", "l", " ends",
    ];
    assert_eq!(seen, expected);
}

/// Writes again what a decoder reads.
fn rewritten(archive: &[u8], payload: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut decoder = Decoder::new(At::new(archive), payload.map(At::new)).unwrap();
    let prelude = decoder.prelude().map(<[u8]>::to_vec);
    let Some(Step::Enter(Node::Inode(root))) = decoder.step().unwrap() else {
        panic!("no root")
    };
    let mut encoder = match payload {
        None => Encoder::unified(Vec::new(), &root.metadata),
        Some(_) => Encoder::split(Vec::new(), Vec::new(), prelude.as_deref(), &root.metadata),
    }
    .unwrap();
    common::copy(&mut decoder, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_is_read_is_written_to_the_same_bytes() {
    for name in ["pxar_v1", "pxar_v1_empty"] {
        let Some(archive) = vector(name) else { return };
        assert_eq!(rewritten(&archive, None), (archive, None), "{name}");
    }
    let (Some(archive), Some(payload)) = (vector("pxar_v2_meta"), vector("pxar_v2_payload")) else {
        return;
    };
    assert_eq!(
        rewritten(&archive, Some(&payload)),
        (archive, Some(payload))
    );
}
