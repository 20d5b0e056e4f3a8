//! Archives of files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use pxar::{
    Accessor, Acl, AclEntry, At, Body, Decoder, DefaultAcl, Device, Encoder, Metadata, NOT_SET,
    Node, Stat, Step, Xattr, mode,
};

use crate::Target;

pub const TARGET: Target = Target {
    name: "pxar",
    max_len: 4096,
    check,
    seeds,
    words: &[],
    memory: 1 << 20,
};

const UNIFIED: u8 = 0;
/// Bytes before the two streams of an archive in two parts: how long the first one is.
const LEN: usize = 2;

/// An archive in one or two parts.
type Archive = (Vec<u8>, Option<Vec<u8>>);

fn seeds() -> Vec<Vec<u8>> {
    let unified = Encoder::unified(Vec::new(), &metadata(mode::DIRECTORY));
    let (archive, _) = fill(unified.expect("it can be written"));
    let split = Encoder::split(
        Vec::new(),
        Vec::new(),
        Some(br#"{"exclude-patterns":"*.tmp\n"}"#),
        &metadata(mode::DIRECTORY),
    );
    let (first, second) = fill(split.expect("it can be written"));
    let len = u16::try_from(first.len()).expect("it is short");
    let second = second.expect("it is in two parts");
    vec![
        [&[UNIFIED][..], &archive].concat(),
        [&[UNIFIED + 1][..], &len.to_le_bytes(), &first, &second].concat(),
    ]
}

fn metadata(file_type: u64) -> Metadata {
    Metadata {
        stat: Stat {
            mode: file_type | 0o755,
            ..Stat::default()
        },
        ..Metadata::default()
    }
}

fn fill(mut encoder: Encoder<Vec<u8>>) -> Archive {
    let acl = |id: u64| vec![AclEntry { id, permissions: 5 }];
    let all = Metadata {
        xattrs: vec![Xattr {
            name: b"user.a".to_vec(),
            value: b"value".to_vec(),
        }],
        acl: Acl {
            users: acl(1),
            groups: acl(2),
            group_obj: Some(7),
            default: Some(DefaultAcl {
                user_obj: 7,
                group_obj: 5,
                other: 0,
                mask: NOT_SET,
            }),
            default_users: acl(3),
            default_groups: acl(4),
        },
        fcaps: Some(vec![1; 20]),
        quota_project_id: Some(9),
        ..metadata(mode::FILE)
    };
    let device = Body::CharDevice(Device { major: 1, minor: 3 });
    let link = Body::Symlink(b"a".to_vec());
    let mut steps = || {
        let first = encoder.file(b"a", &all, 5, &b"hello"[..])?;
        encoder.enter(b"d", &metadata(mode::DIRECTORY))?;
        encoder.hard_link(b"b", b"a", first.name_at)?;
        encoder.file(b"c", &metadata(mode::FILE), 0, &b""[..])?;
        encoder.leave()?;
        encoder.special(b"f", &metadata(mode::FIFO), &Body::Fifo)?;
        encoder.special(b"l", &metadata(mode::SYMLINK), &link)?;
        encoder.special(b"n", &metadata(mode::CHAR_DEVICE), &device)?;
        encoder.special(b"s", &metadata(mode::SOCKET), &Body::Socket)
    };
    steps().expect("the tree is good");
    encoder.finish().expect("all directories are closed")
}

fn check(data: &[u8]) -> bool {
    parts(data).is_some_and(|(archive, payload)| check_archive(archive, payload))
}

/// The streams of the archive that an input stands for.
pub fn parts(data: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (mode, rest) = data.split_first()?;
    if mode % 2 == UNIFIED {
        return Some((rest, None));
    }
    let (len, rest) = rest.split_first_chunk::<LEN>()?;
    let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
    let (archive, payload) = rest.split_at(len);
    Some((archive, Some(payload)))
}

fn check_archive(archive: &[u8], payload: Option<&[u8]>) -> bool {
    // The tables may lead elsewhere than the stream, not out of it and not in circles.
    access(archive, payload);
    let Some(copy) = copy(archive, payload) else {
        return false;
    };
    let (first, second) = (copy.0.as_slice(), copy.1.as_deref());
    let again = self::copy(first, second);
    assert_eq!(again.as_ref(), Some(&copy), "what we wrote reads the same");
    find_all(first, second);
    true
}

/// Goes through the tables; none if something is wrong.
fn access(archive: &[u8], payload: Option<&[u8]>) -> Option<()> {
    let accessor = Accessor::open(archive, payload).ok()?;
    let mut open = vec![accessor.root().ok()?];
    let mut count = 0;
    while let Some(directory) = open.pop() {
        for child in accessor.list(&directory).ok()? {
            let child = child.ok()?;
            count += 1;
            assert!(count <= archive.len(), "more names than bytes");
            let inode = match &child.node {
                Node::Hardlink(link) => accessor.follow(link).ok()?,
                Node::Inode(inode) => (**inode).clone(),
            };
            if let Body::File(file) = inode.body {
                let mut content = Vec::new();
                let reader = accessor.contents(&file).ok()?;
                reader.take(16).read_to_end(&mut content).ok()?;
            }
            if child.is_directory() {
                open.push(child);
            }
        }
    }
    Some(())
}

/// Reads the archive and writes it again; none if it is damaged, or leads to what is not there.
fn copy(archive: &[u8], payload: Option<&[u8]>) -> Option<Archive> {
    let mut decoder = Decoder::new(At::new(archive), payload.map(At::new)).ok()?;
    let prelude = decoder.prelude().map(<[u8]>::to_vec);
    let Some(Step::Enter(Node::Inode(root))) = decoder.step().ok()? else {
        return None;
    };
    let mut encoder = match payload {
        None => Encoder::unified(Vec::new(), &root.metadata),
        Some(_) => Encoder::split(Vec::new(), Vec::new(), prelude.as_deref(), &root.metadata),
    }
    .ok()?;
    let mut files = BTreeMap::new();
    while let Some(step) = decoder.step().ok()? {
        let name = decoder.name().to_vec();
        match step {
            Step::Leave if decoder.depth() == 0 => {}
            Step::Leave => encoder.leave().expect("it is open"),
            Step::Enter(Node::Hardlink(link)) => {
                let target = files.get(&link.target)?;
                encoder.hard_link(&name, &link.path, *target).ok()?;
            }
            Step::Enter(Node::Inode(inode)) => match &inode.body {
                Body::Directory => encoder.enter(&name, &inode.metadata).expect("it was read"),
                Body::File(file) => {
                    let at = decoder.position();
                    let mut content = Vec::new();
                    let mut reader = decoder.contents().ok()??;
                    reader.read_to_end(&mut content).ok()?;
                    let written = encoder.file(&name, &inode.metadata, file.size, &content[..]);
                    let written = written.expect("it was read");
                    assert_eq!(written.missing, 0);
                    files.insert(at, written.name_at);
                }
                body => encoder
                    .special(&name, &inode.metadata, body)
                    .expect("it was read"),
            },
        }
    }
    Some(encoder.finish().expect("all directories are closed"))
}

/// Finds each path of an archive that we wrote by its tables, unless a name is there twice.
fn find_all(archive: &[u8], payload: Option<&[u8]>) {
    let accessor = Accessor::open(archive, payload).expect("we wrote it");
    let mut decoder = Decoder::new(At::new(archive), None).expect("we wrote it");
    let mut paths = BTreeSet::new();
    while let Some(step) = decoder.step().expect("we wrote it") {
        if matches!(step, Step::Enter(_)) && !paths.insert(decoder.path().to_vec()) {
            return;
        }
    }
    for path in paths {
        let names = path.split(|byte| *byte == b'/');
        let names = names.filter(|name| !name.is_empty());
        let found = accessor.lookup(names).expect("we wrote it");
        assert!(found.is_some(), "{} is not found", path.escape_ascii());
    }
}
