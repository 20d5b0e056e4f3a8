//! The bodies of uploads, of which the recordings have only the beginning: they are made from what
//! the real server stored of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api_types::names::BackupDir;
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::format::DataBlob;
use datastore::format::manifest::Manifest;
use openssl::sha::sha256;
use protocol_client::Archive;

use super::parse::{Body, Exchange};

/// Every file that the real server stored.
pub struct Stored {
    /// By digest; what is encrypted twice differs.
    chunks: BTreeMap<String, Vec<PathBuf>>,
    /// By snapshot (`type/id/time`) and name: whatever namespace it is in now.
    files: BTreeMap<String, PathBuf>,
}

impl Stored {
    /// What is below these directories.
    pub fn below(dirs: &[&Path]) -> Self {
        let mut stored = Self {
            chunks: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let mut open: Vec<_> = dirs.iter().map(|dir| dir.to_path_buf()).collect();
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    stored.add(path);
                }
            }
        }
        stored
    }

    fn add(&mut self, path: PathBuf) {
        let pieces: Vec<_> = path.iter().rev().filter_map(|name| name.to_str()).collect();
        if pieces[0].len() == 64 {
            let same = self.chunks.entry(pieces[0].to_owned());
            same.or_default().push(path);
        } else if pieces.len() > 3 {
            let name = [pieces[3], pieces[2], pieces[1], pieces[0]].join("/");
            self.files.insert(name, path);
        }
    }

    /// The whole body of a request.
    pub fn body(&self, exchange: &Exchange, session: &Session) -> Bytes {
        let (length, start) = match &exchange.body {
            Body::Text(text) => return text.clone().into(),
            Body::Start(length, start) => (*length, start),
            // The recorder did not see the bodies of uploads outside of sessions.
            Body::None if exchange.path().ends_with("/upload-backup-log") => {
                let snapshot = Session::open(exchange).snapshot;
                return self.file(&snapshot, "client.log.blob");
            }
            Body::None => return Bytes::new(),
        };
        let body = match exchange.path() {
            "speedtest" => (0_u32..).flat_map(u32::to_le_bytes).take(length).collect(),
            "blob" => {
                let name = exchange.parameter("file-name").unwrap();
                if name == "index.json.blob" {
                    return self.manifest(session);
                }
                self.blob(&session.snapshot, name, length, start)
            }
            _ => {
                let digest = exchange.parameter("digest").unwrap();
                let paths = self.chunks[digest].iter();
                let mut chunks = paths.map(|path| std::fs::read(path).unwrap());
                let chunk = chunks.find(|chunk| chunk.starts_with(start));
                chunk.unwrap().into()
            }
        };
        assert_eq!(body.len(), length, "{}", exchange.target);
        assert!(body.starts_with(start), "{}", exchange.target);
        body
    }

    /// A blob of a snapshot, or one like it of another where that one is gone.
    fn blob(&self, snapshot: &str, name: &str, length: usize, start: &[u8]) -> Bytes {
        if self.files.contains_key(&format!("{snapshot}/{name}")) {
            return self.file(snapshot, name);
        }
        let end = format!("/{name}");
        let others = self.files.iter().filter(|(known, _)| known.ends_with(&end));
        let mut others = others.map(|(_, path)| std::fs::read(path).unwrap());
        let like = others.find(|content| content.len() == length && content.starts_with(start));
        like.unwrap().into()
    }

    fn file(&self, snapshot: &str, name: &str) -> Bytes {
        let path = &self.files[&format!("{snapshot}/{name}")];
        std::fs::read(path).unwrap().into()
    }

    /// The manifest as the client sent it: without what the server wrote into it. Of snapshots that
    /// are gone, one of what was uploaded.
    fn manifest(&self, session: &Session) -> Bytes {
        let name = format!("{}/index.json.blob", session.snapshot);
        let manifest = match self.files.get(&name) {
            Some(path) => {
                let raw = std::fs::read(path).unwrap();
                let blob = DataBlob::from_bytes(raw.into()).unwrap();
                let mut manifest = Manifest::from_blob(&blob, None).unwrap();
                let unprotected = &mut manifest.unprotected;
                unprotected.retain(|key, _| key == "key-fingerprint");
                manifest
            }
            None => {
                let dir: BackupDir = session.snapshot.parse().unwrap();
                let mut archives = session.archives.clone();
                // Of a split archive clients name the content first.
                archives.sort_by_key(|archive| archive.name.ends_with(".mpxar.didx"));
                protocol_client::backup::manifest(&dir, &archives).unwrap()
            }
        };
        manifest.to_blob().unwrap().into_raw()
    }
}

/// A backup session, as far as its manifest is concerned.
#[derive(Default)]
pub struct Session {
    /// `type/id/time`.
    pub snapshot: String,
    names: BTreeMap<String, String>,
    archives: Vec<Archive>,
}

impl Session {
    /// The one that this request is about.
    pub fn open(exchange: &Exchange) -> Self {
        let value = |name| exchange.parameter(name).unwrap();
        let time = value("backup-time").parse().unwrap();
        let time = api_types::names::BackupTime::from_secs(time).unwrap();
        Self {
            snapshot: format!("{}/{}/{time}", value("backup-type"), value("backup-id")),
            ..Self::default()
        }
    }

    /// Notes what was uploaded.
    pub fn see(&mut self, exchange: &Exchange, body: &Bytes) {
        let value = |name| exchange.parameter(name).unwrap().to_owned();
        match (exchange.method.as_str(), exchange.path()) {
            ("POST", "dynamic_index" | "fixed_index") => {
                let wid = exchange.text().replace("{\"data\":", "").replace('}', "");
                self.names.insert(wid, value("archive-name"));
            }
            ("POST", "dynamic_close" | "fixed_close") => self.archives.push(Archive {
                name: self.names[&value("wid")].clone(),
                size: value("size").parse().unwrap(),
                csum: hex::decode(value("csum")).unwrap().try_into().unwrap(),
                crypt_mode: CryptMode::None,
            }),
            ("POST", "blob") => self.archives.push(Archive {
                name: value("file-name"),
                size: body.len() as u64,
                csum: sha256(body),
                crypt_mode: CryptMode::None,
            }),
            _ => {}
        }
    }
}
