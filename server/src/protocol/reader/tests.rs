use std::time::Duration;

use hyper::StatusCode;
use protocol_client::backup::{digest, encode};
use s3_mock::{Action, Fault, Op, Reply};

use super::super::testing::World;

const DIR: &str = "host/a/2026-01-01T00:00:00Z";
const OTHER: &str = "host/b/2026-01-01T00:00:00Z";

async fn backed_up(world: &World, dir: &str, chunks: &[&[u8]]) {
    let running = world.backup(dir).await;
    let client = &running.client;
    let archive = client.stream("a.didx", chunks).await.unwrap();
    client
        .manifest(&dir.parse().unwrap(), &[archive])
        .await
        .unwrap();
    client.finish().await.unwrap().data().unwrap();
    running.disconnect().await.1.unwrap();
}

#[tokio::test]
async fn only_named_chunks_are_given() {
    // The check of access times needs a second that passes for the file system too.
    let world = World::filesystem().await;
    tokio::time::pause();
    backed_up(&world, DIR, &[b"one", b"two"]).await;
    backed_up(&world, OTHER, &[b"three"]).await;
    let running = world.reader(DIR).await;
    let client = &running.client;
    for chunk in [b"one".as_slice(), b"three"] {
        let began = world.store.env().now();
        let answer = client.chunk(&digest(chunk)).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let expected = format!("download chunk {} not allowed", digest(chunk));
        assert_eq!(answer.text(), expected);
        assert!((world.store.env().now() - began).as_secs() >= 3);
    }
    client.download("a.didx").await.unwrap().ok().unwrap();
    let answer = client.chunk(&digest(b"one")).await.unwrap();
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    assert_eq!(answer.ok().unwrap(), encode(b"one").unwrap());
    let other = client.chunk(&digest(b"three")).await.unwrap();
    assert_eq!(other.status, StatusCode::UNAUTHORIZED);
    let gone = world.store.chunks().chunk_path(&digest(b"two"));
    std::fs::remove_file(gone).unwrap();
    let answer = client.chunk(&digest(b"two")).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.text().starts_with("reading file "),
        "{}",
        answer.text()
    );
    assert!(
        running
            .task
            .contains("register chunks in 'a.didx' as downloadable.")
    );
}

#[tokio::test]
async fn what_is_missing() {
    let world = World::filesystem().await;
    backed_up(&world, DIR, &[b"one"]).await;
    let Err(error) = world.open_reader(OTHER).await else {
        panic!("there is no such snapshot");
    };
    assert_eq!(error.message, format!("snapshot {OTHER} does not exist."));
    let running = world.reader(DIR).await;
    let client = &running.client;
    let log = client.download("client.log.blob").await.unwrap();
    assert_eq!(log.status, StatusCode::NOT_FOUND);
    assert!(log.text().ends_with("client.log.blob\" failed - not found"));
    let index = client.download("b.didx").await.unwrap();
    assert_eq!(index.status, StatusCode::BAD_REQUEST);
    for name in ["..%2fowner", ".protected", "%2e%2e"] {
        let answer = client.download(name).await.unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
    }
    let speed = client.connection.get("speedtest").await.unwrap();
    assert_eq!(speed.ok().unwrap().len(), 1 << 20);
    // The reader keeps the snapshot from being removed.
    let ns = api_types::names::BackupNamespace::root();
    let locks = world.store.locks();
    assert!(
        locks
            .snapshot_exclusive(&ns, &DIR.parse().unwrap())
            .is_err()
    );
    running.disconnect().await.1.unwrap();
    assert!(locks.snapshot_exclusive(&ns, &DIR.parse().unwrap()).is_ok());
}

/// Zeros come from memory: no request, no file, and only to those who may read them.
#[tokio::test]
async fn zeros_need_no_bucket() {
    let world = World::s3().await;
    let zeros = vec![0; 4 << 20];
    backed_up(&world, DIR, &[&zeros, b"one", &zeros]).await;
    backed_up(&world, OTHER, &[b"one"]).await;
    std::fs::remove_file(world.store.chunks().chunk_path(&digest(&zeros))).unwrap();
    let server = world.server.as_ref().unwrap();
    let gets = || server.journal().requests_of(Op::GetObject).len();
    let before = gets();
    let running = world.reader(DIR).await;
    let content = running.client.archive("a.didx").await.unwrap();
    assert_eq!(content, [&zeros, b"one".as_slice(), &zeros].concat());
    assert_eq!(gets(), before);
    let other = world.reader(OTHER).await;
    other.client.index("a.didx").await.unwrap();
    let refused = other.client.chunk(&digest(&zeros)).await.unwrap();
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

/// A client that goes through an archive finds its chunks fetched from the bucket ahead of it, each
/// once.
#[tokio::test]
async fn a_cold_restore_fetches_ahead() {
    let world = World::s3().await;
    let chunks: Vec<_> = (0..40_u8).map(|number| vec![number; 5000]).collect();
    let chunks: Vec<_> = chunks.iter().map(Vec::as_slice).collect();
    backed_up(&world, DIR, &chunks).await;
    // Only markers are left.
    for chunk in &chunks {
        let path = world.store.chunks().chunk_path(&digest(chunk));
        std::fs::write(path, b"").unwrap();
    }
    let server = world.server.as_ref().unwrap();
    let gets = || {
        let keys = server.journal().requests_of(Op::GetObject);
        let chunks = keys
            .iter()
            .flatten()
            .filter(|key| key.contains("/.chunks/"));
        chunks.count()
    };
    let before = gets();
    let running = world.reader(DIR).await;
    let client = &running.client;
    let index = client.index("a.didx").await.unwrap();
    drop(index);
    for chunk in chunks.iter().take(3) {
        client.chunk(&digest(chunk)).await.unwrap().ok().unwrap();
    }
    for _ in 0..200 {
        if gets() - before > 3 {
            break;
        }
        world.store.env().sleep(Duration::from_millis(5)).await;
    }
    assert!(gets() - before > 3, "nothing was fetched ahead");
    assert_eq!(client.archive("a.didx").await.unwrap(), chunks.concat());
    assert_eq!(gets() - before, 40);
}

/// With a bucket that does not answer, the cache is restored from, without the wait for a lease.
#[tokio::test]
async fn a_cached_restore_needs_no_answer_of_the_bucket() {
    let world = World::s3().await;
    let chunks: [&[u8]; 3] = [b"one", b"two", b"three"];
    backed_up(&world, DIR, &chunks).await;
    // By then the last look at the owner of the bucket is too old.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    let hang = Fault::on_any(Action::Hang).always();
    world.server.as_ref().unwrap().script(hang);
    let began = world.store.env().now();
    let running = world.reader(DIR).await;
    let content = running.client.archive("a.didx").await.unwrap();
    assert_eq!(content, chunks.concat());
    let passed = world.store.env().now() - began;
    assert!(passed < Duration::from_secs(10), "{passed:?}");
    assert!(!world.store.has_lease());
    running.disconnect().await.1.unwrap();
}

/// What the bucket does not give at the moment is not missing, and its status is another one.
#[tokio::test]
async fn a_bucket_that_fails_is_told_from_a_chunk_that_is_missing() {
    let world = World::s3().await;
    backed_up(&world, DIR, &[b"one", b"two"]).await;
    let running = world.reader(DIR).await;
    let client = &running.client;
    client.index("a.didx").await.unwrap();
    // Only markers are left.
    for chunk in [b"one", b"two"] {
        let path = world.store.chunks().chunk_path(&digest(chunk));
        std::fs::write(path, b"").unwrap();
    }
    let server = world.server.as_ref().unwrap();
    tokio::time::pause();
    for (reply, status) in [
        (Reply::slow_down(), StatusCode::SERVICE_UNAVAILABLE),
        (Reply::access_denied(), StatusCode::BAD_REQUEST),
    ] {
        server.script(Fault::on(Op::GetObject, Action::Reply(reply)).always());
        let answer = client.chunk(&digest(b"one")).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().starts_with("reading file "));
        server.clear_faults();
    }
    let content = client.archive("a.didx").await.unwrap();
    assert_eq!(content, b"onetwo");
}
