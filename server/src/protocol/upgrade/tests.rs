use std::convert::Infallible;

use api_types::datastore::DatastoreConfig;
use api_types::status::TaskStatus;
use datastore::backend::s3::ownership::Instance;
use datastore::chunk_store::PrefixDirs;
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::SilentTask;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use protocol_client::Connection;
use s3_client::env::Env;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::paths::Paths;
use crate::rest::answer::{AnswerBody, full};
use crate::rest::params::Source;
use crate::s3::S3Options;
use crate::task::list::TaskFilter;

struct World {
    server: Arc<Server>,
    _dir: tempfile::TempDir,
}

const SNAPSHOT: &str = "store=store1&backup-type=host&backup-id=a&backup-time=1767225600";

impl World {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(configure: fn(&mut DatastoreConfig)) -> Self {
        let dir = support::scratch().unwrap();
        let paths = Paths::below(&dir.path().join("coffer"));
        let env = Env::system();
        let server = Server::open(paths, &S3Options::default(), env.clone()).unwrap();
        let acl = "acl:1:/datastore/store1:reader@pbs:DatastoreReader\n\
                   acl:1:/datastore/store1/sub:writer@pbs:DatastoreBackup\n\
                   acl:1:/datastore/store1:owner@pbs:DatastoreBackup\n";
        std::fs::write(server.paths.config.join("acl.cfg"), acl).unwrap();
        let path = dir.path().join("base");
        let options = StoreOptions {
            name: "store1".parse().unwrap(),
            path: path.clone(),
            lock_dir: server.paths.datastore_locks("store1"),
            tuning: api_types::datastore::DatastoreTuning::default(),
            backend: BackendOptions::Filesystem,
            instance: Instance {
                id: "11111111".into(),
                hostname: "test".into(),
            },
            quarantine: None,
            env,
        };
        let create = CreateOptions {
            prefix_dirs: PrefixDirs::OnDemand,
            ..CreateOptions::default()
        };
        let created = DataStore::create(options, create, &SilentTask::new()).await;
        drop(created.unwrap());
        let path = path.to_str().unwrap().parse().unwrap();
        let mut config = DatastoreConfig::new("store1".parse().unwrap(), path);
        configure(&mut config);
        server.config.add_datastore(config).await.unwrap();
        Self { server, _dir: dir }
    }

    /// Sends a request as a client without a library does, and gives what is answered up to the
    /// empty line, and the connection.
    async fn ask(&self, who: &str, target: &str, headers: &str) -> (String, DuplexStream) {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let (server, who) = (Arc::clone(&self.server), who.to_owned());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (server, who) = (Arc::clone(&server), who.clone());
                async move { Ok::<_, Infallible>(respond(server, &who, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(near), service)
                .with_upgrades();
            let _ = connection.await;
        });
        let request = format!("GET {target} HTTP/1.1\r\n{headers}\r\n");
        far.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(far.read_u8().await.unwrap());
        }
        (String::from_utf8(answer).unwrap().to_lowercase(), far)
    }

    /// A refusal: its status and text.
    async fn refusal(&self, who: &str, target: &str, headers: &str) -> String {
        let (head, mut connection) = self.ask(who, target, headers).await;
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length = length.split_once("\r\n").unwrap().0.parse().unwrap();
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.unwrap();
        let status = head.split(' ').nth(1).unwrap();
        format!("{status} {}", String::from_utf8(body).unwrap())
    }

    async fn session(&self, who: &str, target: &str, protocol: &str) -> Connection {
        let headers = format!("Upgrade: {protocol}\r\nConnection: Upgrade\r\n");
        let (head, connection) = self.ask(who, target, &headers).await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains(&format!("upgrade: {protocol}\r\n")), "{head}");
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        Connection::over(TokioIo::new(connection)).await.unwrap()
    }

    /// Waits until no task runs; gives type, id and end of each, in order of types.
    async fn ended_tasks(&self) -> Vec<(String, String, TaskStatus)> {
        loop {
            let list = self.server.tasks.list(&TaskFilter::default()).unwrap();
            let mut ended = Vec::new();
            let mut running = false;
            for entry in &list.entries {
                let upid = &entry.upid;
                running |= self.server.tasks.is_running(upid);
                let id = upid.worker_id().unwrap_or_default().to_owned();
                let end = self.server.tasks.end(upid).status;
                ended.push((upid.worker_type().to_owned(), id, end));
            }
            if !running {
                ended.sort_by(|a, b| a.0.cmp(&b.0));
                return ended;
            }
            let pause = std::time::Duration::from_millis(20);
            self.server.env.sleep(pause).await;
        }
    }
}

/// What the daemon does around the handlers, without the login.
async fn respond(
    server: Arc<Server>,
    who: &str,
    mut request: Request<Incoming>,
) -> Response<AnswerBody> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let query = request.uri().query().unwrap_or_default();
    let is_backup = request.uri().path().ends_with("/backup");
    let declared = if is_backup { BACKUP } else { READER };
    let params =
        Source::from_texts(query, "").and_then(|given| Params::check(declared, &[], given));
    let answer = match params {
        Err(error) => Err(error),
        Ok(params) => {
            let asked = Asked {
                auth_id: who.parse().unwrap(),
                params,
                peer: Some([127, 0, 0, 1].into()),
                headers: request.headers().clone(),
                upgrade,
            };
            if is_backup {
                backup(server, asked).await
            } else {
                reader(server, asked).await
            }
        }
    };
    match answer {
        Ok(Answer::Response(response)) => response,
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            let mut response = Response::new(full(error.message));
            *response.status_mut() = error.status;
            response
        }
    }
}

#[tokio::test]
async fn checks_come_in_order() {
    let world = World::new().await;
    let target = format!("//api2/json/backup?{SNAPSHOT}");
    let upgrade = format!("Upgrade: {BACKUP_PROTOCOL}\r\nConnection: upgrade\r\n");
    for (target, who, headers, expected) in [
        (
            format!("{target}&x=1"),
            "root@pam",
            "",
            "400 parameter verification failed - 'x': ",
        ),
        (
            target.replace("host", "tape"),
            "root@pam",
            "",
            "400 parameter verification failed - ",
        ),
        (
            target.clone(),
            "reader@pbs",
            "",
            "403 missing permissions 'Datastore.Backup' on '/datastore/store1'",
        ),
        (
            format!("{target}&ns=other"),
            "writer@pbs",
            "",
            "403 missing permissions 'Datastore.Backup' on '/datastore/store1/other'",
        ),
        (target.replace("store1", "store2"), "root@pam", "", "400 "),
        (target.clone(), "root@pam", "", "400 missing Upgrade header"),
        (
            target.clone(),
            "root@pam",
            "Upgrade: h2c\r\nConnection: upgrade\r\n",
            "400 invalid protocol name",
        ),
        (
            format!("{target}&ns=sub"),
            "writer@pbs",
            &upgrade,
            "404 namespace not found",
        ),
        (
            format!("{target}&benchmark=yes"),
            "root@pam",
            &upgrade,
            "400 benchmark flags is only allowed on 'host/benchmark'",
        ),
    ] {
        let refusal = world.refusal(who, &target, headers).await;
        assert!(refusal.starts_with(expected), "{refusal} / {expected}");
    }
    assert!(world.ended_tasks().await.is_empty());
}

#[tokio::test]
async fn a_backup_and_its_readers() {
    let world = World::new().await;
    let target = format!("/api2/json/backup?{SNAPSHOT}&ns=&debug=1");
    let session = world.session("owner@pbs", &target, BACKUP_PROTOCOL).await;
    let client = protocol_client::Backup::new(session);
    let archive = client.stream("a.pxar.didx", &[b"one", b"two"]).await;
    let dir = "host/a/2026-01-01T00:00:00Z".parse().unwrap();
    client.manifest(&dir, &[archive.unwrap()]).await.unwrap();
    client.finish().await.unwrap().data().unwrap();
    drop(client);

    let target = format!("//api2/json/reader?{SNAPSHOT}");
    let upgrade = format!("Upgrade: {READER_PROTOCOL}\r\nConnection: upgrade\r\n");
    for (who, target, expected) in [
        (
            "nobody@pbs",
            target.clone(),
            "400 no permissions on /datastore/store1",
        ),
        (
            "owner@pbs",
            format!("{target}&no-cache=1"),
            "400 parameter verification failed - 'no-cache'",
        ),
        (
            "root@pam",
            target.replace("1767225600", "1767225601"),
            "400 snapshot host/a/2026-01-01T00:00:01Z does not exist.",
        ),
    ] {
        let refusal = world.refusal(who, &target, &upgrade).await;
        assert!(refusal.starts_with(expected), "{refusal}");
    }
    for who in ["owner@pbs", "reader@pbs"] {
        let session = world.session(who, &target, READER_PROTOCOL).await;
        let client = protocol_client::Reader::new(session);
        assert_eq!(client.archive("a.pxar.didx").await.unwrap(), b"onetwo");
    }
    // Somebody else's group.
    let acl = "acl:1:/datastore/store1:owner@pbs,other@pbs:DatastoreBackup\n";
    std::fs::write(world.server.paths.config.join("acl.cfg"), acl).unwrap();
    let refusal = world.refusal("other@pbs", &target, &upgrade).await;
    assert_eq!(refusal, "400 backup owner check failed!");

    let task = |kind: &str, id: &str| (kind.to_owned(), id.to_owned(), TaskStatus::Ok);
    assert_eq!(
        world.ended_tasks().await,
        [
            task("backup", "store1:host/a"),
            task("reader", "store1:host/a/6955B900"),
            task("reader", "store1:host/a/6955B900"),
        ]
    );
}

#[tokio::test]
async fn a_broken_connection_fails_the_task() {
    let world = World::new().await;
    let target = format!("/api2/json/backup?{SNAPSHOT}");
    let session = world.session("root@pam", &target, BACKUP_PROTOCOL).await;
    session
        .post("dynamic_index?archive-name=a.didx")
        .await
        .unwrap();
    drop(session);
    let ended = world.ended_tasks().await;
    let [(kind, _, TaskStatus::Error(message))] = ended.as_slice() else {
        panic!("{ended:?}");
    };
    assert_eq!(kind, "backup");
    let known = [
        "backup ended but finished state is not set.",
        "connection error",
    ];
    assert!(known.iter().any(|text| message.contains(text)), "{message}");
    let name = "store1".parse().unwrap();
    let store = world.server.stores.open(&name, Operation::Read);
    let path = store.await.unwrap().base().join("host");
    assert!(!path.join("a/2026-01-01T00:00:00Z").exists());
}

#[tokio::test]
async fn a_new_snapshot_is_verified_if_it_is_to_be() {
    let world = World::with(|config| config.verify_new = Some(true)).await;
    let target = format!("/api2/json/backup?{SNAPSHOT}");
    let session = world.session("root@pam", &target, BACKUP_PROTOCOL).await;
    let client = protocol_client::Backup::new(session);
    let archive = client.stream("a.didx", &[b"data"]).await.unwrap();
    let dir = "host/a/2026-01-01T00:00:00Z".parse().unwrap();
    client.manifest(&dir, &[archive]).await.unwrap();
    client.finish().await.unwrap().data().unwrap();
    // From here to its verification nobody removes it.
    let name = "store1".parse().unwrap();
    let store = world.server.stores.open(&name, Operation::Write).await;
    let locked = store
        .unwrap()
        .locks()
        .snapshot_exclusive(&BackupNamespace::root(), &dir);
    assert!(locked.is_err());
    drop(client);
    let ended = world.ended_tasks().await;
    let ids: Vec<_> = ended
        .iter()
        .map(|(kind, id, _)| (kind.as_str(), id.as_str()))
        .collect();
    let expected = [
        ("backup", "store1:host/a"),
        ("verify", "store1:host/a/6955B900"),
    ];
    assert_eq!(ids, expected);
    assert!(
        ended.iter().all(|(_, _, end)| *end == TaskStatus::Ok),
        "{ended:?}"
    );
}

/// Another server that pushes says that it has verified the snapshot.
#[tokio::test]
async fn a_new_snapshot_is_verified_whatever_its_manifest_says() {
    let world = World::with(|config| config.verify_new = Some(true)).await;
    let target = format!("/api2/json/backup?{SNAPSHOT}");
    let session = world.session("root@pam", &target, BACKUP_PROTOCOL).await;
    let client = protocol_client::Backup::new(session);
    let archive = client.stream("a.didx", &[b"data"]).await.unwrap();
    let dir = "host/a/2026-01-01T00:00:00Z".parse().unwrap();
    let mut manifest = protocol_client::backup::manifest(&dir, &[archive]).unwrap();
    let verified = serde_json::json!({
        "state": "ok",
        "upid": "UPID:far:00000001:00000002:00000003:6B02A4FC:verify:s1:root@pam:",
    });
    manifest.unprotected.insert("verify_state".into(), verified);
    let raw = manifest.to_blob().unwrap().into_raw();
    let sent = client.raw_blob("index.json.blob", raw).await.unwrap();
    sent.data().unwrap();
    client.finish().await.unwrap().data().unwrap();
    drop(client);
    let ended = world.ended_tasks().await;
    assert_eq!(ended.len(), 2, "{ended:?}");
    let name = "store1".parse().unwrap();
    let store = world.server.stores.open(&name, Operation::Read).await;
    let root = BackupNamespace::root();
    let manifest = store.unwrap().load_manifest(&root, &dir).await.unwrap();
    let verified = manifest.verify_state().unwrap().unwrap();
    assert_eq!(verified.upid.worker_id(), Some("store1:host/a/6955B900"));
}
