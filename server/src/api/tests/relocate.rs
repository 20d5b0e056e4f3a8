//! Groups and namespaces move.

use api_types::access::Role;
use hyper::Method;

use super::world::World;

const BASE: &str = "/admin/datastore/samples";

async fn snapshots(world: &World, form: &str) -> usize {
    let list = world.get(&format!("{BASE}/snapshots"), form).await;
    list.as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_moves_as_a_task() {
    let Some(world) = World::with_samples() else {
        return;
    };
    world.post(&format!("{BASE}/namespace"), "name=new").await;
    let path = format!("{BASE}/move-group");
    let split = "backup-type=host&backup-id=split";
    let count = snapshots(&world, split).await;
    let form = format!("{split}&target-ns=new");

    let refusal = world
        .refusal("nothing@pbs", Method::POST, &path, &form)
        .await;
    let text = "permission check failed - missing Datastore.Modify|Datastore.Prune on \
                /datastore/samples";
    assert_eq!(refusal, (403, text.to_owned()));
    // Their own rights reach, but the group is somebody else's.
    world
        .grant(
            "nothing@pbs",
            "/datastore/samples",
            Role::DatastorePowerUser,
        )
        .await;
    let (status, text) = world
        .refusal("nothing@pbs", Method::POST, &path, &form)
        .await;
    assert_eq!(status, 400);
    assert!(text.contains("backup owner check failed"), "{text}");

    let upid = world.post(&path, &form).await;
    let name = ":move-group:samples\\x3a-host-split\\x3anew:root@pam:";
    assert!(upid.as_str().unwrap().ends_with(name), "{upid}");
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
    assert_eq!(snapshots(&world, split).await, 0);
    assert_eq!(snapshots(&world, &format!("{split}&ns=new")).await, count);

    let upid = world.post(&path, &form).await;
    let end = world.end(&upid).await;
    assert!(end.contains("ENOENT"), "{end}");
    // What has moved still verifies.
    let form = "ns=new&max-depth=0&ignore-verified=0";
    let upid = world.post(&format!("{BASE}/verify"), form).await;
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_moves_as_a_task() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/move-namespace");
    let count = snapshots(&world, "ns=ns1").await;
    assert!(count > 0);
    let form = "ns=ns1&target-ns=other";
    let refusal = world
        .refusal("nothing@pbs", Method::POST, &path, form)
        .await;
    assert_eq!(refusal.0, 403);
    for bad in [
        "ns=&target-ns=x",
        "ns=ns1&target-ns=ns1/x",
        "ns=ns1&target-ns=ns1",
    ] {
        let (status, _) = world.refusal("root@pam", Method::POST, &path, bad).await;
        assert_eq!(status, 400, "{bad}");
    }
    let upid = world.post(&path, form).await;
    let name = ":move-namespace:samples\\x3ans1\\x3aother:root@pam:";
    assert!(upid.as_str().unwrap().ends_with(name), "{upid}");
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
    assert_eq!(snapshots(&world, "ns=other").await, count);
    let (status, _) = world
        .refusal(
            "root@pam",
            Method::GET,
            &format!("{BASE}/snapshots"),
            "ns=ns1",
        )
        .await;
    assert_eq!(status, 400);
}
