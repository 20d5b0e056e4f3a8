//! Where a pull reads from: a datastore of another server, by its REST interface and reader
//! sessions, or one of this server.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use api_types::access::Privilege;
use api_types::auth::Authid;
use api_types::digest::Digest;
use api_types::names::{ArchiveName, BackupDir, BackupGroup, BackupNamespace};
use api_types::status::SnapshotListItem;
use bytes::Bytes;
use client::remote::Refused;
use client::session::connection::Connection;
use datastore::backend::s3::insert::Payload;
use datastore::format::{DataBlob, MAX_CHUNK_ENCODED};
use datastore::locks::LockFile;
use datastore::store::DataStore;
use hyper::StatusCode;
use s3_client::{S3Client, TaskKind};
use tokio_util::sync::CancellationToken;

use crate::access::control::AccessControl;
use crate::api::rights::{Reach, reach};
use crate::datastores::OpenDatastore;
use crate::sync::namespaces::Mapping;
use crate::sync::remote::RemoteStore;

const READER: &str = "proxmox-backup-reader-protocol-v1";

/// A datastore to pull from.
pub(super) enum Source {
    /// Of another server.
    Remote(RemoteStore),
    /// Of this one.
    Local(LocalSource),
}

/// A datastore of this server, as far as someone may read it.
pub(super) struct LocalSource {
    pub(super) access: Arc<AccessControl>,
    pub(super) store: OpenDatastore,
    pub(super) owner: Authid,
}

/// The namespaces of a source.
pub(super) struct Namespaces {
    pub(super) all: Vec<BackupNamespace>,
    /// The source knows none, so only its root can be had.
    pub(super) unsupported: bool,
}

impl Source {
    /// The namespaces that are meant, of those there are.
    pub(super) async fn namespaces(&self, mapping: &Mapping) -> Result<Namespaces> {
        let anchor = mapping.source();
        let of = |all| Namespaces {
            all: mapping.of_source(all),
            unsupported: false,
        };
        if mapping.is_root_alone() {
            return Ok(of(vec![BackupNamespace::root()]));
        }
        match self {
            Self::Remote(remote) => {
                let parent = (!anchor.is_root()).then_some(anchor);
                match remote.namespaces(parent, mapping.max_depth()).await {
                    Ok(items) => Ok(of(items.into_iter().map(|item| item.ns).collect())),
                    Err(error)
                        if anchor.is_root()
                            && Refused::status_of(&error) == Some(StatusCode::NOT_FOUND) =>
                    {
                        Ok(Namespaces {
                            all: vec![BackupNamespace::root()],
                            unsupported: true,
                        })
                    }
                    Err(error) => Err(error),
                }
            }
            Self::Local(local) => {
                let found = local.store.list_namespaces(anchor, mapping.max_depth());
                let found = found.await.context("failed to list namespaces")?;
                let readable = |ns: &BackupNamespace| local.reach(ns).is_some();
                let all = found.into_iter().map(|item| item.ns);
                Ok(of(all.filter(readable).collect()))
            }
        }
    }

    /// The groups of a namespace.
    pub(super) async fn groups(&self, ns: &BackupNamespace) -> Result<Vec<BackupGroup>> {
        let items = match self {
            Self::Remote(remote) => remote.groups((!ns.is_root()).then_some(ns)).await?,
            Self::Local(local) => {
                let reach = local.reach(ns).context("no right to read the namespace")?;
                let mut items = local.store.list_groups(ns).await?;
                items.retain(|item| reach.includes(item.owner.as_ref(), &local.owner));
                items
            }
        };
        let mut groups: Vec<BackupGroup> = items
            .into_iter()
            .map(|item| BackupGroup::new(item.backup_type, item.backup_id))
            .collect();
        groups.sort_unstable();
        Ok(groups)
    }

    /// The snapshots of a group.
    pub(super) async fn snapshots(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
    ) -> Result<Vec<SnapshotListItem>> {
        match self {
            Self::Remote(remote) => remote.snapshots(ns, group).await,
            Self::Local(local) => {
                let listed = local
                    .store
                    .list_snapshots(ns, Some(group.ty), Some(&group.id));
                Ok(listed.await?)
            }
        }
    }

    /// Opens a snapshot for reading. `None` if it is gone.
    pub(super) async fn open(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
        cancel: &CancellationToken,
    ) -> Result<Option<Reader>> {
        let opened = match self {
            Self::Remote(remote) => open_remote(remote, ns, dir).await,
            Self::Local(local) => open_local(&local.store, ns, dir, cancel),
        };
        let error = match opened {
            Ok(reader) => return Ok(Some(reader)),
            Err(error) => error.context(format!("failed to open snapshot {dir} at the source")),
        };
        // Servers differ in how they refuse one that is gone, but none lists it any more.
        match self.snapshots(ns, &dir.group).await {
            Ok(listed) if !listed.iter().any(|item| item.backup_time == dir.time) => Ok(None),
            _ => Err(error),
        }
    }
}

impl LocalSource {
    fn reach(&self, ns: &BackupNamespace) -> Option<Reach> {
        reach(
            &self.access,
            &self.owner,
            self.store.name(),
            ns,
            &[Privilege::DatastoreRead],
            &[Privilege::DatastoreBackup],
        )
    }
}

async fn open_remote(
    remote: &RemoteStore,
    ns: &BackupNamespace,
    dir: &BackupDir,
) -> Result<Reader> {
    let (ty, id, time, ns_text) = (
        dir.group.ty.to_string(),
        dir.group.id.to_string(),
        dir.time.secs().to_string(),
        ns.to_string(),
    );
    let mut query = vec![
        ("backup-id", id.as_str()),
        ("backup-time", time.as_str()),
        ("backup-type", ty.as_str()),
        ("debug", "true"),
        ("store", remote.store().as_str()),
    ];
    if !ns.is_root() {
        query.push(("ns", ns_text.as_str()));
    }
    let requests = remote.remote().upgrade("/reader", &query, READER).await?;
    Ok(Reader::Remote(Connection::new(requests)))
}

fn open_local(
    store: &Arc<DataStore>,
    ns: &BackupNamespace,
    dir: &BackupDir,
    cancel: &CancellationToken,
) -> Result<Reader> {
    let lock = store.locks().snapshot_shared(ns, dir)?;
    anyhow::ensure!(
        store.snapshots().snapshot_exists(ns, dir)?,
        "it does not exist"
    );
    Ok(Reader::Local(Box::new(LocalReader {
        client: store.client(TaskKind::Sync, cancel),
        store: Arc::clone(store),
        ns: ns.clone(),
        dir: dir.clone(),
        _lock: lock,
    })))
}

/// A snapshot of a source.
pub(super) enum Reader {
    Remote(Connection),
    Local(Box<LocalReader>),
}

pub(super) struct LocalReader {
    store: Arc<DataStore>,
    client: Option<S3Client>,
    ns: BackupNamespace,
    dir: BackupDir,
    /// It stays while it is read.
    _lock: LockFile,
}

impl Reader {
    /// A file as it is stored, of at most `limit` bytes. `None` if there is none.
    pub(super) async fn file(&self, name: &str, limit: u64) -> Result<Option<Bytes>> {
        let read = match self {
            Self::Remote(connection) => {
                let target = format!("download?file-name={name}");
                match connection.download(&target, limit).await {
                    Ok(raw) => Ok(Some(raw)),
                    Err(error) if Refused::status_of(&error) == Some(StatusCode::NOT_FOUND) => {
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
            }
            Self::Local(local) => local.file(name, limit).await,
        };
        read.with_context(|| format!("failed to read {name} at the source"))
    }

    /// The log of the client that made the backup, if there is one: most have none, and what a
    /// server says then is not for all of them "not found".
    pub(super) async fn client_log(&self, limit: u64) -> Option<Bytes> {
        self.file(ArchiveName::CLIENT_LOG, limit).await.ok()?
    }

    /// A chunk as it is stored; its CRC is not checked yet.
    pub(super) async fn chunk(&self, digest: &Digest) -> Result<DataBlob> {
        match self {
            Self::Remote(connection) => {
                let target = format!("chunk?digest={digest}");
                let raw = connection.download(&target, MAX_CHUNK_ENCODED).await?;
                Ok(DataBlob::from_bytes(raw)?)
            }
            Self::Local(local) => {
                let client = local.client.as_ref();
                let read = local.store.read_chunk(client, *digest, Payload::Discard);
                Ok(read.await?)
            }
        }
    }
}

impl LocalReader {
    async fn file(&self, name: &str, limit: u64) -> Result<Option<Bytes>> {
        let snapshots = self.store.snapshots().clone();
        let (ns, dir, name) = (self.ns.clone(), self.dir.clone(), name.to_owned());
        let read = move || snapshots.read_file(&ns, &dir, &name, limit);
        let raw = self.store.env().blocking(read).await?;
        Ok(raw.map(Bytes::from))
    }
}
