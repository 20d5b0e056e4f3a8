//! Looking into archives.

use super::recorded;
use crate::client::{Client, snapshot};
use crate::daemon::World;

pub fn backed_up(world: &World, id: &str, mode: &str) -> Client {
    let client = Client::new(world, "local");
    let dir = client.home.path().join("tree");
    std::fs::create_dir_all(dir.join("etc/sub")).unwrap();
    std::fs::write(dir.join("etc/a.conf"), "one\n").unwrap();
    std::fs::write(dir.join("etc/sub/b.conf"), "two\n").unwrap();
    std::fs::write(dir.join("other"), "three\n").unwrap();
    let spec = format!("root.pxar:{}", dir.display());
    client.back_up(id, 0, &[&spec, "--change-detection-mode", mode]);
    client
}

#[test]
fn catalogs_list_files_as_upstream_does() {
    let world = World::shared();
    for (mode, archive, label) in [
        ("legacy", "root.pxar.didx", "32-catalog-dump"),
        ("data", "root.mpxar.didx", "33-catalog-dump-meta"),
    ] {
        let client = backed_up(&world, &format!("dump-{mode}"), mode);
        let dump = client.text(&["catalog", "dump", &snapshot(&format!("dump-{mode}"), 0)]);
        let mut lines: Vec<_> = dump.lines().collect();
        if mode == "legacy" {
            assert_eq!(lines.remove(0), format!("d \"./{archive}\""));
        }
        assert_eq!(lines.len(), 5, "{dump}");
        assert_eq!(lines[0], format!("d \"./{archive}/etc\""));
        assert!(
            lines[1].starts_with(&format!("f \"./{archive}/etc/a.conf\" 4 20")),
            "{dump}"
        );
        assert!(lines[1].ends_with('Z'), "{dump}");
        if let Some(theirs) = recorded::output(label) {
            let first = theirs.lines().next().unwrap();
            assert_eq!(
                first.starts_with("d \"./root.pxar.didx\""),
                mode == "legacy"
            );
        }
    }
}

#[test]
fn the_shell_looks_around_and_restores() {
    let world = World::shared();
    for mode in ["legacy", "data"] {
        let id = format!("shell-{mode}");
        let client = backed_up(&world, &id, mode);
        let commands = "\
            ls\n\
            cd etc\n\
            pwd\n\
            nonsense\n\
            find *.conf\n\
            select sub/b.conf\n\
            list-selected\n\
            restore-selected selected\n\
            restore whole --pattern a.conf\n\
            exit\n\
            ls\n";
        let line = ["catalog", "shell", &format!("host/{id}"), "root.pxar"];
        let ran = client.fed(&line, commands.as_bytes());
        assert_eq!(ran.code, Some(0), "{ran}");
        let said = String::from_utf8(ran.stdout.clone()).unwrap();
        let expected = "etc/\nother\n/etc\n/etc/a.conf\n/etc/sub/b.conf\n/etc/sub/b.conf\n";
        assert_eq!(said, expected, "{ran}");
        assert!(ran.stderr.contains("nonsense"), "{ran}");
        let home = client.home.path();
        let restored = home.join("selected/etc/sub/b.conf");
        assert_eq!(std::fs::read(restored).unwrap(), b"two\n");
        assert_eq!(std::fs::read(home.join("whole/a.conf")).unwrap(), b"one\n");
        assert!(!home.join("whole/sub/b.conf").exists());
    }
}

#[test]
fn two_snapshots_are_compared() {
    let world = World::shared();
    let client = backed_up(&world, "compared", "data");
    let dir = client.home.path().join("tree");
    std::fs::remove_file(dir.join("other")).unwrap();
    std::fs::write(dir.join("etc/a.conf"), "longer than before\n").unwrap();
    std::fs::write(dir.join("new"), "four\n").unwrap();
    let spec = format!("root.pxar:{}", dir.display());
    client.back_up(
        "compared",
        1,
        &[&spec, "--change-detection-mode", "metadata"],
    );
    let (older, newer) = (snapshot("compared", 0), snapshot("compared", 1));
    let text = client.text(&["diff", &older, &newer, "root.pxar"]);
    let has = |start: &str| text.lines().any(|line| line.starts_with(start));
    assert!(has("A f \"new\"") || has("A f \"/new\""), "{text}");
    assert!(has("D f \"other\"") || has("D f \"/other\""), "{text}");
    assert!(text.contains("etc/a.conf\" (content, size"), "{text}");
    assert!(!text.contains("b.conf"), "{text}");
    let same = client.text(&["diff", &older, &older, "root.pxar"]);
    assert_eq!(same, "");
}

#[test]
fn this_machine_is_measured() {
    let world = World::shared();
    let client = Client::new(&world, "local").without("PBS_REPOSITORY");
    let ours = client.json(&["benchmark"]);
    let names = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert!(ours["sha256"]["speed"].as_f64() > Some(0.0), "{ours}");
    assert!(ours["tls"]["speed"].is_null(), "{ours}");
    if let Some(theirs) = recorded::output("58-benchmark") {
        let theirs = theirs.lines().last().unwrap();
        assert_eq!(names(&ours), names(&serde_json::from_str(theirs).unwrap()));
    }
}

#[test]
fn images_are_no_block_devices() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    client.fails(&["map", "host/a", "disk.img"], &["losetup"]);
    client.fails(&["unmap"], &["losetup"]);
}
