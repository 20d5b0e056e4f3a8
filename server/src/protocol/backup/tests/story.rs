//! What a client does when all goes well.

use api_types::status::CryptMode;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use protocol_client::Archive;
use protocol_client::backup::{digest, dynamic_csum, fixed_chunks, fixed_csum};
use protocol_client::connection::Body;
use serde_json::{Value, json};

use super::{FIRST, MIB, SECOND, World, finish, noise, options, refused};

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
