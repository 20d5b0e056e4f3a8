//! `/access/users/{userid}/token`: API tokens. A secret is shown once, when it is made.

use api_types::access::{ApiToken, Privilege};
use api_types::auth::{Authid, TokenName, Userid};
use hyper::Method;
use serde_json::{Value, json};

use super::users::{find, to_value};
use super::{
    COMMENT, DIGEST_PARAM, ENABLE, EXPIRE, TOKEN_PARAM, USERID_PARAM, change_account, deleted,
};
use crate::access::control::AccessControl;
use crate::config::ConfigError;
use crate::config::users::Content;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, BodyUse, Endpoint};

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/access/users/{userid}/token",
        about: "A user's tokens.",
        params: &[USERID_PARAM],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(async move { list(&call) }),
    },
    Endpoint {
        method: Method::GET,
        path: "/access/users/{userid}/token/{token-name}",
        about: "One token.",
        params: &[USERID_PARAM, TOKEN_PARAM],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(async move { read(&call) }),
    },
    Endpoint {
        method: Method::POST,
        path: "/access/users/{userid}/token/{token-name}",
        about: "Create a token; its secret is shown this one time.",
        params: &[
            USERID_PARAM,
            TOKEN_PARAM,
            COMMENT,
            ENABLE,
            EXPIRE,
            DIGEST_PARAM,
        ],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(create(call)),
    },
    Endpoint {
        method: Method::PUT,
        path: "/access/users/{userid}/token/{token-name}",
        about: "Change a token.",
        params: &[
            USERID_PARAM,
            TOKEN_PARAM,
            COMMENT,
            ENABLE,
            EXPIRE,
            Param::optional("regenerate", "Give it a new secret.", Schema::Boolean).or_flag(false),
            Param::optional(
                "delete",
                "What to unset.",
                Schema::Array(&Schema::Choice(&["comment"])),
            ),
            DIGEST_PARAM,
        ],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(update(call)),
    },
    Endpoint {
        method: Method::DELETE,
        path: "/access/users/{userid}/token/{token-name}",
        about: "Remove a token with its access rights.",
        params: &[USERID_PARAM, TOKEN_PARAM, DIGEST_PARAM],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(remove(call)),
    },
];

/// The token that the path names.
fn token_id(call: &Call) -> Result<Authid, RestError> {
    let user: Userid = call.text("userid")?;
    let token: TokenName = call.text("token-name")?;
    Ok(Authid {
        user,
        token: Some(token),
    })
}

fn list(call: &Call) -> Result<Answer, RestError> {
    let userid: Userid = call.text("userid")?;
    call.check_self_or(&userid, &[Privilege::SysAudit])?;
    let users = call.server.access.current_users()?;
    find(&users, &userid)?;
    let mut entries = Vec::new();
    for token in users.tokens_of(&userid) {
        let mut entry = to_value(token)?;
        if let Value::Object(entry) = &mut entry {
            entry.insert("token-name".into(), json!(token.tokenid.token));
        }
        entries.push(entry);
    }
    Answer::Data(entries.into()).with("digest", &users.digest)
}

fn read(call: &Call) -> Result<Answer, RestError> {
    let token = token_id(call)?;
    call.check_self_or(&token.user, &[Privilege::SysAudit])?;
    let users = call.server.access.current_users()?;
    let found = users
        .tokens_of(&token.user)
        .find(|other| other.tokenid == token)
        .ok_or_else(|| no_such(&token))?;
    Answer::of(found)?.with("digest", &users.digest)
}

async fn create(call: Call) -> Result<Answer, RestError> {
    let token = token_id(&call)?;
    call.check_self_or(&token.user, &[Privilege::PermissionsModify])?;
    let mut entry = ApiToken {
        tokenid: token.clone(),
        account: api_types::access::Account::default(),
    };
    change_account(&call, &mut entry.account)?;
    let secret = create_token(&call.server.access, entry, call.digest()).await?;
    Answer::of(json!({ "tokenid": token, "value": secret }))
}

/// Creates a token; says its secret.
pub async fn create_token(
    access: &AccessControl,
    entry: ApiToken,
    digest: Option<&str>,
) -> Result<String, RestError> {
    let token = entry.tokenid.clone();
    let lock = access.users().lock().await?;
    let users = access.users().load()?;
    if digest.is_some_and(|expected| expected != users.digest) {
        return Err(ConfigError::Modified.into());
    }
    find(&users, &token.user)?;
    if users
        .tokens_of(&token.user)
        .any(|other| other.tokenid == token)
    {
        return Err(RestError::bad_request(format!(
            "token '{}' for user '{}' already exists.",
            name_of(&token),
            token.user
        )));
    }
    access.forget(std::slice::from_ref(&token)).await?;
    access
        .users()
        .update_locked::<_, RestError>(&lock, None, |users| Ok(users.insert(entry.into())?))?;
    drop(lock);
    Ok(access.new_token_secret(&token).await?)
}

async fn update(call: Call) -> Result<Answer, RestError> {
    let token = token_id(&call)?;
    call.check_self_or(&token.user, &[Privilege::PermissionsModify])?;
    let access = &call.server.access;
    access
        .users()
        .update::<_, RestError>(call.digest(), |users| {
            let entry = users
                .get_mut(&token.to_string())
                .map_err(|_| no_such(&token))?;
            let Content::Token(entry) = entry.content_mut() else {
                return Err(no_such(&token));
            };
            if deleted(&call).any(|name| name == "comment") {
                entry.account.comment = None;
            }
            change_account(&call, &mut entry.account)
        })
        .await?;
    if call.flag("regenerate") {
        let secret = access.new_token_secret(&token).await?;
        return Answer::of(json!({ "secret": secret }));
    }
    Ok(Answer::null())
}

async fn remove(call: Call) -> Result<Answer, RestError> {
    let token = token_id(&call)?;
    call.check_self_or(&token.user, &[Privilege::PermissionsModify])?;
    remove_token(&call.server.access, &token, call.digest()).await?;
    Ok(Answer::null())
}

/// Removes a token with everything it has.
pub async fn remove_token(
    access: &AccessControl,
    token: &Authid,
    digest: Option<&str>,
) -> Result<(), RestError> {
    let lock = access.users().lock().await?;
    let mut users = access.users().load()?;
    if digest.is_some_and(|expected| expected != users.digest) {
        return Err(ConfigError::Modified.into());
    }
    users.remove(&token.to_string()).map_err(|_| {
        RestError::bad_request(format!(
            "token '{}' of user '{}' does not exist.",
            name_of(token),
            token.user
        ))
    })?;
    access.forget(std::slice::from_ref(token)).await?;
    access
        .users()
        .update_locked::<_, RestError>(&lock, None, |users| {
            users.remove(&token.to_string())?;
            Ok(())
        })
}

fn name_of(token: &Authid) -> &str {
    token.token.as_ref().map_or("", TokenName::as_str)
}

fn no_such(token: &Authid) -> RestError {
    RestError::bad_request(format!("no such token '{token}'"))
}
