//! Configuration of datastores and jobs.

use api_types::access::Role;
use hyper::Method;
use serde_json::json;

use super::world::World;

const DATASTORES: &str = "/config/datastore";

impl World {
    /// Form with which the datastore `name` is created below the world's directory.
    fn new_store(&self, name: &str, more: &str) -> String {
        format!("name={name}&path={}/{name}{more}", self.path().display())
    }

    async fn create(&self, name: &str, more: &str) -> String {
        let upid = self.post(DATASTORES, &self.new_store(name, more)).await;
        self.end(&upid).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datastores_are_created_changed_and_removed() {
    let world = World::empty();
    let upid = world
        .post(
            DATASTORES,
            &world.new_store("store1", "&comment=one&gc-schedule=daily"),
        )
        .await;
    assert!(
        upid.as_str().unwrap().contains(":create-datastore:store1:"),
        "{upid}"
    );
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
    let item = format!("{DATASTORES}/store1");
    let path = format!("{}/store1", world.path().display());
    assert_eq!(
        world.get(&item, "").await,
        json!({ "name": "store1", "path": path, "comment": "one", "gc-schedule": "daily" })
    );
    let answer = world
        .call("root@pam", Method::GET, &item, "")
        .await
        .unwrap();
    let digest = answer["digest"].as_str().unwrap().to_owned();
    assert_eq!(digest.len(), 64);

    let form = format!("comment=&verify-new=1&tuning=gc-atime-cutoff%3D60&digest={digest}");
    world.put(&item, &form).await;
    assert_eq!(
        world.get(&item, "").await,
        json!({ "name": "store1", "path": path, "gc-schedule": "daily", "verify-new": true,
                "tuning": "gc-atime-cutoff=60" })
    );
    let refusal = world.refusal("root@pam", Method::PUT, &item, &form).await;
    let text = "detected modified configuration - file changed by other user? Try again.";
    assert_eq!(refusal, (400, text.to_owned()));
    world
        .put(&item, "delete=tuning&delete=gc-schedule&delete=verify-new")
        .await;
    assert_eq!(
        world.get(&item, "").await,
        json!({ "name": "store1", "path": path })
    );

    let upid = world.delete(&item, "").await;
    assert!(
        upid.as_str().unwrap().contains(":delete-datastore:store1:"),
        "{upid}"
    );
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
    assert!(world.path().join("store1/.chunks").is_dir());
    assert_eq!(world.get(DATASTORES, "").await, json!([]));
    let refused = world.create("store1", "").await;
    assert!(refused.contains("there is one already"), "{refused}");
    assert_eq!(world.create("store1", "&reuse-datastore=1").await, "OK");
    let upid = world.delete(&item, "destroy-data=1").await;
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
    assert!(!world.path().join("store1").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn datastores_that_cannot_be() {
    let world = World::empty();
    world.configure(&["store1"]);
    let refusal = async |method: Method, path: &str, form: &str| {
        world.refusal("root@pam", method, path, form).await
    };
    let again = refusal(Method::POST, DATASTORES, &world.new_store("store1", "")).await;
    let text = "parameter verification failed - 'name': datastore 'store1' already exists.";
    assert_eq!(again, (400, text.to_owned()));
    for (form, part) in [
        ("name=x&path=/x", "'name'"),
        ("name=store2&path=relative", "must be absolute"),
        ("name=store2", "'path': parameter is missing"),
        (
            "name=store2&path=/x&gc-schedule=sometimes",
            "unable to parse calendar event",
        ),
        ("name=store2&path=/x&tuning=other%3D1", "'tuning'"),
        ("name=store2&path=/x&keep-last=0", "'keep-last'"),
        (
            "name=store2&path=/x&backing-device=0a",
            "removable datastores are not supported",
        ),
        (
            "name=store2&path=/x&backend=type%3Ds3,client%3Dnone,bucket%3Dbucket",
            "no such s3-endpoint 'none'",
        ),
    ] {
        let (status, text) = refusal(Method::POST, DATASTORES, form).await;
        assert!(status == 400 && text.contains(part), "{form}: {text}");
    }
    let prune = refusal(Method::PUT, "/config/datastore/store1", "keep-last=3").await;
    let text = "datastore prune settings have been replaced by prune jobs";
    assert_eq!(prune, (400, text.to_owned()));
    let gone = refusal(Method::DELETE, "/config/datastore/gone", "").await;
    assert_eq!(gone, (404, "datastore 'gone' does not exist.".to_owned()));
    for method in [Method::GET, Method::PUT] {
        let gone = refusal(method, "/config/datastore/gone", "").await;
        assert_eq!(gone, (400, "no such datastore 'gone'".to_owned()));
    }
    for (method, path, form) in [
        (Method::POST, DATASTORES, world.new_store("store3", "")),
        (Method::GET, "/config/datastore/store1", String::new()),
        (Method::PUT, "/config/datastore/store1", String::new()),
        (Method::DELETE, "/config/datastore/store1", String::new()),
    ] {
        let refusal = world.refusal("nothing@pbs", method, path, &form).await;
        assert_eq!(refusal, (403, "permission check failed".to_owned()));
    }
    let seen = world.call("nothing@pbs", Method::GET, DATASTORES, "").await;
    assert_eq!(seen.unwrap()["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_datastore_comes_and_goes_with_it() {
    let world = World::empty();
    let more = "&prune-schedule=daily&keep-last=3&keep-weekly=2";
    assert_eq!(world.create("store1", more).await, "OK");
    assert_eq!(world.create("store2", "").await, "OK");
    let shown = world.get("/config/datastore/store1", "").await;
    assert_eq!(shown.get("keep-last"), None);
    let jobs = world.get("/config/prune", "").await;
    let job = &jobs[0];
    assert_eq!(
        (&job["keep-last"], &job["schedule"]),
        (&json!(3), &json!("daily"))
    );
    let id = job["id"].as_str().unwrap();
    assert!(id.starts_with("default-store1-") && id.len() == 32, "{id}");
    world.post("/config/verify", "id=v-two&store=store2").await;
    world.post("/config/verify", "id=v-one&store=store1").await;
    let remote = "name=other&host=pbs.example.org&auth-id=sync@pbs&password=geheim";
    world.post("/config/remote", remote).await;
    for job in [
        "id=from-one&store=store2&remote-store=store1",
        "id=to-one&store=store1&remote-store=store2",
        "id=from-far&store=store2&remote-store=store1&remote=other",
    ] {
        world.post("/config/sync", job).await;
    }
    world
        .grant("test@pbs", "/datastore/store1", Role::DatastoreAdmin)
        .await;
    world
        .grant("test@pbs", "/datastore/store2", Role::DatastoreAdmin)
        .await;

    let upid = world.delete("/config/datastore/store1", "").await;
    assert_eq!(world.end(&upid).await, "OK", "{}", world.log(&upid));
    assert_eq!(world.get("/config/prune", "").await, json!([]));
    let left = world.get("/config/verify", "").await;
    assert_eq!(left, json!([{ "id": "v-two", "store": "store2" }]));
    let synced = world.get("/config/sync", "").await;
    let ids: Vec<_> = synced
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["id"])
        .collect();
    assert_eq!(ids, ["from-far"], "that one's source is elsewhere");
    let acl = world.server.access.current_acl().unwrap();
    let paths: Vec<String> = acl
        .tree
        .entries()
        .iter()
        .map(|entry| entry.path.to_string())
        .collect();
    assert_eq!(paths, ["/datastore/store2"]);

    let upid = world
        .delete("/config/datastore/store2", "keep-job-configs=1")
        .await;
    assert_eq!(world.end(&upid).await, "OK");
    assert_eq!(world.get("/config/verify", "").await, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_added_changed_and_removed() {
    let world = World::empty();
    world.configure(&["store1"]);
    let state = world.path().join("state/jobstates/prunejob-nightly.json");
    let form = "id=nightly&store=store1&schedule=mon..fri+22:00&keep-daily=7&comment=c";
    world.post("/config/prune", form).await;
    assert!(std::fs::read_to_string(&state).unwrap().contains("created"));
    let item = "/config/prune/nightly";
    assert_eq!(
        world.get(item, "").await,
        json!({ "id": "nightly", "store": "store1", "schedule": "mon..fri 22:00",
                "keep-daily": 7, "comment": "c" })
    );
    world
        .put(
            item,
            "disable=true&ns=a/b&max-depth=2&delete=comment&keep-daily=8",
        )
        .await;
    assert_eq!(
        world.get(item, "").await,
        json!({ "id": "nightly", "store": "store1", "schedule": "mon..fri 22:00",
                "keep-daily": 8, "disable": true, "ns": "a/b", "max-depth": 2 })
    );
    let refusal = async |method: Method, path: &str, form: &str| {
        world.refusal("root@pam", method, path, form).await
    };
    let again = refusal(Method::POST, "/config/prune", form).await;
    let text = "parameter verification failed - 'id': job 'nightly' already exists.";
    assert_eq!(again, (400, text.to_owned()));
    for (form, part) in [
        ("id=n2x&store=store1", "'schedule': parameter is missing"),
        ("id=n2x&schedule=daily", "'store': parameter is missing"),
        (
            "id=n2x&schedule=daily&store=none",
            "no such datastore 'none'",
        ),
        (
            "id=n2x&schedule=daily&store=store1&max-depth=8",
            "'max-depth'",
        ),
        ("id=x&schedule=daily&store=store1", "'id'"),
    ] {
        let (status, text) = refusal(Method::POST, "/config/prune", form).await;
        assert!(status == 400 && text.contains(part), "{form}: {text}");
    }
    world.delete(item, "").await;
    assert!(!state.exists());
    let gone = refusal(Method::DELETE, item, "").await;
    assert_eq!(gone, (404, "job 'nightly' does not exist.".to_owned()));
    assert_eq!(refusal(Method::GET, item, "").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_configure_jobs() {
    let world = World::empty();
    world.configure(&["store1"]);
    let who = "nothing@pbs";
    let form = "id=v-one&store=store1&ns=a";
    let refusal = world
        .refusal(who, Method::POST, "/config/verify", form)
        .await;
    let text = "missing permissions 'Datastore.Verify' on '/datastore/store1/a'";
    assert_eq!(refusal, (400, text.to_owned()));
    world
        .grant(who, "/datastore/store1/a", Role::DatastoreReader)
        .await;
    world
        .call(who, Method::POST, "/config/verify", form)
        .await
        .unwrap();
    let item = "/config/verify/v-one";
    world
        .call(who, Method::PUT, item, "read-threads=4")
        .await
        .unwrap();
    // Not out of where they may do it.
    let refusal = world.refusal(who, Method::PUT, item, "ns=b").await;
    let text = "missing permissions 'Datastore.Verify' on '/datastore/store1/b'";
    assert_eq!(refusal, (400, text.to_owned()));
    let shown = world.call(who, Method::GET, item, "").await.unwrap();
    assert_eq!(shown["data"]["read-threads"], 4);
    assert_eq!(shown["digest"].as_str().unwrap().len(), 64);
    let list = world
        .call("test@pbs", Method::GET, "/config/verify", "")
        .await;
    assert_eq!(list.unwrap()["data"], json!([]));
    assert_eq!(
        world.refusal("test@pbs", Method::GET, item, "").await.0,
        400
    );
    assert_eq!(
        world.refusal("test@pbs", Method::DELETE, item, "").await.0,
        400
    );
    world.call(who, Method::DELETE, item, "").await.unwrap();
}
