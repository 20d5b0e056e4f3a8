//! The program by itself, without a server.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not tests to the lint

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, User, getuid, mkfifo};

/// With nothing of the caller's environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coffer-client"));
    command
        .env_clear()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Ends a program that does not end by itself.
fn status(mut child: Child) -> ExitStatus {
    let mut status = None;
    let ended = support::comes(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if !ended {
        child.kill().unwrap();
        panic!("it does not end");
    }
    status.unwrap()
}

/// What is wrong is told to nobody; the code says that something is.
#[test]
fn without_standard_error_the_code_is_the_same() {
    let home = tempfile::tempdir().unwrap();
    let unreachable = "a@pbs@127.0.0.1:1:store";
    let lines: [&[&str]; 3] = [
        &["key", "show", "/nowhere"],
        // Each attempt is told, too.
        &["list", "--repository", unreachable],
        &["backup", "a.conf:/nowhere", "--repository", unreachable],
    ];
    for line in lines {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(line);
        command.env("HOME", home.path()).env("PBS_PASSWORD", "x");
        let child = command.stderr(writer).spawn().unwrap();
        assert_eq!(status(child).code(), Some(1), "{line:?}");
    }
}

/// As a service of the system has none.
#[test]
fn without_a_variable_home_is_where_the_system_says() {
    let user = User::from_uid(getuid()).unwrap().unwrap();
    let fits = |home: &Path, set: bool| {
        let key = home.join(".config/proxmox-backup/encryption-key.json");
        let mut command = command(&["key", "show"]);
        if set {
            command.env("HOME", home);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let key_is_there = output.status.success();
        assert!(
            key_is_there || said.contains(key.to_str().unwrap()),
            "{said}"
        );
    };
    fits(&user.dir, false);
    fits(tempfile::tempdir().unwrap().path(), true);
}

/// Keys can come from pipes, and their passwords from whoever types slowly.
#[test]
fn waiting_for_a_key_can_be_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    mkfifo(&key, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let log = dir.path().join("log");
    std::fs::write(&log, "text").unwrap();
    let (key, log) = (key.to_str().unwrap(), log.to_str().unwrap());
    let spec = format!("a.conf:{log}");
    let snapshot = "host/a/2026-11-22T08:34:13Z";
    let lines: [&[&str]; 2] = [
        &["backup", &spec, "--keyfile", key],
        &["snapshot", "upload-log", snapshot, log, "--keyfile", key],
    ];
    for line in lines {
        let mut command = command(line);
        command
            .env("HOME", dir.path())
            .env("PBS_REPOSITORY", "a@pbs@127.0.0.1:1:store")
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        // Opens once the program does.
        let pipe = OpenOptions::new().write(true).open(key).unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        assert_eq!(status(child).code(), Some(130), "{line:?}");
        drop(pipe);
    }
}
