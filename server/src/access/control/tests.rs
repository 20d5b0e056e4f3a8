use api_types::access::Role;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};

use super::*;
use crate::access::credentials::CSRF_HEADER;

struct World {
    access: AccessControl,
    _dir: tempfile::TempDir,
}

const HASH_TIME: &str = "test12345";

async fn world() -> World {
    let dir = support::scratch().unwrap();
    let paths = Paths::below(dir.path());
    paths.create().unwrap();
    let users = "user: a@pbs\n\nuser: off@pbs\n\tenable false\n\ntoken: a@pbs!t\n\n\
                 token: a@pbs!old\n\texpire 1\n";
    std::fs::write(paths.config.join("user.cfg"), users).unwrap();
    let access = AccessControl::open(&paths, Env::system()).unwrap();
    for name in ["a@pbs", "off@pbs"] {
        let user = name.parse().unwrap();
        access.set_password(&user, HASH_TIME).await.unwrap();
    }
    for name in ["a@pbs!t", "a@pbs!old"] {
        let hash = access.hashing.hash("s3cret").await.unwrap();
        access.tokens.set(name, hash).await.unwrap();
    }
    World { access, _dir: dir }
}

fn turn() -> Turn {
    Turn::of_nobody(Env::system())
}

fn headers(shown: &[(HeaderName, &str)]) -> HeaderMap {
    shown
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

#[tokio::test]
async fn tickets_need_a_second_token_to_change_something() {
    let World { access, _dir } = world().await;
    let user: Userid = "a@pbs".parse().unwrap();
    let (ticket, csrf) = access.issue(&user).unwrap();
    let cookie = format!("PBSAuthCookie={ticket}");
    let csrf_header: HeaderName = CSRF_HEADER.parse().unwrap();
    let alone = headers(&[(COOKIE, &cookie)]);
    let both = headers(&[(COOKIE, &cookie), (csrf_header.clone(), &csrf)]);
    let wrong = headers(&[(COOKIE, &cookie), (csrf_header, "00000000:AAAA")]);
    let who = access
        .authenticate(&Method::GET, &alone, &turn())
        .await
        .unwrap();
    assert_eq!(who, user.into());
    assert!(
        access
            .authenticate(&Method::POST, &both, &turn())
            .await
            .is_ok()
    );
    for bad in [&alone, &wrong] {
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let error = access
                .authenticate(&method, bad, &turn())
                .await
                .unwrap_err();
            assert!(matches!(error, AuthError::Csrf), "{error}");
        }
    }
    let off: Userid = "off@pbs".parse().unwrap();
    let (ticket, _) = access.issue(&off).unwrap();
    let error = access.check_ticket(&ticket).unwrap_err();
    assert!(matches!(error, AuthError::Inactive), "{error}");
}

#[tokio::test]
async fn token_secrets_are_verified_and_a_change_counts_at_once() {
    let World { access, _dir } = world().await;
    let shown = |text: &str| headers(&[(AUTHORIZATION, text)]);
    let ask = async |text: &str| {
        access
            .authenticate(&Method::POST, &shown(text), &turn())
            .await
    };
    for _ in 0..2 {
        assert!(ask("PBSAPIToken=a@pbs!t:s3cret").await.is_ok());
        assert!(ask("PBSAPIToken a@pbs!t:s3cret").await.is_ok());
        assert!(ask("PBSAPIToken=a@pbs!t:wrong").await.is_err());
        assert!(ask("PBSAPIToken=a@pbs!old:s3cret").await.is_err());
        assert!(ask("PBSAPIToken=a@pbs!none:s3cret").await.is_err());
        assert!(ask("PBSAPIToken=a@pbs:s3cret").await.is_err());
    }
    let hash = access.hashing.hash("other").await.unwrap();
    access.tokens.set("a@pbs!t", hash).await.unwrap();
    assert!(ask("PBSAPIToken=a@pbs!t:s3cret").await.is_err());
    assert!(ask("PBSAPIToken=a@pbs!t:other").await.is_ok());
    access.tokens.remove(&["a@pbs!t".to_owned()]).await.unwrap();
    assert!(ask("PBSAPIToken=a@pbs!t:other").await.is_err());
}

#[tokio::test]
async fn logins() {
    let World { access, _dir } = world().await;
    let login = async |user: &str, password: &str| {
        access
            .login(&user.parse().unwrap(), password, &turn())
            .await
    };
    assert!(login("a@pbs", HASH_TIME).await.is_ok());
    let (ticket, _) = access.issue(&"a@pbs".parse().unwrap()).unwrap();
    assert!(login("a@pbs", &ticket).await.is_ok());
    let error = login("root@pam", &ticket).await.unwrap_err();
    assert!(matches!(error, AuthError::WrongUser), "{error}");
    // Another character of the signature, whatever it was: the last one has unused bits.
    let middle = ticket.len() - 10;
    let other = if ticket[middle..].starts_with('A') {
        "B"
    } else {
        "A"
    };
    let forged = format!("{}{other}{}", &ticket[..middle], &ticket[middle + 1..]);
    for (user, password) in [
        ("a@pbs", ""),
        ("a@pbs", "test12346"),
        ("a@pbs", &forged as &str),
        ("off@pbs", HASH_TIME),
        ("nobody@pbs", HASH_TIME),
        ("a@ldap", HASH_TIME),
        ("a@pbs", &HASH_TIME.repeat(200)),
    ] {
        assert!(login(user, password).await.is_err(), "{user}");
    }
    // Begins like a ticket and is a password.
    let user = "a@pbs".parse().unwrap();
    access.set_password(&user, "PBS:secret").await.unwrap();
    assert!(login("a@pbs", "PBS:secret").await.is_ok());
}

#[tokio::test]
async fn an_old_hash_is_renewed_by_a_login() {
    let World { access, _dir } = world().await;
    let old = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
    access.passwords.set("a", old.into()).await.unwrap();
    let user = "a@pbs".parse().unwrap();
    access.login(&user, "Hello world!", &turn()).await.unwrap();
    let new = access.passwords.get("a").unwrap().unwrap();
    assert!(new.starts_with("$y$"), "{new}");
    access.login(&user, "Hello world!", &turn()).await.unwrap();
}

#[tokio::test]
async fn rights_are_read_again_and_none_are_left_when_the_file_is_damaged() {
    let World { access, _dir } = world().await;
    let user: Authid = "a@pbs".parse().unwrap();
    let path = ["datastore", "s1", "ns"];
    let wanted = [Privilege::DatastoreBackup];
    let error = access.check(&user, &path, &wanted).unwrap_err();
    assert_eq!(
        (error.status.as_u16(), &*error.message),
        (403, "permission check failed")
    );
    let error = access.require(&user, &path, &wanted).unwrap_err();
    assert_eq!(
        error.message,
        "missing permissions 'Datastore.Backup' on '/datastore/s1/ns'"
    );
    let error = access
        .check_ns(&user, &path, &[Privilege::DatastoreRead], &wanted)
        .unwrap_err();
    assert_eq!(
        error.message,
        "permission check failed - missing Datastore.Read|Datastore.Backup on /datastore/s1/ns"
    );
    let give = async |role| {
        access
            .acl
            .update(None, |tree| {
                tree.insert(&"/datastore/s1".parse().unwrap(), user.clone(), role, true);
                Ok::<_, ConfigError>(())
            })
            .await
            .unwrap();
    };
    give(Role::DatastoreBackup).await;
    assert!(access.check(&user, &path, &wanted).is_ok());
    let full = [Privilege::DatastoreRead];
    assert!(!access.check_ns(&user, &path, &full, &wanted).unwrap());
    give(Role::DatastoreReader).await;
    assert!(access.check_ns(&user, &path, &full, &wanted).unwrap());
    assert!(access.has_any_below(&user, &["datastore"], Privileges::NAMESPACE));
    std::fs::write(access.acl.path(), "oops\n").unwrap();
    assert!(access.check(&user, &path, &wanted).is_err());
    assert!(!access.has_any_below(&user, &["datastore"], Privileges::NAMESPACE));
    assert!(access.check(&Authid::root(), &path, &wanted).is_ok());
}
