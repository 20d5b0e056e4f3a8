//! Every request at every wrong moment, and lists and sums that do not fit: refused, and nothing
//! comes of it.

use api_types::digest::Digest;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use protocol_client::backup::{digest, encode, fixed_csum};
use protocol_client::connection::Body;
use serde_json::{Value, json};

use super::{FIRST, World, refused};

/// Requests that would be fine at another time; `wid` is that of the writer that they mean.
fn steps(wid: u64) -> Vec<(Method, String, Body)> {
    let raw = encode(b"content").unwrap();
    let (digest, length) = (digest(b"content"), raw.len());
    let sums = format!("wid={wid}&chunk-count=1&size=7&csum={digest}");
    let chunk = format!("wid={wid}&digest={digest}&size=7&encoded-size={length}");
    let list = json!({ "wid": wid, "digest-list": [digest], "offset-list": [0] });
    let (post, put) = (Method::POST, Method::PUT);
    vec![
        (
            post.clone(),
            format!("dynamic_chunk?{chunk}"),
            Body::Raw(raw.clone()),
        ),
        (
            post.clone(),
            format!("fixed_chunk?{chunk}"),
            Body::Raw(raw.clone()),
        ),
        (
            put.clone(),
            "dynamic_index".into(),
            Body::Json(list.clone()),
        ),
        (put, "fixed_index".into(), Body::Json(list)),
        (post.clone(), format!("dynamic_close?{sums}"), Body::None),
        (post.clone(), format!("fixed_close?{sums}"), Body::None),
        (
            post.clone(),
            "dynamic_index?archive-name=a.didx".into(),
            Body::None,
        ),
        (
            post.clone(),
            "fixed_index?archive-name=a.fidx&size=7".into(),
            Body::None,
        ),
        (
            post.clone(),
            format!("blob?file-name=a.blob&encoded-size={length}"),
            Body::Raw(raw.clone()),
        ),
        (
            post.clone(),
            format!("blob?file-name=index.json.blob&encoded-size={length}"),
            Body::Raw(raw),
        ),
        (
            Method::GET,
            "previous?archive-name=index.json.blob".into(),
            Body::None,
        ),
        (post, "finish".into(), Body::None),
    ]
}

async fn each_refused(
    client: &protocol_client::Backup,
    steps: Vec<(Method, String, Body)>,
    text: &str,
) {
    for (method, target, body) in steps {
        let answer = client
            .connection
            .request(method, &target, body)
            .await
            .unwrap();
        let shown = answer.text();
        assert!(
            answer.status == StatusCode::BAD_REQUEST && shown.contains(text),
            "{target}: {shown}"
        );
    }
}

#[tokio::test]
async fn steps_out_of_order_are_refused() {
    for world in [World::filesystem().await, World::s3().await] {
        let running = world.backup(FIRST).await;
        let client = &running.client;
        let writing = |wid| steps(wid).into_iter().take(6).collect::<Vec<_>>();
        let of_kind = |wid, kind: &str| {
            let mut all = writing(wid);
            all.retain(|(_, target, _)| target.starts_with(kind));
            all
        };
        // Before anything: no writer, no base, nothing to finish.
        each_refused(client, writing(1), "writer '1' not registered").await;
        refused(
            &client.previous("a.didx").await.unwrap(),
            "no valid previous backup",
        );
        refused(&client.finish().await.unwrap(), "file count == 0");

        // A writer of the one kind is none of the other; its name is taken, it must be closed.
        let wid = client.index("dynamic", "a.didx", "").await.unwrap();
        each_refused(
            client,
            of_kind(wid, "fixed_"),
            "fixed writer '1' not registered",
        )
        .await;
        each_refused(client, writing(wid + 1), "writer '2' not registered").await;
        let list = [(0, digest(b"content"))];
        refused(
            &client.append("dynamic", wid, &list).await.unwrap(),
            "no such chunk",
        );
        let again = client.index("dynamic", "a.didx", "").await.unwrap_err();
        assert!(again.to_string().contains("a.didx"), "{again}");
        refused(&client.finish().await.unwrap(), "found open index writer");
        let early = client.close("dynamic", wid, 1, 7, [0; 32]).await.unwrap();
        refused(&early, "unexpected chunk count");

        // Closed with a wrong checksum, it is gone, and its name is free.
        client
            .chunk("dynamic", wid, b"content")
            .await
            .unwrap()
            .data()
            .unwrap();
        client
            .append("dynamic", wid, &list)
            .await
            .unwrap()
            .data()
            .unwrap();
        let wrong = client.close("dynamic", wid, 1, 7, [0; 32]).await.unwrap();
        refused(&wrong, "got unexpected checksum");
        each_refused(client, writing(wid), "writer '1' not registered").await;
        let archive = client.stream("a.didx", &[b"content"]).await.unwrap();
        each_refused(client, writing(2), "writer '2' not registered").await;
        refused(
            &client.finish().await.unwrap(),
            "unable to update manifest blob",
        );

        // Finished: nothing more, and what is there stays.
        client
            .manifest(&FIRST.parse().unwrap(), &[archive])
            .await
            .unwrap();
        client.finish().await.unwrap().data().unwrap();
        let manifest = world.store.base().join(FIRST).join("index.json.blob");
        let before = std::fs::read(&manifest).unwrap();
        each_refused(client, steps(2), "backup already marked as finished.").await;
        assert_eq!(client.previous_backup_time().await.unwrap(), Value::Null);
        let body = Body::Raw(Bytes::from_static(&[7; 1000]));
        let speed = client.connection.request(Method::POST, "speedtest", body);
        speed.await.unwrap().data().unwrap();
        running.disconnect().await.1.unwrap();
        assert_eq!(std::fs::read(&manifest).unwrap(), before);
        assert_eq!(
            std::fs::read_dir(manifest.parent().unwrap())
                .unwrap()
                .count(),
            2
        );
        let reader = world.reader(FIRST).await;
        assert_eq!(reader.client.archive("a.didx").await.unwrap(), b"content");
    }
}

/// An image of two chunks and a piece: which offsets fit.
#[tokio::test]
async fn offsets_of_an_image_are_checked() {
    const FULL: u64 = 4 << 20;
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let size = 2 * FULL + 7;
    let wid = client
        .index("fixed", "a.fidx", &format!("&size={size}"))
        .await
        .unwrap();
    let full = vec![1; usize::try_from(FULL).unwrap()];
    for chunk in [&full[..], b"content"] {
        client
            .chunk("fixed", wid, chunk)
            .await
            .unwrap()
            .data()
            .unwrap();
    }
    let (whole, end) = (digest(&full), digest(b"content"));
    for (offset, digest, why) in [
        (1, whole, "got unaligned chunk (pos = 1)"),
        (FULL - 1, whole, "got unaligned chunk"),
        (0, end, "chunk with unexpected length (7 != 4194304)"),
        (FULL, end, "chunk with unexpected length"),
        (2 * FULL, whole, "chunk data exceeds size"),
        (2 * FULL + 1, end, "chunk data exceeds size"),
        (i64::MAX.cast_unsigned(), end, "chunk data exceeds size"),
    ] {
        refused(
            &client
                .append("fixed", wid, &[(offset, digest)])
                .await
                .unwrap(),
            why,
        );
    }
    let beyond = client
        .append("fixed", wid, &[(u64::MAX, end)])
        .await
        .unwrap();
    refused(&beyond, "'offset-list'");
    let list = [(2 * FULL, end), (0, whole), (FULL, whole)];
    client
        .append("fixed", wid, &list)
        .await
        .unwrap()
        .data()
        .unwrap();
    let csum = fixed_csum(&[whole, whole, end]);
    for (count, size, csum, why) in [
        (2, size, csum, "received wrong number of chunk (3 != 2)"),
        (4, size, csum, "received wrong number of chunk (3 != 4)"),
        (3, size - 1, csum, "unexpected file size"),
        (3, size + 1, csum, "unexpected file size"),
    ] {
        refused(
            &client.close("fixed", wid, count, size, csum).await.unwrap(),
            why,
        );
    }
    client
        .close("fixed", wid, 3, size, csum)
        .await
        .unwrap()
        .data()
        .unwrap();
}

/// The number of chunks is right, and one of them is missing all the same.
#[tokio::test]
async fn an_image_with_a_hole_is_not_closed() {
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let full = vec![1; 4 << 20];
    let wid = client
        .index("fixed", "a.fidx", &format!("&size={}", 8 << 20))
        .await
        .unwrap();
    client
        .chunk("fixed", wid, &full)
        .await
        .unwrap()
        .data()
        .unwrap();
    let whole = digest(&full);
    client
        .append("fixed", wid, &[(0, whole), (0, whole)])
        .await
        .unwrap()
        .data()
        .unwrap();
    let nothing = Digest::from_bytes([0; 32]);
    let csum = fixed_csum(&[whole, nothing]);
    let closed = client.close("fixed", wid, 2, 8 << 20, csum).await.unwrap();
    refused(&closed, "no chunk was appended at 4194304");
}
