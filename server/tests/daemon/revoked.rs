//! Credentials that were good once, or are good for somebody else.

use crate::support::{Daemon, quick_dir};

const USERS: &str = "/api2/json/access/users";
const VERSION: &str = "/api2/json/version";

fn done(daemon: &Daemon, method: &str, path: &str, body: &str) -> serde_json::Value {
    let answer = daemon.by_token(method, path, body);
    assert_eq!(answer.status, 200, "{method} {path} {body}: {answer:?}");
    answer.json()["data"].clone()
}

/// What a login gives: the cookie, and the token against forged requests.
fn login(daemon: &Daemon, user: &str, password: &str) -> (String, String) {
    let answer = daemon.login(user, password);
    assert_eq!(answer.status, 200, "{answer:?}");
    let data = answer.json()["data"].clone();
    let text = |name: &str| data[name].as_str().unwrap().to_owned();
    let cookie = format!("PBSAuthCookie={}", text("ticket"));
    (cookie, text("CSRFPreventionToken"))
}

#[test]
fn what_was_revoked_or_belongs_to_another_opens_nothing() {
    let dir = quick_dir();
    let daemon = Daemon::start(dir.path());
    for name in ["b", "c", "d"] {
        done(
            &daemon,
            "POST",
            USERS,
            &format!("userid={name}@pbs&password=secret12"),
        );
    }
    let token = |user: &str, name: &str| {
        let path = format!("{USERS}/{user}@pbs/token/{name}");
        let secret = done(&daemon, "POST", &path, "")["value"]
            .as_str()
            .unwrap()
            .to_owned();
        format!("PBSAPIToken={user}@pbs!{name}:{secret}")
    };
    let tokens = ["disabled", "expired", "removed", "renewed"].map(|name| token("b", name));
    let of_others = [token("c", "t"), token("d", "t")];
    let (admin, csrf) = login(&daemon, "admin@pbs", &daemon.password);
    let logins = ["b", "c", "d"].map(|name| login(&daemon, &format!("{name}@pbs"), "secret12"));
    let shown: Vec<(&str, &str)> = tokens
        .iter()
        .chain(&of_others)
        .map(|token| ("Authorization", token.as_str()))
        .chain(
            logins[1..]
                .iter()
                .map(|(cookie, _)| ("Cookie", cookie.as_str())),
        )
        .collect();
    for header in &shown {
        assert_eq!(
            daemon.ask("GET", VERSION, &[*header], "").status,
            200,
            "{header:?}"
        );
    }

    let own = format!("{USERS}/b@pbs/token");
    done(&daemon, "PUT", &format!("{own}/disabled"), "enable=0");
    done(
        &daemon,
        "PUT",
        &format!("{own}/expired"),
        "expire=1000000000",
    );
    done(&daemon, "DELETE", &format!("{own}/removed"), "");
    done(&daemon, "PUT", &format!("{own}/renewed"), "regenerate=1");
    done(&daemon, "PUT", &format!("{USERS}/c@pbs"), "enable=0");
    done(&daemon, "DELETE", &format!("{USERS}/d@pbs"), "");

    let new_user = "userid=e@pbs";
    let secret = &tokens[0];
    let wrong = secret.replace("b@pbs!disabled", "admin@pbs!disabled");
    let no_secret = secret.rsplit_once(':').unwrap().0.to_owned();
    let foreign_csrf = logins[0].1.as_str();
    std::thread::scope(|scope| {
        // Each of them is kept waiting.
        for header in shown {
            let daemon = &daemon;
            scope.spawn(move || {
                assert_eq!(
                    daemon.ask("GET", VERSION, &[header], "").status,
                    401,
                    "{header:?}"
                );
            });
        }
        for token in [&wrong, &no_secret] {
            let daemon = &daemon;
            scope.spawn(move || {
                let header = ("Authorization", token.as_str());
                assert_eq!(daemon.ask("POST", USERS, &[header], new_user).status, 401);
            });
        }
        let (daemon, cookie) = (&daemon, ("Cookie", admin.as_str()));
        for csrf in [
            None,
            Some(""),
            Some(foreign_csrf),
            Some("00000000:AAAA"),
            Some(&csrf[1..]),
        ] {
            scope.spawn(move || {
                let mut headers = vec![cookie];
                headers.extend(csrf.map(|csrf| ("CSRFPreventionToken", csrf)));
                assert_eq!(
                    daemon.ask("POST", USERS, &headers, new_user).status,
                    401,
                    "{csrf:?}"
                );
            });
        }
    });
    let users = done(&daemon, "GET", USERS, "").to_string();
    assert!(!users.contains("e@pbs"), "{users}");
    // With its own it is as it should be.
    let headers = [
        ("Cookie", admin.as_str()),
        ("CSRFPreventionToken", csrf.as_str()),
    ];
    assert_eq!(daemon.ask("POST", USERS, &headers, new_user).status, 200);
}
