//! Users who are not root, and attributes that the system does not give out.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::client::{Client, Ran, ended, restore_line};
use crate::daemon::World;

const NOBODY: u32 = 65534;

/// As a user who has no rights, from where such a user can reach it.
fn as_nobody(client: &Client, line: &[String]) -> Ran {
    let program = client.home.path().join("coffer-client");
    if !program.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_coffer-client"), &program).unwrap();
    }
    let mut command = client.command_of(program, line);
    ended(command.uid(NOBODY).gid(NOBODY).spawn().unwrap())
}

#[test]
fn without_the_right_to_owners_files_are_restored_with_a_warning() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    let world = World::shared();
    let client = Client::new(&world, "local");
    let open = |path: &Path| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    };
    open(client.home.path());
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("d")).unwrap();
    for (name, owner, mode) in [
        ("a", 12, 0o640),
        ("d/b", 34, 0o4755),
        ("d/c", NOBODY, 0o600),
    ] {
        let path = root.join(name);
        std::fs::write(&path, name).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let spec = format!("root.pxar:{}", root.display());
    for (number, mode) in [(0, "legacy"), (1, "data")] {
        client.back_up("nobody", number, &[&spec, "--change-detection-mode", mode]);
        let target = dir.path().join(mode);
        let to = target.to_str().unwrap();
        let ran = as_nobody(
            &client,
            &restore_line("nobody", number, "root.pxar", to, &[]),
        );
        assert_eq!(ran.code, Some(0), "{ran}");
        let warnings = ran.stderr.matches("cannot set the owner").count();
        assert_eq!(warnings, 1, "it is said once: {ran}");
        for (name, mode) in [("a", 0o640), ("d/b", 0o755), ("d/c", 0o600)] {
            let path = target.join(name);
            let metadata = path.metadata().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), name);
            assert_eq!(metadata.uid(), NOBODY);
            // Nobody's rights are not lent to others in the name of another owner.
            assert_eq!(metadata.mode() & 0o7777, mode, "{name}");
        }
        // Who wants it silent, or strict, says so.
        let to = format!("{to}-again");
        let line = |more: &[&str]| restore_line("nobody", number, "root.pxar", &to, more);
        let ran = as_nobody(&client, &line(&["--strict"]));
        assert_eq!(ran.code, Some(1), "{ran}");
        let ran = as_nobody(
            &client,
            &line(&["--ignore-ownership", "--allow-existing-dirs", "--overwrite"]),
        );
        assert_eq!(ran.code, Some(0), "{ran}");
        assert!(!ran.stderr.contains("owner"), "{ran}");
    }
}

/// More names than the system lists.
fn with_large_attributes(path: &Path) -> bool {
    std::fs::write(path, "content").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    (0..300).all(|number| {
        let name = format!("user.{number:0>240}");
        rustix::fs::setxattr(path, name, b"", flags).is_ok()
    })
}

#[test]
fn attributes_that_are_too_large_are_an_error_unless_they_are_skipped() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("SKIPPED: there is no /dev/shm");
        return;
    };
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    if !with_large_attributes(&root.join("large")) {
        eprintln!("SKIPPED: no file system here takes so many attributes");
        return;
    }
    let world = World::shared();
    let client = Client::new(&world, "local");
    let spec = format!("root.pxar:{}", root.display());
    let told = "'large': it is stored without extended attributes";
    for (number, mode) in [(0, "legacy"), (2, "data"), (4, "metadata")] {
        let line = [spec.as_str(), "--change-detection-mode", mode];
        let ran = client.run(&client.backup_line("large", number, &line));
        assert_eq!(ran.code, Some(3), "{ran}");
        for part in [told, "--skip-e2big-xattr"] {
            assert!(ran.stderr.contains(part), "{ran}");
        }
        let line = [&line[..], &["--skip-e2big-xattr"]].concat();
        let ran = client.back_up("large", number + 1, &line);
        assert!(ran.stderr.contains(told), "{ran}");
        let content = client.read("large", number + 1, "root.pxar", &["--path", "large"]);
        assert_eq!(content, b"content");
    }
}
