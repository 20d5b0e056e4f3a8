//! What a real client asked the real server is asked again, of this one, and the answers are
//! compared field by field: everything from an empty datastore on, on both backends, and what only
//! reads on the data of the real server. What differs, and why, is in the tables of [`compare`] and
//! [`tasks`].

mod bodies;
mod compare;
mod parse;
mod replay;
mod stored;
mod tasks;
mod world;

use s3_client::env::Env;
use s3_client::{DirPrefix, ListOptions};
use serde_json::json;
use support::MinioServer;

use parse::{Exchange, exchanges};
use stored::{Files, files_below, stored_differences};
use world::World;

/// The real server's name of the bucket.
const BUCKET: &str = "pbsbucket";
const S3_STORE: &str = "s3store";

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_client_gets_the_recorded_answers() {
    let Some(world) = World::start("", None) else {
        return;
    };
    for store in ["store1", "samples"] {
        world.create_empty(store).await;
    }
    let mut replay = world.replay("samples");
    for (name, text) in world.recordings("client") {
        replay.recording(&name, &exchanges(&text)).await;
    }
    replay.recording("rest.txt", &world.rest_calls()).await;
    replay.assert_same(450);
    let real = files_below(&world.real_datastore());
    let ours = files_below(&world.path("samples"));
    let differences = stored_differences(&real, &ours);
    assert!(differences.is_empty(), "stored:\n{differences}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_client_of_a_bucket_gets_the_recorded_answers() {
    let minio = MinioServer::start().await.unwrap();
    minio.create_bucket(BUCKET).unwrap();
    let endpoint = minio.endpoint(BUCKET);
    let Some(world) = World::start("", Some(&endpoint)) else {
        return;
    };
    world.create(s3_settings(&world)).await;
    let mut replay = world.replay(S3_STORE);
    for (name, text) in world.recordings("s3-datastore") {
        let mut recording = exchanges(&text);
        if recording.is_empty() {
            // What was not the client's; its traffic is not recorded.
            recording = Exchange::of_command(&text).into_iter().collect();
        }
        replay.recording(&name, &recording).await;
    }
    replay.assert_same(100);
    let client = endpoint.client(Env::system()).unwrap();
    let prefix = DirPrefix::new(S3_STORE).unwrap();
    let mut listing = client.list(&prefix, ListOptions::default());
    let mut ours = Files::new();
    while let Some(page) = listing.next_page().await {
        for object in page.unwrap().objects {
            let key = object.key.as_str().to_owned();
            let got = client.get_object(&object.key).await.unwrap().unwrap();
            ours.insert(below_store(&key), got.body);
        }
    }
    let real = support::fixtures::bucket_objects(&world.fixtures).unwrap();
    let real = real
        .into_iter()
        .map(|(key, body)| (below_store(&key), body));
    let differences = stored_differences(&real.collect(), &ours);
    assert!(differences.is_empty(), "stored:\n{differences}");
}

fn below_store(key: &str) -> String {
    key.strip_prefix(S3_STORE).unwrap()[1..].to_owned()
}

fn s3_settings(world: &World) -> serde_json::Value {
    json!({
        "name": S3_STORE,
        "path": world.path("s3cache"),
        "backend": format!("type=s3,client=s3peer,bucket={BUCKET}"),
    })
}
