//! Who may begin, and what is left when a session ends before its time.

use std::sync::Arc;
use std::time::Duration;

use datastore::task::RecordingTask;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::super::super::http;
use super::super::{Backup, BackupOptions};
use super::{FIRST, SECOND, World, finish, options};

#[tokio::test]
async fn a_disconnect_removes_what_is_unfinished() {
    for world in [World::filesystem().await, World::s3().await] {
        let running = world.backup(FIRST).await;
        let client = &running.client;
        client.stream("a.didx", &[b"content"]).await.unwrap();
        client.blob("b.blob", b"blob").await.unwrap();
        let open = client.index("fixed", "c.fidx", "").await.unwrap();
        assert_eq!(open, 2);
        client.manifest(&FIRST.parse().unwrap(), &[]).await.unwrap();
        assert!(world.exists(FIRST));
        let (task, end) = running.disconnect().await;
        let error = end.unwrap_err().to_string();
        let known = [
            "backup ended but finished state is not set.",
            "connection error",
        ];
        assert!(known.iter().any(|text| error.contains(text)), "{error}");
        assert!(task.contains("removing backup snapshot"));
        assert!(!world.exists(FIRST));
        if let Some(server) = &world.server {
            let keys = server.keys("bucket", "");
            assert!(!keys.iter().any(|key| key.contains("host/a")), "{keys:?}");
        }
        // The same snapshot again; its chunk is known by now.
        let again = world.backup("host/a/2026-01-01T00:00:01Z").await;
        again.client.stream("a.didx", &[b"content"]).await.unwrap();
        assert!(again.task.contains("Duplicates: 0+1 (100%)"));
    }
}

/// A client that says nothing, or nothing more and does not answer either, holds its group for a
/// while only.
#[tokio::test]
async fn a_client_that_was_stopped_is_given_up() {
    let world = World::filesystem().await;
    // Only now: a new datastore waits until access times must differ, by the system's clock.
    tokio::time::pause();
    let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (said, patience, why) in [
        (&b""[..], 60, "did not begin"),
        (&begin[..], 16 * 60, "connection error"),
    ] {
        let opened = Backup::open(Arc::clone(&world.store), options(FIRST)).await;
        let task = Arc::new(RecordingTask::new());
        let memory = Arc::default();
        let session = opened.unwrap().into_task(task, &memory, "127.0.0.1");
        let (mut far, near) = tokio::io::duplex(256 << 10);
        far.write_all(said).await.unwrap();
        let served = http::run(async { Ok(TokioIo::new(near)) }, &session);
        let limit = Duration::from_secs(patience + 1);
        let served = tokio::time::timeout(limit, served).await.unwrap();
        let error = session.end(served).await.unwrap_err();
        assert!(format!("{error:#}").contains(why), "{error:#}");
        assert!(!world.exists(FIRST));
    }
}

#[tokio::test]
async fn a_manifest_alone_is_a_backup() {
    for world in [World::filesystem().await, World::s3().await] {
        let running = world.backup(FIRST).await;
        let dir = FIRST.parse().unwrap();
        running.client.manifest(&dir, &[]).await.unwrap();
        running.client.finish().await.unwrap().data().unwrap();
        assert!(world.exists(FIRST));
    }
}

/// In a directory the last archive of a name counts; in a bucket a request of the first one may still
/// arrive.
#[tokio::test]
async fn an_archive_may_be_replaced_in_a_directory() {
    for world in [World::filesystem().await, World::s3().await] {
        let running = world.backup(FIRST).await;
        let client = &running.client;
        client.blob("a.conf.blob", b"one").await.unwrap();
        client.stream("b.didx", &[b"one"]).await.unwrap();
        let blob = client.blob("a.conf.blob", b"another").await;
        let index = client.stream("b.didx", &[b"another"]).await;
        if world.server.is_some() {
            assert!(blob.is_err() && index.is_err());
            continue;
        }
        let archives = [blob.unwrap(), index.unwrap()];
        let dir = FIRST.parse().unwrap();
        client.manifest(&dir, &archives).await.unwrap();
        client.finish().await.unwrap().data().unwrap();
        let reader = world.reader(FIRST).await;
        let read = reader.client.blob("a.conf.blob").await.unwrap();
        assert_eq!(read, b"another");
        let read = reader.client.archive("b.didx").await.unwrap();
        assert_eq!(read, b"another");
    }
}

#[tokio::test]
async fn an_aborted_task_ends_the_session() {
    let world = World::s3().await;
    let running = world.backup(FIRST).await;
    running.client.blob("b.blob", b"blob").await.unwrap();
    datastore::task::TaskContext::cancel(&*running.task).cancel();
    let error = running.end.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "task aborted");
    assert!(!world.exists(FIRST));
    assert!(running.client.previous_backup_time().await.is_err());
}

#[tokio::test]
async fn who_may_begin() {
    let world = World::filesystem().await;
    let refusal = async |change: fn(&mut BackupOptions), dir: &str| {
        let mut options = options(dir);
        change(&mut options);
        let Err(error) = world.open(options).await else {
            panic!("{dir} began");
        };
        (error.status.as_u16(), error.message)
    };
    let (status, message) = refusal(|o| o.ns = "none".parse().unwrap(), FIRST).await;
    assert_eq!((status, message.as_str()), (404, "namespace not found"));
    let (_, message) = refusal(|o| o.benchmark = true, FIRST).await;
    assert!(message.contains("only allowed on 'host/benchmark'"));
    let (_, message) = refusal(|_| (), "host/benchmark/2026-01-01T00:00:00Z").await;
    assert_eq!(message, "unable to run benchmark without --benchmark flags");

    let running = world.backup(SECOND).await;
    // The group is locked, others are not.
    let (status, message) = refusal(|_| (), "host/a/2026-01-03T00:00:00Z").await;
    assert_eq!(status, 400);
    assert!(message.contains("lock"), "{message}");
    let other = world.backup("host/b/2026-01-01T00:00:00Z").await;
    let archive = running.client.stream("a.didx", &[b"one", b"two"]);
    let same = other.client.stream("a.didx", &[b"one", b"two"]);
    let (archive, same) = tokio::join!(archive, same);
    let dir = "host/b/2026-01-01T00:00:00Z";
    finish(other, dir, &[same.unwrap()]).await;
    // Its locks are free with the answer, though the connection lasts.
    let client = &running.client;
    client
        .manifest(&SECOND.parse().unwrap(), &[archive.unwrap()])
        .await
        .unwrap();
    client.finish().await.unwrap().data().unwrap();
    drop(world.backup("host/a/2026-01-04T00:00:00Z").await);

    let mut message = String::new();
    for _ in 0..50 {
        message = refusal(|_| (), FIRST).await.1;
        if !message.contains("lock") {
            break;
        }
        let pause = std::time::Duration::from_millis(20);
        world.store.env().sleep(pause).await;
    }
    assert!(
        message.contains("backup timestamp is older than last backup."),
        "{message}"
    );
    let foreign: fn(&mut BackupOptions) = |o| o.auth_id = "other@pbs".parse().unwrap();
    let (_, message) = refusal(foreign, "host/a/2026-01-05T00:00:00Z").await;
    let owner = "backup owner check failed (other@pbs != root@pam)";
    assert!(message.contains(owner), "{message}");
    let path = world.store.base().join("host/a/2026-01-06T00:00:00Z");
    std::fs::create_dir(path).unwrap();
    let (_, message) = refusal(|_| (), "host/a/2026-01-06T00:00:00Z").await;
    assert_eq!(message, "backup directory already exists.");
    running.disconnect().await.1.unwrap();
}
