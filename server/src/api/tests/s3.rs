//! S3 endpoints, and datastores in buckets.

use hyper::Method;
use s3_mock::{Action, Fault, MockS3, Op, Reply};
use serde_json::json;

use super::world::{World, members};
use crate::monitor::readiness::Readiness;

const BUCKET: &str = "first-bucket";
const ENDPOINTS: &str = "/config/s3";

async fn world() -> (World, MockS3) {
    let mock = MockS3::builder().bucket(BUCKET).start().await.unwrap();
    let world = World::empty();
    world.endpoint(&mock).await;
    (world, mock)
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_configured_and_their_secrets_kept() {
    let (world, mock) = world().await;
    let item = format!("{ENDPOINTS}/mock");
    let shown = world.get(&item, "").await;
    assert_eq!(
        members(&shown),
        [
            "access-key",
            "endpoint",
            "fingerprint",
            "id",
            "path-style",
            "port",
            "region"
        ]
    );
    let list = world
        .call("root@pam", Method::GET, ENDPOINTS, "")
        .await
        .unwrap();
    assert_eq!(list["data"], json!([shown]));
    assert!(!list.to_string().contains(mock.secret_key()));
    let quirks = "provider-quirks=skip-if-none-match-header&\
                  provider-quirks=delete-objects-via-delete-object";
    world.put(&item, &format!("{quirks}&rate-in=10+MiB")).await;
    let changed = world.get(&item, "").await;
    assert_eq!(changed["rate-in"], "10 MiB");
    assert_eq!(changed["provider-quirks"].as_array().unwrap().len(), 2);
    world
        .put(&item, "delete=provider-quirks&delete=rate-in")
        .await;
    assert_eq!(world.get(&item, "").await, shown);
    assert_eq!(
        world.get(&format!("{item}/list-buckets"), "").await,
        json!([{ "name": BUCKET }])
    );
    let check = "/admin/s3/mock/check";
    assert_eq!(
        world.put(check, &format!("bucket={BUCKET}")).await,
        json!(null)
    );
    world
        .put(check, &format!("bucket={BUCKET}&store-prefix=store1"))
        .await;
    assert_eq!(mock.keys(BUCKET, ""), [""; 0]);
    let (status, text) = world
        .refusal("root@pam", Method::PUT, check, "bucket=no-such-bucket")
        .await;
    assert!(status == 400 && !text.contains(mock.secret_key()), "{text}");
    world
        .put("/admin/s3/mock/reset-counters", &format!("bucket={BUCKET}"))
        .await;
    world.delete(&item, "").await;
    let refusal = world.refusal("root@pam", Method::DELETE, &item, "").await;
    assert_eq!(
        refusal,
        (404, "s3 client config 'mock' do not exist.".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_are_refused() {
    let (world, _mock) = world().await;
    let item = format!("{ENDPOINTS}/mock");
    let bucket = format!("bucket={BUCKET}");
    for (method, path, form) in [
        (
            Method::POST,
            ENDPOINTS,
            "id=other&endpoint=a&access-key=b&secret-key=cdefgh",
        ),
        (Method::GET, &item, ""),
        (Method::PUT, &item, ""),
        (Method::DELETE, &item, ""),
        (Method::GET, "/config/s3/mock/list-buckets", ""),
        (Method::PUT, "/admin/s3/mock/check", &bucket),
    ] {
        let refusal = world.refusal("nothing@pbs", method, path, form).await;
        assert_eq!(
            refusal,
            (403, "permission check failed".to_owned()),
            "{path}"
        );
    }
    let seen = world.call("nothing@pbs", Method::GET, ENDPOINTS, "").await;
    assert_eq!(seen.unwrap()["data"], json!([]));
    for (form, part) in [
        ("endpoint=a", "'id': parameter is missing"),
        ("id=other&endpoint=a", "'secret-key': parameter is missing"),
        (
            "id=mock&endpoint=a&access-key=b&secret-key=cdefgh",
            "'id': s3 endpoint 'mock' already exists.",
        ),
        ("id=other&provider-quirks=fly", "'provider-quirks'"),
        ("id=other&port=0", "'port'"),
    ] {
        let (status, text) = world
            .refusal("root@pam", Method::POST, ENDPOINTS, form)
            .await;
        assert!(status == 400 && text.contains(part), "{form}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datastore_in_a_bucket() {
    let (world, mock) = world().await;
    let form = format!(
        "name=store1&path={}/store1&backend=type%3Ds3,client%3Dmock,bucket%3D{BUCKET}",
        world.path().display()
    );
    let upid = world.post("/config/datastore", &form).await;
    // A warning where temporary files are in memory.
    let end = world.end(&upid).await;
    assert!(
        ["OK", "WARNINGS: 1"].contains(&end.as_str()),
        "{}",
        world.log(&upid)
    );
    assert!(world.log(&upid).contains("S3 requests"));
    let refusal = world
        .refusal("root@pam", Method::DELETE, "/config/s3/mock", "")
        .await;
    assert_eq!(refusal, (400, "in-use by datastore store1".to_owned()));
    let list = world.get("/admin/datastore", "").await;
    assert_eq!(list[0]["backend-type"], "s3");
    let status = world.get("/admin/datastore/store1/status", "").await;
    assert_eq!(status["backend-type"], "s3");
    assert_eq!(
        members(&status["s3-statistics"]),
        [
            "delete",
            "downloaded",
            "get",
            "head",
            "post",
            "put",
            "uploaded"
        ]
    );
    let base = "/admin/datastore/store1";
    world.post(&format!("{base}/namespace"), "name=one").await;
    assert!(
        mock.keys(BUCKET, "store1/")
            .iter()
            .any(|key| key.contains("one"))
    );
    // The local tree comes back from the bucket.
    let upid = world.put(&format!("{base}/s3-refresh"), "").await;
    assert!(
        upid.as_str().unwrap().contains(":s3-refresh:store1:"),
        "{upid}"
    );
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
    let namespaces = world.get(&format!("{base}/namespace"), "").await;
    assert_eq!(namespaces, json!([{ "ns": "" }, { "ns": "one" }]));
    let upid = world.post(&format!("{base}/gc"), "").await;
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
    let upid = world
        .delete("/config/datastore/store1", "destroy-data=1")
        .await;
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
    assert_eq!(mock.keys(BUCKET, "store1/"), [""; 0]);
}

/// Whoever creates a datastore learns at once that there is no such bucket.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_had_is_refused_before_there_is_a_task() {
    let (world, mock) = world().await;
    let create = async |bucket: &str| {
        let form = format!(
            "name=store1&path={}/store1&backend=type%3Ds3,client%3Dmock,bucket%3D{bucket}",
            world.path().display()
        );
        let path = "/config/datastore";
        let (status, text) = world.refusal("root@pam", Method::POST, path, &form).await;
        assert_eq!(status, 400, "{text}");
        let what = format!("unable to access bucket '{bucket}' by endpoint 'mock': ");
        assert!(text.starts_with(&what), "{text}");
    };
    create("no-such-bucket").await;
    mock.script(Fault::on(Op::HeadBucket, Action::Reply(Reply::access_denied())).always());
    create(BUCKET).await;
    let tasks = world.get("/nodes/localhost/tasks", "").await;
    assert_eq!(tasks, json!([]));
    assert!(!world.path().join("store1").exists());
}

/// A server whose bucket is out of reach is not ready, unless that is by intention.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_out_of_reach_is_noticed() {
    let (world, mock) = world().await;
    let form = format!(
        "name=s3store&path={}/s3store&backend=type%3Ds3,client%3Dmock,bucket%3D{BUCKET}",
        world.path().display()
    );
    let upid = world.post("/config/datastore", &form).await;
    world.end(&upid).await;
    // Anew each time: an answer is good for a while.
    let ready = async || Readiness::default().ask(&world.server).await;
    ready().await.unwrap();
    mock.script(Fault::on(Op::HeadBucket, Action::Reply(Reply::access_denied())).always());
    let reason = ready().await.unwrap_err();
    assert!(reason.contains("s3store"), "{reason}");
    world
        .put("/config/datastore/s3store", "maintenance-mode=offline")
        .await;
    ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_gone_is_noticed() {
    let world = World::empty();
    world.configure(&["gone"]);
    let reason = Readiness::default().ask(&world.server).await.unwrap_err();
    assert!(reason.contains("gone"), "{reason}");
}
