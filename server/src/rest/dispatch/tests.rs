use http_body_util::Full;
use hyper::Method;
use hyper::header::{AUTHORIZATION, SET_COOKIE};
use s3_client::env::Env;
use serde_json::{Value, json};

use super::*;
use crate::config::ConfigError;
use crate::paths::Paths;
use crate::s3::S3Options;

mod limits;

struct World {
    server: Arc<Server>,
    token: String,
    _dir: tempfile::TempDir,
}

/// A server with the user a@pbs (password `secret12`, no rights) and the token root@pam!t (all).
async fn world() -> World {
    let dir = support::scratch().unwrap();
    let paths = Paths::below(dir.path());
    let server = Server::open(paths, &S3Options::default(), Env::system()).unwrap();
    let users = "user: a@pbs\n\ntoken: root@pam!t\n";
    std::fs::write(server.paths.config.join("user.cfg"), users).unwrap();
    let user = "a@pbs".parse().unwrap();
    server.access.set_password(&user, "secret12").await.unwrap();
    let token: Authid = "root@pam!t".parse().unwrap();
    let secret = server.access.new_token_secret(&token).await.unwrap();
    server
        .access
        .acl()
        .update(None, |tree| {
            let role = api_types::access::Role::Admin;
            tree.insert(&"/".parse().unwrap(), token.clone(), role, true);
            Ok::<_, ConfigError>(())
        })
        .await
        .unwrap();
    World {
        server,
        token: format!("PBSAPIToken={token}:{secret}"),
        _dir: dir,
    }
}

struct Got {
    status: u16,
    body: String,
    forgets: bool,
    after: Duration,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }
}

impl World {
    async fn send(&self, request: Request<Full<Bytes>>) -> Got {
        let begun = self.server.env.now();
        let answered = respond(&self.server, request, None).await;
        let after = self.server.env.now().saturating_duration_since(begun);
        let (parts, body) = answered.response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got {
            status: parts.status.as_u16(),
            body: String::from_utf8(body.to_vec()).unwrap(),
            forgets: parts.headers.contains_key(SET_COOKIE),
            after,
        }
    }

    async fn raw(&self, method: Method, path: &str, kind: &str, body: &str, token: &str) -> Got {
        let mut request = Request::builder().method(method).uri(path);
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        if !token.is_empty() {
            request = request.header(AUTHORIZATION, token);
        }
        let body = Full::new(Bytes::from(body.to_owned()));
        self.send(request.body(body).unwrap()).await
    }

    async fn ask(&self, method: Method, path: &str, form: &str) -> Got {
        self.raw(method, path, "", form, &self.token).await
    }

    async fn json(&self, method: Method, path: &str, body: &Value) -> Got {
        let kind = "application/json; charset=utf-8";
        let body = body.to_string();
        self.raw(method, path, kind, &body, &self.token).await
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_come_before_everything_and_refusals_take_their_time() {
    let world = world().await;
    for path in ["/api2/json/version", "/api2/json/no/such", "/api2/json"] {
        for token in ["", "PBSAPIToken=root@pam!t:wrong", "PBSAPIToken=a@pbs:x"] {
            let got = world.raw(Method::GET, path, "", "", token).await;
            assert_eq!((got.status, &*got.body), (401, "authentication failed"));
            assert!(got.forgets && got.after >= UNAUTHORIZED_AFTER, "{path}");
        }
    }
    let got = world.raw(Method::GET, "/api2/json/ping", "", "", "").await;
    assert_eq!(got.body, r#"{"data":{"pong":true}}"#);
    let got = world.ask(Method::GET, "//api2/json//version", "").await;
    assert_eq!(got.json()["data"]["version"], "4.2");
}

/// Over HTTP/2 a body would break the stream.
#[tokio::test(start_paused = true)]
async fn the_answer_to_head_has_no_body() {
    let world = world().await;
    for (path, status) in [("/healthz", 200), ("/api2/json/version", 404)] {
        let got = world.ask(Method::HEAD, path, "").await;
        assert_eq!((got.status, &*got.body), (status, ""), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn paths_that_are_not_there() {
    let world = world().await;
    let got = world.ask(Method::GET, "/api2/json/no/such", "").await;
    assert_eq!(
        (got.status, &*got.body),
        (404, "Path '/no/such' not found.")
    );
    let got = world.ask(Method::POST, "/api2/json/version", "").await;
    assert_eq!(
        (got.status, &*got.body),
        (404, "Path '/version' not found.")
    );
    let got = world.ask(Method::GET, "/api2/xml/version", "").await;
    assert_eq!(
        (got.status, &*got.body),
        (400, "Unsupported output format.")
    );
    let got = world
        .raw(Method::GET, "/api2/openapi.json", "", "", "")
        .await;
    let summary = &got.json()["paths"]["/access/users"]["post"]["summary"];
    assert_eq!(summary, "Create a user.");
    let got = world.ask(Method::GET, "/index.html", "").await;
    assert_eq!(got.status, 404);
    let got = world.ask(Method::GET, "/api2/json/%2e%2e/x", "").await;
    assert_eq!(got.status, 400);
    let got = world.ask(Method::GET, "/api2/json/access", "").await;
    let below = got.json()["data"].clone();
    assert!(
        below
            .as_array()
            .unwrap()
            .contains(&json!({ "subdir": "users" })),
        "{below}"
    );
    let long = format!("/api2/json/version?a={}", "x".repeat(MAX_URI));
    let got = world.ask(Method::GET, &long, "").await;
    assert_eq!((got.status, &*got.body), (414, ""));
}

#[tokio::test(start_paused = true)]
async fn parameters() {
    let world = world().await;
    let path = "/api2/json/access/users";
    let got = world.ask(Method::POST, path, "").await;
    assert_eq!(
        (got.status, &*got.body),
        (
            400,
            "parameter verification failed - 'userid': \
             parameter is missing and it is not optional."
        )
    );
    let got = world.ask(Method::POST, path, "userid=b&x=1").await;
    assert!(
        got.body.starts_with("parameter verification failed:\n- '"),
        "{}",
        got.body
    );
    let got = world
        .ask(Method::POST, "/api2/extjs/access/users", "userid=b")
        .await;
    assert_eq!(got.status, 200);
    assert_eq!(got.json()["success"], false);
    assert!(got.json()["errors"]["userid"].is_string());

    let user = json!({ "userid": "b@pbs", "enable": true });
    let got = world.json(Method::POST, path, &user).await;
    assert_eq!((got.status, &*got.body), (200, r#"{"data":null}"#));
    let got = world.json(Method::POST, path, &user).await;
    assert_eq!(
        (got.status, &*got.body),
        (400, "user 'b@pbs' already exists.")
    );
    let got = world
        .json(
            Method::POST,
            path,
            &json!({ "userid": "c@pbs", "expire": "5" }),
        )
        .await;
    assert_eq!(got.status, 400);
    // With JSON the query is not looked at.
    let got = world
        .json(Method::POST, &format!("{path}?userid=c@pbs"), &json!({}))
        .await;
    assert_eq!(got.status, 400);
    let got = world
        .raw(Method::POST, path, "text/xml", "<x/>", &world.token)
        .await;
    assert_eq!(got.status, 400);
    let got = world
        .ask(Method::POST, path, &"x".repeat(BODY.bytes + 1))
        .await;
    assert_eq!((got.status, &*got.body), (400, "Request body too large"));
    let got = world
        .ask(Method::GET, "/api2/json/access/users/b%40pbs", "")
        .await;
    assert_eq!(
        got.json()["data"],
        json!({ "userid": "b@pbs", "enable": true })
    );
}

#[tokio::test(start_paused = true)]
async fn logging_in_and_what_it_is_good_for() {
    let world = world().await;
    let path = "//api2/json/access/ticket";
    let login = async |body: &str| world.raw(Method::POST, path, "", body, "").await;
    for bad in [
        "username=a@pbs&password=wrong",
        "username=nobody@pbs&password=secret12",
        "username=a@nowhere&password=secret12",
        "username=root@pam&password=PBS:root@pam:6AB13B80::AAAA",
        "username=a@pbs&password=secret12&tfa-challenge=x",
        "username=a@pbs&password=secret12&path=/&privs=Sys.Console&port=1",
    ] {
        let got = login(bad).await;
        assert_eq!(
            (got.status, &*got.body),
            (401, "permission check failed."),
            "{bad}"
        );
        assert!(got.after >= UNAUTHORIZED_AFTER, "{bad}");
    }
    assert_eq!(login("username=a@pbs").await.status, 400);
    let got = login("username=a%40pbs&password=secret12").await.json();
    assert_eq!(
        (&got["status"], &got["success"]),
        (&json!(200), &json!(true))
    );
    let data = &got["data"];
    let (ticket, csrf) = (
        data["ticket"].as_str().unwrap(),
        data["CSRFPreventionToken"].as_str().unwrap(),
    );
    assert_eq!(data["username"], "a@pbs");
    // Renewal.
    let encoded = ticket.replace('+', "%2B").replace(':', "%3A");
    assert_eq!(
        login(&format!("username=a@pbs&password={encoded}"))
            .await
            .status,
        200
    );
    assert_eq!(
        login(&format!("username=root@pam&password={encoded}"))
            .await
            .status,
        401
    );

    let put = async |shown: Option<&str>, path: &str, body: &str| {
        let mut request = Request::builder()
            .method(Method::PUT)
            .uri(path)
            .header("cookie", format!("PBSAuthCookie={ticket}; path=/; secure;"));
        if let Some(csrf) = shown {
            request = request.header("CSRFPreventionToken", csrf);
        }
        let body = Full::new(Bytes::from(body.to_owned()));
        world.send(request.body(body).unwrap()).await
    };
    let own = "/api2/json/access/users/a@pbs";
    assert_eq!(put(None, own, "comment=x").await.status, 401);
    assert_eq!(
        put(Some("00000000:AAAA"), own, "comment=x").await.status,
        401
    );
    assert_eq!(put(Some(csrf), own, "comment=x").await.status, 200);
    let got = put(Some(csrf), "/api2/json/access/users/b@pbs", "comment=x").await;
    assert_eq!((got.status, &*got.body), (403, "permission check failed"));
    assert!(got.after >= FORBIDDEN_AFTER);
    let password = "/api2/json/access/password";
    let body = "userid=a@pbs&password=secret34";
    assert_eq!(put(Some(csrf), password, body).await.status, 401);
    let wrong = format!("{body}&confirmation-password=x");
    assert_eq!(put(Some(csrf), password, &wrong).await.status, 401);
    let good = format!("{body}&confirmation-password=secret12");
    assert_eq!(put(Some(csrf), password, &good).await.status, 200);
    assert_eq!(login("username=a@pbs&password=secret12").await.status, 401);
    assert_eq!(login("username=a@pbs&password=secret34").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_browser_gets_its_ticket_as_a_cookie_and_renews_it_by_that() {
    let world = world().await;
    let login = async |body: &str, cookie: &str| {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api2/json/access/ticket")
            .header("cookie", cookie)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        respond(&world.server, request, None).await.response
    };
    let response = login("username=a@pbs&password=secret12&http-only=1", "x=y").await;
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(body["data"]["ticket"].is_null(), "{body}");
    assert!(
        body["data"]["ticket-info"]
            .as_str()
            .unwrap()
            .ends_with("::ticketinfo")
    );
    let cookie = cookie.split(';').next().unwrap();
    assert!(
        cookie.starts_with("__Host-PBSAuthCookie=PBS:a@pbs:"),
        "{cookie}"
    );
    let renewed = login("username=a@pbs&http-only=1", cookie).await;
    assert_eq!(renewed.status(), 200);
    let other = login("username=root@pam&http-only=1", cookie).await;
    assert_eq!(other.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_made_shown_once_changed_and_removed() {
    let world = world().await;
    let path = "/api2/json/access/users/a@pbs/token/t1";
    let got = world.ask(Method::POST, path, "comment=x").await.json();
    assert_eq!(got["data"]["tokenid"], "a@pbs!t1");
    let secret = got["data"]["value"].as_str().unwrap().to_owned();
    let shown = format!("PBSAPIToken a@pbs!t1:{secret}");
    let version = "/api2/json/version";
    assert_eq!(
        world.raw(Method::GET, version, "", "", &shown).await.status,
        200
    );
    let got = world.ask(Method::POST, path, "").await;
    assert_eq!(got.body, "token 't1' for user 'a@pbs' already exists.");
    let got = world.ask(Method::GET, path, "").await;
    assert_eq!(
        got.json()["data"],
        json!({ "tokenid": "a@pbs!t1", "comment": "x" })
    );
    assert!(!got.body.contains(&secret));
    // It has no rights, and may have those of its user where it is given them.
    let users = "/api2/json/access/users";
    let body = "userid=c@pbs";
    assert_eq!(
        world
            .raw(Method::POST, users, "", body, &shown)
            .await
            .status,
        403
    );
    let acl = "/api2/json/access/acl";
    let give = "path=/access/users&role=Admin&auth-id=a@pbs!t1";
    assert_eq!(world.ask(Method::PUT, acl, give).await.status, 200);
    assert_eq!(
        world
            .raw(Method::POST, users, "", body, &shown)
            .await
            .status,
        403
    );
    let give = "path=/access/users&role=Admin&auth-id=a@pbs";
    assert_eq!(world.ask(Method::PUT, acl, give).await.status, 200);
    assert_eq!(
        world
            .raw(Method::POST, users, "", body, &shown)
            .await
            .status,
        200
    );
    let got = world
        .ask(Method::PUT, acl, "path=/x&role=Admin&auth-id=a@pbs")
        .await;
    assert_eq!(got.body, "invalid acl path '/x'.");
    let got = world
        .ask(Method::PUT, acl, "path=/&role=Admin&auth-id=zz@pbs")
        .await;
    assert_eq!(got.body, "no such user.");
    let got = world
        .ask(
            Method::GET,
            "/api2/json/access/permissions?auth-id=a@pbs!t1",
            "",
        )
        .await;
    assert_eq!(
        got.json()["data"]["/access/users"]["Permissions.Modify"],
        true
    );

    let got = world.ask(Method::PUT, path, "regenerate=1").await.json();
    let fresh = got["data"]["secret"].as_str().unwrap();
    assert_ne!(fresh, secret);
    assert_eq!(
        world.raw(Method::GET, version, "", "", &shown).await.status,
        401
    );
    let shown = format!("PBSAPIToken a@pbs!t1:{fresh}");
    assert_eq!(
        world.raw(Method::GET, version, "", "", &shown).await.status,
        200
    );
    assert_eq!(world.ask(Method::DELETE, path, "").await.status, 200);
    assert_eq!(
        world.raw(Method::GET, version, "", "", &shown).await.status,
        401
    );
    let got = world.ask(Method::DELETE, path, "").await;
    assert_eq!(
        (got.status, &*got.body),
        (400, "token 't1' of user 'a@pbs' does not exist.")
    );
    let got = world.ask(Method::GET, acl, "").await.json();
    assert!(!got["data"].to_string().contains("a@pbs!t1"), "{got}");
}

#[tokio::test(start_paused = true)]
async fn a_removed_user_leaves_nothing_behind() {
    let world = world().await;
    assert_eq!(
        world
            .ask(Method::POST, "/api2/json/access/users/a@pbs/token/t", "")
            .await
            .status,
        200
    );
    let give = "path=/datastore&role=Audit&auth-id=a@pbs!t&propagate=0";
    assert_eq!(
        world
            .ask(Method::PUT, "/api2/json/access/acl", give)
            .await
            .status,
        200
    );
    let digest = format!("?digest={}", "0".repeat(64));
    let path = "/api2/json/access/users/a@pbs";
    let got = world
        .ask(Method::DELETE, &format!("{path}{digest}"), "")
        .await;
    assert_eq!(
        got.body,
        "detected modified configuration - file changed by other user? Try again."
    );
    assert_eq!(world.ask(Method::DELETE, path, "").await.status, 200);
    let got = world.ask(Method::DELETE, path, "").await;
    assert_eq!(
        (got.status, &*got.body),
        (400, "user 'a@pbs' does not exist.")
    );
    let got = world.ask(Method::GET, path, "").await;
    assert_eq!((got.status, &*got.body), (400, "no such user 'a@pbs'"));
    let config = &world.server.paths.config;
    for file in ["user.cfg", "acl.cfg", "shadow.json", "token.shadow"] {
        let text = std::fs::read_to_string(config.join(file)).unwrap();
        assert!(
            !text.contains("a@pbs") && !text.contains("\"a\""),
            "{file}: {text}"
        );
    }
    let got = world
        .ask(Method::GET, "/api2/json/access/users?include_tokens=1", "")
        .await
        .json();
    let expected = json!([{ "userid": "root@pam", "tokens": [{ "tokenid": "root@pam!t" }] }]);
    assert_eq!(got["data"], expected);
    assert_eq!(got["digest"].as_str().unwrap().len(), 64);
}

#[tokio::test(start_paused = true)]
async fn without_rights_one_sees_oneself() {
    let world = world().await;
    let secret = world
        .server
        .access
        .users()
        .update(None, |users| {
            let token = api_types::access::ApiToken::from_properties("a@pbs!t", &[]).unwrap();
            users.insert(token.into())
        })
        .await;
    secret.unwrap();
    let token: Authid = "a@pbs!t".parse().unwrap();
    let secret = world.server.access.new_token_secret(&token).await.unwrap();
    let shown = format!("PBSAPIToken={token}:{secret}");
    let got = world
        .raw(Method::GET, "/api2/json/access/users", "", "", &shown)
        .await
        .json();
    // A token is not its user.
    assert_eq!(got["data"], json!([]));
    let got = world
        .raw(Method::GET, "/api2/json/access/acl", "", "", &shown)
        .await
        .json();
    assert_eq!(got["data"], json!([]));
    let own = "/api2/json/access/users/a@pbs";
    assert_eq!(
        world.raw(Method::GET, own, "", "", &shown).await.status,
        403
    );
    let password = "userid=a@pbs&password=secret34&confirmation-password=secret12";
    let got = world
        .raw(
            Method::PUT,
            "/api2/json/access/password",
            "",
            password,
            &shown,
        )
        .await;
    assert_eq!(got.status, 403);
}

#[tokio::test(start_paused = true)]
async fn whoever_gets_a_name_again_has_nothing_of_the_one_before() {
    let world = world().await;
    let access = &world.server.access;
    // As a removal left it that failed half-way.
    let user: Authid = "b@pbs".parse().unwrap();
    let token: Authid = "a@pbs!t".parse().unwrap();
    access.set_password(&user.user, "secret12").await.unwrap();
    let secret = access.new_token_secret(&token).await.unwrap();
    access
        .acl()
        .update(None, |tree| {
            let role = api_types::access::Role::Admin;
            for id in [&user, &token] {
                tree.insert(&"/".parse().unwrap(), id.clone(), role, true);
            }
            Ok::<_, ConfigError>(())
        })
        .await
        .unwrap();
    for (path, form) in [
        ("/api2/json/access/users", "userid=b@pbs"),
        ("/api2/json/access/users/a@pbs/token/t", ""),
    ] {
        assert_eq!(world.ask(Method::POST, path, form).await.status, 200);
    }
    let entries = access.current_acl().unwrap().tree.write();
    assert!(
        !entries.contains("b@pbs") && !entries.contains("a@pbs!t"),
        "{entries}"
    );
    assert!(access.password_hashes().get("b").unwrap().is_none());
    let shown = format!("PBSAPIToken={token}:{secret}");
    let got = world
        .raw(Method::GET, "/api2/json/version", "", "", &shown)
        .await;
    assert_eq!(got.status, 401);

    // One that fails now can be repeated.
    let passwords = world.server.paths.config.join("shadow.json");
    std::fs::remove_file(&passwords).unwrap();
    std::fs::create_dir(&passwords).unwrap();
    let path = "/api2/json/access/users/b@pbs";
    assert_ne!(world.ask(Method::DELETE, path, "").await.status, 200);
    assert_eq!(world.ask(Method::GET, path, "").await.status, 200);
    std::fs::remove_dir(&passwords).unwrap();
    assert_eq!(world.ask(Method::DELETE, path, "").await.status, 200);
}

/// Some clients say what a body would be that they do not send.
#[tokio::test(start_paused = true)]
async fn a_download_has_its_parameters_in_the_query() {
    let world = world().await;
    let path = "/api2/json/admin/datastore/none/download?backup-type=vm&backup-id=1&\
                backup-time=1&file-name=a.blob";
    for kind in ["application/json", "text/plain", ""] {
        let got = world.raw(Method::GET, path, kind, "", &world.token).await;
        assert_eq!(got.body, "no such datastore 'none'", "{kind}");
    }
}
