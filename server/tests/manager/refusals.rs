//! What goes wrong: text, exit code, and nothing left behind.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use s3_client::env::Env;
use s3_mock::Op;
use serde_json::json;

use crate::world::{BUCKET, SNAPSHOTS, STORE, World};

#[test]
fn a_missing_datastore_is_named_by_every_command() {
    let world = World::without_s3();
    let commands: [&[&str]; 7] = [
        &["garbage-collection", "start", STORE],
        &["garbage-collection", "status", STORE],
        &["snapshot", "list", STORE],
        &["snapshot", "forget", STORE, SNAPSHOTS[0]],
        &["prune", STORE, "--keep-last", "1"],
        &["verify", STORE],
        &["datastore", "s3-refresh", STORE],
    ];
    for command in commands {
        for format in ["text", "json"] {
            let arguments = [command, &["--output-format", format]].concat();
            let message = world.installation.fails(&arguments);
            assert_eq!(message, "error: no such datastore 'store1'\n");
        }
    }
    let message = world.installation.fails(&["datastore", "remove", STORE]);
    assert_eq!(message, "error: datastore 'store1' does not exist.\n");
    let tasks = world.installation.json(&["task", "list", "--all"]);
    assert_eq!(tasks, json!([]), "nothing was begun");
}

#[test]
fn bad_arguments_are_refused_before_anything_happens() {
    let world = World::without_s3();
    let commands: [&[&str]; 7] = [
        &["datastore", "create", STORE],
        &["datastore", "create", STORE, "/srv/a", "--path", "/srv/b"],
        &[
            "datastore",
            "create",
            STORE,
            "/srv/a",
            "--backend",
            "type=s3",
        ],
        &["prune", STORE, "--keep-last", "0"],
        &["verify", STORE, "vm/100/yesterday"],
        &["snapshot", "forget", STORE, "vm/../2026-01-01T00:00:00Z"],
        &["garbage-collection", "start", STORE, "--grace", "-1"],
    ];
    for command in commands {
        assert_eq!(world.installation.run(command).code, Some(2), "{command:?}");
    }
    let relative = ["datastore", "create", STORE, "not/absolute"];
    let message = world.installation.fails(&relative);
    assert!(message.contains("must be absolute"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_fingerprint_stops_the_creation_and_leaves_nothing() {
    let world = World::with_s3().await;
    let wrong = "00:".repeat(32);
    let update = ["s3", "endpoint", "update", "mock", "--fingerprint"];
    world
        .installation
        .ok(&[&update[..], &[&wrong[..95]]].concat());
    let arguments = world.create_arguments("data", &["--output-format", "json"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let message = world.installation.fails(&arguments);
    assert!(message.contains("fingerprint"), "{message}");
    assert!(!world.installation.path().join("data").exists());

    let right = world.server().fingerprint().unwrap();
    world.installation.ok(&[&update[..], &[&right]].concat());
    world.create("data", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_fails_late_can_be_repeated() {
    let world = World::with_s3().await;
    // The claim succeeds, the directory cannot be used.
    let path = world.installation.path().join("data");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("somebodys-file"), "x").unwrap();
    let arguments = world.create_arguments("data", &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = world.installation.run(&arguments);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("somebodys-file"), "{ran:?}");
    assert!(world.keys("").is_empty(), "the claim is given up");
    let left: Vec<_> = std::fs::read_dir(&path).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    std::fs::remove_file(path.join("somebodys-file")).unwrap();
    world.create("data", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_in_the_bucket_is_not_overwritten() {
    let world = World::with_s3().await;
    world
        .server()
        .put(BUCKET, "store1/.cnt/vm/100/owner", "root@pam");
    let arguments = world.create_arguments("data", &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = world.installation.run(&arguments);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("reuse-datastore"), "{ran:?}");
    assert_eq!(world.keys(""), [".cnt/vm/100/owner"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_modes_are_respected() {
    let world = World::with_s3().await;
    world.create("data", &[]);
    world.backup_all().await;
    let installation = &world.installation;
    let set = |mode: &str| {
        installation.ok(&["datastore", "update", STORE, "--maintenance-mode", mode]);
    };
    let writing: [&[&str]; 4] = [
        &["garbage-collection", "start", STORE],
        &["prune", STORE, "--keep-last", "1"],
        &["verify", STORE],
        &["snapshot", "forget", STORE, SNAPSHOTS[0]],
    ];
    set("type=read-only,message=later");
    for command in writing {
        assert_eq!(
            installation.fails(command),
            "error: datastore 'store1' is unavailable: read-only maintenance mode: later\n"
        );
    }
    assert_eq!(world.listed(), SNAPSHOTS);
    set("offline");
    let message = installation.fails(&["snapshot", "list", STORE]);
    assert!(message.contains("offline maintenance mode"), "{message}");
    installation.ok(&["garbage-collection", "status", STORE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn protected_snapshots_stay() {
    let world = World::with_s3().await;
    world.create("data", &[]);
    world.backup_all().await;
    let snapshot = world.installation.path().join("data").join(SNAPSHOTS[0]);
    std::fs::write(snapshot.join(".protected"), "").unwrap();
    let forget = ["snapshot", "forget", STORE, SNAPSHOTS[0]];
    let message = world.installation.fails(&forget);
    assert!(
        message.contains("cannot remove protected snapshot"),
        "{message}"
    );
    assert_eq!(world.listed(), SNAPSHOTS);
    let missing = ["snapshot", "forget", STORE, "vm/7/2026-01-01T00:00:00Z"];
    let message = world.installation.fails(&missing);
    assert!(message.contains("does not exist"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_collection_within_two_seconds() {
    let world = World::with_s3().await;
    world.create("data", &[]);
    world.backup_all().await;
    let gate = world.server().gate(Op::ListObjects, "store1/.chunks/*");
    let arguments = ["garbage-collection", "start", STORE, "--grace", "0"];
    let mut child = world
        .installation
        .command(&arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gate.arrived().await;
    let env = Env::system();
    let asked = env.now();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    assert!(env.now().duration_since(asked) < Duration::from_secs(2));
    assert_eq!(status.code(), Some(1));
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .collect();
    assert!(lines.contains(&"received abort request ...".to_owned()));
    let last = lines.last().unwrap();
    assert_eq!(last, "TASK ERROR: abort requested - aborting task");
    drop(gate);

    world.installation.ok(&arguments);
    assert_eq!(world.listed(), SNAPSHOTS);
}

/// T65: a datastore within another one's directory is neither created nor, if the configuration
/// was edited, collected; nor is the one around it.
#[test]
fn t65_nested_datastores_are_refused() {
    let world = World::without_s3();
    let installation = &world.installation;
    let path = |name: &str| installation.path().join(name).display().to_string();
    // Refused before anything is looked at: none of the directories exists.
    let section = |name: &str, dir: &str| format!("datastore: {name}\n\tpath {}\n\n", path(dir));
    let config = [
        section("outer", "outer"),
        section("other", "outer/deep/other"),
    ]
    .concat();
    let file = installation.config("datastore.cfg");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, config).unwrap();
    for (name, inner) in [("inner", "outer/inner"), ("around", "outer/deep")] {
        let message = installation.fails(&["datastore", "create", name, &path(inner)]);
        assert!(
            message.contains("nested datastores not allowed"),
            "{message}"
        );
    }
    for store in ["outer", "other"] {
        let message = installation.fails(&["garbage-collection", "start", store]);
        assert!(
            message.contains("nested datastores not allowed"),
            "{message}"
        );
    }
    let tasks = installation.json(&["task", "list", "--all", "--typefilter", "garbage"]);
    assert_eq!(tasks, json!([]), "nothing was begun");
}
