//! `/access/users`: users.

use api_types::access::{Privilege, User};
use api_types::auth::{Authid, Userid};
use hyper::Method;
use serde_json::Value;

use super::{
    COMMENT, DIGEST_PARAM, ENABLE, EXPIRE, LINE, NEW_PASSWORD, USERID_PARAM, USERS_PATH,
    change_account, deleted,
};
use crate::config::ConfigError;
use crate::config::users::{Content, Users};
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, BodyUse, Endpoint};

const FIRSTNAME: Param = Param::optional("firstname", "Given name.", LINE);
const LASTNAME: Param = Param::optional("lastname", "Family name.", LINE);
const EMAIL: Param = Param::optional("email", "Where to write to.", LINE);
const PASSWORD: Param = Param::optional("password", "Password of the realm `pbs`.", NEW_PASSWORD);

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/access/users",
        about: "Users: all of them, or oneself without the right to see others.",
        params: &[
            Param::optional("include_tokens", "With their tokens.", Schema::Boolean).or_flag(false),
        ],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(async move { list(&call) }),
    },
    Endpoint {
        method: Method::POST,
        path: "/access/users",
        about: "Create a user.",
        params: &[
            USERID_PARAM,
            PASSWORD,
            COMMENT,
            ENABLE,
            EXPIRE,
            FIRSTNAME,
            LASTNAME,
            EMAIL,
        ],
        access: Access::Privileges {
            path: "/access/users",
            any: &[Privilege::PermissionsModify],
        },
        body: BodyUse::Parameters,
        handler: |call| Box::pin(create(call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/access/users/{userid}",
        about: "One user.",
        params: &[USERID_PARAM],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(async move { read(&call) }),
    },
    Endpoint {
        method: Method::PUT,
        path: "/access/users/{userid}",
        about: "Change a user.",
        params: &[
            USERID_PARAM,
            // Not changed here, and not refused either.
            PASSWORD,
            COMMENT,
            ENABLE,
            EXPIRE,
            FIRSTNAME,
            LASTNAME,
            EMAIL,
            Param::optional(
                "delete",
                "What to unset.",
                Schema::Array(&Schema::Choice(&[
                    "comment",
                    "firstname",
                    "lastname",
                    "email",
                ])),
            ),
            DIGEST_PARAM,
        ],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(update(call)),
    },
    Endpoint {
        method: Method::DELETE,
        path: "/access/users/{userid}",
        about: "Remove a user with tokens, access rights and password.",
        params: &[USERID_PARAM, DIGEST_PARAM],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(remove(call)),
    },
];

fn list(call: &Call) -> Result<Answer, RestError> {
    let access = &call.server.access;
    let users = access.current_users()?;
    let sees_all = access
        .privileges(&call.auth_id, USERS_PATH)
        .has_any(Privilege::SysAudit.into());
    let mut entries = Vec::new();
    for user in users.users() {
        if !sees_all && call.auth_id != user.userid.clone().into() {
            continue;
        }
        let mut entry = to_value(&user)?;
        if let (true, Value::Object(entry)) = (call.flag("include_tokens"), &mut entry) {
            let tokens: Result<Vec<_>, _> = users.tokens_of(&user.userid).map(to_value).collect();
            let tokens = tokens?;
            if !tokens.is_empty() {
                entry.insert("tokens".into(), tokens.into());
            }
        }
        entries.push(entry);
    }
    Answer::Data(entries.into()).with("digest", &users.digest)
}

async fn create(call: Call) -> Result<Answer, RestError> {
    let userid: Userid = call.text("userid")?;
    let password = call.params.text("password");
    match (userid.realm().as_str(), password) {
        ("pbs", _) | ("pam", None) => {}
        ("pam", Some(_)) => return Err(super::password::no_password_here(&userid)),
        (other, _) => {
            return Err(RestError::bad_request(format!("no such realm '{other}'")));
        }
    }
    let mut user = User::new(userid.clone());
    change_user(&call, &mut user)?;
    let access = &call.server.access;
    let lock = access.users().lock().await?;
    // The super-user is there without being listed, and can be listed.
    access.users().load()?.insert(user.clone().into())?;
    if !userid.is_root() {
        access.forget(&[userid.clone().into()]).await?;
    }
    access
        .users()
        .update_locked::<_, RestError>(&lock, None, |users| Ok(users.insert(user.into())?))?;
    drop(lock);
    if let Some(password) = password {
        access.set_password(&userid, password).await?;
    }
    Ok(Answer::null())
}

fn read(call: &Call) -> Result<Answer, RestError> {
    let userid: Userid = call.text("userid")?;
    call.check_self_or(&userid, &[Privilege::SysAudit])?;
    let users = call.server.access.current_users()?;
    let user = find(&users, &userid)?;
    Answer::of(user)?.with("digest", &users.digest)
}

async fn update(call: Call) -> Result<Answer, RestError> {
    let userid: Userid = call.text("userid")?;
    call.check_self_or(&userid, &[Privilege::PermissionsModify])?;
    call.server
        .access
        .users()
        .update(call.digest(), |users| {
            if users.get(&userid.to_string()).is_err() && userid.is_root() {
                users.insert(User::new(userid.clone()).into())?;
            }
            let Content::User(user) = users.get_mut(&userid.to_string())?.content_mut() else {
                return Err(no_such(&userid).into());
            };
            for name in deleted(&call) {
                match name {
                    "comment" => user.account.comment = None,
                    "firstname" => user.firstname = None,
                    "lastname" => user.lastname = None,
                    "email" => user.email = None,
                    _ => {}
                }
            }
            change_user(&call, user)
        })
        .await?;
    Ok(Answer::null())
}

fn change_user(call: &Call, user: &mut User) -> Result<(), RestError> {
    change_account(call, &mut user.account)?;
    for (name, field) in [
        ("firstname", &mut user.firstname),
        ("lastname", &mut user.lastname),
        ("email", &mut user.email),
    ] {
        if let Some(value) = call.optional(name)? {
            *field = Some(value);
        }
    }
    Ok(())
}

async fn remove(call: Call) -> Result<Answer, RestError> {
    let userid: Userid = call.text("userid")?;
    call.check_self_or(&userid, &[Privilege::PermissionsModify])?;
    let digest = call.digest().map(str::to_owned);
    remove_user(&call.server.access, &userid, digest.as_deref()).await?;
    Ok(Answer::null())
}

/// Removes a user with everything they have.
pub async fn remove_user(
    access: &crate::access::control::AccessControl,
    userid: &Userid,
    digest: Option<&str>,
) -> Result<(), RestError> {
    let lock = access.users().lock().await?;
    let mut users = access.users().load()?;
    if digest.is_some_and(|expected| expected != users.digest) {
        return Err(ConfigError::Modified.into());
    }
    let tokens = users.tokens_of(userid).map(|token| token.tokenid.clone());
    let mut ids: Vec<Authid> = tokens.collect();
    ids.push(userid.clone().into());
    // Status 400, unlike elsewhere.
    users
        .remove(&userid.to_string())
        .map_err(|error| RestError::bad_request(error.to_string()))?;
    access.forget(&ids).await?;
    access
        .users()
        .update_locked::<_, RestError>(&lock, None, |users: &mut Users| {
            for id in &ids {
                users.remove(&id.to_string())?;
            }
            Ok(())
        })
}

/// The user, or upstream's words.
pub(super) fn find(users: &Users, userid: &Userid) -> Result<User, RestError> {
    users
        .users()
        .into_iter()
        .find(|user| user.userid == *userid)
        .ok_or_else(|| no_such(userid).into())
}

fn no_such(userid: &Userid) -> ConfigError {
    ConfigError::NoSuch(format!("no such user '{userid}'"))
}

pub(super) fn to_value<T: serde::Serialize>(value: T) -> Result<Value, RestError> {
    serde_json::to_value(value)
        .map_err(|error| RestError::bad_request(format!("failed to write the answer: {error}")))
}
