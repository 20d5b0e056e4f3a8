//! Writing what is known of a file.

use std::io::Write;

use super::Counted;
use crate::error::Error;
use crate::item::Item;
use crate::limits;
use crate::node::{AclEntry, Body, Metadata, Xattr, mode};

/// Writes all of an entry but its name and, of a regular file, its content.
pub fn write<W: Write>(
    out: &mut Counted<W>,
    metadata: &Metadata,
    body: &Body,
) -> Result<(), Error> {
    let file_type = match body {
        Body::Directory => mode::DIRECTORY,
        Body::File(_) => mode::FILE,
        Body::Symlink(_) => mode::SYMLINK,
        Body::BlockDevice(_) => mode::BLOCK_DEVICE,
        Body::CharDevice(_) => mode::CHAR_DEVICE,
        Body::Fifo => mode::FIFO,
        Body::Socket => mode::SOCKET,
    };
    if let Body::Symlink(target) = body {
        check_text(target)?;
    }
    write_attributes(out, metadata, file_type)?;
    match body {
        Body::Symlink(target) => out.item(Item::Symlink, &[target, &b"\0"[..]].concat()),
        Body::BlockDevice(device) | Body::CharDevice(device) => {
            out.item(Item::Device, &numbers(&[device.major, device.minor]))
        }
        Body::Directory | Body::File(_) | Body::Fifo | Body::Socket => Ok(()),
    }
}

/// Writes stat and attributes of a file that must be of this type.
pub fn write_attributes<W: Write>(
    out: &mut Counted<W>,
    metadata: &Metadata,
    file_type: u64,
) -> Result<(), Error> {
    let stat = &metadata.stat;
    if stat.file_type() != file_type || stat.mtime.nanos >= 1_000_000_000 {
        let why = format!("mode {:o} or time of a file cannot be", stat.mode);
        return Err(Error::refused(why));
    }
    let mut entry = Vec::with_capacity(40);
    entry.extend_from_slice(&stat.mode.to_le_bytes());
    entry.extend_from_slice(&stat.flags.to_le_bytes());
    entry.extend_from_slice(&stat.uid.to_le_bytes());
    entry.extend_from_slice(&stat.gid.to_le_bytes());
    entry.extend_from_slice(&stat.mtime.secs.to_le_bytes());
    entry.extend_from_slice(&stat.mtime.nanos.to_le_bytes());
    entry.extend_from_slice(&[0; 4]);
    out.item(Item::Entry, &entry)?;
    let mut room = limits::ATTRIBUTES;
    for xattr in &metadata.xattrs {
        let len = Xattr::stored_len(&xattr.name, &xattr.value);
        let left = room.checked_sub(len);
        room = left.ok_or_else(|| Error::refused("more than 16 MiB of extended attributes"))?;
        if !(1..=255).contains(&xattr.name.len()) || xattr.name.contains(&0) {
            return Err(Error::refused("the name of an extended attribute"));
        }
        out.item(
            Item::Xattr,
            &[&xattr.name, &b"\0"[..], &xattr.value].concat(),
        )?;
    }
    let acl = &metadata.acl;
    acl_entries(out, Item::AclUser, &acl.users)?;
    acl_entries(out, Item::AclGroup, &acl.groups)?;
    if let Some(permissions) = acl.group_obj {
        out.item(Item::AclGroupObj, &numbers(&[permissions]))?;
    }
    if let Some(acl) = acl.default {
        let content = numbers(&[acl.user_obj, acl.group_obj, acl.other, acl.mask]);
        out.item(Item::AclDefault, &content)?;
    }
    acl_entries(out, Item::AclDefaultUser, &acl.default_users)?;
    acl_entries(out, Item::AclDefaultGroup, &acl.default_groups)?;
    if let Some(fcaps) = &metadata.fcaps {
        out.item(Item::Fcaps, fcaps)?;
    }
    if let Some(id) = metadata.quota_project_id {
        out.item(Item::QuotaProjectId, &numbers(&[id]))?;
    }
    Ok(())
}

fn acl_entries<W: Write>(
    out: &mut Counted<W>,
    item: Item,
    entries: &[AclEntry],
) -> Result<(), Error> {
    for entry in entries {
        out.item(item, &numbers(&[entry.id, entry.permissions]))?;
    }
    Ok(())
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    bytes.collect()
}

/// Whether this can be the target of a link.
pub fn check_text(text: &[u8]) -> Result<(), Error> {
    if text.is_empty() || text.len() > limits::TARGET || text.contains(&0) {
        return Err(Error::refused("the target of a link"));
    }
    Ok(())
}
