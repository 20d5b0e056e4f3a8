//! A datastore from its creation to its removal and back.

use serde_json::json;

use crate::support::Installation;
use crate::world::{SNAPSHOTS, STORE, World, digest_of};

/// Everything that is the same on both backends; leaves the two later snapshots and their chunks.
async fn live(world: &World) {
    let installation = &world.installation;
    let created = world.create("data", &[]);
    assert!(created.stdout.ends_with("TASK OK\n"), "{created:?}");
    assert_eq!(installation.json(&["datastore", "list"])[0]["name"], STORE);
    assert!(world.listed().is_empty());

    world.backup_all().await;
    assert_eq!(world.listed(), SNAPSHOTS);
    check_listing(installation);
    check_moves(installation);
    check_verification(installation);
    check_prune(world);
    check_collection(installation);
}

fn check_listing(installation: &Installation) {
    let items = installation.json(&["snapshot", "list", STORE, "vm/100"]);
    let newest = &items[0];
    assert_eq!(newest["backup-type"], "vm");
    assert_eq!(newest["backup-id"], "100");
    assert_eq!(newest["owner"], "root@pam");
    assert_eq!(newest["protected"], false);
    assert!(newest["size"].as_u64().unwrap() > 0);
    assert_eq!(newest["files"][0]["filename"], "root.pxar.didx");
    assert_eq!(newest["files"][0]["crypt-mode"], "none");
    assert_eq!(newest["files"][1]["filename"], "index.json.blob");
    assert_eq!(
        installation.json(&["snapshot", "list", STORE, "vm/101"]),
        json!([])
    );
    let text = installation.ok(&["snapshot", "list", STORE]).stdout;
    let row = format!("│ {} │", SNAPSHOTS[2]);
    assert!(text.contains(&row), "{text}");
    assert!(text.contains("│ root.pxar index.json │"), "{text}");
}

/// There and back.
fn check_moves(installation: &Installation) {
    let there = ["group", "move", STORE, "vm/100", "--target-ns", "other"];
    let refused = installation.run(&there);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("namespace 'other' does not exist"),
        "{refused:?}"
    );
    installation.ok(&["namespace", "create", STORE, "other"]);
    let moved = installation.ok(&there);
    assert!(moved.stdout.contains("moved 3 snapshots"), "{moved:?}");
    installation.ok(&["namespace", "move", STORE, "other", "another"]);
    let listed = installation.json(&["snapshot", "list", STORE, "--ns", "another"]);
    assert_eq!(listed.as_array().unwrap().len(), SNAPSHOTS.len());
    installation.ok(&["group", "move", STORE, "vm/100", "--ns", "another"]);
}

fn check_verification(installation: &Installation) {
    let report = installation.json(&["verify", STORE]);
    let expected = json!({
        "sound": 3, "skipped": 0, "failed": [], "healed": 0, "corrupt-chunks": 0,
        "missing-chunks": 0
    });
    assert_eq!(report, expected);
    let again = installation.json(&["verify", STORE, "vm/100"]);
    assert_eq!((&again["sound"], &again["skipped"]), (&json!(0), &json!(3)));
    let one = ["verify", STORE, SNAPSHOTS[0], "--ignore-verified", "false"];
    assert_eq!(installation.json(&one)["sound"], 1);

    let items = installation.json(&["snapshot", "list", STORE]);
    let verification = &items[0]["verification"];
    assert_eq!(verification["state"], "ok");
    let tasks = installation.json(&["task", "list", "--all", "--typefilter", "verif"]);
    let upids: Vec<&str> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["upid"].as_str().unwrap())
        .collect();
    assert!(upids.contains(&verification["upid"].as_str().unwrap()));
    let ids: Vec<&str> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["worker_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["store1:/vm/100/6955B900", "store1:/vm/100", "store1"]);
}

fn check_prune(world: &World) {
    let installation = &world.installation;
    let prune = ["prune", STORE, "vm/100", "--keep-last", "2"];
    let dry = installation.json(&[&prune[..], &["--dry-run"]].concat());
    let keep: Vec<bool> = dry
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["keep"].as_bool().unwrap())
        .collect();
    assert_eq!(keep, [false, true, true]);
    assert_eq!(world.listed(), SNAPSHOTS);

    // Without a rule everything stays.
    let ran = installation.ok(&["prune", STORE]);
    assert!(ran.stdout.contains("keeping all files"), "{ran:?}");
    assert_eq!(world.listed(), SNAPSHOTS);

    let ran = installation.ok(&prune);
    assert!(ran.stdout.contains("removing backup snapshot"), "{ran:?}");
    assert_eq!(world.listed(), SNAPSHOTS[1..]);
    let tasks = installation.json(&["task", "list", "--all", "--typefilter", "prune"]);
    assert_eq!(tasks[0]["worker_id"], "store1::vm/100");
    assert_eq!(tasks[1]["worker_id"], "store1:");
}

#[allow(clippy::disallowed_methods, reason = "real processes take real time")]
fn check_collection(installation: &Installation) {
    let before = installation.json(&["garbage-collection", "status", STORE]);
    assert_eq!(before["store"], STORE);
    assert_eq!(before["upid"], json!(null));
    assert!(before.get("last-run-state").is_none());

    let start = ["garbage-collection", "start", STORE, "--grace", "0"];
    let dry = installation.json(&[&start[..], &["--dry-run"]].concat());
    assert_eq!(dry["dry-run"], true);
    assert_eq!(dry["status"]["removed-chunks"], 0);
    let unchanged = installation.json(&["garbage-collection", "status", STORE]);
    assert_eq!(unchanged, before, "a dry run is no run");

    // The verification has read the chunk: access times have whole seconds, and without a grace
    // period what was used in the second of the start stays.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let report = installation.json(&start);
    assert_eq!(report["status"]["removed-chunks"], 1, "{report}");
    assert_eq!(report["status"]["pending-chunks"], 0, "{report}");
    assert_eq!(report["status"]["index-file-count"], 2);
    let status = installation.json(&["garbage-collection", "status", STORE]);
    for field in ["removed-chunks", "removed-bytes", "disk-chunks", "upid"] {
        assert_eq!(status[field], report["status"][field], "{field}");
    }
    assert_eq!(status["last-run-state"], "OK");
    assert!(status["last-run-endtime"].is_i64() && status["duration"].is_i64());
    let text = installation.ok(&["garbage-collection", "status", STORE]);
    assert!(text.stdout.contains("deduplication-factor"), "{text:?}");
    let tasks = installation.json(&["task", "list", "--all", "--typefilter", "garbage"]);
    assert_eq!(tasks[0]["upid"], status["upid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filesystem_datastore() {
    let world = World::without_s3();
    live(&world).await;
    let installation = &world.installation;
    installation.ok(&["datastore", "remove", STORE]);
    assert_eq!(installation.json(&["datastore", "list"]), json!([]));

    // What is there is not overwritten, and comes back on request.
    let path = installation.path().join("data");
    let path = path.to_str().unwrap();
    let create = ["datastore", "create", STORE, path];
    let ran = installation.run(&create);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("not empty"), "{ran:?}");
    assert_eq!(installation.json(&["datastore", "list"]), json!([]));
    installation.ok(&[&create[..], &["--reuse-datastore"]].concat());
    assert_eq!(world.listed(), SNAPSHOTS[1..]);

    let forgotten = installation.json(&["snapshot", "forget", STORE, SNAPSHOTS[1]]);
    assert_eq!(forgotten, json!([SNAPSHOTS[1]]));
    installation.ok(&["datastore", "remove", STORE, "--destroy-data"]);
    assert!(!installation.path().join("data").exists());
    assert_eq!(installation.json(&["datastore", "list"]), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_datastore() {
    let world = World::with_s3().await;
    live(&world).await;
    let mut expected = vec![
        World::chunk_key(b"common"),
        World::chunk_key(b"second and third"),
        World::chunk_key(b"only in the third"),
    ];
    expected.sort();
    assert_eq!(world.keys(".chunks/"), expected);

    let installation = &world.installation;
    let removed = installation.ok(&["datastore", "remove", STORE]);
    assert!(removed.stdout.contains("S3 requests ("), "{removed:?}");
    assert!(world.keys(".in-use").is_empty(), "the prefix is free");
    assert_eq!(world.keys(".chunks/"), expected);

    // Another server takes the bucket into use.
    let other = World {
        installation: Installation::new(),
        server: None,
    };
    world.add_endpoint(&other.installation);
    let arguments = world.create_arguments("elsewhere", &["--reuse-datastore"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    other.installation.ok(&arguments);
    assert_eq!(other.listed(), SNAPSHOTS[1..]);
    let verify = ["verify", STORE, "--ignore-verified", "false"];
    let ran = other.installation.ok(&verify);
    assert!(ran.stdout.contains("S3 requests (verify): "), "{ran:?}");
    assert!(ran.stdout.ends_with("TASK OK\n"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_chunk_fails_the_verification_and_the_command() {
    let world = World::with_s3().await;
    world.create("data", &[]);
    world.backup_all().await;
    let key = format!("{STORE}/{}", World::chunk_key(b"only in the third"));
    let damaged = b"not a chunk".to_vec();
    world.server().put(crate::world::BUCKET, &key, damaged);
    let digest = digest_of(b"only in the third").to_hex();
    let cached = world.installation.path().join("data/.chunks");
    std::fs::remove_file(cached.join(&digest[..4]).join(&digest)).unwrap();

    let verify = ["verify", STORE, "--output-format", "json"];
    let ran = world.installation.run(&verify);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["sound"], 2, "{report}");
    assert_eq!(report["failed"], json!([SNAPSHOTS[2]]));
    assert_eq!(report["corrupt-chunks"], 1);
    assert!(
        ran.stderr.contains("TASK ERROR: verification failed"),
        "{ran:?}"
    );
}
