//! The catalog of a snapshot: what its archives hold, directory by directory.

use api_types::names::ArchiveName;
use datastore::format::catalog::{CatalogEntry, CatalogKind, CatalogReader};
use hyper::Method;
use openssl::base64::{decode_block, encode_block};
use pxar::{At, Body, Entry, Node};
use serde::Serialize;

use super::download::open_file;
use crate::api::entry;
use crate::api::fields::{ARCHIVE_NAME, BACKUP_ID, BACKUP_TIME, BACKUP_TYPE, NS, STORE};
use crate::api::stream::place_for;
use crate::api::target::{READ, SnapshotParams, refused};
use crate::operations::archive::Archive;
use crate::operations::files::{Files, shown};
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

/// A path.
pub(super) const FILE_PATH: Param = Param::required(
    "filepath",
    "Base64 of '/<archive>/<path>', or with archive-name of '/<path>'; 'root' or '/' for the top.",
    Schema::ANY_TEXT,
);

/// Entries of a directory that is listed.
const MAX_ENTRIES: usize = 1 << 20;
/// Bytes of such a directory in a catalog, and of what is answered about it.
const MAX_TABLE: u64 = 64 << 20;
const MAX_TEXT: usize = 128 << 20;

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[entry(
    Method::GET,
    "/admin/datastore/{store}/catalog",
    "List a directory of the catalog, or of an archive.",
    &[
        STORE,
        NS,
        BACKUP_TYPE,
        BACKUP_ID,
        BACKUP_TIME,
        FILE_PATH,
        ARCHIVE_NAME,
    ],
    Access::ByHandler,
    |call| Box::pin(catalog(call)),
)];

/// A name in a directory.
#[derive(Debug, PartialEq, Serialize)]
struct Item {
    /// Base64 of its whole path.
    filepath: String,
    text: String,
    #[serde(rename = "type")]
    ty: &'static str,
    leaf: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<i64>,
}

impl Item {
    fn new(directory: &[&[u8]], entry: &CatalogEntry) -> Self {
        let mut path = Vec::new();
        for name in directory.iter().chain([&entry.name.as_slice()]) {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        let ty = match entry.kind {
            CatalogKind::Directory { .. } => "d",
            CatalogKind::File { .. } => "f",
            CatalogKind::Symlink => "l",
            CatalogKind::Hardlink => "h",
            CatalogKind::BlockDevice => "b",
            CatalogKind::CharDevice => "c",
            CatalogKind::Fifo => "p",
            CatalogKind::Socket => "s",
        };
        let (size, mtime) = match entry.kind {
            CatalogKind::File { size, mtime } => (Some(size), Some(mtime)),
            _ => (None, None),
        };
        Self {
            filepath: encode_block(&path),
            text: String::from_utf8_lossy(&entry.name).into_owned(),
            ty,
            leaf: !matches!(entry.kind, CatalogKind::Directory { .. }),
            size,
            mtime,
        }
    }
}

/// The bytes of a path parameter.
pub(super) fn decode_path(text: &str) -> Result<Vec<u8>, RestError> {
    if matches!(text, "root" | "/") {
        return Ok(Vec::new());
    }
    decode_block(text).map_err(|_| RestError::parameter(FILE_PATH.name, "not valid base64"))
}

/// The names in a path.
pub(super) fn names(path: &[u8]) -> Vec<&[u8]> {
    let names = path.split(|byte| *byte == b'/');
    names.filter(|name| !name.is_empty()).collect()
}

async fn catalog(call: Call) -> Result<Answer, RestError> {
    let params: SnapshotParams = call.params.read()?;
    let path = decode_path(call.params.text(FILE_PATH.name).unwrap_or_default())?;
    let store = READ.open_group(&call, &params.group).await?;
    let snapshot = params.path();
    let place = call.server.places.list(call.peer).await?;
    let data = match call.optional::<ArchiveName>(ARCHIVE_NAME.name)? {
        Some(name) => {
            open_file(&store, &snapshot, &name).await?;
            let files = Files::open(&call.server.memory, &store, &snapshot, &name, false).await?;
            let list = move || list_archive(&files, &names(&path));
            store.env().blocking(list).await?
        }
        None => {
            let name: ArchiveName = ArchiveName::CATALOG.parse().map_err(refused)?;
            let archive = Archive::open(&call.server.memory, &store, &snapshot, &name).await?;
            let list = move || list_catalog(archive, &names(&path));
            store.env().blocking(list).await?
        }
    };
    drop(place);
    Ok(Answer::Json {
        large: place_for(&call.server, data.len())?,
        data,
    })
}

/// The items of a directory as JSON.
fn write(items: impl Iterator<Item = Result<Item, RestError>>) -> Result<Vec<u8>, RestError> {
    let mut text = vec![b'['];
    for (count, item) in items.enumerate() {
        if count == MAX_ENTRIES || text.len() > MAX_TEXT {
            return Err(RestError::bad_request(format!(
                "the directory is too large to be listed: the limit is {MAX_ENTRIES} entries and \
                 {} MiB; restore it to see what it holds",
                MAX_TEXT >> 20
            )));
        }
        if count > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &item?).map_err(refused)?;
    }
    text.push(b']');
    Ok(text)
}

fn missing(path: &[&[u8]], place: &str) -> RestError {
    RestError::bad_request(format!("no directory '{}' in the {place}", shown(path)))
}

fn list_catalog(archive: Archive, path: &[&[u8]]) -> Result<Vec<u8>, RestError> {
    let reader = At::new(archive.into_reader());
    let mut reader = CatalogReader::new(reader)
        .map_err(refused)?
        .with_max_table(MAX_TABLE);
    let table = if path.is_empty() {
        reader.root()
    } else {
        let found = reader.lookup(path).map_err(refused)?;
        match found.map(|entry| entry.kind) {
            Some(CatalogKind::Directory { block }) => reader.read_directory(block),
            _ => return Err(missing(path, "catalog")),
        }
    };
    let item = |entry| {
        let mut item = Item::new(path, &entry);
        // The first level is the archives, which only look like directories.
        if path.is_empty() {
            item.ty = "v";
        }
        item
    };
    let items = table.map_err(refused)?;
    write(items.map(|entry| Ok(item(entry.map_err(refused)?))))
}

fn list_archive(files: &Files, path: &[&[u8]]) -> Result<Vec<u8>, RestError> {
    let directory = files.lookup(path)?;
    if !directory.is_directory() {
        return Err(missing(path, "archive"));
    }
    let limit = u64::try_from(MAX_ENTRIES).unwrap_or(u64::MAX);
    let listing = files.accessor().list_at_most(&directory, limit);
    let listing = listing.map_err(refused)?;
    write(listing.map(|entry| Ok(Item::new(path, &as_in_catalog(entry.map_err(refused)?)))))
}

/// How a catalog would list it.
fn as_in_catalog(entry: Entry) -> CatalogEntry {
    let kind = match entry.node {
        Node::Hardlink(_) => CatalogKind::Hardlink,
        Node::Inode(inode) => match inode.body {
            Body::Directory => CatalogKind::Directory { block: 0 },
            Body::File(payload) => CatalogKind::File {
                size: payload.size,
                mtime: inode.metadata.stat.mtime.secs,
            },
            Body::Symlink(_) => CatalogKind::Symlink,
            Body::BlockDevice(_) => CatalogKind::BlockDevice,
            Body::CharDevice(_) => CatalogKind::CharDevice,
            Body::Fifo => CatalogKind::Fifo,
            Body::Socket => CatalogKind::Socket,
        },
    };
    CatalogEntry {
        name: entry.name,
        kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_end_is_refused() {
        let file = CatalogEntry {
            name: b"a".to_vec(),
            kind: CatalogKind::Fifo,
        };
        let items = |count| (0..count).map(|_| Ok(Item::new(&[], &file)));
        assert_eq!(write(items(0)).unwrap(), b"[]");
        let text = write(items(2)).unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
        assert_eq!(list.len(), 2);
        let error = write(items(usize::MAX)).unwrap_err();
        assert!(error.message.contains("too large"), "{error}");
    }

    #[test]
    fn items_are_upstreams() {
        let file = CatalogEntry {
            name: b"a.txt".to_vec(),
            kind: CatalogKind::File { size: 3, mtime: 4 },
        };
        let names: [&[u8]; 2] = [b"root.pxar.didx", b"etc"];
        assert_eq!(
            serde_json::to_value(Item::new(&names, &file)).unwrap(),
            serde_json::json!({
                "filepath": encode_block(b"/root.pxar.didx/etc/a.txt"),
                "text": "a.txt", "type": "f", "leaf": true, "size": 3, "mtime": 4
            })
        );
        let directory = CatalogEntry {
            name: b"\xff".to_vec(),
            kind: CatalogKind::Directory { block: 9 },
        };
        assert_eq!(
            serde_json::to_value(Item::new(&[], &directory)).unwrap(),
            serde_json::json!({
                "filepath": encode_block(b"/\xff"),
                "text": "\u{fffd}", "type": "d", "leaf": false
            })
        );
        assert_eq!(decode_path("root").unwrap(), b"");
        assert_eq!(decode_path("L2E=").unwrap(), b"/a");
        assert!(decode_path("*").is_err());
    }
}
