//! Change detection: how much is read and sent again, and that all of it comes back.

use std::path::Path;

use crate::client::{Client, restore_line};
use crate::daemon::{STORES, World};
use crate::tree::{assert_same, change, plant, read};

/// Three backups of a tree, the last after a change; each comes back.
fn in_mode(store: &str, mode: &str, more: &[&str]) {
    let world = World::shared();
    let client = Client::new(&world, store);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    plant(&root);
    let spec = format!("root.pxar:{}", root.display());
    let id = format!("mode-{mode}-{}", more.len());
    let line = [&[spec.as_str(), "--change-detection-mode", mode], more].concat();
    let mut lines = Vec::new();
    for number in 0..3 {
        if number == 2 {
            change(&root);
        }
        let expected = read(&root);
        lines.push(client.back_up(&id, number, &line).stderr);
        let target = dir.path().join(number.to_string());
        client.restore(&id, number, "root.pxar", &target, &[]);
        assert_same(&read(&target), &expected);
    }
    let part = if mode == "legacy" {
        "root.pxar"
    } else {
        "root.ppxar"
    };
    assert!(
        lines[0].contains(&format!("{part}: had to backup ")),
        "{}",
        lines[0]
    );
    let again = match mode {
        // All is read, and found to be there.
        "legacy" | "data" => format!("{part}: had to backup 0 B of "),
        _ => "Change detection summary:".to_owned(),
    };
    assert!(lines[1].contains(&again), "no '{again}' in {}", lines[1]);
    if mode == "metadata" {
        let unchanged = " - 0 changed or non-reusable files with 0 B data";
        assert!(lines[1].contains(unchanged), "{}", lines[1]);
        let reused = "from previous snapshot for unchanged files";
        assert!(
            lines[1].contains(reused) && lines[2].contains(reused),
            "{}",
            lines[2]
        );
    }
    one_file(&client, &id, dir.path());
}

/// A single file, by its path and by a pattern.
fn one_file(client: &Client, id: &str, dir: &Path) {
    let target = dir.join("single");
    client.restore(id, 2, "root.pxar", &target, &["--pattern", "/many/10?"]);
    let found = read(&target);
    let files: Vec<_> = found
        .keys()
        .filter(|path| path.starts_with("many/"))
        .collect();
    assert_eq!(files.len(), 11, "the directory and ten files: {files:?}");
    let file = files.iter().find(|path| target.join(path).is_file());
    let file = file.unwrap().to_str().unwrap();
    let content = client.read(id, 2, "root.pxar", &["--path", file]);
    assert_eq!(content, std::fs::read(target.join(file)).unwrap());
    let line = restore_line(id, 2, "root.pxar", "-", &["--pattern", "/many/10?"]);
    let ran = client.fails(&line, &["standard output", "--path"]);
    assert_eq!(ran.stdout, b"");
}

#[test]
fn legacy() {
    in_mode(STORES[1], "legacy", &[]);
}

#[test]
fn data() {
    in_mode(STORES[0], "data", &[]);
}

#[test]
fn metadata_on_a_directory() {
    in_mode(STORES[1], "metadata", &[]);
}

#[test]
fn metadata_on_a_bucket() {
    in_mode(STORES[0], "metadata", &[]);
}

#[test]
fn small_chunks() {
    in_mode(STORES[1], "data", &["--chunk-size", "64"]);
}
