//! What is uploaded is compared with what is said of it.

use bytes::Bytes;
use datastore::format::DataBlob;
use hyper::Method;
use protocol_client::backup::{digest, dynamic_csum, encode, fixed_csum};
use protocol_client::connection::Body;
use serde_json::json;

use super::{FIRST, MIB, SECOND, World, finish, noise, refused};

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

#[test]
fn the_datastore_checks_what_is_encoded() {
    let blob = DataBlob::from_bytes(encode(b"x").unwrap()).unwrap();
    assert!(blob.verify_digest(&digest(b"x"), Some(1)).is_ok());
    assert!(blob.verify_digest(&digest(b"x"), Some(2)).is_err());
}
