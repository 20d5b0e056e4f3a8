//! Clients made from endpoints work.

use std::time::Duration;

use bytes::Bytes;
use s3_client::env::Env;
use s3_client::{ListOptions, ListPrefix, ObjectKey, PutMode};
use s3_mock::{Action, Fault, MockS3, Op};
use support::{fixtures, memory_client, mock_endpoint};

const START: i64 = 1_800_000_000;

#[tokio::test]
async fn the_fixture_bucket_loads_over_tls() {
    let Some(dir) = fixtures::fixtures_dir().unwrap() else {
        return;
    };
    let server = MockS3::builder().start().await.unwrap();
    let client = mock_endpoint(&server, "fixture")
        .unwrap()
        .client(Env::system())
        .unwrap();
    let count = fixtures::load_bucket(&dir, &client).await.unwrap();
    assert_eq!(server.object_count("fixture"), count);
    assert_eq!(
        std::fs::read_to_string(dir.join("bucket-keys.txt"))
            .unwrap()
            .lines()
            .count(),
        count
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_without_connections_lives_on_virtual_time() {
    let server = MockS3::builder().start_time(START).start().await.unwrap();
    let env = Env::seeded(1, START);
    let client = memory_client(&server, "bucket", env.clone()).unwrap();
    server.script(Fault::on(Op::PutObject, Action::ApplyThenHang));
    let key = ObjectKey::new("a:b").unwrap();
    client
        .put_object(&key, Bytes::from_static(b"x"), PutMode::Replace)
        .await
        .unwrap();
    // One attempt without an answer, and a pause.
    let waited = env.unix_secs() - START;
    assert!((60..70).contains(&waited), "{waited} s");
    assert_eq!(server.counters().of(Op::PutObject), 2);
    let page = client
        .list(ListPrefix::everything(), ListOptions::default())
        .next_page()
        .await;
    assert_eq!(page.unwrap().unwrap().objects[0].key, key);
}

#[tokio::test(start_paused = true)]
async fn a_late_request_over_a_client_without_connections() {
    let server = MockS3::builder().start_time(START).start().await.unwrap();
    let client = memory_client(&server, "bucket", Env::seeded(1, START)).unwrap();
    server.put("bucket", "k", "x");
    let late = Action::late_after(Duration::from_secs(600));
    server.script(Fault::on(Op::DeleteObjects, late));
    let attempt = client
        .delete_objects_attempt(&[ObjectKey::new("k").unwrap()])
        .await;
    assert!(!attempt.is_definite(), "{attempt:?}");
    assert!(server.get("bucket", "k").is_some());
    client.env().sleep(Duration::from_secs(601)).await;
    assert_eq!(server.get("bucket", "k"), None);
}
