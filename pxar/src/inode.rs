//! Reading what a name stands for (`pxar.md` §2.2, §3).

use crate::error::Error;
use crate::item::{Header, Item, Items, number, text};
use crate::limits;
use crate::name::name_error;
use crate::node::{
    AclEntry, Body, DefaultAcl, Device, Hardlink, Inode, Metadata, Mtime, Node, Payload, Place,
    Stat, Xattr, mode,
};
use crate::source::Input;

const NANOS: u32 = 1_000_000_000;

/// A name, whose item begins at the header.
pub fn read_name<I: Input>(items: &mut Items<I>, header: &Header) -> Result<Vec<u8>, Error> {
    let name = items.text(header)?;
    match name_error(&name) {
        None => Ok(name),
        Some(why) => {
            let name = name.escape_ascii();
            Err(Error::corrupt(header.at, format!("'{name}': {why}")))
        }
    }
}

/// What follows the name at `name_at`. Of a file with its content in this stream, that is next;
/// otherwise the item that ends the entry.
pub fn read_node<I: Input>(items: &mut Items<I>, name_at: u64) -> Result<Node, Error> {
    let header = items.expect()?;
    if header.item != Item::Hardlink {
        let inode = read_inode(items, &header)?;
        return Ok(Node::Inode(Box::new(inode)));
    }
    let content = items.bytes(&header)?;
    let target = name_at.checked_sub(number(&content));
    let target = target.filter(|target| *target < name_at);
    let target = target.ok_or_else(|| {
        Error::corrupt(
            header.at,
            "a hard link to something that does not come before",
        )
    })?;
    let path = content.get(8..).unwrap_or_default().to_vec();
    Ok(Node::Hardlink(Hardlink {
        path: text(path, &header)?,
        target,
    }))
}

/// A file, whose stat begins at the header.
pub fn read_inode<I: Input>(items: &mut Items<I>, header: &Header) -> Result<Inode, Error> {
    let mut metadata = Metadata {
        stat: read_stat(items, header)?,
        ..Metadata::default()
    };
    let (mut room, mut left) = (limits::ATTRIBUTES, limits::LISTS);
    loop {
        let header = items.expect()?;
        let len = header.end() - header.at;
        if header.item == Item::Xattr {
            match room.checked_sub(len) {
                Some(rest) => {
                    room = rest;
                    metadata.xattrs.push(read_xattr(items, &header)?);
                }
                // The file is worth more than its attributes.
                None => {
                    items.skip(&header)?;
                    metadata.passed_over += 1;
                }
            }
            continue;
        }
        if !read_attribute(items, &header, &mut metadata)? {
            let body = read_body(items, header, metadata.stat.file_type())?;
            return Ok(Inode { metadata, body });
        }
        left = left.checked_sub(len).ok_or(Error::TooLarge {
            object: "the access lists of a file",
            at: header.at,
            limit: limits::LISTS,
        })?;
    }
}

fn read_stat<I: Input>(items: &mut Items<I>, header: &Header) -> Result<Stat, Error> {
    let content = match header.item {
        Item::Entry | Item::EntryV1 => items.bytes(header)?,
        _ => return Err(header.unexpected("a file's stat")),
    };
    let short = |at: usize| {
        let bytes = content.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let long = |at: usize| content.get(at..).map_or(0, number);
    let mtime = if header.item == Item::EntryV1 {
        let nanos = long(24) % u64::from(NANOS);
        Mtime {
            secs: (long(24) / u64::from(NANOS)).cast_signed(),
            nanos: u32::try_from(nanos).unwrap_or_default(),
        }
    } else {
        Mtime {
            secs: long(24).cast_signed(),
            nanos: short(32),
        }
    };
    if mtime.nanos >= NANOS {
        return Err(Error::corrupt(header.at, "a second has 10^9 nanoseconds"));
    }
    Ok(Stat {
        mode: long(0),
        flags: long(8),
        uid: short(16),
        gid: short(20),
        mtime,
    })
}

/// Reads the item into `metadata` if it is an attribute other than an extended one; whether it is.
fn read_attribute<I: Input>(
    items: &mut Items<I>,
    header: &Header,
    metadata: &mut Metadata,
) -> Result<bool, Error> {
    let acl = &mut metadata.acl;
    let list = match header.item {
        Item::AclUser => &mut acl.users,
        Item::AclGroup => &mut acl.groups,
        Item::AclDefaultUser => &mut acl.default_users,
        Item::AclDefaultGroup => &mut acl.default_groups,
        _ => return read_other_attribute(items, header, metadata),
    };
    let (id, permissions) = items.pair(header)?;
    list.push(AclEntry { id, permissions });
    Ok(true)
}

fn read_other_attribute<I: Input>(
    items: &mut Items<I>,
    header: &Header,
    metadata: &mut Metadata,
) -> Result<bool, Error> {
    let acl = &mut metadata.acl;
    let fresh = match header.item {
        Item::AclGroupObj => acl.group_obj.replace(items.number(header)?).is_none(),
        Item::AclDefault => {
            let content: [u8; 32] = items.array(header)?;
            let [user_obj, group_obj, other, mask] =
                [0, 8, 16, 24].map(|at| number(content.get(at..).unwrap_or_default()));
            let default = DefaultAcl {
                user_obj,
                group_obj,
                other,
                mask,
            };
            acl.default.replace(default).is_none()
        }
        Item::Fcaps => metadata.fcaps.replace(items.bytes(header)?).is_none(),
        Item::QuotaProjectId => {
            let id = items.number(header)?;
            metadata.quota_project_id.replace(id).is_none()
        }
        _ => return Ok(false),
    };
    if !fresh {
        let why = format!("a file has {:?} twice", header.item);
        return Err(Error::corrupt(header.at, why));
    }
    Ok(true)
}

fn read_xattr<I: Input>(items: &mut Items<I>, header: &Header) -> Result<Xattr, Error> {
    let content = items.bytes(header)?;
    let mut parts = content.splitn(2, |byte| *byte == 0);
    match (parts.next(), parts.next()) {
        (Some(name), Some(value)) if (1..=255).contains(&name.len()) => Ok(Xattr {
            name: name.to_vec(),
            value: value.to_vec(),
        }),
        _ => Err(Error::corrupt(
            header.at,
            "an extended attribute without a name",
        )),
    }
}

/// What comes behind the attributes.
fn read_body<I: Input>(
    items: &mut Items<I>,
    header: Header,
    file_type: u64,
) -> Result<Body, Error> {
    let body = match (header.item, file_type) {
        (Item::Symlink, mode::SYMLINK) => Body::Symlink(items.text(&header)?),
        (Item::Device, mode::BLOCK_DEVICE | mode::CHAR_DEVICE) => {
            let (major, minor) = items.pair(&header)?;
            let device = Device { major, minor };
            match file_type {
                mode::BLOCK_DEVICE => Body::BlockDevice(device),
                _ => Body::CharDevice(device),
            }
        }
        (Item::Payload, mode::FILE) => Body::File(Payload {
            place: Place::Inline(header.content()),
            size: header.len,
        }),
        (Item::PayloadRef, mode::FILE) => {
            let (offset, size) = items.pair(&header)?;
            Body::File(Payload {
                place: Place::Reference(offset),
                size,
            })
        }
        (Item::Filename | Item::Goodbye, mode::DIRECTORY | mode::FIFO | mode::SOCKET) => {
            items.put_back(header);
            match file_type {
                mode::DIRECTORY => Body::Directory,
                mode::FIFO => Body::Fifo,
                _ => Body::Socket,
            }
        }
        _ => {
            let why = format!("{:?} in a file of type {file_type:o}", header.item);
            return Err(Error::corrupt(header.at, why));
        }
    };
    Ok(body)
}
