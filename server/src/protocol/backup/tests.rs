use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::format::DataBlob;
use hyper::{Method, StatusCode};
use protocol_client::backup::{digest, dynamic_csum, encode, fixed_chunks, fixed_csum};
use protocol_client::connection::Body;
use protocol_client::{Answer, Archive};
use serde_json::{Value, json};

use super::super::testing::{Running, World, options};

const FIRST: &str = "host/a/2026-01-01T00:00:00Z";
const SECOND: &str = "host/a/2026-01-02T00:00:00Z";
const MIB: usize = 1 << 20;

/// Bytes that do not compress and differ by seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn refused(answer: &Answer, text: &str) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    assert!(answer.text().contains(text), "{} / {text}", answer.text());
}

async fn finish(
    running: Running<protocol_client::Backup>,
    dir: &str,
    archives: &[Archive],
) -> Vec<String> {
    let client = &running.client;
    client
        .manifest(&dir.parse().unwrap(), archives)
        .await
        .unwrap();
    let answer = client.finish().await.unwrap();
    assert_eq!(answer.data().unwrap(), Value::Null);
    let (task, end) = running.disconnect().await;
    end.unwrap();
    task.lines()
        .iter()
        .map(|line| line.text().to_owned())
        .collect()
}

/// Full backups of everything, an incremental one, and what restores of both give.
async fn story(world: World) {
    let stream = [noise(1, MIB), noise(2, 3 * MIB + 17), noise(3, 16)];
    let stream: Vec<_> = stream.iter().map(Vec::as_slice).collect();
    let image = noise(4, 9 * MIB + 5);
    let piped = noise(5, 8 * MIB);

    let first = world.backup(FIRST).await;
    let client = &first.client;
    assert_eq!(client.previous_backup_time().await.unwrap(), Value::Null);
    refused(
        &client.previous("index.json.blob").await.unwrap(),
        "no valid previous backup",
    );
    let archives = [
        client.stream("root.pxar.didx", &stream).await.unwrap(),
        client.image("disk.img.fidx", &image, true).await.unwrap(),
        client.image("pipe.img.fidx", &piped, false).await.unwrap(),
        client.blob("vm.conf.blob", b"memory: 4096").await.unwrap(),
    ];
    let log = finish(first, FIRST, &archives).await;
    for line in [
        format!("starting new backup on datastore 'store1' from 127.0.0.1: \"{FIRST}\""),
        "protocol upgrade done".into(),
        "GET /previous_backup_time".into(),
        format!("created new dynamic index 1 (\"{FIRST}/root.pxar.didx\")"),
        "Upload statistics for 'disk.img.fidx'".into(),
        "Chunk count: 3".into(),
        "successfully closed fixed index 2".into(),
        "successfully finished backup".into(),
        "backup finished successfully".into(),
    ] {
        assert!(log.contains(&line), "{line}: {log:#?}");
    }

    // The image again with its second chunk changed.
    let mut changed = image.clone();
    changed[5 * MIB] ^= 1;
    let second = world.backup(SECOND).await;
    let client = &second.client;
    let time = client.previous_backup_time().await.unwrap();
    assert_eq!(time, json!(1_767_225_600));
    let manifest = client.previous("index.json.blob").await.unwrap();
    assert_eq!(manifest.headers["content-type"], "application/octet-stream");
    let index = client.previous("disk.img.fidx").await.unwrap();
    assert_eq!(index.ok().unwrap().len(), 4096 + 3 * 32);
    let missing = client.previous("none.img.fidx").await.unwrap();
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    let old: Vec<_> = fixed_chunks(&image).iter().map(|c| digest(c)).collect();
    let new: Vec<_> = fixed_chunks(&changed).iter().map(|c| digest(c)).collect();
    let more = format!(
        "&size={}&reuse-csum={}",
        image.len(),
        hex::encode(fixed_csum(&old))
    );
    let wid = client.index("fixed", "disk.img.fidx", &more).await.unwrap();
    let chunk = fixed_chunks(&changed)[1];
    let answer = client.chunk("fixed", wid, chunk).await.unwrap();
    assert_eq!(answer.data().unwrap(), json!(new[1].to_string()));
    let offset = 4 * MIB as u64;
    let appended = client.append("fixed", wid, &[(offset, new[1])]).await;
    appended.unwrap().data().unwrap();
    let csum = fixed_csum(&new);
    // The size is that of what was sent.
    let closed = client.close("fixed", wid, 1, offset, csum).await.unwrap();
    closed.data().unwrap();
    // A stream of chunks that are only named.
    client
        .previous("root.pxar.didx")
        .await
        .unwrap()
        .ok()
        .unwrap();
    let wid = client.index("dynamic", "root.pxar.didx", "").await.unwrap();
    let named = [
        (0, digest(stream[1])),
        (stream[1].len() as u64, digest(stream[0])),
    ];
    let appended = client.append("dynamic", wid, &named).await.unwrap();
    appended.data().unwrap();
    let reordered = [stream[1], stream[0]];
    let size = reordered.concat().len() as u64;
    let stream_csum = dynamic_csum(&reordered);
    let closed = client.close("dynamic", wid, 2, size, stream_csum).await;
    closed.unwrap().data().unwrap();
    let archives = [
        Archive {
            name: "disk.img.fidx".into(),
            size: image.len() as u64,
            csum,
            crypt_mode: CryptMode::None,
        },
        Archive {
            name: "root.pxar.didx".into(),
            size,
            csum: stream_csum,
            crypt_mode: CryptMode::None,
        },
    ];
    let log = finish(second, SECOND, &archives).await;
    let line = format!("download 'disk.img.fidx' from previous backup '{FIRST}'.");
    assert!(log.contains(&line), "{log:#?}");

    let reader = world.reader(FIRST).await;
    let client = &reader.client;
    assert_eq!(
        client.archive("root.pxar.didx").await.unwrap(),
        stream.concat()
    );
    assert_eq!(client.archive("disk.img.fidx").await.unwrap(), image);
    assert_eq!(client.archive("pipe.img.fidx").await.unwrap(), piped);
    assert_eq!(client.blob("vm.conf.blob").await.unwrap(), b"memory: 4096");
    let manifest = client.manifest().await.unwrap();
    let stats = manifest.unprotected.get("chunk_upload_stats").unwrap();
    assert_eq!(stats["count"], json!(8));
    assert_eq!(stats["duplicates"], json!(0));
    drop(client.archive("disk.img.fidx").await.unwrap());
    drop(reader);
    let reader = world.reader(SECOND).await;
    let client = &reader.client;
    assert_eq!(client.archive("disk.img.fidx").await.unwrap(), changed);
    assert_eq!(
        client.archive("root.pxar.didx").await.unwrap(),
        reordered.concat()
    );
}

#[tokio::test]
async fn backups_and_restores_on_a_filesystem() {
    story(World::filesystem().await).await;
}

#[tokio::test]
async fn backups_and_restores_on_s3() {
    story(World::s3().await).await;
}

#[tokio::test]
async fn chunks_are_checked() {
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let wid = client.index("dynamic", "a.didx", "").await.unwrap();
    assert_eq!(wid, 1);
    let (data, other) = (noise(1, 1000), digest(b"other"));
    let (raw, digest) = (encode(&data).unwrap(), digest(&data));
    let post = async |digest: &str, size: u64, encoded: usize, wid: u64, raw: Bytes| {
        let target =
            format!("dynamic_chunk?digest={digest}&encoded-size={encoded}&size={size}&wid={wid}");
        let request = client
            .connection
            .request(Method::POST, &target, Body::Raw(raw));
        request.await.unwrap()
    };
    let (hex, length) = (digest.to_string(), raw.len());
    let larger = "uploaded chunk is larger than announced.";
    refused(&post(&hex, 1000, length - 1, 1, raw.clone()).await, larger);
    let unexpected = "uploaded chunk has unexpected size.";
    refused(
        &post(&hex, 1000, length + 1, 1, raw.clone()).await,
        unexpected,
    );
    refused(
        &post(&hex, 999, length, 1, raw.clone()).await,
        "uploaded chunk",
    );
    refused(
        &post(&other.to_string(), 1000, length, 1, raw.clone()).await,
        "digest",
    );
    let unknown = "dynamic writer '2' not registered";
    refused(&post(&hex, 1000, length, 2, raw.clone()).await, unknown);
    refused(
        &post(&hex.to_uppercase(), 1000, length, 1, raw.clone()).await,
        "'digest'",
    );
    refused(&post(&hex, 1000, length, 257, raw.clone()).await, "'wid'");
    refused(&post(&hex, 0, length, 1, raw.clone()).await, "'size'");
    refused(
        &post(&hex, (16 << 20) + 1, length, 1, raw.clone()).await,
        "'size'",
    );
    let garbage = Bytes::from(vec![7; length]);
    refused(&post(&hex, 1000, length, 1, garbage).await, "magic");
    // The checksum that the client computed does not matter.
    let mut wrong_crc = raw.to_vec();
    wrong_crc[8] ^= 1;
    let answer = post(&hex, 1000, length, 1, wrong_crc.into()).await;
    assert_eq!(answer.data().unwrap(), json!(hex));
    let stored = world.store.read_chunk(
        None,
        digest,
        datastore::backend::s3::insert::Payload::Discard,
    );
    assert_eq!(*stored.await.unwrap().raw(), raw);
    // A fixed chunk for a dynamic writer.
    let target = format!("fixed_chunk?digest={hex}&encoded-size={length}&size=1000&wid=1");
    let answer = client
        .connection
        .request(Method::POST, &target, Body::Raw(raw));
    refused(&answer.await.unwrap(), "fixed writer '1' not registered");
}

#[tokio::test]
async fn images_have_one_end() {
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let wid = client
        .index("fixed", "a.img.fidx", "&size=100")
        .await
        .unwrap();
    // As QEMU does it for every image, however small.
    let zeros = vec![0; 4 * MIB];
    client
        .chunk("fixed", wid, &zeros)
        .await
        .unwrap()
        .data()
        .unwrap();
    let data = noise(1, 100);
    client
        .chunk("fixed", wid, &data)
        .await
        .unwrap()
        .data()
        .unwrap();
    let again = client.chunk("fixed", wid, &noise(2, 99)).await.unwrap();
    refused(
        &again,
        "detected multiple end chunks (chunk size too small)",
    );
    let large = client
        .chunk("fixed", wid, &noise(3, 4 * MIB + 1))
        .await
        .unwrap();
    refused(&large, "large chunk");
    let unaligned = client
        .append("fixed", wid, &[(1, digest(&data))])
        .await
        .unwrap();
    refused(&unaligned, "chunk data exceeds size");
    let appended = client
        .append("fixed", wid, &[(0, digest(&data))])
        .await
        .unwrap();
    appended.data().unwrap();
    let csum = fixed_csum(&[digest(&data)]);
    let closed = client.close("fixed", wid, 1, 100, csum).await.unwrap();
    closed.data().unwrap();
}

#[tokio::test]
async fn indexes_are_checked() {
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let post = async |target: &str| client.connection.post(target).await.unwrap();
    let extension = "wrong archive extension: 'a.img.fidx'";
    refused(
        &post("dynamic_index?archive-name=a.img.fidx").await,
        extension,
    );
    refused(
        &post("dynamic_index?archive-name=../a.didx").await,
        "'archive-name'",
    );
    refused(
        &post("dynamic_index").await,
        "'archive-name': parameter is missing",
    );
    refused(
        &post("dynamic_index?archive-name=a.didx&size=5").await,
        "schema does not allow additional properties",
    );
    let csum = hex::encode([0; 32]);
    let reuse = format!("fixed_index?archive-name=a.img.fidx&reuse-csum={csum}");
    refused(
        &post(&reuse).await,
        "size is required for incremental backups",
    );
    let reuse = format!("{reuse}&size=5");
    refused(
        &post(&reuse).await,
        "cannot reuse index - no valid previous backup exists",
    );

    let wid = client.index("dynamic", "a.didx", "").await.unwrap();
    let (data, more) = (noise(1, 1000), noise(2, 500));
    for chunk in [&data, &more] {
        client
            .chunk("dynamic", wid, chunk)
            .await
            .unwrap()
            .data()
            .unwrap();
    }
    let (first, second, unknown) = (digest(&data), digest(&more), digest(b"?"));
    let append = async |chunks: &[(u64, _)]| client.append("dynamic", wid, chunks).await.unwrap();
    // What comes before the failure stays.
    let answer = append(&[(0, first), (1000, unknown)]).await;
    refused(&answer, &format!("no such chunk {unknown}"));
    refused(
        &append(&[(0, second)]).await,
        "append chunk failed - got strange chunk offset (0 != 1000)",
    );
    append(&[(1000, second)]).await.data().unwrap();
    let lists = json!({ "wid": wid, "digest-list": [first], "offset-list": [] });
    let put = client
        .connection
        .request(Method::PUT, "dynamic_index", Body::Json(lists));
    refused(&put.await.unwrap(), "offset list has wrong length (0 != 1)");
    let csum = dynamic_csum(&[&data, &more]);
    let close = async |count, size, csum| {
        client
            .close("dynamic", wid, count, size, csum)
            .await
            .unwrap()
    };
    refused(
        &close(3, 1500, csum).await,
        "unexpected chunk count (2 != 3)",
    );
    refused(
        &close(2, 1501, csum).await,
        "unexpected file size (1500 != 1501)",
    );
    refused(&close(0, 1500, csum).await, "'chunk-count'");
    refused(&client.finish().await.unwrap(), "found open index writer");
    refused(&close(2, 1500, [0; 32]).await, "got unexpected checksum");
    refused(
        &close(2, 1500, csum).await,
        "dynamic writer '1' not registered",
    );
    let file_count = "backup does not contain valid files (file count == 0)";
    refused(&client.finish().await.unwrap(), file_count);
}

#[tokio::test]
async fn an_incremental_backup_needs_the_right_base() {
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let image = noise(1, 5 * MIB);
    let archive = running
        .client
        .image("a.img.fidx", &image, true)
        .await
        .unwrap();
    finish(running, FIRST, std::slice::from_ref(&archive)).await;
    let running = world.backup(SECOND).await;
    let client = &running.client;
    let post = async |name: &str, size: usize, csum: [u8; 32]| {
        let csum = hex::encode(csum);
        let target = format!("fixed_index?archive-name={name}&size={size}&reuse-csum={csum}");
        client.connection.post(&target).await.unwrap()
    };
    refused(
        &post("b.img.fidx", 5 * MIB, archive.csum).await,
        "cannot reuse index - no previous backup exists for archive",
    );
    refused(
        &post("a.img.fidx", 5 * MIB, [0; 32]).await,
        "doesn't match last backup's",
    );
    refused(
        &post("a.img.fidx", 9 * MIB, archive.csum).await,
        "cannot reuse index - index sizes not equal (2 != 3)",
    );
    let answer = post("a.img.fidx", 5 * MIB, archive.csum).await;
    assert_eq!(answer.data().unwrap(), json!(1));
    // Nothing has changed.
    let closed = client.close("fixed", 1, 0, 0, archive.csum).await.unwrap();
    closed.data().unwrap();
    finish(running, SECOND, &[archive]).await;
    let reader = world.reader(SECOND).await;
    assert_eq!(reader.client.archive("a.img.fidx").await.unwrap(), image);
}

#[tokio::test]
async fn blobs_are_checked() {
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let raw = encode(b"hello").unwrap();
    let wrong = client.raw_blob("a.conf", raw.clone()).await.unwrap();
    refused(&wrong, "wrong blob file extension: 'a.conf'");
    let mut damaged = raw.to_vec();
    damaged[12] ^= 1;
    for name in ["a.blob", "index.json.blob"] {
        let answer = client.raw_blob(name, damaged.clone().into()).await.unwrap();
        refused(&answer, "crc");
    }
    let target = format!("blob?encoded-size={}&file-name=a.blob", raw.len() + 1);
    let request = client
        .connection
        .request(Method::POST, &target, Body::Raw(raw.clone()));
    let unexpected = format!(
        "got blob with unexpected length ({} != {})",
        raw.len() + 1,
        raw.len()
    );
    refused(&request.await.unwrap(), &unexpected);
    client
        .raw_blob("a.blob", raw)
        .await
        .unwrap()
        .data()
        .unwrap();
    refused(
        &client.finish().await.unwrap(),
        "unable to update manifest blob - ",
    );
    client.blob("index.json.blob", b"{}").await.unwrap();
    refused(
        &client.finish().await.unwrap(),
        "unable to update manifest blob - ",
    );
    // The last manifest counts.
    client.manifest(&FIRST.parse().unwrap(), &[]).await.unwrap();
    client.finish().await.unwrap().data().unwrap();
    let late = client
        .blob("b.blob", b"late")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        late.contains("backup already marked as finished."),
        "{late}"
    );
    let twice = client.finish().await.unwrap();
    refused(&twice, "backup already marked as finished.");
    running.disconnect().await.1.unwrap();
    assert!(world.exists(FIRST));
}

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
    let refusal = async |change: fn(&mut super::BackupOptions), dir: &str| {
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
    let foreign: fn(&mut super::BackupOptions) = |o| o.auth_id = "other@pbs".parse().unwrap();
    let (_, message) = refusal(foreign, "host/a/2026-01-05T00:00:00Z").await;
    let owner = "backup owner check failed (other@pbs != root@pam)";
    assert!(message.contains(owner), "{message}");
    let path = world.store.base().join("host/a/2026-01-06T00:00:00Z");
    std::fs::create_dir(path).unwrap();
    let (_, message) = refusal(|_| (), "host/a/2026-01-06T00:00:00Z").await;
    assert_eq!(message, "backup directory already exists.");
    running.disconnect().await.1.unwrap();
}

#[tokio::test]
async fn benchmarks_leave_nothing() {
    let world = World::filesystem().await;
    let dir = "host/benchmark/2026-01-01T00:00:00Z";
    for user in ["root@pam", "other@pbs"] {
        let mut options = options(dir);
        options.benchmark = true;
        options.auth_id = user.parse().unwrap();
        let running = world.open(options).await.unwrap();
        let body = Bytes::from(noise(1, 4 * MIB));
        let kind = Some("application/x-www-form-urlencoded");
        for _ in 0..3 {
            let body = Body::Typed(kind, body.clone());
            let client = &running.client.connection;
            let answer = client
                .request(Method::POST, "speedtest", body)
                .await
                .unwrap();
            assert_eq!(answer.data().unwrap(), Value::Null);
        }
        running.client.finish().await.unwrap().data().unwrap();
        let (task, end) = running.disconnect().await;
        end.unwrap();
        assert!(task.contains("starting new benchmark on datastore 'store1'"));
        assert!(task.contains("benchmark finished successfully"));
        assert!(!world.exists(dir));
    }
}

/// The third-party client has its parameters in JSON bodies, with a charset, or no type at all.
#[tokio::test]
async fn parameters_in_bodies() {
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let connection = &running.client.connection;
    let post = async |target: &str, body: Value| {
        let kind = Some("application/json; charset=UTF-8");
        let body = Body::Typed(kind, body.to_string().into());
        connection
            .request(Method::POST, target, body)
            .await
            .unwrap()
    };
    let create = json!({ "archive-name": "a.pxar.didx" });
    // The query does not count then.
    let answer = post("dynamic_index?archive-name=b.didx", create).await;
    assert_eq!(
        answer.headers["content-type"],
        "application/json;charset=UTF-8"
    );
    assert_eq!(answer.data().unwrap(), json!(1));
    running
        .client
        .chunk("dynamic", 1, b"data")
        .await
        .unwrap()
        .data()
        .unwrap();
    running
        .client
        .append("dynamic", 1, &[(0, digest(b"data"))])
        .await
        .unwrap()
        .data()
        .unwrap();
    let csum = hex::encode(dynamic_csum(&[b"data"]));
    let close = json!({ "wid": 1, "chunk-count": 1, "size": 4, "csum": csum });
    let text = json!({ "wid": "1", "chunk-count": 1, "size": 4, "csum": csum });
    refused(&post("dynamic_close", text).await, "'wid'");
    post("dynamic_close", close).await.data().unwrap();
    running
        .client
        .manifest(&FIRST.parse().unwrap(), &[])
        .await
        .unwrap();
    let long = Body::Typed(Some("application/json"), vec![b' '; 512 * 1024 + 1].into());
    let answer = connection
        .request(Method::POST, "finish", long)
        .await
        .unwrap();
    refused(&answer, "longer than");
    let finish = Body::Typed(None, Bytes::new());
    let answer = connection
        .request(Method::POST, "finish", finish)
        .await
        .unwrap();
    answer.data().unwrap();
    for (method, target) in [
        (Method::GET, "nothing"),
        (Method::DELETE, "blob"),
        (Method::GET, "a/b"),
    ] {
        let answer = connection
            .request(method, target, Body::None)
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.text(), format!("Path '/{target}' not found."));
    }
    let root = connection.get("").await.unwrap().data().unwrap();
    assert!(
        root.as_array()
            .unwrap()
            .contains(&json!({ "subdir": "blob" }))
    );
}

/// More than fits into the windows and the intake, all at once, to a bucket.
#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_at_once() {
    let world = World::s3().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let wid = client.index("dynamic", "a.didx", "").await.unwrap();
    let chunks: Vec<_> = (0..100).map(|seed| noise(seed, MIB + 4321)).collect();
    let uploads = chunks
        .iter()
        .map(|chunk| client.chunk("dynamic", wid, chunk));
    for answer in futures_util::future::join_all(uploads).await {
        answer.unwrap().data().unwrap();
    }
    // Lists that are sent before the one before is answered stay in order.
    let length = chunks[0].len() as u64;
    let lists: Vec<Vec<_>> = chunks
        .iter()
        .enumerate()
        .map(|(number, chunk)| vec![(number as u64 * length, digest(chunk))])
        .collect();
    let appends = lists.iter().map(|list| client.append("dynamic", wid, list));
    for answer in futures_util::future::join_all(appends).await {
        answer.unwrap().data().unwrap();
    }
    let chunks: Vec<_> = chunks.iter().map(Vec::as_slice).collect();
    let csum = dynamic_csum(&chunks);
    let closed = client
        .close("dynamic", wid, 100, 100 * length, csum)
        .await
        .unwrap();
    closed.data().unwrap();
}

/// A bucket that takes nothing for a while holds up uploads and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_bucket_slows_uploads_only() {
    use s3_mock::{Action, Fault, Gate, Op};

    let world = World::s3().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let wid = client.index("dynamic", "a.didx", "").await.unwrap();
    let gate = Gate::new();
    let server = world.server.as_ref().unwrap();
    let fault = Fault::on(Op::PutObject, Action::Pause(gate.clone()));
    server.script(fault.keys("*/.chunks/*").always());
    let chunks: Vec<_> = (0..100).map(|seed| noise(seed, MIB + 4321)).collect();
    let uploads = chunks
        .iter()
        .map(|chunk| client.chunk("dynamic", wid, chunk));
    let uploads = futures_util::future::join_all(uploads);
    let meanwhile = async {
        // As many as the client of the bucket sends at once.
        gate.arrived_count(16).await;
        let time = client.previous_backup_time().await.unwrap();
        assert_eq!(time, Value::Null);
        let other = client.index("dynamic", "b.didx", "").await.unwrap();
        assert_eq!((other, gate.arrivals()), (2, 16));
        gate.release();
    };
    let (answers, ()) = tokio::join!(uploads, meanwhile);
    for answer in answers {
        answer.unwrap().data().unwrap();
    }
}

/// Every request of the recorded sessions is one that the table knows, with parameters that it
/// takes.
#[test]
fn recorded_requests_are_understood() {
    use crate::protocol::endpoint::Session as _;
    use crate::rest::params::{Params, Source};

    let Some(folder) = crate::testing::fixtures("recordings") else {
        return;
    };
    let files = ["client", "s3-datastore"].map(|name| folder.join(name));
    let files = files
        .iter()
        .flat_map(|path| std::fs::read_dir(path).unwrap());
    let mut seen = std::collections::BTreeSet::new();
    for file in files {
        let path = file.unwrap().path();
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for line in text.lines().filter(|line| line.starts_with("H2 ")) {
            let Some((_, request)) = line.split_once(" > ") else {
                continue;
            };
            let (method, url) = request.split_once(' ').unwrap();
            let target = url.split_once("://").unwrap().1.split_once('/').unwrap().1;
            let (word, query) = target.split_once('?').unwrap_or((target, ""));
            let method: Method = method.parse().unwrap();
            let ours = super::Backup::endpoints()
                .iter()
                .map(|e| (&e.method, e.path, e.params))
                .chain(
                    crate::protocol::reader::Reader::endpoints()
                        .iter()
                        .map(|e| (&e.method, e.path, e.params)),
                )
                .find(|(known, path, _)| **known == method && *path == word);
            let (_, _, params) = ours.unwrap_or_else(|| panic!("{path:?}: {line}"));
            seen.insert(format!("{method} {word}"));
            if method != Method::PUT {
                let given = Source::from_texts(query, "").unwrap();
                Params::check(params, &[], given).unwrap();
            }
        }
    }
    assert!(seen.len() >= 13, "{seen:?}");
}

#[test]
fn the_datastore_checks_what_is_encoded() {
    let blob = DataBlob::from_bytes(encode(b"x").unwrap()).unwrap();
    assert!(blob.verify_digest(&digest(b"x"), Some(1)).is_ok());
    assert!(blob.verify_digest(&digest(b"x"), Some(2)).is_err());
}
