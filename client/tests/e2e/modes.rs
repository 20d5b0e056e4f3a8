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
    one_stream(&client, &id);
}

/// All of it to standard output, in whatever parts it is stored.
fn one_stream(client: &Client, id: &str) {
    let stream = client.read(id, 2, "root.pxar", &[]);
    let archive = pxar::Accessor::open(&stream[..], None).unwrap();
    let found = archive.lookup([&b"many"[..], b"new"]).unwrap().unwrap();
    let pxar::Node::Inode(inode) = found.node else {
        panic!("it is a file");
    };
    let pxar::Body::File(payload) = inode.body else {
        panic!("it is a file");
    };
    let mut content = Vec::new();
    let mut reader = archive.contents(&payload).unwrap();
    std::io::Read::read_to_end(&mut reader, &mut content).unwrap();
    assert_eq!(content, b"new");
}

/// The patterns of an archive in two parts are in front of it, not in a file.
#[test]
fn patterns_are_restored_as_the_prelude() {
    let world = World::shared();
    let client = Client::new(&world, STORES[1]);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    for name in ["a", "b.tmp", "keep.tmp"] {
        std::fs::write(root.join(name), name).unwrap();
    }
    let spec = format!("root.pxar:{}", root.display());
    let patterns = ["--exclude", "*.tmp", "--exclude", "!/keep.tmp"];
    for (number, mode) in [(0, "legacy"), (1, "data")] {
        let line = [
            &[spec.as_str(), "--change-detection-mode", mode][..],
            &patterns[..],
        ]
        .concat();
        client.back_up("prelude", number, &line);
    }
    client.back_up("prelude", 2, &[&spec, "--change-detection-mode", "data"]);
    let [target, prelude] = ["target", "prelude"].map(|name| dir.path().join(name));
    let to = prelude.to_str().unwrap().to_owned();
    let wanted = ["--prelude-target", &to];
    let expected = br#"{"exclude-patterns":"*.tmp\n!/keep.tmp\n"}"#;
    client.restore("prelude", 1, "root.pxar", &target, &wanted);
    assert_eq!(std::fs::read(&prelude).unwrap(), expected);
    let names = |tree: &crate::tree::Tree| {
        let names = tree.keys().map(|path| path.to_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&read(&target)), ["", "a", "keep.tmp"]);
    // Nothing is replaced that need not be.
    let line = |number, archive, to: &str, more: &[&str]| {
        restore_line(
            "prelude",
            number,
            archive,
            to,
            &[&wanted[..], more].concat(),
        )
    };
    let other = dir.path().join("other");
    let other = other.to_str().unwrap();
    client.fails(
        &line(1, "root.pxar", other, &[]),
        &["prelude", "it exists", "--overwrite"],
    );
    client.ok(&line(1, "root.pxar", other, &["--overwrite"]));
    let ran = client.ok(&line(1, "root.pxar", "-", &["--overwrite", "--path", "a"]));
    assert_eq!(ran.stdout, b"a");
    // Of archives without there is none, and that is said.
    for (number, names_there) in [
        (0, vec!["", ".pxarexclude-cli", "a", "keep.tmp"]),
        (2, vec!["", "a", "b.tmp", "keep.tmp"]),
    ] {
        std::fs::remove_dir_all(&target).unwrap();
        let to = target.to_str().unwrap();
        let ran = client.ok(&line(number, "root.pxar", to, &["--overwrite"]));
        assert!(ran.stderr.contains("the archive has no prelude"), "{ran}");
        assert_eq!(names(&read(&target)), names_there);
        assert_eq!(std::fs::read(&prelude).unwrap(), expected, "it stays");
    }
    client.fails(&line(1, "root.mpxar", other, &[]), &["--prelude-target"]);
    client.fails(&line(1, "root.pxar", &to, &[]), &["cannot both go to"]);
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
