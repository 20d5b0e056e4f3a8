//! Trees with everything that a tree can have, as archives.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use pxar::{
    Acl, AclEntry, Body, DefaultAcl, Device, Encoder, Metadata, Mtime, NOT_SET, Stat, Xattr, mode,
};

/// A tree, by names.
pub type Names = BTreeMap<Vec<u8>, Node>;

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Node {
    Directory(Box<Metadata>, Names),
    File(Box<Metadata>, Vec<u8>),
    Other(Box<Metadata>, Body),
    /// Another name of a file that came before: which of them.
    Link(usize),
}

/// A root and all that is in it.
pub fn trees() -> impl Strategy<Value = (Box<Metadata>, Names)> {
    let leaf = prop_oneof![
        4 => (metadata(mode::FILE), contents()).prop_map(|(it, content)| Node::File(it, content)),
        2 => any::<u8>().prop_map(|which| Node::Link(which.into())),
        2 => others(),
    ];
    let node = leaf.prop_recursive(4, 40, 6, |inner| {
        let directory = (metadata(mode::DIRECTORY), btree_map(names(), inner, 0..6));
        directory.prop_map(|(metadata, names)| Node::Directory(metadata, names))
    });
    (metadata(mode::DIRECTORY), btree_map(names(), node, 0..8))
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|byte| match byte {
        0 | b'/' | b'.' => b'x',
        byte => byte,
    });
    prop_oneof![
        3 => "[a-z]{1,4}".prop_map(String::into_bytes),
        1 => vec(byte, 1..20),
        1 => Just(vec![b'n'; 255]),
    ]
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        vec(any::<u8>(), 1..2000),
        (any::<u8>(), 1_usize..200_000).prop_map(|(byte, len)| vec![byte; len]),
        (1_usize..50_000).prop_map(|len| [vec![0; len], vec![1; len], vec![0; len]].concat()),
    ]
}

fn others() -> impl Strategy<Value = Node> {
    let device = Device { major: 1, minor: 3 };
    prop_oneof![
        3 => "[a-z./]{1,300}".prop_map(|target| Body::Symlink(target.into_bytes())),
        1 => Just(Body::Fifo),
        1 => Just(Body::Socket),
        1 => Just(Body::CharDevice(device)),
        1 => Just(Body::BlockDevice(device)),
    ]
    .prop_flat_map(|body| {
        let kind = match body {
            Body::Symlink(_) => mode::SYMLINK,
            Body::Fifo => mode::FIFO,
            Body::Socket => mode::SOCKET,
            Body::CharDevice(_) => mode::CHAR_DEVICE,
            _ => mode::BLOCK_DEVICE,
        };
        metadata(kind).prop_map(move |metadata| Node::Other(metadata, body.clone()))
    })
}

fn metadata(kind: u64) -> impl Strategy<Value = Box<Metadata>> {
    let permissions = match kind {
        mode::SYMLINK => Just(0o777).boxed(),
        _ => (0_u64..0o10000).boxed(),
    };
    let secs = prop_oneof![Just(0), -1_000_000_i64..4_000_000_000];
    // Ext4 has no more bits.
    let stat = (
        permissions,
        0_u32..70_000,
        0_u32..70_000,
        secs,
        0_u32..1_000_000_000,
    );
    let acl = match kind {
        mode::SYMLINK => Just(Acl::default()).boxed(),
        mode::DIRECTORY => (access_lists(), default_lists())
            .prop_map(|(access, default)| Acl {
                users: access.users,
                groups: access.groups,
                group_obj: access.group_obj,
                ..default
            })
            .boxed(),
        _ => access_lists().boxed(),
    };
    let xattrs = match kind {
        mode::FILE | mode::DIRECTORY => xattrs("(user|trusted)\\.[a-z]{1,9}").boxed(),
        _ => xattrs("trusted\\.[a-z]{1,9}").boxed(),
    };
    let fcaps = match kind {
        mode::FILE => option::weighted(0.2, Just(capabilities())).boxed(),
        _ => Just(None).boxed(),
    };
    let flags = match kind {
        mode::FILE | mode::DIRECTORY => prop_oneof![
            5 => Just(0_u64),
            // Without access times, no dump.
            1 => Just(0x2_0000),
            1 => Just(0x12_0000),
        ]
        .boxed(),
        _ => Just(0).boxed(),
    };
    (stat, acl, xattrs, fcaps, flags).prop_map(
        move |((permissions, uid, gid, secs, nanos), acl, xattrs, fcaps, flags)| {
            let stat = Stat {
                mode: kind | permissions,
                flags,
                uid,
                gid,
                mtime: Mtime { secs, nanos },
            };
            Box::new(Metadata {
                stat,
                xattrs,
                acl,
                fcaps,
                quota_project_id: None,
                passed_over: 0,
            })
        },
    )
}

/// To bind low ports.
fn capabilities() -> Vec<u8> {
    let mut capabilities = vec![1, 0, 0, 2, 0, 4];
    capabilities.resize(20, 0);
    capabilities
}

fn xattrs(name: &'static str) -> impl Strategy<Value = Vec<Xattr>> {
    // The kernel has an order of its own, so one at most.
    let value = vec(any::<u8>(), 0..100);
    option::weighted(0.3, (name, value)).prop_map(|it| {
        it.map(|(name, value)| Xattr {
            name: name.into_bytes(),
            value,
        })
        .into_iter()
        .collect()
    })
}

fn entries() -> impl Strategy<Value = Vec<AclEntry>> {
    btree_map(0_u64..100_000, 0_u64..8, 0..4).prop_map(|entries| {
        let entry = |(id, permissions)| AclEntry { id, permissions };
        entries.into_iter().map(entry).collect()
    })
}

fn access_lists() -> impl Strategy<Value = Acl> {
    let some = (entries(), entries(), 0_u64..8).prop_map(|(users, groups, group_obj)| Acl {
        users,
        groups,
        group_obj: Some(group_obj),
        ..Acl::default()
    });
    prop_oneof![3 => Just(Acl::default()), 1 => some]
}

fn default_lists() -> impl Strategy<Value = Acl> {
    let object = || 0_u64..8;
    let objects = (object(), object(), object(), object());
    let some = (objects, entries(), entries()).prop_map(|(objects, users, groups)| {
        let named = !users.is_empty() || !groups.is_empty();
        Acl {
            default: Some(DefaultAcl {
                user_obj: objects.0,
                group_obj: objects.1,
                other: objects.2,
                // With names there must be one.
                mask: if named { objects.3 } else { NOT_SET },
            }),
            default_users: users,
            default_groups: groups,
            ..Acl::default()
        }
    });
    prop_oneof![3 => Just(Acl::default()), 1 => some]
}

/// The archive in one part.
pub fn archive(root: &Metadata, names: &Names) -> Vec<u8> {
    let mut encoder = Encoder::unified(Vec::new(), root).unwrap();
    let mut files = Vec::new();
    add(&mut encoder, names, &[], &mut files);
    encoder.finish().unwrap().0
}

fn add(
    encoder: &mut Encoder<Vec<u8>>,
    names: &Names,
    path: &[u8],
    files: &mut Vec<(Vec<u8>, u64)>,
) {
    for (name, node) in names {
        let path = match path {
            b"" => name.clone(),
            path => [path, name].join(&b'/'),
        };
        match node {
            Node::Directory(metadata, names) => {
                encoder.enter(name, metadata).unwrap();
                add(encoder, names, &path, files);
                encoder.leave().unwrap();
            }
            Node::File(metadata, content) => {
                let size = content.len() as u64;
                let written = encoder.file(name, metadata, size, &content[..]).unwrap();
                files.push((path, written.name_at));
            }
            Node::Other(metadata, body) => encoder.special(name, metadata, body).unwrap(),
            Node::Link(which) if files.is_empty() => {
                let metadata = Metadata {
                    stat: Stat {
                        mode: mode::FILE | 0o644,
                        ..Stat::default()
                    },
                    ..Metadata::default()
                };
                let size = *which as u64;
                encoder
                    .file(name, &metadata, size, std::io::repeat(1))
                    .unwrap();
            }
            Node::Link(which) => {
                let (first, at) = &files[which % files.len()];
                encoder.hard_link(name, first, *at).unwrap();
            }
        }
    }
}
