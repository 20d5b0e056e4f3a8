//! `pull`, `push` and `sync-job run`: from and to a daemon, and beside one.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use api_types::status::TaskStatus;
use s3_client::env::Env;
use serde_json::json;
use server::jobs::state::JobType;
use server::s3::PlainHttp;
use support::{DevDaemon, dev_command};

use crate::jobs::last_end;
use crate::support::Installation;
use crate::world::{SNAPSHOTS, STORE, World, back_up, back_up_all};

/// An installation with a daemon.
struct Other {
    daemon: DevDaemon,
    installation: Installation,
}

impl Other {
    fn start() -> Self {
        let installation = Installation::in_memory();
        let program = Path::new(env!("CARGO_BIN_EXE_coffer-server"));
        let mut command = dev_command(program, installation.path());
        Self {
            daemon: DevDaemon::start(&mut command, installation.path()).unwrap(),
            installation,
        }
    }

    fn snapshots(&self, more: &[&str]) -> usize {
        let list = ["snapshot", "list", "local", "--plain-http", "loopback"];
        let items = self.installation.json(&[&list[..], more].concat());
        items.as_array().unwrap().len()
    }
}

/// An installation without a daemon that knows the other one as `src`, with a datastore.
fn here(other: &Other) -> World {
    let world = World::in_memory();
    world.create("data", &[]);
    let port = other.daemon.port.to_string();
    let remote = [
        "remote",
        "create",
        "src",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
        "--auth-id",
        "admin@pbs",
        "--fingerprint",
        &other.daemon.fingerprint,
        "--password-file",
        "-",
    ];
    let password = &other.daemon.password;
    let ran = world.installation.run_with_input(&remote, password);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_come_and_go_without_a_job() {
    let other = Other::start();
    back_up_all(other.installation.path(), "local", None).await;
    let world = here(&other);
    let installation = &world.installation;

    let pull = ["pull", "src", "local", STORE];
    let last = installation.ok(&[&pull[..], &["--transfer-last", "1"]].concat());
    let begun = "pull datastore 'store1' from 'src/local'\n";
    assert!(last.stdout.contains(begun), "{last:?}");
    assert!(last.stdout.ends_with("TASK OK\n"), "{last:?}");
    assert_eq!(world.listed(), SNAPSHOTS[2..]);
    installation.ok(&["verify", STORE]);
    installation.ok(&["snapshot", "forget", STORE, SNAPSHOTS[2]]);
    installation.ok(&pull);
    assert_eq!(world.listed(), SNAPSHOTS);
    assert_eq!(installation.json(&["verify", STORE])["sound"], 3);
    let tasks = installation.json(&["task", "list", "--all", "--typefilter", "sync"]);
    assert_eq!(tasks[0]["worker_id"], STORE);

    // What the tables say of parameters counts here, too.
    let wrong = [&pull[..], &["--worker-threads", "33"]].concat();
    assert_eq!(installation.run(&wrong).code, Some(2));
    let unknown = installation.fails(&["pull", "nobody", "local", STORE]);
    assert!(unknown.contains("no such remote 'nobody'"), "{unknown}");
    let missing = installation.run(&["pull", "src", "nowhere", STORE]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stdout.contains("TASK ERROR"), "{missing:?}");

    // What is here goes there, and on demand what is gone here is gone there.
    let [first, second] = ["ct/5/2026-02-01T00:00:00Z", "ct/5/2026-02-02T00:00:00Z"];
    for (snapshot, chunk) in [(first, b"first"), (second, b"other")] {
        back_up(installation.path(), STORE, None, (snapshot, &[chunk])).await;
    }
    let push = ["push", STORE, "src", "local", "--group-filter", "type:ct"];
    let pushed = installation.ok(&push).stdout;
    assert!(pushed.contains("Summary: sync job pushed"), "{pushed}");
    assert!(pushed.ends_with("TASK OK\n"), "{pushed}");
    assert_eq!(other.snapshots(&["ct/5"]), 2);
    installation.ok(&["snapshot", "forget", STORE, first]);
    installation.ok(&[&push[..], &["--remove-vanished"]].concat());
    assert_eq!(other.snapshots(&["ct/5"]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_interrupted_and_then_runs_to_its_end() {
    let other = Other::start();
    let mut noise = vec![0; 4 << 20];
    openssl::rand::rand_bytes(&mut noise).unwrap();
    let snapshot = SNAPSHOTS[0];
    let root = other.installation.path();
    back_up(root, "local", None, (snapshot, &[&noise])).await;
    let world = here(&other);
    let installation = &world.installation;
    installation.ok(&[
        "sync-job",
        "create",
        "nightly",
        "--store",
        STORE,
        "--remote",
        "src",
        "--remote-store",
        "local",
        // It takes minutes.
        "--rate-in",
        "20 KB",
    ]);

    let mut run = installation
        .command(&["sync-job", "run", "nightly"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(run.stdout.take().unwrap());
    let mut log = String::new();
    while !log.contains("sync archive") {
        assert!(output.read_line(&mut log).unwrap() > 0, "{log}");
    }
    let started = "Starting datastore sync job 'src:local:store1::nightly'\n";
    assert!(log.contains(started), "{log}");
    let refused = installation.fails(&["sync-job", "run", "nightly"]);
    assert!(refused.contains("already running"), "{refused}");

    let env = Env::system();
    let asked = env.now();
    let pid = run.id().to_string();
    let status = Command::new("kill").args(["-INT", &pid]).status();
    assert!(status.unwrap().success());
    output.read_to_string(&mut log).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1), "{log}");
    assert!(env.now().duration_since(asked) < Duration::from_secs(10));
    assert!(log.contains("TASK ERROR: "), "{log}");
    let Some(TaskStatus::Error(said)) = last_end(installation, JobType::Sync, "nightly") else {
        panic!("{log}");
    };
    assert!(said.contains("abort"), "{said}");
    assert!(world.listed().is_empty());

    installation.ok(&["sync-job", "update", "nightly", "--delete", "rate-in"]);
    let ran = installation.ok(&["sync-job", "run", "nightly"]);
    assert!(ran.stdout.contains("Summary: sync job pulled"), "{ran:?}");
    let end = last_end(installation, JobType::Sync, "nightly");
    assert_eq!(end, Some(TaskStatus::Ok));
    assert_eq!(world.listed(), SNAPSHOTS[..1]);
    assert_eq!(installation.json(&["verify", STORE])["sound"], 1);
}

/// From a bucket into a directory, in the very installation of a daemon, which has both open.
#[tokio::test(flavor = "multi_thread")]
async fn a_datastore_beside_is_pulled_from_while_a_daemon_runs() {
    let other = Other::start();
    let plain = Some(PlainHttp::Loopback);
    back_up_all(other.installation.path(), "dev", plain).await;
    let installation = &other.installation;
    let pull = ["pull", "-", "dev", "local", "--plain-http", "loopback"];
    let ran = installation.ok(&pull);
    let begun = "pull datastore 'local' from 'self/dev'\n";
    assert!(ran.stdout.contains(begun), "{ran:?}");
    assert_eq!(other.snapshots(&[]), SNAPSHOTS.len());
    assert_eq!(installation.json(&["verify", "local"])["sound"], 3);

    let same = installation.fails(&["pull", "-", "local", "local"]);
    assert!(same.contains("can't be the same"), "{same}");
    // There is nobody else to push to.
    assert_eq!(
        installation.run(&["push", "local", "-", "dev"]).code,
        Some(2)
    );
    let tasks = installation.json(&["task", "list", "--all", "--typefilter", "sync"]);
    assert_eq!(tasks[0]["status"], json!("OK"));
}
