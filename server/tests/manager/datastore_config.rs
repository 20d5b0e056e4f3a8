//! `datastore ...`: configuration.

use serde_json::json;

use crate::support::Installation;

fn with_store() -> Installation {
    let installation = Installation::new();
    installation.ok(&["datastore", "list"]);
    std::fs::write(
        installation.config("datastore.cfg"),
        "datastore: s1a\n\tpath /srv/s1\n",
    )
    .unwrap();
    installation
}

#[test]
fn a_datastore_is_listed_shown_and_changed() {
    let installation = with_store();
    let shown = json!({"name": "s1a", "path": "/srv/s1"});
    assert_eq!(installation.json(&["datastore", "list"]), json!([shown]));
    installation.ok(&[
        "datastore",
        "update",
        "s1a",
        "--comment",
        "first",
        "--verify-new",
        "--tuning",
        "gc-atime-cutoff=60",
    ]);
    let expected = json!({
        "name": "s1a", "path": "/srv/s1", "comment": "first", "verify-new": true,
        "tuning": "gc-atime-cutoff=60"
    });
    assert_eq!(installation.json(&["datastore", "show", "s1a"]), expected);
    installation.ok(&[
        "datastore",
        "update",
        "s1a",
        "--delete",
        "comment",
        "--delete",
        "verify-new",
        "--delete",
        "tuning",
    ]);
    let text = std::fs::read_to_string(installation.config("datastore.cfg")).unwrap();
    assert_eq!(text, "datastore: s1a\n\tpath /srv/s1\n");
}

#[test]
fn wrong_changes_are_refused() {
    let installation = with_store();
    let message = installation.fails(&["datastore", "show", "other"]);
    assert_eq!(message, "error: no such datastore 'other'\n");
    let message = installation.fails(&["datastore", "update", "s1a", "--tuning", "nonsense=1"]);
    assert!(message.contains("nonsense"), "{message}");
    installation.ok(&["datastore", "update", "s1a", "--maintenance-mode", "delete"]);
    let message =
        installation.fails(&["datastore", "update", "s1a", "--delete", "maintenance-mode"]);
    assert!(message.contains("being deleted"), "{message}");
}
