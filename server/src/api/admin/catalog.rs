//! The catalog of a snapshot: what its archives hold, directory by directory.

use api_types::names::ArchiveName;
use datastore::format::catalog::{CatalogEntry, CatalogKind, CatalogReader};
use hyper::Method;
use openssl::base64::{decode_block, encode_block};
use serde::Serialize;

use crate::api::entry;
use crate::api::fields::{BACKUP_ID, BACKUP_TIME, BACKUP_TYPE, NS, STORE};
use crate::api::target::{READ, SnapshotParams, refused};
use crate::operations::archive::Archive;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

const FILE_PATH: Param = Param::required(
    "filepath",
    "A directory as base64 of '/<archive>/<path>'; 'root' or '/' for the archives.",
    Schema::ANY_TEXT,
);

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[entry(
    Method::GET,
    "/admin/datastore/{store}/catalog",
    "List a directory of the catalog.",
    &[STORE, NS, BACKUP_TYPE, BACKUP_ID, BACKUP_TIME, FILE_PATH],
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
            // The first level is the archives, which only look like directories.
            CatalogKind::Directory { .. } if directory.is_empty() => "v",
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
pub fn decode_path(text: &str) -> Result<Vec<u8>, RestError> {
    if matches!(text, "root" | "/") {
        return Ok(Vec::new());
    }
    decode_block(text).map_err(|_| RestError::parameter(FILE_PATH.name, "not valid base64"))
}

async fn catalog(call: Call) -> Result<Answer, RestError> {
    let params: SnapshotParams = call.params.read()?;
    let path = decode_path(call.params.text(FILE_PATH.name).unwrap_or_default())?;
    let store = READ.open_group(&call, &params.group).await?;
    let snapshot = params.path();
    let name: ArchiveName = ArchiveName::CATALOG.parse().map_err(refused)?;
    let archive = Archive::open(&store, &snapshot, &name).await?;
    let items = tokio::task::spawn_blocking(move || list(archive, &path))
        .await
        .map_err(refused)??;
    Answer::of(items)
}

fn list(archive: Archive, path: &[u8]) -> Result<Vec<Item>, RestError> {
    let names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    let missing = || {
        let shown = String::from_utf8_lossy(path);
        RestError::bad_request(format!("no directory '{shown}' in the catalog"))
    };
    let mut reader = CatalogReader::new(archive.into_reader()).map_err(refused)?;
    let table = if names.is_empty() {
        reader.root()
    } else {
        let found = reader.lookup(&names).map_err(refused)?;
        match found.map(|entry| entry.kind) {
            Some(CatalogKind::Directory { block }) => reader.read_directory(block),
            _ => return Err(missing()),
        }
    };
    table
        .map_err(refused)?
        .map(|entry| Ok(Item::new(&names, &entry.map_err(refused)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let archive = CatalogEntry {
            name: b"root.pxar.didx".to_vec(),
            kind: CatalogKind::Directory { block: 9 },
        };
        assert_eq!(
            serde_json::to_value(Item::new(&[], &archive)).unwrap(),
            serde_json::json!({
                "filepath": encode_block(b"/root.pxar.didx"),
                "text": "root.pxar.didx", "type": "v", "leaf": false
            })
        );
        assert_eq!(decode_path("root").unwrap(), b"");
        assert_eq!(decode_path("L2E=").unwrap(), b"/a");
        assert!(decode_path("*").is_err());
    }
}
