//! Changing what is in datastores.

use api_types::access::Role;
use bytes::Bytes;
use datastore::format::blob::DataBlob;
use hyper::Method;
use s3_client::env::Env;
use serde_json::json;

use super::world::{PLAIN, World};

const BASE: &str = "/admin/datastore/samples";
const PROTECTED: &str = "backup-type=host&backup-id=plain&backup-time=1795336453";

#[tokio::test]
async fn notes_and_protection_are_set() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let (notes, protected) = (format!("{BASE}/notes"), format!("{BASE}/protected"));
    world.put(&notes, &format!("{PLAIN}&notes=one%0Atwo")).await;
    assert_eq!(world.get(&notes, PLAIN).await, "one\ntwo");
    let listed = world
        .get(
            &format!("{BASE}/snapshots"),
            "backup-type=host&backup-id=plain",
        )
        .await;
    assert_eq!(listed[1]["comment"], "one");
    world.put(&notes, &format!("{PLAIN}&notes=")).await;
    assert_eq!(world.get(&notes, PLAIN).await, "");

    for _ in 0..2 {
        world.put(&protected, &format!("{PLAIN}&protected=1")).await;
        assert_eq!(world.get(&protected, PLAIN).await, true);
    }
    world
        .put(&protected, &format!("{PLAIN}&protected=false"))
        .await;
    assert_eq!(world.get(&protected, PLAIN).await, false);

    let group = "backup-type=vm&backup-id=100";
    let group_notes = format!("{BASE}/group-notes");
    world.put(&group_notes, &format!("{group}&notes=x")).await;
    assert_eq!(world.get(&group_notes, group).await, "x");

    // Clients take 404 for "there is no such feature".
    let missing = "backup-type=vm&backup-id=100&backup-time=7";
    for path in [&notes, &protected] {
        assert_eq!(
            world
                .refusal("root@pam", Method::GET, path, missing)
                .await
                .0,
            400
        );
    }
}

#[tokio::test]
async fn snapshots_are_removed_unless_protected() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/snapshots");
    world.delete(&path, PLAIN).await;
    let left = world.get(&path, "backup-type=host&backup-id=plain").await;
    assert_eq!(left.as_array().unwrap().len(), 1);
    let refusal = world
        .refusal("root@pam", Method::DELETE, &path, PROTECTED)
        .await;
    let text = "failed to delete snapshot - cannot remove protected snapshot";
    assert_eq!(refusal, (400, text.to_owned()));
    assert_eq!(
        world
            .refusal("root@pam", Method::DELETE, &path, PLAIN)
            .await
            .0,
        400
    );
    // With the last snapshot goes the group.
    let last = "backup-type=host&backup-id=bytoken&backup-time=1795336465";
    world.delete(&path, last).await;
    assert!(!world.path().join("samples/host/bytoken").exists());
}

#[tokio::test]
async fn groups_are_removed_but_for_what_is_protected() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/groups");
    let split = "backup-type=host&backup-id=split";
    assert_eq!(
        world.delete(&path, split).await,
        json!({ "removed-groups": 1, "protected-snapshots": 0, "removed-snapshots": 2 })
    );
    let (status, text) = world
        .refusal("root@pam", Method::DELETE, &path, split)
        .await;
    assert_eq!(status, 400);
    assert!(text.contains("ENOENT: No such file or directory"), "{text}");
    let plain = "backup-type=host&backup-id=plain";
    let refusal = world
        .refusal("root@pam", Method::DELETE, &path, plain)
        .await;
    let text = "group only partially deleted due to protected snapshots";
    assert_eq!(refusal, (400, text.to_owned()));
    assert_eq!(
        world
            .delete(&path, &format!("{plain}&error-on-protected=0"))
            .await,
        json!({ "removed-groups": 0, "protected-snapshots": 1, "removed-snapshots": 0 })
    );
}

#[tokio::test]
async fn who_may_change_and_remove() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let token = "test@pbs!tok1";
    world.grant("test@pbs", "/", Role::Admin).await;
    world
        .grant(token, "/datastore/samples", Role::DatastoreBackup)
        .await;
    let own = "backup-type=host&backup-id=bytoken&backup-time=1795336465";
    let notes = format!("{BASE}/notes");
    let set = |snapshot: &str| format!("{snapshot}&notes=mine");
    world
        .call(token, Method::PUT, &notes, &set(own))
        .await
        .unwrap();
    let other = world.refusal(token, Method::PUT, &notes, &set(PLAIN)).await;
    assert_eq!(
        other.1,
        "backup owner check failed (test@pbs!tok1 != test@pbs)"
    );
    let path = format!("{BASE}/snapshots");
    let refusal = world.refusal(token, Method::DELETE, &path, own).await;
    let text = "permission check failed - missing Datastore.Modify|Datastore.Prune on \
                /datastore/samples";
    assert_eq!(refusal, (403, text.to_owned()));
    world
        .grant(token, "/datastore/samples", Role::DatastorePowerUser)
        .await;
    world.call(token, Method::DELETE, &path, own).await.unwrap();
    assert_eq!(
        world.refusal(token, Method::DELETE, &path, PLAIN).await.0,
        400
    );
}

#[tokio::test]
async fn owners_change() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/change-owner");
    let form = |id: &str, owner: &str| format!("backup-type=host&backup-id={id}&new-owner={owner}");
    world.post(&path, &form("plain", "nothing@pbs")).await;
    let owner = std::fs::read_to_string(world.path().join("samples/host/plain/owner")).unwrap();
    assert_eq!(owner.trim(), "nothing@pbs");
    for unknown in ["gone@pbs", "test@pbs!gone"] {
        let (status, text) = world
            .refusal("root@pam", Method::POST, &path, &form("plain", unknown))
            .await;
        assert_eq!(status, 400);
        assert!(text.ends_with("is inactive or non-existent."), "{text}");
    }
    let missing = form("none", "nothing@pbs");
    assert_eq!(
        world
            .refusal("root@pam", Method::POST, &path, &missing)
            .await
            .0,
        400
    );

    world
        .grant("test@pbs", "/datastore/samples", Role::DatastoreBackup)
        .await;
    let swap = form("bytoken", "test@pbs!tok2");
    world
        .call("test@pbs", Method::POST, &path, &swap)
        .await
        .unwrap();
    let refusal = world
        .refusal(
            "test@pbs",
            Method::POST,
            &path,
            &form("bytoken", "nothing@pbs"),
        )
        .await;
    let text = "test@pbs does not have permission to change owner of backup group \
                'host/bytoken' to nothing@pbs";
    assert_eq!(refusal, (401, text.to_owned()));
    let nobody = world
        .refusal("nothing@pbs", Method::POST, &path, &swap)
        .await;
    assert_eq!(nobody.0, 403);
}

#[tokio::test]
async fn namespaces_come_and_go() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/namespace");
    assert_eq!(world.post(&path, "name=new&parent=ns1").await, "ns1/new");
    assert_eq!(world.post(&path, "name=new&parent=ns1").await, "ns1/new");
    let refusal = world
        .refusal("root@pam", Method::POST, &path, "name=x&parent=none")
        .await;
    let text = "cannot create new namespace, parent none doesn't already exists";
    assert_eq!(refusal, (400, text.to_owned()));
    let deep = "name=x&parent=a/b/c/d/e/f/g";
    let (status, text) = world.refusal("root@pam", Method::POST, &path, deep).await;
    assert!(
        status == 400 && text.starts_with("namespace too deep, "),
        "{text}"
    );

    let refusal = world
        .refusal("root@pam", Method::DELETE, &path, "ns=")
        .await;
    assert_eq!(
        refusal,
        (400, "Cannot create/delete root namespace!".to_owned())
    );
    let refusal = world
        .refusal("root@pam", Method::DELETE, &path, "ns=ns1")
        .await;
    let text = "only partially deleted due to existing groups but `delete-groups` not true";
    assert_eq!(refusal, (400, text.to_owned()));
    assert_eq!(
        world.delete(&path, "ns=ns1&delete-groups=1").await,
        json!({ "removed-groups": 3, "protected-snapshots": 0, "removed-snapshots": 3 })
    );
    assert_eq!(world.get(&path, "").await, json!([{ "ns": "" }]));
    assert_eq!(
        world
            .refusal("root@pam", Method::DELETE, &path, "ns=ns1")
            .await
            .0,
        400
    );
    for method in [Method::POST, Method::DELETE] {
        let form = if method == Method::POST {
            "name=x"
        } else {
            "ns=x"
        };
        let refusal = world.refusal("nothing@pbs", method, &path, form).await;
        let text = "permission check failed - missing Datastore.Modify on /datastore/samples";
        assert_eq!(refusal, (403, text.to_owned()));
    }
}

#[tokio::test]
async fn a_log_is_uploaded_once() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/upload-backup-log");
    world
        .grant("test@pbs", "/datastore/samples", Role::DatastoreBackup)
        .await;
    let blob = DataBlob::encode(b"what happened", None, true, &Env::system()).unwrap();
    let upload = async |body: Bytes| {
        world
            .call_with("test@pbs", Method::POST, &path, PLAIN, body)
            .await
    };
    let mut damaged = blob.raw().to_vec();
    damaged[13] ^= 1;
    assert!(upload(damaged.into()).await.is_err());
    upload(blob.raw().clone()).await.unwrap();
    let form = format!("{PLAIN}&file-name=client.log.blob");
    let got = world
        .call(
            "root@pam",
            Method::GET,
            &format!("{BASE}/download-decoded"),
            &form,
        )
        .await
        .unwrap();
    assert_eq!(got["text"], "what happened");
    let again = upload(blob.into_raw()).await.unwrap_err();
    assert_eq!(again.message, "backup already contains a log.");
    let refusal = world
        .refusal("nothing@pbs", Method::POST, &path, PLAIN)
        .await;
    assert_eq!(refusal.0, 403);
}
