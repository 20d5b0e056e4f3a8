//! Looking at datastores.

use api_types::access::Role;
use hyper::Method;
use serde_json::json;

use super::world::{PLAIN, World, members, recorded, sorted};

const BASE: &str = "/admin/datastore/samples";

#[tokio::test]
async fn the_datastores_are_those_one_may_see() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let all = recorded("GET /admin/datastore").unwrap();
    assert_eq!(world.get("/admin/datastore", "").await, json!([all[0]]));
    let list = async |who: &str| {
        let answer = world.call(who, Method::GET, "/admin/datastore", "").await;
        answer.unwrap()["data"].clone()
    };
    assert_eq!(list("nothing@pbs").await, json!([]));
    world.put("/config/datastore/samples", "comment=mine").await;
    assert_eq!(list("root@pam").await[0]["comment"], "mine");
    world
        .grant(
            "nothing@pbs",
            "/datastore/samples/ns1",
            Role::DatastoreReader,
        )
        .await;
    let seen = list("nothing@pbs").await;
    assert_eq!(seen[0]["comment"], json!(null), "{seen}");
    assert_eq!(members(&seen[0]), members(&all[0]));
}

#[tokio::test]
async fn the_status_is_the_recorded_one() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let status = world.get(&format!("{BASE}/status"), "verbose=1").await;
    let real = recorded("GET /admin/datastore/samples/status?verbose=1").unwrap();
    assert_eq!(members(&status), members(&real));
    for name in ["counts", "gc-status", "backend-type"] {
        assert_eq!(status[name], real[name], "{name}");
    }
    assert!(status["total"].as_u64() > Some(0) && status["avail"].is_u64());
    let brief = world.get(&format!("{BASE}/status"), "").await;
    assert_eq!(members(&brief), ["avail", "backend-type", "total", "used"]);

    let path = format!("{BASE}/status");
    let refusal = world.refusal("nothing@pbs", Method::GET, &path, "").await;
    assert_eq!(refusal, (403, "permission check failed".to_owned()));
    world
        .grant(
            "nothing@pbs",
            "/datastore/samples/ns1",
            Role::DatastoreReader,
        )
        .await;
    let dim = world
        .call("nothing@pbs", Method::GET, &path, "verbose=1")
        .await
        .unwrap();
    assert_eq!(
        dim["data"],
        json!({ "total": 0, "used": 0, "avail": 0, "backend-type": "filesystem" })
    );
    // Whose own groups only count.
    world
        .grant("test@pbs!tok1", "/datastore", Role::DatastoreBackup)
        .await;
    world.grant("test@pbs", "/", Role::Admin).await;
    let own = world
        .call("test@pbs!tok1", Method::GET, &path, "verbose=1")
        .await
        .unwrap();
    assert_eq!(
        own["data"]["counts"]["host"],
        json!({ "groups": 2, "snapshots": 2 })
    );
    assert_eq!(own["data"]["counts"]["vm"], json!(null));
}

#[tokio::test]
async fn listings_are_the_recorded_ones() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let real = recorded("GET /admin/datastore/samples/snapshots").unwrap();
    let ours = world.get(&format!("{BASE}/snapshots"), "ns=").await;
    assert_eq!(sorted(ours), sorted(real));
    let mut ours = sorted(world.get(&format!("{BASE}/groups"), "").await);
    let mut real = sorted(recorded("GET /admin/datastore/samples/groups").unwrap());
    for group in ours.iter_mut().chain(&mut real) {
        // Set after the recording, to be seen in another one.
        group.as_object_mut().unwrap().remove("comment");
        let files = group["files"].as_array_mut().unwrap();
        files.sort_by_key(ToString::to_string);
    }
    assert_eq!(ours, real);
    assert_eq!(
        world.get(&format!("{BASE}/namespace"), "").await,
        recorded("GET /admin/datastore/samples/namespace").unwrap()
    );
    let path = format!("{BASE}/prune");
    assert_eq!(
        world
            .post(
                &path,
                "backup-type=host&backup-id=split&keep-last=1&dry-run=1"
            )
            .await,
        recorded(
            "POST /admin/datastore/samples/prune -d backup-type=host -d backup-id=split \
             -d keep-last=1 -d dry-run=1"
        )
        .unwrap()
    );
}

#[tokio::test]
async fn listings_of_a_part() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let snapshots = format!("{BASE}/snapshots");
    let vm = world.get(&snapshots, "backup-type=vm").await;
    assert_eq!(vm.as_array().unwrap().len(), 2);
    let one = world.get(&snapshots, "backup-type=vm&backup-id=101").await;
    assert_eq!(one, json!([]));
    let sub = world.get(&snapshots, "ns=ns1/sub").await;
    assert_eq!(sub[0]["backup-id"], "200");
    let (status, _) = world
        .refusal("root@pam", Method::GET, &snapshots, "ns=none")
        .await;
    assert_eq!(status, 400);
    let namespaces = async |form: &str| world.get(&format!("{BASE}/namespace"), form).await;
    assert_eq!(namespaces("max-depth=0").await, json!([{ "ns": "" }]));
    assert_eq!(
        namespaces("parent=ns1/sub").await,
        json!([{ "ns": "ns1/sub" }])
    );
    assert_eq!(namespaces("parent=none").await, json!([{ "ns": "none" }]));

    let files = world.get(&format!("{BASE}/files"), PLAIN).await;
    let listed = world
        .get(&snapshots, "backup-type=host&backup-id=plain")
        .await;
    assert_eq!(files, listed[1]["files"]);
    assert_eq!(world.get(&format!("{BASE}/notes"), PLAIN).await, "");
    assert_eq!(world.get(&format!("{BASE}/protected"), PLAIN).await, false);
    let group = "backup-type=vm&backup-id=100";
    assert_eq!(
        world.get(&format!("{BASE}/group-notes"), group).await,
        "groupnote"
    );
}

#[tokio::test]
async fn who_may_look() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let who = "test@pbs!tok1";
    world.grant("test@pbs", "/", Role::Admin).await;
    for (path, form) in [
        ("snapshots", ""),
        ("groups", "ns=ns1"),
        ("files", PLAIN),
        ("notes", PLAIN),
        ("protected", PLAIN),
        ("download", &format!("{PLAIN}&file-name=index.json.blob")),
        ("catalog", &format!("{PLAIN}&filepath=root")),
    ] {
        let path = format!("{BASE}/{path}");
        let (status, text) = world.refusal(who, Method::GET, &path, form).await;
        assert_eq!(status, 403, "{path}");
        assert!(
            text.starts_with("permission check failed - missing Datastore."),
            "{text}"
        );
        assert!(text.contains("on /datastore/samples"), "{text}");
    }
    let path = format!("{BASE}/namespace");
    assert_eq!(world.refusal(who, Method::GET, &path, "").await.0, 403);

    world
        .grant(who, "/datastore/samples", Role::DatastoreBackup)
        .await;
    let path = format!("{BASE}/snapshots");
    let own = world.call(who, Method::GET, &path, "").await.unwrap();
    let own = sorted(own["data"].clone());
    let ids: Vec<_> = own.iter().map(|item| item["backup-id"].clone()).collect();
    assert_eq!(ids, ["bytoken", "signed"]);
    let groups = world
        .call(who, Method::GET, &format!("{BASE}/groups"), "")
        .await;
    assert_eq!(groups.unwrap()["data"].as_array().unwrap().len(), 2);
    let refusal = world
        .refusal(who, Method::GET, &format!("{BASE}/files"), PLAIN)
        .await;
    assert_eq!(
        refusal,
        (
            400,
            "backup owner check failed (test@pbs!tok1 != test@pbs)".to_owned()
        )
    );
}

#[tokio::test]
async fn downloads_are_the_files() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let get = async |path: &str, form: &str| {
        let path = format!("{BASE}/{path}");
        world
            .call("root@pam", Method::GET, &path, form)
            .await
            .unwrap()
    };
    let raw = get("download", &format!("{PLAIN}&file-name=root.pxar.didx")).await;
    let file = world
        .path()
        .join("samples/host/plain/2026-11-22T08:34:11Z/root.pxar.didx");
    let bytes = std::fs::read(file).unwrap();
    assert_eq!(raw["sha256"], hex::encode(openssl::sha::sha256(&bytes)));

    let listed = world.get(&format!("{BASE}/files"), PLAIN).await;
    let size = |name: &str| {
        let files = listed.as_array().unwrap();
        let file = files.iter().find(|file| file["filename"] == name).unwrap();
        file["size"].clone()
    };
    let archive = get(
        "download-decoded",
        &format!("{PLAIN}&file-name=root.pxar.didx"),
    )
    .await;
    assert_eq!(archive["len"], size("root.pxar.didx"));
    let manifest = get(
        "download-decoded",
        &format!("{PLAIN}&file-name=index.json.blob"),
    )
    .await;
    assert!(
        manifest["text"]
            .as_str()
            .unwrap()
            .contains("\"backup-id\": \"plain\"")
    );
    // An image whose size is no multiple of the size of chunks.
    let vm = "backup-type=vm&backup-id=100&backup-time=1795336458";
    let odd = get(
        "download-decoded",
        &format!("{vm}&file-name=drive-scsi1.img.fidx"),
    )
    .await;
    assert_eq!(odd["len"], 300_001);
}

#[tokio::test]
async fn downloads_that_are_refused() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let refusal = async |path: &str, form: String| {
        let path = format!("{BASE}/{path}");
        world.refusal("root@pam", Method::GET, &path, &form).await
    };
    for path in ["download", "download-decoded"] {
        for name in ["other.pxar.didx", "other.conf.blob"] {
            let (status, text) = refusal(path, format!("{PLAIN}&file-name={name}")).await;
            assert_eq!(status, 400, "{path} {name}");
            assert!(text.starts_with("File open failed: "), "{text}");
        }
        let (status, text) = refusal(path, format!("{PLAIN}&file-name=..%2Fowner")).await;
        assert_eq!(status, 400);
        assert!(
            text.starts_with("parameter verification failed - 'file-name'"),
            "{text}"
        );
    }
    let enc = "backup-type=host&backup-id=enc&backup-time=1795336458";
    for name in ["root.pxar.didx", "d.img.fidx", "c.conf.blob"] {
        let refused = refusal("download-decoded", format!("{enc}&file-name={name}")).await;
        assert_eq!(
            refused,
            (400, format!("cannot decode '{name}' - is encrypted"))
        );
    }
    let refused = refusal("catalog", format!("{enc}&filepath=root")).await;
    assert_eq!(
        refused,
        (
            400,
            "cannot decode 'catalog.pcat1.didx' - is encrypted".into()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_is_walked() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = format!("{BASE}/catalog");
    let list = async |at: &str| {
        let at = at
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D");
        world.get(&path, &format!("{PLAIN}&filepath={at}")).await
    };
    let root = list("root").await;
    assert_eq!(list("/").await, root);
    assert_eq!(
        (&root[0]["text"], &root[0]["type"]),
        (&json!("root.pxar.didx"), &json!("v"))
    );
    let top = list(root[0]["filepath"].as_str().unwrap()).await;
    let top = top.as_array().unwrap();
    let file = top.iter().find(|item| item["type"] == "f").unwrap();
    assert!(file["size"].is_u64() && file["mtime"].is_i64() && file["leaf"] == true);
    let directory = top.iter().find(|item| item["type"] == "d").unwrap();
    assert_eq!(members(directory), ["filepath", "leaf", "text", "type"]);
    list(directory["filepath"].as_str().unwrap()).await;
    for bad in ["filepath=***", "filepath=L25v", ""] {
        let form = format!("{PLAIN}&{bad}");
        let (status, _) = world.refusal("root@pam", Method::GET, &path, &form).await;
        assert_eq!(status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_missing_datastore_and_maintenance_are_refused() {
    let Some(world) = World::with_samples() else {
        return;
    };
    let path = "/admin/datastore/nosuch/groups";
    let refusal = world.refusal("root@pam", Method::GET, path, "").await;
    assert_eq!(refusal, (400, "no such datastore 'nosuch'".to_owned()));
    let mode = "maintenance-mode=type%3Doffline,message%3Ddisk%2520swap";
    world.put("/config/datastore/samples", mode).await;
    for path in ["groups", "status", "gc"] {
        let refusal = world
            .refusal("root@pam", Method::GET, &format!("{BASE}/{path}"), "")
            .await;
        let text = "datastore 'samples' is unavailable: offline maintenance mode: disk swap";
        assert_eq!(refusal, (400, text.to_owned()), "{path}");
    }
    let list = world.get("/admin/datastore", "").await;
    assert_eq!(list[0]["maintenance"], "offline");
    let usage = world.get("/status/datastore-usage", "").await;
    assert_eq!(
        members(&usage[0]),
        ["backend-type", "error", "mount-status", "store"]
    );
    assert_eq!(world.get("/admin/gc", "").await, json!([]));
    world
        .put("/config/datastore/samples", "delete=maintenance-mode")
        .await;
    let usage = world.get("/status/datastore-usage", "").await;
    let real = recorded("GET /status/datastore-usage").unwrap();
    for (name, value) in usage[0].as_object().unwrap() {
        assert!(real[0].get(name).is_some(), "{name}: {value}");
    }
    assert_eq!(usage[0]["gc-status"], real[0]["gc-status"]);
    assert!(usage[0]["total"].is_u64());
}
