//! `coffer-client` as a process, with nothing of the caller's environment.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::World;

/// Snapshots are made at this time and later.
pub const START: i64 = 1_790_000_000;

/// A client of one datastore.
pub struct Client {
    environment: Vec<(&'static str, String)>,
    /// Where its files of the user are, and where it is started.
    pub home: TempDir,
}

/// What it did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Client {
    /// Of a datastore.
    pub fn new(world: &World, store: &str) -> Self {
        let daemon = &world.daemon;
        Self {
            environment: vec![
                (
                    "PBS_REPOSITORY",
                    format!("admin@pbs@127.0.0.1:{}:{store}", daemon.port),
                ),
                ("PBS_PASSWORD", daemon.password.clone()),
                ("PBS_FINGERPRINT", daemon.fingerprint.clone()),
            ],
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// With another value of a variable.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Without a variable, or without the repository.
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(other, _)| *other != name);
        self
    }

    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_coffer-client"), arguments)
    }

    /// A copy of the program.
    pub fn command_of<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: &[S],
    ) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("TZ", "UTC")
            .envs(self.environment.iter().cloned())
            .current_dir(self.home.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        ended(self.command(arguments).spawn().unwrap())
    }

    /// With something on standard input.
    pub fn fed<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Whether it reads all of it shows in what comes of it.
                let _ = stdin.write_all(input);
            });
            ended(child)
        })
    }

    /// What must go well.
    pub fn ok<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{ran}");
        ran
    }

    /// What must not, with a message that has all these parts and is no backtrace.
    pub fn fails<S: AsRef<OsStr>>(&self, arguments: &[S], parts: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(1), "{ran}");
        for part in parts {
            assert!(ran.stderr.contains(part), "no '{part}' in: {ran}");
        }
        assert!(!ran.stderr.contains("panicked"), "{ran}");
        ran
    }

    /// Backs up as the snapshot of a number.
    pub fn back_up(&self, id: &str, number: i64, arguments: &[&str]) -> Ran {
        self.ok(&self.backup_line(id, number, arguments))
    }

    pub fn backup_line(&self, id: &str, number: i64, arguments: &[&str]) -> Vec<String> {
        let time = (START + number).to_string();
        let fixed = ["backup", "--backup-type", "host", "--backup-id", id];
        let fixed = fixed.into_iter().chain(["--backup-time", &time]);
        fixed
            .chain(arguments.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    /// Restores into something of this name, which is not there yet.
    pub fn restore(&self, id: &str, number: i64, archive: &str, to: &Path, more: &[&str]) -> Ran {
        let line = restore_line(id, number, archive, to.to_str().unwrap(), more);
        self.ok(&line)
    }

    /// What a restore writes to standard output.
    pub fn read(&self, id: &str, number: i64, archive: &str, more: &[&str]) -> Vec<u8> {
        self.ok(&restore_line(id, number, archive, "-", more))
            .stdout
    }

    /// All snapshots: whether they are finished, by name.
    pub fn snapshots(&self) -> Vec<(String, bool)> {
        let ran = self.ok(&["snapshot", "list", "--output-format", "json"]);
        let listed: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let mut snapshots: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                let text = |name: &str| item[name].as_str().unwrap().to_owned();
                let time = item["backup-time"].as_i64().unwrap() - START;
                (
                    format!("{}/{}/{time}", text("backup-type"), text("backup-id")),
                    item["size"].is_u64(),
                )
            })
            .collect();
        snapshots.sort();
        snapshots
    }
}

/// The command line of a restore.
pub fn restore_line(id: &str, number: i64, archive: &str, to: &str, more: &[&str]) -> Vec<String> {
    let snapshot = snapshot(id, number);
    let fixed = ["restore", &snapshot, archive, to];
    fixed
        .iter()
        .chain(more)
        .map(|&part| part.to_owned())
        .collect()
}

/// The name of a snapshot.
pub fn snapshot(id: &str, number: i64) -> String {
    let time = api_types::names::BackupTime::from_secs(START + number).unwrap();
    format!("host/{id}/{time}")
}

/// Waits for the end.
pub fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "code {:?}, {} bytes", self.code, self.stdout.len())?;
        f.write_str(&self.stderr)
    }
}
