//! Jobs: made, changed, removed, and run in the foreground.

use api_types::status::TaskStatus;
use s3_client::env::Env;
use serde_json::json;
use server::jobs::state::{JobState, JobStates, JobType};
use server::paths::Paths;
use server::task::Tasks;

use crate::support::Installation;
use crate::world::{SNAPSHOTS, STORE, World, digest_of};

/// The states of an installation's jobs, as its daemon sees them.
pub fn states(installation: &Installation) -> JobStates {
    let paths = Paths::below(installation.path());
    JobStates::new(&paths, Tasks::new(&paths, Env::system()))
}

/// How the last run of a job ended, if it has ended.
pub fn last_end(installation: &Installation, ty: JobType, id: &str) -> Option<TaskStatus> {
    match states(installation).get(ty, id) {
        JobState::Finished { end, .. } => Some(end.status),
        _ => None,
    }
}

/// An installation whose configuration names a datastore; nothing is there.
fn with_datastore() -> Installation {
    let installation = Installation::new();
    installation.ok(&["datastore", "list"]);
    let datastore = "datastore: store1\n\tpath /nowhere/store1\n";
    std::fs::write(installation.config("datastore.cfg"), datastore).unwrap();
    installation
}

#[test]
fn a_prune_job_from_its_making_to_its_removal() {
    let installation = with_datastore();
    let job = |store: &str| {
        installation.run(&[
            "prune-job",
            "create",
            "nightly",
            "--store",
            store,
            "--schedule",
            "daily",
            "--keep-last",
            "3",
        ])
    };
    // What it names has to be there.
    let refused = job("store2");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("no such datastore 'store2'"));
    assert_eq!(installation.json(&["prune-job", "list"]), json!([]));
    assert_eq!(job(STORE).code, Some(0));
    let taken = job(STORE);
    assert_eq!(taken.code, Some(1), "{taken:?}");

    let shown = json!({ "id": "nightly", "store": STORE, "schedule": "daily", "keep-last": 3 });
    assert_eq!(installation.json(&["prune-job", "show", "nightly"]), shown);
    let table = installation.ok(&["prune-job", "list"]).stdout;
    assert!(
        table.contains("keep-last") && table.contains("daily"),
        "{table}"
    );

    // Its next run is counted from when it was made, or is to run at other times.
    let state = installation
        .path()
        .join("state/jobstates/prunejob-nightly.json");
    let touched = |arguments: &[&str]| {
        std::fs::remove_file(&state).unwrap();
        installation.ok(&[&["prune-job", "update", "nightly"], arguments].concat());
        let text = std::fs::read_to_string(&state).ok();
        let is_touched = text.is_some();
        std::fs::write(&state, text.unwrap_or_default()).unwrap();
        is_touched
    };
    assert!(!touched(&["--comment", "every night", "--ns", "a"]));
    assert!(touched(&["--schedule", "hourly"]));
    assert!(touched(&["--disable"]), "it runs no more");
    assert!(touched(&["--disable", "false"]), "it runs again");
    assert!(!touched(&["--delete", "comment", "--delete", "ns"]));
    let changed = installation.json(&["prune-job", "show", "nightly"]);
    let expected = json!({
        "id": "nightly", "store": STORE, "schedule": "hourly", "disable": false, "keep-last": 3
    });
    assert_eq!(changed, expected);

    let update = |arguments: &[&str]| {
        installation.run(&[&["prune-job", "update", "nightly"], arguments].concat())
    };
    assert_eq!(update(&["--keep-last", "0"]).code, Some(2));
    assert_eq!(update(&["--delete", "schedule"]).code, Some(2));
    assert_eq!(update(&["--store", "store2"]).code, Some(1));
    let digest = "0".repeat(64);
    let outdated = ["prune-job", "remove", "nightly", "--digest", &digest];
    installation.fails(&outdated);
    installation.ok(&["prune-job", "remove", "nightly"]);
    assert!(!state.exists());
    let gone = installation.fails(&["prune-job", "run", "nightly"]);
    assert!(gone.contains("'nightly'"), "{gone}");
}

#[test]
fn a_verify_job_from_its_making_to_its_removal() {
    let installation = with_datastore();
    installation.fails(&["verify-job", "create", "all", "--store", "store2"]);
    installation.ok(&[
        "verify-job",
        "create",
        "all",
        "--store",
        STORE,
        "--ignore-verified",
        "false",
        "--read-threads",
        "4",
    ]);
    let state = installation
        .path()
        .join("state/jobstates/verificationjob-all.json");
    std::fs::remove_file(&state).unwrap();
    installation.ok(&["verify-job", "update", "all", "--outdated-after", "30"]);
    assert!(!state.exists());
    installation.ok(&["verify-job", "update", "all", "--schedule", "sat 18:15"]);
    assert!(state.exists());
    let shown = json!({
        "id": "all", "store": STORE, "ignore-verified": false, "read-threads": 4,
        "outdated-after": 30, "schedule": "sat 18:15",
    });
    assert_eq!(installation.json(&["verify-job", "list"]), json!([shown]));
    installation.ok(&["verify-job", "remove", "all"]);
    assert!(!state.exists());
    installation.fails(&["verify-job", "show", "all"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_in_the_foreground_and_say_how_it_went() {
    let world = World::in_memory();
    let installation = &world.installation;
    world.create("data", &[]);
    world.backup_all().await;
    installation.ok(&[
        "prune-job",
        "create",
        "nightly",
        "--store",
        STORE,
        "--schedule",
        "yearly",
        "--keep-last",
        "2",
    ]);
    installation.ok(&[
        "verify-job",
        "create",
        "all",
        "--store",
        STORE,
        "--ignore-verified",
        "false",
    ]);

    let pruned = installation.ok(&["prune-job", "run", "nightly"]).stdout;
    assert!(pruned.contains("prune job 'nightly'\n"), "{pruned}");
    assert!(pruned.ends_with("TASK OK\n"), "{pruned}");
    assert_eq!(world.listed(), SNAPSHOTS[1..]);
    let end = last_end(installation, JobType::Prune, "nightly");
    assert_eq!(end, Some(TaskStatus::Ok));

    let verified = installation.ok(&["verify-job", "run", "all"]).stdout;
    let started = "Starting datastore verify job 'all'\n";
    assert!(verified.contains(started), "{verified}");
    let end = last_end(installation, JobType::Verify, "all");
    assert_eq!(end, Some(TaskStatus::Ok));

    // Both are tasks, called as the daemon calls them.
    let tasks = installation.json(&["task", "list", "--all", "--typefilter", "job"]);
    let ids = |index: usize| (&tasks[index]["worker_type"], &tasks[index]["worker_id"]);
    let (verify, prune) = (json!("verificationjob"), json!("prunejob"));
    assert_eq!(ids(0), (&verify, &json!("store1:all")));
    assert_eq!(ids(1), (&prune, &json!(STORE)));

    // A chunk of both is damaged.
    let hex = digest_of(b"common").to_hex();
    let chunk = world
        .installation
        .path()
        .join(format!("data/.chunks/{}/{hex}", &hex[..4]));
    std::fs::write(&chunk, b"something else").unwrap();
    let failed = installation.run(&["verify-job", "run", "all"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stdout.contains("TASK ERROR: "), "{failed:?}");
    assert!(failed.stderr.starts_with("error: "), "{failed:?}");
    let Some(TaskStatus::Error(said)) = last_end(installation, JobType::Verify, "all") else {
        panic!("{failed:?}");
    };
    assert!(failed.stderr.contains(&said), "{said}: {failed:?}");

    // With JSON the log is not on standard output.
    let json = installation.run(&["prune-job", "run", "nightly", "--output-format", "json"]);
    assert_eq!((json.code, json.stdout.as_str()), (Some(0), ""), "{json:?}");
    assert!(json.stderr.contains("TASK OK\n"), "{json:?}");

    // Somebody else, the daemon perhaps, runs it.
    let states = states(installation);
    let lock = states.try_lock(JobType::Prune, "nightly").unwrap().unwrap();
    let refused = installation.fails(&["prune-job", "run", "nightly"]);
    assert!(refused.contains("already running"), "{refused}");
    drop(lock);
    installation.ok(&["prune-job", "run", "nightly"]);
}
