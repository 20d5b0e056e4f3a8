//! Remotes, sync jobs, traffic control and the machine's configuration.

use serde_json::json;

use crate::support::Installation;

#[test]
fn remotes_and_the_jobs_that_use_them() {
    let installation = Installation::new();
    let secret = installation.path().join("secret");
    std::fs::write(&secret, "geheim\n").unwrap();
    let secret = secret.to_str().unwrap();
    installation.ok(&[
        "remote",
        "create",
        "other",
        "--host",
        "pbs.example.org",
        "--auth-id",
        "sync@pbs",
        "--password-file",
        secret,
        "--comment",
        "over there",
    ]);
    let shown = json!({
        "name": "other", "host": "pbs.example.org", "auth-id": "sync@pbs", "comment": "over there"
    });
    assert_eq!(installation.json(&["remote", "show", "other"]), shown);
    assert_eq!(installation.json(&["remote", "list"]), json!([shown]));
    let text = installation.ok(&["remote", "list"]).stdout;
    assert!(
        text.contains("pbs.example.org") && !text.contains("geheim"),
        "{text}"
    );
    let file = std::fs::read_to_string(installation.config("remote.cfg")).unwrap();
    assert!(file.contains("\tpassword Z2VoZWlt\n"), "{file}");
    installation.ok(&[
        "remote", "update", "other", "--port", "8008", "--delete", "comment",
    ]);
    assert_eq!(
        installation.json(&["remote", "show", "other"])["port"],
        8008
    );
    let refused = installation.fails(&["remote", "update", "other"]);
    assert!(refused.contains("nothing to change"), "{refused}");
    let wrong = installation.run(&["remote", "update", "other", "--port", "0"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");

    // A job needs what it names.
    let job = [
        "sync-job",
        "create",
        "nightly",
        "--store",
        "store1",
        "--remote",
        "other",
        "--remote-store",
        "there",
        "--group-filter",
        "type:vm",
        "--group-filter",
        "type:ct",
    ];
    let refused = installation.fails(&job);
    assert!(refused.contains("no such datastore 'store1'"), "{refused}");
    let datastore = "datastore: store1\n\tpath /nowhere/store1\n";
    std::fs::write(installation.config("datastore.cfg"), datastore).unwrap();
    installation.ok(&job);
    let shown = installation.json(&["sync-job", "show", "nightly"]);
    assert_eq!(shown["group-filter"], json!(["type:vm", "type:ct"]));
    let refused = installation.fails(&["remote", "remove", "other"]);
    assert!(refused.contains("used by sync job 'nightly'"), "{refused}");
    // Its next run is counted from when it was made, or runs at other times.
    let state = installation
        .path()
        .join("state/jobstates/syncjob-nightly.json");
    let created = |text: &str| text.starts_with("{\"created\"");
    assert!(created(&std::fs::read_to_string(&state).unwrap()));
    std::fs::remove_file(&state).unwrap();
    let update = |option: &str, value: &str| {
        installation.ok(&["sync-job", "update", "nightly", option, value]);
    };
    update("--comment", "every night");
    assert!(!state.exists());
    update("--schedule", "daily");
    assert!(created(&std::fs::read_to_string(&state).unwrap()));
    installation.ok(&["sync-job", "remove", "nightly"]);
    assert!(!state.exists());
    installation.ok(&["remote", "remove", "other"]);
    assert_eq!(installation.json(&["remote", "list"]), json!([]));
}

#[test]
fn traffic_control_and_the_machine() {
    let installation = Installation::new();
    installation.ok(&[
        "traffic-control",
        "create",
        "office",
        "--network",
        "10.0.0.0/8",
        "--network",
        "fd00::/8",
        "--rate-in",
        "10 MiB",
        "--timeframe",
        "mon..fri 8-17",
    ]);
    installation.ok(&[
        "traffic-control",
        "update",
        "office",
        "--delete",
        "timeframe",
    ]);
    let shown = json!({
        "name": "office", "network": ["10.0.0.0/8", "fd00::/8"], "rate-in": "10 MiB"
    });
    assert_eq!(
        installation.json(&["traffic-control", "list"]),
        json!([shown])
    );
    installation.ok(&["traffic-control", "remove", "office"]);

    installation.ok(&[
        "node",
        "update",
        "--email-from",
        "a@example.org",
        "--location",
        "here",
    ]);
    installation.ok(&["node", "update", "--delete", "location"]);
    let shown = installation.json(&["node", "show"]);
    assert_eq!(shown, json!({ "email-from": "a@example.org" }));
}
