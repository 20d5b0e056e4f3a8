//! The two REST endpoints that open sessions (`backup-protocol.md` §2, §4.1).

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use api_types::access::{Privilege, Privileges};
use api_types::auth::Authid;
use api_types::datastore::Operation;
use api_types::names::{
    BackupDir, BackupGroup, BackupId, BackupNamespace, BackupTime, BackupType, DatastoreName,
    NamespaceComponent, SnapshotPath,
};
use datastore::locks::LockFile;
use datastore::verify::VerifyOptions;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde::Deserialize;

use super::backup::{Backup, BackupOptions};
use super::endpoint::Session;
use super::http;
use super::reader::{Reader, ReaderOptions};
use crate::daemon::Server;
use crate::rest::answer::{Answer, empty};
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::params::Params;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, BodyUse, Endpoint};
use crate::task::TaskSpec;

const BACKUP_PROTOCOL: &str = "proxmox-backup-protocol-v1";
const READER_PROTOCOL: &str = "proxmox-backup-reader-protocol-v1";

const STORE: Param = Param::required(
    "store",
    "name of the datastore",
    Schema::text::<DatastoreName>("datastore name"),
);
const NS: Param = Param::optional(
    "ns",
    "namespace, the root if empty or absent",
    Schema::text::<BackupNamespace>("namespace"),
);
const TYPE: Param = Param::required(
    "backup-type",
    "type of the group",
    Schema::Choice(&["vm", "ct", "host"]),
);
const ID: Param = Param::required(
    "backup-id",
    "id of the group",
    Schema::text::<BackupId>("backup id"),
);
const TIME: Param = Param::required(
    "backup-time",
    "time of the snapshot, in seconds since the epoch",
    Schema::integer(1, i64::MAX),
);
const DEBUG: Param = Param::optional("debug", "log every request", Schema::Boolean).or_flag(false);

const BACKUP: &[Param] = &[
    STORE,
    NS,
    TYPE,
    ID,
    TIME,
    DEBUG,
    Param::optional("benchmark", "keep nothing", Schema::Boolean).or_flag(false),
    Param::optional(
        "no-cache",
        "do not keep chunks on disk that go to a bucket",
        Schema::Boolean,
    )
    .or_flag(false),
];

const READER: &[Param] = &[STORE, NS, TYPE, ID, TIME, DEBUG];

/// The endpoints.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/backup",
        about: "Opens a backup session on this connection",
        params: BACKUP,
        access: Access::ByHandler,
        body: BodyUse::Stream,
        handler: |call| {
            let (server, asked) = Asked::of(call);
            Box::pin(backup(server, asked))
        },
    },
    Endpoint {
        method: Method::GET,
        path: "/reader",
        about: "Opens a reader session on this connection",
        params: READER,
        access: Access::ByHandler,
        body: BodyUse::Stream,
        handler: |call| {
            let (server, asked) = Asked::of(call);
            Box::pin(reader(server, asked))
        },
    },
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wanted {
    store: DatastoreName,
    #[serde(default)]
    ns: BackupNamespace,
    backup_type: BackupType,
    backup_id: BackupId,
    backup_time: BackupTime,
    #[serde(default)]
    debug: bool,
    #[serde(default)]
    benchmark: bool,
    #[serde(default)]
    no_cache: bool,
}

impl Wanted {
    fn dir(&self) -> BackupDir {
        let group = BackupGroup::new(self.backup_type, self.backup_id.clone());
        BackupDir::new(group, self.backup_time)
    }

    /// The components of the path that rights are given on.
    fn acl_path(&self) -> Vec<&str> {
        let namespace = self.ns.components().iter().map(NamespaceComponent::as_str);
        ["datastore", self.store.as_str()]
            .into_iter()
            .chain(namespace)
            .collect()
    }
}

/// What the handlers need of a call.
struct Asked {
    auth_id: Authid,
    params: Params,
    peer: Option<IpAddr>,
    headers: HeaderMap,
    upgrade: Option<OnUpgrade>,
}

impl Asked {
    fn of(call: Call) -> (Arc<Server>, Self) {
        let asked = Self {
            auth_id: call.auth_id,
            params: call.params,
            peer: call.peer,
            headers: call.headers,
            upgrade: call.upgrade,
        };
        (call.server, asked)
    }

    /// The way to the connection, if the client asks for this protocol.
    fn upgrade_to(&mut self, protocol: &str) -> Result<OnUpgrade, RestError> {
        let asked = self
            .headers
            .get(UPGRADE)
            .ok_or_else(|| RestError::bad_request("missing Upgrade header"))?;
        if asked != protocol {
            return Err(RestError::bad_request("invalid protocol name"));
        }
        self.upgrade.take().ok_or_else(|| {
            RestError::bad_request("unexpected http version: the connection cannot be upgraded")
        })
    }
}

/// `GET backup`
async fn backup(server: Arc<Server>, mut asked: Asked) -> Result<Answer, RestError> {
    let wanted: Wanted = asked.params.read()?;
    let path = wanted.acl_path();
    let wanted_right = Privileges::from(Privilege::DatastoreBackup);
    let rights = server.access.privileges(&asked.auth_id, &path);
    if !rights.has_any(wanted_right) {
        return Err(RestError::new(
            StatusCode::FORBIDDEN,
            format!(
                "missing permissions '{}' on '/{}'",
                wanted_right.join("|"),
                path.join("/")
            ),
        ));
    }
    let stores = &server.stores;
    let store = stores.open_at_last(&wanted.store, Operation::Write).await?;
    let upgrade = asked.upgrade_to(BACKUP_PROTOCOL)?;
    let options = BackupOptions {
        ns: wanted.ns.clone(),
        dir: wanted.dir(),
        auth_id: asked.auth_id.clone(),
        debug: wanted.debug,
        benchmark: wanted.benchmark,
        no_cache: wanted.no_cache,
        verify: server.stores.config_of(&wanted.store)?.verify_new == Some(true),
    };
    let opened = Backup::open(Arc::clone(&store), options).await?;
    let spec = TaskSpec::new(
        opened.worker_type(),
        Some(format!("{}:{}", wanted.store, wanted.dir().group)),
        asked.auth_id.clone(),
    );
    let from = asked
        .peer
        .map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    let auth_id = asked.auth_id;
    server.spawn_session(spec, |task| {
        let session = opened.into_task(task, &server.memory, &from);
        let server = Arc::clone(&server);
        async move {
            let served = http::run(upgraded(upgrade), &session).await;
            session.end(served).await?;
            drop(store);
            if !wanted.benchmark
                && let Err(error) = verify_new(&server, &wanted, auth_id, session.lock_for_verify())
            {
                session
                    .task()
                    .warn(&format!("failed to start the verification: {error:#}"));
            }
            Ok(())
        }
    })?;
    Ok(switching(BACKUP_PROTOCOL))
}

/// `GET reader`
async fn reader(server: Arc<Server>, mut asked: Asked) -> Result<Answer, RestError> {
    let wanted: Wanted = asked.params.read()?;
    let path = wanted.acl_path();
    let rights = server.access.privileges(&asked.auth_id, &path);
    let may_read_all = rights.has_any(Privilege::DatastoreRead.into());
    if !may_read_all && !rights.has_any(Privilege::DatastoreBackup.into()) {
        return Err(RestError::bad_request(format!(
            "no permissions on /{}",
            path.join("/")
        )));
    }
    let stores = &server.stores;
    let store = stores.open_at_last(&wanted.store, Operation::Read).await?;
    let dir = wanted.dir();
    if !may_read_all {
        let owner = store.snapshots().owner(&wanted.ns, &dir.group);
        let owner = owner.map_err(|error| RestError::bad_request(error.to_string()))?;
        let is_own = owner.is_some_and(|owner| Authid::is_owner_ok(&owner, &asked.auth_id));
        if !is_own {
            return Err(RestError::bad_request("backup owner check failed!"));
        }
    }
    let upgrade = asked.upgrade_to(READER_PROTOCOL)?;
    let options = ReaderOptions {
        ns: wanted.ns.clone(),
        dir,
        debug: wanted.debug,
    };
    let opened = Reader::open(Arc::clone(&store), options).await?;
    let spec = TaskSpec::new("reader", Some(snapshot_id(&wanted)), asked.auth_id);
    server.spawn_session(spec, |task| {
        let session = opened.into_task(task, &server.memory);
        async move {
            // A client that is done just goes away.
            let served = http::run(upgraded(upgrade), &session).await;
            drop(store);
            if session.task().cancel().is_cancelled() {
                return served;
            }
            session.task().log("reader finished successfully");
            Ok(())
        }
    })?;
    Ok(switching(READER_PROTOCOL))
}

async fn upgraded(upgrade: OnUpgrade) -> Result<Upgraded> {
    upgrade.await.context("protocol upgrade failed")
}

fn switching(protocol: &'static str) -> Answer {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(protocol));
    Answer::Response(response)
}

/// As in the ids of tasks.
fn snapshot_id(wanted: &Wanted) -> String {
    let time = wanted.backup_time.secs();
    format!("{}:{}/{time:08X}", wanted.store, wanted.dir().group)
}

/// Verifies the new snapshot in a task of its own, if the datastore is configured so; `lock` is its
/// shared lock, if it is held already.
fn verify_new(
    server: &Arc<Server>,
    wanted: &Wanted,
    auth_id: Authid,
    lock: Option<LockFile>,
) -> Result<()> {
    let config = server.stores.config_of(&wanted.store)?;
    if config.verify_new != Some(true) {
        return Ok(());
    }
    let spec = TaskSpec::new("verify", Some(snapshot_id(wanted)), auth_id);
    let snapshot = SnapshotPath::new(wanted.ns.clone(), wanted.dir());
    let (name, stores) = (wanted.store.clone(), Arc::clone(&server.stores));
    server.spawn_task(spec, |task| async move {
        let store = stores.open_at_last(&name, Operation::Write).await?;
        let options = VerifyOptions {
            // The manifest of a snapshot that was pushed says how a verification elsewhere ended.
            ignore_verified: false,
            ..VerifyOptions::default()
        };
        let report = store
            .verify_snapshot(&*task, &snapshot, lock, options)
            .await?;
        report.into_task_result()?;
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
