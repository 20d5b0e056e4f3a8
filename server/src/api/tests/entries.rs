//! Remotes, sync jobs, traffic control and the machine's configuration.

use api_types::access::Role;
use hyper::Method;
use serde_json::{Value, json};

use super::world::World;

const REMOTES: &str = "/config/remote";
const SYNC: &str = "/config/sync";
const RULES: &str = "/config/traffic-control";
const NODE: &str = "/nodes/localhost/config";

fn file(world: &World, name: &str) -> String {
    std::fs::read_to_string(world.server.paths.config.join(name)).unwrap()
}

async fn digest(world: &World, path: &str) -> String {
    let answer = world.call("root@pam", Method::GET, path, "").await.unwrap();
    answer["digest"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn remotes_come_and_go_and_keep_their_password() {
    let world = World::empty();
    let form = "name=other&host=pbs.example.org&auth-id=sync@pbs&password=geheim%21&comment=c";
    world.post(REMOTES, form).await;
    let item = format!("{REMOTES}/other");
    let shown = json!({
        "name": "other", "host": "pbs.example.org", "auth-id": "sync@pbs", "comment": "c"
    });
    assert_eq!(world.get(&item, "").await, shown);
    assert_eq!(world.get(REMOTES, "").await, json!([shown]));
    let text = file(&world, "remote.cfg");
    assert!(text.contains("\tpassword Z2VoZWltIQ==\n"), "{text}");
    let (status, text) = world.refusal("root@pam", Method::POST, REMOTES, form).await;
    assert_eq!(status, 400);
    assert_eq!(
        text,
        "parameter verification failed - 'name': remote 'other' already exists."
    );
    let change = format!("port=8008&comment=&digest={}", digest(&world, &item).await);
    world.put(&item, &change).await;
    assert_eq!(world.get(&item, "").await["port"], 8008);
    assert_eq!(world.get(&item, "").await.get("comment"), None);
    assert!(
        file(&world, "remote.cfg").contains("Z2VoZWltIQ=="),
        "it stays"
    );
    world.put(&item, "delete=port&password=neu").await;
    assert_eq!(world.get(&item, "").await.get("port"), None);
    assert!(file(&world, "remote.cfg").contains("bmV1"));

    // Seen by those who may.
    let nothing = world.call("nothing@pbs", Method::GET, REMOTES, "").await;
    assert_eq!(nothing.unwrap()["data"], json!([]));
    let (status, _) = world.refusal("nothing@pbs", Method::GET, &item, "").await;
    assert_eq!(status, 403);
    world
        .grant("nothing@pbs", "/remote/other", Role::RemoteAudit)
        .await;
    let seen = world.call("nothing@pbs", Method::GET, REMOTES, "").await;
    assert_eq!(seen.unwrap()["data"][0]["name"], "other");
    let (status, _) = world
        .refusal("nothing@pbs", Method::PUT, &item, "port=1")
        .await;
    assert_eq!(status, 403);

    world.configure(&["store1"]);
    let job = "id=nightly&store=store1&remote=other&remote-store=there";
    world.post(SYNC, job).await;
    let refusal = world.refusal("root@pam", Method::DELETE, &item, "").await;
    let text = "remote 'other' is used by sync job 'nightly'";
    assert_eq!(refusal, (400, text.to_owned()));
    world.delete(&format!("{SYNC}/nightly"), "").await;
    world.delete(&item, "").await;
    let refusal = world.refusal("root@pam", Method::DELETE, &item, "").await;
    assert_eq!(refusal, (404, "remote 'other' does not exist.".to_owned()));
    let refusal = world.refusal("root@pam", Method::GET, &item, "").await;
    assert_eq!(refusal, (400, "no such remote 'other'".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_jobs_are_configured_listed_and_run() {
    let world = World::empty();
    world.configure(&["store1", "store2"]);
    let form = "id=local&store=store1&remote-store=store2&schedule=daily&group-filter=type:vm\
                &group-filter=exclude:group:vm/100&transfer-last=3&remove-vanished=1";
    world.post(SYNC, form).await;
    let item = format!("{SYNC}/local");
    let job = json!({
        "id": "local", "store": "store1", "remote-store": "store2", "schedule": "daily",
        "group-filter": ["type:vm", "exclude:group:vm/100"], "transfer-last": 3,
        "remove-vanished": true
    });
    assert_eq!(world.get(&item, "").await, job);
    for (path, form, count) in [
        (SYNC, "", 1),
        (SYNC, "sync-direction=push", 0),
        ("/admin/sync", "sync-direction=all&store=store1", 1),
        ("/admin/sync", "store=store2", 0),
    ] {
        let list = world.get(path, form).await;
        assert_eq!(list.as_array().unwrap().len(), count, "{path} {form}");
    }
    let listed = world.get("/admin/sync", "").await;
    assert!(listed[0]["next-run"].is_i64(), "{listed}");
    assert_eq!(listed[0].get("last-run-upid"), None, "{listed}");
    // There is nothing below this configuration, but that is for the task to say.
    let (status, text) = world
        .refusal("root@pam", Method::POST, "/admin/sync/local/run", "")
        .await;
    assert_eq!(status, 400);
    assert!(text.contains("unable to open datastore"), "{text}");

    world.put(&item, "delete=group-filter&max-depth=1").await;
    assert_eq!(world.get(&item, "").await.get("group-filter"), None);
    for bad in [
        "id=other&store=store1&remote-store=store1",
        "id=other&store=store1&remote-store=x&remote=none",
        "id=other&store=none&remote-store=store1",
        "id=other&store=store1&remote-store=store2&sync-direction=push",
        "id=other&store=store1&remote-store=store2&group-filter=vm/100",
        "id=local&store=store1&remote-store=store2",
    ] {
        let (status, _) = world.refusal("root@pam", Method::POST, SYNC, bad).await;
        assert_eq!(status, 400, "{bad}");
    }
    // A backup user may pull into their datastore, as somebody else only with more rights.
    let pull = |id: &str, more: &str| {
        format!("id={id}&store=store1&remote-store=store2&owner=test@pbs{more}")
    };
    let refused = world
        .refusal("test@pbs", Method::POST, SYNC, &pull("mine", ""))
        .await;
    assert!(refused.1.contains("missing permissions"), "{}", refused.1);
    world
        .grant("test@pbs", "/datastore/store1", Role::DatastoreAdmin)
        .await;
    world
        .grant("test@pbs", "/datastore/store2", Role::DatastoreBackup)
        .await;
    let made = world
        .call("test@pbs", Method::POST, SYNC, &pull("mine", ""))
        .await;
    assert!(made.is_ok(), "{made:?}");
    let refused = world
        .refusal("nothing@pbs", Method::GET, &format!("{SYNC}/mine"), "")
        .await;
    assert_eq!(refused.0, 403);
    world.delete(&item, "").await;
    let refusal = world.refusal("root@pam", Method::DELETE, &item, "").await;
    assert_eq!(refusal, (404, "job 'local' does not exist.".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_rules_are_configured_and_shown_at_work() {
    let world = World::empty();
    let form = "name=office&network=10.0.0.0/8&network=fd00::/8&rate-in=10%20MiB&timeframe=8-17";
    world.post(RULES, form).await;
    let rule = json!({
        "name": "office", "network": ["10.0.0.0/8", "fd00::/8"], "rate-in": "10 MiB",
        "timeframe": ["8-17"]
    });
    let item = format!("{RULES}/office");
    assert_eq!(world.get(&item, "").await, rule);
    assert_eq!(world.get("/admin/traffic-control", "").await, json!([]));
    world.server.traffic.reload();
    let mut working = rule.clone();
    working["cur-rate-in"] = json!(0);
    working["cur-rate-out"] = json!(0);
    assert_eq!(
        world.get("/admin/traffic-control", "").await,
        json!([working])
    );
    world.put(&item, "delete=timeframe&users=test@pbs").await;
    assert_eq!(world.get(&item, "").await["users"], json!(["test@pbs"]));
    for bad in [
        "name=other",
        "name=other&network=10.0.0.0",
        "name=other&network=::/0&timeframe=22-6",
        "name=other&network=::/0&rate-in=-1",
        form,
    ] {
        let (status, _) = world.refusal("root@pam", Method::POST, RULES, bad).await;
        assert_eq!(status, 400, "{bad}");
    }
    world.grant("test@pbs", "/", Role::Audit).await;
    let seen = world.call("test@pbs", Method::GET, &item, "").await;
    assert!(seen.is_ok());
    let (status, _) = world.refusal("test@pbs", Method::GET, RULES, "").await;
    assert_eq!(status, 403, "the list needs more than an entry");
    world.delete(&item, "").await;
    let refusal = world.refusal("root@pam", Method::DELETE, &item, "").await;
    let text = "traffic control rule 'office' does not exist.";
    assert_eq!(refusal, (404, text.to_owned()));
    assert_eq!(world.get("/admin/metrics", "").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_has_a_configuration() {
    let world = World::empty();
    assert_eq!(world.get(NODE, "").await, json!({}));
    let form = "email-from=a@example.org&task-log-max-days=7&description=one%0Atwo&digest=";
    world.put(NODE, form).await;
    let expected = json!({
        "email-from": "a@example.org", "task-log-max-days": 7, "description": "one\ntwo"
    });
    assert_eq!(world.get(NODE, "").await, expected);
    let text = file(&world, "node.cfg");
    assert_eq!(
        text,
        "#one\n#two\nemail-from: a@example.org\ntask-log-max-days: 7\n"
    );
    let old = digest(&world, NODE).await;
    world
        .put(NODE, "delete=email-from&delete=description&location=here")
        .await;
    let shown: Value = world.get(NODE, "").await;
    assert_eq!(shown, json!({ "task-log-max-days": 7, "location": "here" }));
    let stale = format!("location=there&digest={old}");
    let (status, _) = world.refusal("root@pam", Method::PUT, NODE, &stale).await;
    assert_eq!(status, 400);
    for bad in [
        "nothing=1",
        "task-log-max-days=-1",
        "delete=nothing",
        "location=a%0Ab",
    ] {
        let (status, _) = world.refusal("root@pam", Method::PUT, NODE, bad).await;
        assert_eq!(status, 400, "{bad}");
    }
    let (status, _) = world.refusal("test@pbs", Method::GET, NODE, "").await;
    assert_eq!(status, 403);

    let dns = world.get("/nodes/localhost/dns", "").await;
    assert_eq!(dns["digest"].as_str().unwrap().len(), 64);
    let (status, _) = world
        .refusal("root@pam", Method::PUT, "/nodes/localhost/dns", "dns1=here")
        .await;
    assert_eq!(status, 400);
    let (status, _) = world
        .refusal(
            "root@pam",
            Method::PUT,
            "/nodes/localhost/time",
            "timezone=Nowhere/At_All",
        )
        .await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_pull() {
    let world = World::empty();
    world.configure(&["store1", "store2"]);
    let remote = "name=other&host=pbs.example.org&auth-id=sync@pbs&password=geheim";
    world.post("/config/remote", remote).await;
    let here = "store=store1&remote-store=store2";
    let vanished = "store=store1&remote-store=store2&remove-vanished=1";
    let there = "store=store1&remote-store=far&remote=other";
    let refused = async |form: &str| {
        let (status, text) = world.refusal("test@pbs", Method::POST, "/pull", form).await;
        assert_eq!(status, 400, "{form}: {text}");
        text
    };
    let missing = async |form: &str| refused(form).await.contains("missing permissions");
    assert!(missing(here).await && missing(there).await);
    let grant = async |path: &str, role| world.grant("test@pbs", path, role).await;
    grant("/datastore/store1", Role::DatastoreBackup).await;
    assert!(missing(here).await && missing(there).await && missing(vanished).await);
    grant("/datastore/store2", Role::DatastoreBackup).await;
    grant("/remote/other/far", Role::RemoteSyncOperator).await;
    // Now it is the datastores that are not there.
    for form in [here, there] {
        assert!(!missing(form).await, "{form}");
    }
    assert!(missing(vanished).await);
    let keys = refused("store=store1&remote-store=store2&decryption-keys=key1").await;
    assert!(keys.contains("not supported"), "{keys}");
}
