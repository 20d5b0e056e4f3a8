//! Ways in: passwords, tickets, tokens, fingerprints.

use std::os::unix::fs::PermissionsExt as _;

use crate::client::Client;
use crate::daemon::World;

/// A client that remembers logins.
fn client(world: &World) -> Client {
    let client = Client::new(world, "local");
    let run = client.home.path().join("run");
    std::fs::create_dir(&run).unwrap();
    client.with("XDG_RUNTIME_DIR", run.to_str().unwrap())
}

#[test]
fn a_login_is_remembered_until_the_logout() {
    let world = World::shared();
    let client = client(&world);
    assert_eq!(client.text(&["login"]), "");
    let kept = client.home.path().join("run/coffer-client/tickets");
    let mode = kept.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(!text.contains(&world.daemon.password), "only the ticket");

    let client = client.with("PBS_PASSWORD", "wrong");
    client.ok(&["status"]);
    client.ok(&["logout"]);
    client.fails(&["status"], &["has failed", "password", "admin@pbs"]);
    client.fails(&["login"], &["password"]);
    client.ok(&["logout"]);
}

/// A ticket that the server takes no longer is replaced, not reported.
#[test]
fn a_ticket_that_has_lost_its_worth_is_replaced() {
    let world = World::shared();
    let client = client(&world);
    client.ok(&["login"]);
    let kept = client.home.path().join("run/coffer-client/tickets");
    let text = std::fs::read_to_string(&kept).unwrap();
    let broken = text.replace("PBS:admin@pbs:", "PBS:admin@pbs:0");
    assert_ne!(broken, text);
    std::fs::write(&kept, &broken).unwrap();
    client.ok(&["status"]);
    assert_ne!(std::fs::read_to_string(&kept).unwrap(), broken);
    std::fs::write(&kept, &broken).unwrap();
    let client = client.with("PBS_PASSWORD", "wrong");
    client.fails(&["status"], &["password"]);
}

#[test]
fn where_nothing_can_be_remembered_a_login_says_so() {
    let world = World::shared();
    let client = Client::new(&world, "local").with("XDG_RUNTIME_DIR", "/proc/nowhere");
    client.fails(&["login"], &["XDG_RUNTIME_DIR"]);
    client.ok(&["status"]);
}

#[test]
fn passwords_come_from_files_descriptors_and_commands() {
    let world = World::shared();
    let password = &world.daemon.password;
    let without = || {
        let client = Client::new(&world, "local");
        client.without("PBS_PASSWORD")
    };
    let client = without();
    let file = client.home.path().join("password");
    std::fs::write(&file, format!("{password}\nof the server\n")).unwrap();
    let client = client.with("PBS_PASSWORD_FILE", file.to_str().unwrap());
    client.ok(&["status"]);
    let client = without().with("PBS_PASSWORD_CMD", &format!("echo {password}"));
    client.ok(&["status"]);
    let client = without().with("PBS_PASSWORD_FD", "0");
    let ran = client.fed(&["status"], format!("{password}\n").as_bytes());
    assert_eq!(ran.code, Some(0), "{ran}");
    without().fails(
        &["status"],
        &["no password for admin@pbs", "PBS_PASSWORD_FILE"],
    );
    let client = without().with("PBS_PASSWORD_CMD", "exit 7");
    client.fails(&["status"], &["PBS_PASSWORD_CMD", "7"]);
}

#[test]
fn a_fingerprint_is_checked() {
    let world = World::shared();
    let right = &world.daemon.fingerprint;
    let wrong = ["12"; 32].join(":");
    let client = Client::new(&world, "local").with("PBS_FINGERPRINT", &wrong);
    client.fails(&["status"], &[right, &wrong, "expected"]);
    let client = client.with("PBS_FINGERPRINT", &right.to_uppercase());
    client.ok(&["status"]);
    let client = client.with("PBS_FINGERPRINT", "pizza");
    client.fails(&["status"], &["PBS_FINGERPRINT", "pizza"]);

    // What was accepted before is accepted again.
    let client = client.without("PBS_FINGERPRINT");
    client.fails(&["status"], &[right, "not trusted", "PBS_FINGERPRINT="]);
    let config = client.home.path().join(".config/proxmox-backup");
    std::fs::create_dir_all(&config).unwrap();
    let known = config.join("fingerprints");
    let server = format!("127.0.0.1:{}", world.daemon.port);
    std::fs::write(&known, format!("{server} {wrong}\n")).unwrap();
    client.fails(&["status"], &[right, &wrong, "before"]);
    std::fs::write(&known, format!("{server} {right}\n")).unwrap();
    client.ok(&["status"]);
}

#[test]
fn a_token_needs_no_login() {
    let world = World::shared();
    let text = std::fs::read_to_string(world.dir().join("env")).unwrap();
    let line = text.lines().find(|line| line.contains("COFFER_API_TOKEN"));
    let token = line.unwrap().split('\'').nth(1).unwrap();
    let (id, secret) = token.split_once(':').unwrap();
    let repository = format!("{id}@127.0.0.1:{}:local", world.daemon.port);
    let client = client(&world)
        .with("PBS_REPOSITORY", &repository)
        .with("PBS_PASSWORD", secret);
    client.ok(&["status"]);
    client.fails(&["login"], &["token"]);
    let ran = client.with("PBS_PASSWORD", "not-the-secret");
    ran.fails(&["status"], &["authentication failed"]);
}

#[test]
fn servers_that_do_not_answer() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    let at = |server: &str| format!("admin@pbs@{server}:local");
    for (server, parts) in [
        ("127.0.0.1:1", ["127.0.0.1:1", "refused"]),
        ("no-such-host.invalid", ["no-such-host.invalid", "address"]),
        ("[::1]:x", ["\"x\" is no port", "REPOSITORY"]),
    ] {
        let repository = at(server);
        let ran = client.ends_with(1, &["status", "--repository", &repository]);
        let text = ran.stderr.replace("repository", "REPOSITORY");
        for part in parts {
            assert!(text.contains(part), "{server}: {ran}");
        }
    }
    // Something else listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"SSH-2.0-OpenSSH\r\n").unwrap();
    });
    let repository = at(&format!("127.0.0.1:{port}"));
    let ran = client.ends_with(1, &["status", "--repository", &repository]);
    assert!(ran.stderr.contains("TLS"), "{ran}");
    other.join().unwrap();
    let client = client.without("PBS_REPOSITORY");
    client.fails(&["status"], &["--repository", "PBS_REPOSITORY"]);
}

/// On a terminal a person is asked, once.
#[test]
fn on_a_terminal_a_person_is_asked() {
    let world = World::shared();
    let client = client(&world).without("PBS_FINGERPRINT");
    let client = client.without("PBS_PASSWORD");
    // `script` is a terminal; the programs on it are fed by its own input.
    let program = env!("CARGO_BIN_EXE_coffer-client");
    let on_terminal = |line: &str, input: &str| {
        let mut command = client.command::<&str>(&[]);
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = std::process::Command::new("script");
        command
            .env_clear()
            .envs(environment)
            .args(["-q", "-e", "-c", &format!("{program} {line}"), "/dev/null"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, input.as_bytes()).unwrap();
        let ran = crate::client::ended(child);
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        drop(stdin);
        (ran.code, said)
    };
    let (code, said) = on_terminal("login", "n\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&world.daemon.fingerprint), "{said}");
    assert!(said.contains("Are you sure"), "{said}");
    let (code, said) = on_terminal("login", &format!("y\n{}\n", world.daemon.password));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Password for \"admin@pbs\": "), "{said}");
    let answered = said.split("Password for").nth(1).unwrap();
    assert!(!answered.contains(&world.daemon.password), "{said}");
    let (code, said) = on_terminal("status", "");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        !said.contains("Are you sure") && !said.contains("Password"),
        "{said}"
    );
}
