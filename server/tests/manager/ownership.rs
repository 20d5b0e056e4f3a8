//! Root's commands on an installation that is somebody else's.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use crate::support::Installation;

/// Any user without rights; none by that id need exist.
const OWNER: u32 = 61_234;

/// Everything at and below `path` that is not the owner's.
fn strangers(path: &Path, found: &mut Vec<String>) {
    let data = std::fs::symlink_metadata(path).unwrap();
    if (data.uid(), data.gid()) != (OWNER, OWNER) {
        found.push(format!("{}: {}:{}", path.display(), data.uid(), data.gid()));
    }
    if data.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            strangers(&entry.unwrap().path(), found);
        }
    }
}

#[test]
fn they_leave_it_to_its_owner() {
    let installation = Installation::new();
    let secret = tempfile::NamedTempFile::new().unwrap();
    writeln!(secret.as_file(), "very-secret").unwrap();
    let config = installation.path().join("config");
    std::fs::create_dir(&config).unwrap();
    if chown(&config, Some(OWNER), Some(OWNER)).is_err() {
        // Not root: nothing can be given to anybody, so there is nothing to be left.
        return;
    }
    chown(installation.path(), Some(OWNER), Some(OWNER)).unwrap();

    let user = installation.run_with_input(&["user", "create", "admin@pbs"], "secret12\n");
    assert_eq!(user.code, Some(0), "{user:?}");
    installation.ok(&["acl", "update", "/", "Admin", "--auth-id", "admin@pbs"]);
    installation.ok(&["cert", "info"]);
    installation.ok(&["task", "list"]);

    // Root's own file, which the owner may not read.
    let mode = secret.as_file().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
    installation.ok(&[
        "s3",
        "endpoint",
        "create",
        "end1",
        "--endpoint",
        "127.0.0.1",
        "--access-key",
        "a",
        "--secret-key-file",
        secret.path().to_str().unwrap(),
    ]);
    let endpoints = std::fs::read_to_string(installation.config("s3.cfg")).unwrap();
    assert!(endpoints.contains("very-secret"), "{endpoints}");

    let mut found = Vec::new();
    strangers(installation.path(), &mut found);
    assert_eq!(found, Vec::<String>::new());
}
