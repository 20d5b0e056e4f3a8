//! What is in a datastore, and what is done to it.

use serde_json::json;

use super::recorded::{self, cells, same_headings};
use crate::client::{Client, snapshot};
use crate::daemon::World;

/// A client with a small file to back up.
fn client(world: &World, store: &str) -> (Client, String) {
    let client = Client::new(world, store);
    let file = client.home.path().join("machine.conf");
    std::fs::write(&file, "cores: 2\n").unwrap();
    (client, format!("machine.conf:{}", file.display()))
}

#[test]
fn snapshots_are_listed_and_changed() {
    let world = World::shared();
    for store in crate::daemon::STORES {
        let (client, spec) = client(&world, store);
        client.back_up("listed", 0, &[&spec]);
        let name = snapshot("listed", 0);

        let list = client.text(&["list"]);
        same_headings(&list, "26-list");
        let line = list
            .lines()
            .find(|line| line.contains("host/listed"))
            .unwrap();
        assert_eq!(
            cells(line),
            ["host/listed", &name, "1", "index.json machine.conf"]
        );

        let files = client.text(&["snapshot", "files", &name]);
        same_headings(&files, "30-files");
        let line = files.lines().nth(5).unwrap();
        assert_eq!(cells(line)[..2], ["machine.conf.blob", "none"], "{files}");
        assert_eq!(client.text(&["files", &name]), files, "by its old name");

        let notes = "first line\nsecond line";
        client.ok(&["snapshot", "notes", "update", &name, notes]);
        let shown = client.text(&["snapshot", "notes", "show", &name]);
        assert_eq!(shown.trim_end(), notes);
        assert_eq!(client.json(&["snapshot", "notes", "show", &name]), notes);

        client.ok(&["snapshot", "protected", "update", &name, "true"]);
        assert_eq!(
            client.text(&["snapshot", "protected", "show", &name]),
            "true\n"
        );
        let table = client.text(&["snapshots", "host/listed"]);
        let line = table.lines().nth(3).unwrap();
        let cells = cells(line);
        assert_eq!(
            (cells[0], cells[3], cells[4]),
            (&*name, "yes", "first line"),
            "{table}"
        );

        let listed = client.json(&["snapshot", "list", "host/listed"]);
        let item = &listed[0];
        assert_eq!(item["comment"], "first line");
        assert_eq!(item["protected"], true);
        same_members(item, "29-snapshots-group");

        client.fails(&["snapshot", "forget", &name], &[&name, "protected"]);
        client.ok(&["snapshot", "protected", "update", &name, "false"]);
        client.ok(&["forget", &name]);
        client.fails(&["snapshot", "files", &name], &["does not exist"]);
        let ran = client.ends_with(2, &["snapshot", "forget", "host/listed"]);
        assert!(ran.stderr.contains("TYPE/ID/TIME"), "{ran}");
    }
}

/// What programs find in an item.
fn same_members(ours: &serde_json::Value, label: &str) {
    let Some(theirs) = recorded::output(label) else {
        return;
    };
    let theirs: serde_json::Value = serde_json::from_str(&theirs).unwrap();
    let names = |item: &serde_json::Value| -> Vec<String> {
        item.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names(ours), names(&theirs[0]));
    assert_eq!(names(&ours["files"][0]), names(&theirs[0]["files"][0]));
}

#[test]
fn a_log_is_added_once() {
    let world = World::shared();
    let (client, spec) = client(&world, "local");
    client.back_up("logged", 0, &[&spec]);
    let name = snapshot("logged", 0);
    let log = client.home.path().join("client.log");
    std::fs::write(&log, "all went well\n").unwrap();
    let log = log.to_str().unwrap();
    let said = client.text(&["upload-log", &name, log]);
    if let Some(theirs) = recorded::output("14-upload-log") {
        assert_eq!(said, theirs);
    }
    let content = client.read("logged", 0, "client.log", &[]);
    assert_eq!(content, b"all went well\n");
    client.fails(&["snapshot", "upload-log", &name, log], &["already"]);
    client.fails(&["upload-log", &name, "/nowhere"], &["/nowhere"]);
}

#[test]
fn a_group_is_pruned_by_rules() {
    let world = World::shared();
    let (client, spec) = client(&world, "local");
    for number in 0..3 {
        client.back_up("pruned", number, &[&spec]);
    }
    let actions = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(3).step_by(2);
        lines.map(|line| cells(line)[2].to_owned()).collect()
    };
    let line = ["prune", "host/pruned", "--keep-last", "1", "--dry-run"];
    let dry = client.text(&line);
    same_headings(&dry, "43-prune-dry");
    assert_eq!(actions(&dry), ["remove", "remove", "keep"]);
    assert_eq!(client.json(&line)[2]["keep"], true);
    let done = client.text(&["prune", "--group", "host/pruned", "--keep-last", "2"]);
    assert_eq!(actions(&done), ["remove", "keep", "keep"]);
    let quiet = ["prune", "host/pruned", "--keep-last", "1", "--quiet"];
    // Programs get all of it.
    let list = client.json(&[&quiet[..], &["--dry-run"]].concat());
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(actions(&client.text(&quiet)), ["remove"]);
    assert_eq!(client.text(&quiet), "");
    let left = client.json(&["snapshot", "list", "host/pruned"]);
    assert_eq!(left.as_array().unwrap().len(), 1);
    client.fails(&["prune", "host/pruned"], &["no rule", "--keep-last"]);
    client.ends_with(2, &["prune", "host/pruned", "--keep-last", "many"]);
}

#[test]
fn namespaces_and_groups_move_and_go() {
    let world = World::new();
    let (client, spec) = client(&world, "local");
    for ns in ["a", "a/b", "c"] {
        assert_eq!(client.text(&["namespace", "create", ns]), "");
    }
    assert_eq!(client.text(&["namespace", "list"]), "a\na/b\nc\n");
    assert_eq!(client.text(&["namespace", "list", "a"]), "a\na/b\n");
    assert_eq!(
        client.json(&["namespace", "list", "--max-depth", "1"]),
        json!([{ "ns": "" }, { "ns": "a" }, { "ns": "c" }])
    );
    client.back_up("moved", 0, &[&spec, "--ns", "a/b"]);

    let line = [
        "group",
        "move",
        "host/moved",
        "--ns",
        "a/b",
        "--target-ns",
        "c",
    ];
    let said = client.text(&line);
    assert!(
        said.starts_with("moving group 'host/moved' from 'a/b' to 'c'\n"),
        "{said}"
    );
    assert!(said.ends_with("TASK OK\n"), "{said}");
    assert_eq!(client.text(&["list", "--ns", "a/b"]), "");
    assert!(client.text(&["list", "--ns", "c"]).contains("host/moved"));
    let said = client.text(&["namespace", "move", "c", "--target-ns", "a/c"]);
    if let Some(theirs) = recorded::output("53-ns-move") {
        let first = theirs.lines().next().unwrap();
        assert!(
            said.starts_with(&first.replace("ns2moved", "a/c").replace("ns2", "c")),
            "{said}"
        );
    }
    client.fails(&["namespace", "delete", "a/c"], &["a/c"]);

    let line = ["group", "forget", "host/moved", "--ns", "a/c"];
    let ran = client.fed(&line, b"n\n");
    assert_eq!(ran.code, Some(1), "{ran}");
    let question = "Delete group \"host/moved\" with 1 snapshot(s)? [y/N]: ";
    assert!(ran.stderr.starts_with(question), "{ran}");
    assert!(client.text(&["list", "--ns", "a/c"]).contains("host/moved"));
    let owner = ["change-owner", "host/moved", "nobody@pbs", "--ns", "a/c"];
    client.fails(&owner, &["owner of host/moved", "nobody@pbs"]);
    let ran = client.fed(&line, b"y\n");
    assert_eq!(ran.code, Some(0), "{ran}");
    client.ok(&["namespace", "delete", "a/c"]);
    client.back_up("again", 0, &[&spec, "--ns", "a/b"]);
    client.ok(&["group", "forget", "host/again", "--ns", "a/b", "--yes"]);
    client.ok(&["namespace", "delete", "a"]);
    assert_eq!(client.text(&["namespace", "list"]), "");
    client.fails(&["namespace", "create", "x/y"], &["x/y"]);
}

#[test]
fn tasks_are_listed_logged_and_waited_for() {
    let world = World::shared();
    let (client, spec) = client(&world, "local");
    client.back_up("tasked", 0, &[&spec]);
    let said = client.text(&["garbage-collect"]);
    assert!(
        said.starts_with("starting garbage collection on store local"),
        "{said}"
    );
    assert!(said.ends_with("TASK OK\n"), "{said}");
    let status = client.json(&["garbage-collect"]);
    assert_eq!(status["exitstatus"], "OK", "{status}");

    let list = client.text(&["task", "list", "--all"]);
    same_headings(&list, "57-task-list");
    let tasks = client.json(&["task", "list", "--all", "--limit", "500"]);
    let tasks = tasks.as_array().unwrap();
    let backup = tasks
        .iter()
        .find(|task| task["worker_id"] == "local:host/tasked");
    let upid = backup.unwrap()["upid"].as_str().unwrap();
    let log = client.text(&["task", "log", upid]);
    assert!(
        log.contains(": starting new backup on datastore 'local'"),
        "{log}"
    );
    assert!(log.ends_with(": TASK OK\n"), "{log}");
    client.ok(&["task", "stop", upid]);
    let ran = client.ends_with(2, &["task", "log", "UPID:pizza"]);
    assert!(ran.stderr.contains("UPID:pizza"), "{ran}");
}

#[test]
fn status_and_versions() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    let text = client.text(&["status"]);
    let rows = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(1).step_by(2).map(cells);
        lines
            .filter_map(|cells| cells.first().map(|name| (*name).to_owned()))
            .collect()
    };
    assert_eq!(rows(&text), ["total", "used", "avail"]);
    if let Some(theirs) = recorded::output("31-status") {
        assert_eq!(rows(&theirs), rows(&text));
    }
    assert!(text.lines().nth(1).unwrap().contains("(100 %)"), "{text}");
    assert!(client.json(&["status"])["total"].as_u64() > Some(0));
    let pretty = client.text(&["status", "--output-format", "json-pretty"]);
    assert!(pretty.starts_with("{\n  \"avail\": "), "{pretty}");

    let version = client.text(&["version"]);
    let mut lines = version.lines();
    let ours = format!("client version: {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines.next(), Some(&*ours));
    assert!(
        lines.next().unwrap().starts_with("server version: "),
        "{version}"
    );
    assert!(client.json(&["version"])["server"]["version"].is_string());
    let identity = &client.json(&["server-identity"])["pbs-instance-id"];
    assert_eq!(identity.as_str().map(str::len), Some(32), "{identity}");
    let alone = client.without("PBS_REPOSITORY");
    assert_eq!(alone.text(&["version"]), format!("{ours}\n"));
}

#[test]
fn what_a_reader_does_not_want_is_no_error_of_his() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    let mut child = client.command(&["namespace", "list"]).spawn().unwrap();
    drop(child.stdout.take());
    let ran = crate::client::ended(child);
    assert!(!ran.stderr.contains("panicked"), "{ran}");
}
