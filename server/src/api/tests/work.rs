//! Work on datastores, and jobs.

use api_types::access::Role;
use hyper::Method;
use serde_json::json;

use super::world::{PLAIN, World, members, recorded};
use crate::jobs::state::{JobStates, JobType};

const BASE: &str = "/admin/datastore/samples";

#[tokio::test(flavor = "multi_thread")]
async fn verifications_run_as_tasks() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/verify");
    for (form, name) in [
        ("ns=ns1&max-depth=0", ":verify:samples\\x3ans-ns1:root@pam:"),
        (
            "ignore-verified=false&backup-type=vm&backup-id=100",
            ":verify_group:samples\\x3a-vm-100:root@pam:",
        ),
        (
            PLAIN,
            ":verify_snapshot:samples\\x3a-host-plain-6B02A903:root@pam:",
        ),
    ] {
        let upid = world.post(&path, form).await;
        assert!(upid.as_str().unwrap().ends_with(name), "{upid}");
        assert_eq!(world.end(&upid).await, "OK", "{form}: {}", world.log(&upid));
    }
    let listed = world
        .get(&format!("{BASE}/snapshots"), "backup-type=vm&backup-id=100")
        .await;
    assert_eq!(listed[0]["verification"]["state"], "ok");

    for form in ["backup-type=vm", "backup-id=100", "backup-time=7"] {
        let refusal = world.refusal("root@pam", Method::POST, &path, form).await;
        let text = "parameters do not specify a backup group or snapshot";
        assert_eq!(refusal, (400, text.to_owned()), "{form}");
    }
    let refusal = world.refusal("nothing@pbs", Method::POST, &path, "").await;
    let text = "permission check failed - missing Datastore.Verify|Datastore.Backup on \
                /datastore/samples";
    assert_eq!(refusal, (403, text.to_owned()));
    world
        .grant("nothing@pbs", "/datastore/samples", Role::DatastoreBackup)
        .await;
    let (status, text) = world
        .refusal("nothing@pbs", Method::POST, &path, PLAIN)
        .await;
    assert_eq!(status, 400);
    assert_eq!(text, "backup owner check failed (nothing@pbs != test@pbs)");
    // Of all groups, those of others are left alone.
    let own = world
        .call("nothing@pbs", Method::POST, &path, "ignore-verified=0")
        .await
        .unwrap();
    assert_eq!(world.end(&own["data"]).await, "OK");
    assert!(!world.log(&own["data"]).contains("vm/100"));
}

#[tokio::test(flavor = "multi_thread")]
async fn prunes_remove_what_no_rule_keeps() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/prune");
    let left = async |id: &str| {
        let form = format!("backup-type=host&backup-id={id}");
        let list = world.get(&format!("{BASE}/snapshots"), &form).await;
        list.as_array().unwrap().len()
    };
    let split = "backup-type=host&backup-id=split&keep-last=1";
    let dry = world.post(&path, &format!("{split}&dry-run=1")).await;
    assert_eq!(left("split").await, 2);
    assert_eq!(world.post(&path, split).await, dry);
    assert_eq!(left("split").await, 1);
    let everything = world.post(&path, "backup-type=host&backup-id=enc").await;
    assert!(
        everything
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["keep"] == true)
    );

    let enc = "backup-type=host&backup-id=enc&keep-last=1&use-task=1";
    let upid = world.post(&path, enc).await;
    let name = ":prune:samples\\x3a\\x3ahost-enc:root@pam:";
    assert!(upid.as_str().unwrap().ends_with(name), "{upid}");
    assert_eq!(world.end(&upid).await, "OK");
    assert_eq!(left("enc").await, 1);

    let refusal = world
        .refusal("root@pam", Method::POST, &path, "keep-last=0")
        .await;
    assert!(refusal.1.contains("'keep-last'"), "{refusal:?}");
    let (status, _) = world
        .refusal("nothing@pbs", Method::POST, &path, split)
        .await;
    assert_eq!(status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_datastore_is_pruned() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/prune-datastore");
    let dry = world.post(&path, "keep-last=1&dry-run=1").await;
    assert!(
        dry.as_str()
            .unwrap()
            .ends_with(":prune:samples\\x3a:root@pam:"),
        "{dry}"
    );
    assert_eq!(world.end(&dry).await, "OK");
    let log = world.log(&dry);
    assert!(
        log.contains("would remove vm/100/2026-11-22T08:34:16Z"),
        "{log}"
    );
    // Who may prune their own groups only does that.
    world.grant("test@pbs", "/", Role::Admin).await;
    world
        .grant(
            "test@pbs!tok1",
            "/datastore/samples",
            Role::DatastorePowerUser,
        )
        .await;
    let own = world
        .call("test@pbs!tok1", Method::POST, &path, "keep-last=1")
        .await
        .unwrap();
    assert_eq!(world.end(&own["data"]).await, "OK");
    assert!(!world.log(&own["data"]).contains("vm/100"));
    let everything = world.post(&path, "").await;
    assert_eq!(world.end(&everything).await, "WARNINGS: 1");
    let (status, _) = world.refusal("nothing@pbs", Method::POST, &path, "").await;
    assert_eq!(status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_collected_once_at_a_time() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/gc");
    let before = world.get(&path, "").await;
    let real = recorded("GET /admin/datastore/samples/gc").unwrap();
    assert_eq!(before["upid"], real["upid"]);
    let held = JobStates::of(&world.server)
        .try_lock(JobType::GarbageCollection, "samples")
        .unwrap()
        .unwrap();
    let refusal = world.refusal("root@pam", Method::POST, &path, "").await;
    assert_eq!(
        refusal,
        (400, "garbage collection already running".to_owned())
    );
    drop(held);
    let upid = world.post(&path, "").await;
    let name = ":garbage_collection:samples:root@pam:";
    assert!(upid.as_str().unwrap().ends_with(name), "{upid}");
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
    let after = world.get(&path, "").await;
    assert_eq!(
        (&after["last-run-state"], &after["upid"]),
        (&json!("OK"), &upid)
    );
    // A snapshot was removed after the recording.
    for name in ["disk-chunks", "disk-bytes"] {
        assert_eq!(after[name], real[name], "{name}");
    }
    for name in members(&real) {
        let optional = name == "cache-stats";
        assert!(optional || after.get(name).is_some(), "{name}: {after}");
    }
    assert_eq!(world.get("/admin/gc", "").await, json!([after]));
    assert_eq!(world.get("/admin/gc/samples", "").await, json!([after]));

    for method in [Method::POST, Method::GET] {
        let refusal = world.refusal("nothing@pbs", method, &path, "").await;
        assert_eq!(refusal, (403, "permission check failed".to_owned()));
    }
    assert_eq!(
        world
            .refusal("root@pam", Method::GET, "/admin/gc/nosuch", "")
            .await
            .0,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_when_asked_to() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let prune = "id=nightly&store=samples&schedule=daily&keep-last=1&ns=ns1&max-depth=0";
    world.post("/config/prune", prune).await;
    world.post("/config/verify", "id=all&store=samples").await;
    let before = world.get("/admin/prune", "").await;
    assert!(before[0]["next-run"].is_i64(), "{before}");
    assert_eq!(before[0].get("last-run-upid"), None);
    for (path, id, name) in [
        ("prune", "nightly", ":prunejob:samples\\x3ans1:root@pam:"),
        (
            "verify",
            "all",
            ":verificationjob:samples\\x3aall:root@pam:",
        ),
    ] {
        let upid = world.post(&format!("/admin/{path}/{id}/run"), "").await;
        assert!(upid.as_str().unwrap().ends_with(name), "{upid}");
        assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
        let list = world.get(&format!("/admin/{path}"), "store=samples").await;
        assert_eq!(list[0]["last-run-state"], "OK");
        assert_eq!(list[0]["last-run-upid"], upid);
        assert!(list[0]["last-run-endtime"].is_i64());
        let other = world.get(&format!("/admin/{path}"), "store=other").await;
        assert_eq!(other, json!([]));
        let (status, text) = world
            .refusal(
                "nothing@pbs",
                Method::POST,
                &format!("/admin/{path}/{id}/run"),
                "",
            )
            .await;
        assert_eq!(status, 400);
        assert!(
            text.starts_with("missing permissions 'Datastore."),
            "{text}"
        );
        let unknown = format!("/admin/{path}/unknown/run");
        assert_eq!(
            world
                .refusal("root@pam", Method::POST, &unknown, "")
                .await
                .0,
            400
        );
    }
    let hidden = world
        .call("nothing@pbs", Method::GET, "/admin/verify", "")
        .await;
    assert_eq!(hidden.unwrap()["data"], json!([]));
}

#[tokio::test]
async fn operations_are_counted() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/active-operations");
    assert_eq!(world.get(&path, "").await, json!({ "read": 0, "write": 0 }));
    let operation = api_types::datastore::Operation::Write;
    let name = "samples".parse().unwrap();
    let _open = world.server.stores.open(&name, operation).await.unwrap();
    assert_eq!(world.get(&path, "").await, json!({ "read": 0, "write": 1 }));
    assert_eq!(
        world.refusal("nothing@pbs", Method::GET, &path, "").await.0,
        403
    );
    let path = format!("{BASE}/s3-refresh");
    let refusal = world.refusal("root@pam", Method::PUT, &path, "").await;
    assert!(refusal.1.contains("no S3 backend"), "{refusal:?}");
}
