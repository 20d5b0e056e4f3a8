//! `user`, `acl`, `cert`.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::Installation;

#[test]
fn the_first_administrator() {
    let installation = Installation::new();
    let created = installation.run_with_input(
        &["user", "create", "admin@pbs", "--comment", "first"],
        "secret12\n",
    );
    assert_eq!(created.code, Some(0), "{created:?}");
    let shadow = installation.config("shadow.json");
    let text = std::fs::read_to_string(&shadow).unwrap();
    assert!(
        text.contains(r#""admin": "$y$"#) && !text.contains("secret12"),
        "{text}"
    );
    let mode = std::fs::metadata(&shadow).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    installation.ok(&["acl", "update", "/", "Admin", "--auth-id", "admin@pbs"]);
    let token = installation.json(&["user", "generate-token", "admin@pbs", "t1"]);
    assert_eq!(token["tokenid"], "admin@pbs!t1");
    assert_eq!(token["value"].as_str().unwrap().len(), 36);
    installation.ok(&[
        "acl",
        "update",
        "/datastore/s1",
        "DatastoreBackup",
        "--auth-id",
        "admin@pbs!t1",
        "--propagate",
        "false",
    ]);
    assert_eq!(
        installation.json(&["acl", "list"]),
        json!([
            { "ugid": "admin@pbs", "path": "/", "propagate": true, "roleid": "Admin" },
            { "ugid": "admin@pbs!t1", "path": "/datastore/s1", "propagate": false,
              "roleid": "DatastoreBackup" },
        ])
    );
    let tokens = installation.json(&["user", "list-tokens", "admin@pbs"]);
    assert_eq!(tokens, json!([{ "tokenid": "admin@pbs!t1" }]));
    installation.ok(&[
        "acl",
        "update",
        "/",
        "Admin",
        "--auth-id",
        "admin@pbs",
        "--delete",
    ]);
    installation.ok(&["user", "delete-token", "admin@pbs", "t1"]);
    assert_eq!(installation.json(&["acl", "list"]), json!([]));
    let users = installation.ok(&["user", "list"]).stdout;
    assert!(
        users.contains("admin@pbs") && users.contains("root@pam"),
        "{users}"
    );
    installation.ok(&["user", "remove", "admin@pbs"]);
    assert_eq!(std::fs::read_to_string(&shadow).unwrap(), "{}");
}

#[test]
fn what_is_refused() {
    let installation = Installation::new();
    let create = |user: &str, password: &str| {
        let ran = installation.run_with_input(&["user", "create", user], password);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.stderr
    };
    assert!(create("a@pbs", "short\n").contains("8 to 64 characters"));
    assert!(create("a@pbs", "").contains("8 to 64 characters"));
    assert!(create("a@ldap", "secret12\n").contains("no such realm 'ldap'"));
    let fails = |arguments: &[&str]| installation.fails(arguments);
    assert!(fails(&["user", "remove", "a@pbs"]).contains("user 'a@pbs' does not exist."));
    assert!(fails(&["user", "generate-token", "a@pbs", "t"]).contains("no such user 'a@pbs'"));
    let acl = fails(&["acl", "update", "/", "Admin", "--auth-id", "a@pbs"]);
    assert!(acl.contains("no such user."), "{acl}");
    let acl = fails(&[
        "acl",
        "update",
        "/nothing",
        "Admin",
        "--auth-id",
        "root@pam",
    ]);
    assert!(acl.contains("invalid acl path '/nothing'."), "{acl}");
}

#[test]
fn the_certificate_is_made_and_shown() {
    let installation = Installation::new();
    let info = installation.json(&["cert", "info"]);
    let text = installation.ok(&["cert", "info"]).stdout;
    let fingerprint = info["fingerprint"].as_str().unwrap();
    assert!(
        text.contains(&format!("Fingerprint (sha256): {fingerprint}\n")),
        "{text}"
    );
    let mode = std::fs::metadata(installation.config("proxy.key")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}
