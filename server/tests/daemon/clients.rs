//! Clients that others wrote: proxmoxer and a Prometheus exporter, from PyPI, on both datastores.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backup::{back_up, by_password};
use crate::support::{Daemon, scratch};

const START: i64 = 1_790_000_000;

/// The Python that has them. `make test` installs it; who runs the test alone is told how.
fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join("target/interop-venv/bin/python");
    if python.is_file() {
        return Some(python);
    }
    // Straight to the terminal's stream, where the test harness does not swallow it.
    use std::io::Write as _;
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: no Python clients; run scripts/interop-venv"
    );
    None
}

/// Runs a script of `tests/interop` on a daemon with some snapshots in both datastores.
async fn run(script: &str) {
    let Some(python) = python() else {
        return;
    };
    let dir = scratch().unwrap();
    let daemon = Daemon::start(dir.path());
    let rest = by_password(&daemon).await;
    let times = [START, START + 60, START + 120];
    for store in ["dev", "local"] {
        for (seed, time) in times.into_iter().enumerate() {
            back_up(&rest, store, "a", time, seed as u64).await;
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop");
    let times = times.map(|time| time.to_string()).join(" ");
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(path.join(script))
        .env("COFFER_PORT", daemon.port.to_string())
        .env("COFFER_TIMES", times)
        .env("PBS_PASSWORD", &daemon.password);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    println!("{}", text(&output.stdout));
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn proxmoxer_finds_what_it_expects() {
    run("proxmoxer_calls.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_finds_what_it_expects() {
    run("exporter.py").await;
}
