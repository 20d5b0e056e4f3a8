//! Whoever is killed in the middle leaves nothing behind, and the next backup works.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::client::{Client, ended, restore_line};
use crate::daemon::{STORES, World};
use crate::tree::noise;

/// Waits until something is as it should be.
pub fn until(what: &str, reached: impl FnMut() -> bool) {
    assert!(support::comes(reached), "it never came: {what}");
}

/// Stages of a backup, by what its client has said when they begin.
const STAGES: [&str; 3] = ["Client name", "as first.img.fidx", "as second.img.fidx"];

fn files(dir: &Path) -> Vec<String> {
    ["first", "second"]
        .iter()
        .zip([2 << 20, 24 << 20])
        .map(|(name, size)| {
            let path = dir.join(name);
            std::fs::write(&path, noise(size, usize::try_from(size).unwrap())).unwrap();
            format!("{name}.img:{}", path.display())
        })
        .collect()
}

/// Starts a backup that takes its time, and waits until it has said something.
fn begun(client: &Client, number: i64, specs: &[String], stage: &str) -> Child {
    let specs = specs.iter().map(String::as_str);
    let specs: Vec<_> = specs.chain(["--rate", "2MiB", "--burst", "1MiB"]).collect();
    let mut child = client
        .command(&client.backup_line("half", number, &specs))
        .spawn()
        .unwrap();
    hear(&mut child, stage);
    child
}

pub fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args([name, &pid])
        .status();
    assert!(sent.unwrap().success());
}

/// Reads what a program says, up to these words.
fn hear(child: &mut Child, words: &str) {
    let stderr = child.stderr.as_mut().unwrap();
    let mut said = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&said).contains(words) {
        let read = stderr.read(&mut byte).unwrap();
        assert_eq!(read, 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
}

#[test]
fn a_question_need_not_be_answered() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    let mut command = client.command(&["group", "forget", "host/question"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    hear(&mut child, "[y/N]");
    signal(&child, "-INT");
    // Standard input stays open.
    let mut code = None;
    until("the end", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.and_then(|it| it.code()), Some(130));
}

#[test]
fn a_client_that_is_killed_leaves_nothing() {
    let world = World::new();
    for store in STORES {
        let client = Client::new(&world, store);
        let dir = tempfile::tempdir().unwrap();
        let specs = files(dir.path());
        let mut number = 0;
        for stage in STAGES {
            for (name, code) in [("-KILL", None), ("-TERM", Some(143)), ("-INT", Some(130))] {
                let child = begun(&client, number, &specs, stage);
                signal(&child, name);
                let ran = ended(child);
                assert_eq!(ran.code, code, "{stage} {name}: {ran}");
                // The server notices by itself.
                until("no snapshot", || client.snapshots().is_empty());
                number += 1;
            }
        }
        let lines: Vec<_> = specs.iter().map(String::as_str).collect();
        client.back_up("half", number, &lines);
        assert_eq!(client.snapshots().len(), 1);
        let second = client.read("half", number, "second.img", &[]);
        assert!(second == std::fs::read(dir.path().join("second")).unwrap());
        client.ok(&[
            "snapshot",
            "forget",
            &crate::client::snapshot("half", number),
        ]);
    }
}

#[test]
fn a_directory_that_is_given_up_leaves_the_last_backup_as_it_is() {
    let world = World::new();
    for store in STORES {
        let client = Client::new(&world, store);
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        crate::tree::plant(&root);
        let spec = format!("root.pxar:{}", root.display());
        let modes = ["legacy", "data", "metadata"];
        for (number, mode) in (0..).step_by(2).zip(modes) {
            let lines = [spec.clone(), format!("--change-detection-mode={mode}")];
            // Into the index of the files: the tree and the contents are both under way.
            let child = begun(&client, number, &lines, "pxar.didx\n");
            std::thread::park_timeout(Duration::from_millis(700));
            signal(&child, "-KILL");
            assert_eq!(ended(child).code, None);
            until("only the last one", || {
                client.snapshots().iter().all(|(_, finished)| *finished)
            });
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            client.back_up("half", number + 1, &lines);
            let content = noise(u64::try_from(number).unwrap() + 500, 16 << 20);
            std::fs::write(root.join("many/changed"), content).unwrap();
            let count = usize::try_from(number / 2).unwrap() + 1;
            assert_eq!(client.snapshots().len(), count);
        }
    }
}

#[test]
fn a_server_that_is_killed_is_missed() {
    let mut world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let specs = files(dir.path());
    let lines: Vec<_> = specs.iter().map(String::as_str).collect();
    for (number, stage) in (0..).zip(&STAGES[1..]) {
        let mut halves: Vec<_> = STORES
            .iter()
            .map(|store| begun(&Client::new(&world, store), number, &specs, stage))
            .collect();
        world.daemon.kill();
        for child in halves.drain(..) {
            let ran = ended(child);
            assert_eq!(ran.code, Some(1), "{ran}");
            assert!(ran.stderr.contains("Error: "), "{ran}");
            assert!(!ran.stderr.contains("panicked"), "{ran}");
        }
        world.restart();
    }
    for store in STORES {
        let client = Client::new(&world, store);
        let finished = client
            .snapshots()
            .into_iter()
            .filter(|(_, finished)| *finished);
        assert_eq!(finished.count(), 0);
        client.back_up("half", 10, &lines);
        let second = client.read("half", 10, "second.img", &[]);
        assert!(second == std::fs::read(dir.path().join("second")).unwrap());
    }
}

#[test]
fn a_restore_whose_server_is_killed_fails() {
    let mut world = World::new();
    let client = Client::new(&world, "local");
    let dir = tempfile::tempdir().unwrap();
    let specs = files(dir.path());
    let lines: Vec<_> = specs.iter().map(String::as_str).collect();
    client.back_up("whole", 0, &lines);
    let target = dir.path().join("target");
    let line = restore_line(
        "whole",
        0,
        "second.img",
        target.to_str().unwrap(),
        &["--rate", "2MiB"],
    );
    let child = client.command(&line).spawn().unwrap();
    until("the restored file", || target.exists());
    world.daemon.kill();
    let ran = ended(child);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("Error: "), "{ran}");
    assert!(!target.exists(), "half a file stays");
}

#[test]
fn a_restore_that_is_interrupted_leaves_no_half_file() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    let dir = tempfile::tempdir().unwrap();
    let specs = files(dir.path());
    let lines: Vec<_> = specs.iter().map(String::as_str).collect();
    client.back_up("interrupted", 0, &lines);
    let target = dir.path().join("target");
    for (name, code) in [("-TERM", 143), ("-INT", 130)] {
        let to = target.to_str().unwrap();
        let slowly = ["--rate", "2MiB", "--burst", "1MiB"];
        let line = restore_line("interrupted", 0, "second.img", to, &slowly);
        let child = client.command(&line).spawn().unwrap();
        until("the restored file", || target.exists());
        signal(&child, name);
        let ran = ended(child);
        assert_eq!(ran.code, Some(code), "{ran}");
        assert!(!target.exists(), "half a file stays");
    }
}
