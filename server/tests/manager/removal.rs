//! `datastore remove --destroy-data`, `datastore s3-refresh`.

use s3_mock::{Action, Fault, Op, Reply};
use serde_json::json;

use crate::support::Installation;
use crate::world::{BUCKET, SNAPSHOTS, STORE, World};

const DESTROY: [&str; 4] = ["datastore", "remove", STORE, "--destroy-data"];

#[tokio::test(flavor = "multi_thread")]
async fn destruction_begins_with_the_manifests_and_ends_with_the_marker() {
    let world = World::with_s3().await;
    world.create("data", &[]);
    world.backup_all().await;
    // The name of a neighbour begins like ours.
    world.server().put(BUCKET, "store11/.cnt/x", "x");
    world.server().put(BUCKET, "store1-old", "x");
    let mark = world.server().journal_mark();
    let ran = world.installation.ok(&DESTROY);
    assert!(
        ran.stdout.contains("manifests: 3 objects deleted"),
        "{ran:?}"
    );

    assert!(world.keys("").is_empty(), "{:?}", world.keys(""));
    assert_eq!(world.server().object_count(BUCKET), 2);
    let deleted = world.server().journal().since(mark).deleted_keys();
    let position = |part: &str| {
        let matching = deleted
            .iter()
            .enumerate()
            .filter(|(_, key)| key.contains(part));
        let positions: Vec<usize> = matching.map(|(index, _)| index).collect();
        (positions[0], positions[positions.len() - 1])
    };
    assert!(position("/index.json.blob").1 < position("root.pxar.didx").0);
    assert!(position("/owner").1 < position("/.chunks/").0);
    assert_eq!(deleted.last().unwrap(), "store1/.in-use");
    assert!(!world.installation.path().join("data").exists());
    assert_eq!(world.installation.json(&["datastore", "list"]), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_destruction_is_continued() {
    let world = World::with_s3().await;
    world.create("data", &[]);
    world.backup_all().await;
    let denied = Action::Reply(Reply::access_denied());
    let fault = world
        .server()
        .script(Fault::on(Op::DeleteObjects, denied).always());
    let installation = &world.installation;
    let ran = installation.run(&DESTROY);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    world.server().remove_fault(fault);

    // From here there is only the way ahead.
    let message = installation.fails(&["snapshot", "list", STORE]);
    assert_eq!(
        message,
        "error: datastore 'store1' is unavailable: datastore is being deleted\n"
    );
    let ran = installation.run(&["datastore", "remove", STORE]);
    assert!(ran.stderr.contains("--destroy-data"), "{ran:?}");
    installation.ok(&DESTROY);
    assert!(world.keys("").is_empty(), "{:?}", world.keys(""));
    assert_eq!(installation.json(&["datastore", "list"]), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_server_uses_is_neither_created_on_nor_destroyed() {
    let world = World::with_s3().await;
    world.create("data", &[]);
    let other = Installation::new();
    world.add_endpoint(&other);
    let arguments = world.create_arguments("other", &["--reuse-datastore"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = other.run(&arguments);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("in use by"), "{ran:?}");
    assert!(!world.installation.path().join("other").exists());
    assert_eq!(other.json(&["datastore", "list"]), json!([]));

    world.server().put(
        BUCKET,
        "store1/.in-use",
        r#"{"hostname":"another","instance-id":"22"}"#,
    );
    let ran = world.installation.run(&DESTROY);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("another"), "{ran:?}");
    assert_eq!(world.keys(""), [".in-use"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_brings_back_what_the_bucket_holds() {
    let world = World::with_s3().await;
    world.create("data", &[]);
    world.backup_all().await;
    let installation = &world.installation;
    std::fs::remove_dir_all(installation.path().join("data/vm")).unwrap();
    assert!(world.listed().is_empty());

    let refresh = ["datastore", "s3-refresh", STORE];
    let plan = installation.json(&[&refresh[..], &["--dry-run"]].concat());
    assert_eq!(plan["metadata"]["only-remote"].as_array().unwrap().len(), 3);
    assert!(world.listed().is_empty(), "a dry run changes nothing");
    let report = installation.json(&refresh);
    assert_eq!(report["presence"]["objects"], 4, "{report}");
    assert_eq!(world.listed(), SNAPSHOTS);
    let shown = installation.json(&["datastore", "show", STORE]);
    assert!(shown.get("maintenance-mode").is_none(), "{shown}");

    // A process that was killed in its refresh left the mode behind.
    let mode = [
        "datastore",
        "update",
        STORE,
        "--maintenance-mode",
        "s3-refresh",
    ];
    installation.ok(&mode);
    let message = installation.fails(&["snapshot", "list", STORE]);
    assert!(message.contains("S3 refresh maintenance mode"), "{message}");
    installation.ok(&refresh);
    assert_eq!(world.listed(), SNAPSHOTS);
}

/// The jobs and the access rights of a datastore go with it, unless they are to be kept; those of
/// another one stay.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_rights_go_with_their_datastore() {
    let installation = Installation::new();
    let config = installation.path().join("config");
    std::fs::create_dir_all(&config).unwrap();
    let write = |name: &str, text: &str| std::fs::write(config.join(name), text).unwrap();
    let read = |name: &str| std::fs::read_to_string(config.join(name)).unwrap_or_default();
    let files = ["prune.cfg", "verification.cfg", "sync.cfg", "acl.cfg"];
    for (options, stays) in [(&["--keep-job-configs"][..], true), (&[], false)] {
        let both = |text: &str| {
            let texts = ["one", "two"].map(|name| text.replace("STORE", name));
            texts.join("\n")
        };
        // Nobody looks at their directories: the data stays.
        write(
            "datastore.cfg",
            &both("datastore: STORE\n\tpath /none/STORE\n"),
        );
        write(
            files[0],
            &both("prune: p-STORE\n\tstore STORE\n\tschedule daily\n"),
        );
        write(
            files[1],
            &both("verification: v-STORE\n\tstore STORE\n\tns a\n"),
        );
        let sync = "sync: s-STORE\n\tstore STORE\n\tremote-store other\n";
        write(files[2], &both(sync));
        write(files[3], &both("acl:1:/datastore/STORE/a:a@pbs:Audit"));
        installation.ok(&[&["datastore", "remove", "one"][..], options].concat());
        for file in files {
            let text = read(file);
            assert!(text.contains("two"), "{file}: {text}");
            assert_eq!(text.contains("one"), stays, "{file}: {text}");
        }
    }
}
