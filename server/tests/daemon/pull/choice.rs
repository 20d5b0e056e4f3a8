//! What is pulled, what is left, and what goes since the source has it no more.

use hyper::Method;
use serde_json::json;

use super::world::{START, Two, in_query, namespaces, numbers, of_snapshot, small};
use crate::backup::call;

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_the_last_ones() {
    let two = Two::new().await;
    for (group, count) in [("host/a", 3), ("host/b", 1), ("vm/100", 2), ("ct/5", 1)] {
        for number in 0..count {
            small(&two.from, "", group, number).await;
        }
    }
    let filters = ["type:host", "regex:^vm/1", "exclude:group:host/b"];
    let more = json!({ "group-filter": filters, "transfer-last": 2, "worker-threads": 2 });
    let pulled = two.pull("local", more).await;
    pulled.well(&[
        "Found 2 groups to sync (out of 4 total)",
        "skipped: 1 snapshot(s)",
        "due to transfer-last",
    ]);
    let here = ["host/a/1", "host/a/2", "vm/100/0", "vm/100/1"];
    assert_eq!(numbers(&two.to, "local", "").await, here);
    // Nothing older than what is there ever comes.
    two.pull("local", json!({}))
        .await
        .well(&["older than the newest snapshot present on sync target"]);
    let all = numbers(&two.to, "local", "").await;
    assert_eq!(all.len(), 6, "{all:?}");
    assert!(!all.contains(&"host/a/0".to_owned()));
    // None of them is encrypted or verified.
    for only in ["encrypted-only", "verified-only"] {
        let more = json!({ only: true, "ns": only.replace("only", "ones") });
        two.pull("local", more).await.well(&[]);
        let ns = only.replace("only", "ones");
        assert!(numbers(&two.to, "local", &ns).await.is_empty());
    }
}

async fn create_namespace(two: &Two, parent: &str, name: &str) {
    let body = json!({ "parent": parent, "name": name });
    let path = "admin/datastore/local/namespace";
    call(&two.from, Method::POST, path, Some(body)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_come_and_go() {
    let two = Two::new().await;
    create_namespace(&two, "", "x").await;
    create_namespace(&two, "x", "y").await;
    create_namespace(&two, "", "other").await;
    small(&two.from, "", "host/root", 0).await;
    small(&two.from, "x", "host/a", 0).await;
    small(&two.from, "x/y", "host/deep", 0).await;
    let more = json!({ "remote-ns": "x", "ns": "in", "max-depth": 0 });
    two.pull("local", more).await.well(&[
        "Syncing datastore 'local', namespace 'x' into datastore 'local', namespace 'in'",
        "Created namespace in",
    ]);
    assert_eq!(namespaces(&two.to, "local").await, ["", "in"]);
    assert_eq!(numbers(&two.to, "local", "in").await, ["host/a/0"]);

    let all = || json!({ "ns": "in", "remove-vanished": true });
    let here = ["", "in", "in/other", "in/x", "in/x/y"];
    two.pull("local", all())
        .await
        .well(&["delete vanished group 'host/a'"]);
    assert_eq!(namespaces(&two.to, "local").await, here);
    assert_eq!(numbers(&two.to, "local", "in").await, ["host/root/0"]);
    assert_eq!(numbers(&two.to, "local", "in/x/y").await, ["host/deep/0"]);

    let path = "admin/datastore/local/namespace?ns=x/y&delete-groups=true";
    call(&two.from, Method::DELETE, path, None).await;
    // Too far down for this one to look at.
    let flat = json!({ "ns": "in", "remove-vanished": true, "max-depth": 1 });
    two.pull("local", flat).await.well(&[]);
    assert_eq!(namespaces(&two.to, "local").await, here);
    two.pull("local", all())
        .await
        .well(&["removed vanished namespace 'in/x/y'"]);
    assert_eq!(namespaces(&two.to, "local").await, here[..4]);
    assert_eq!(numbers(&two.to, "local", "in/x").await, ["host/a/0"]);
}

async fn vanished(store: &str) {
    let two = Two::new().await;
    for number in 0..4 {
        small(&two.from, "", "host/a", number).await;
    }
    small(&two.from, "", "host/gone", 0).await;
    small(&two.from, "", "host/kept", 0).await;
    two.pull(store, json!({})).await.well(&[]);
    let protect = of_snapshot("host/a", START + 60, json!({ "protected": true }));
    let path = format!("admin/datastore/{store}/protected");
    call(&two.to, Method::PUT, &path, Some(protect)).await;
    for number in [0, 1] {
        let query = in_query(&of_snapshot("host/a", START + number * 60, json!({})));
        let path = format!("admin/datastore/local/snapshots?{query}");
        call(&two.from, Method::DELETE, &path, None).await;
    }
    for id in ["gone", "kept"] {
        let path = format!("admin/datastore/local/groups?backup-type=host&backup-id={id}");
        call(&two.from, Method::DELETE, &path, None).await;
    }
    // Nothing goes unless it is asked for, nor what the filter leaves out.
    two.pull(store, json!({})).await.well(&[]);
    assert_eq!(numbers(&two.to, store, "").await.len(), 6);
    let more = json!({ "remove-vanished": true, "group-filter": ["exclude:group:host/kept"] });
    let pulled = two.pull(store, more).await;
    pulled.well(&[
        "[host/a]: delete vanished snapshot host/a/",
        "(protected)",
        "delete vanished group 'host/gone'",
    ]);
    let here = ["host/a/1", "host/a/2", "host/a/3", "host/kept/0"];
    assert_eq!(numbers(&two.to, store, "").await, here);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_vanished_goes_from_a_directory() {
    vanished("local").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_vanished_goes_from_a_bucket() {
    vanished("dev").await;
}
