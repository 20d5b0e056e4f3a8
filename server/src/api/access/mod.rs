//! `/access`: logging in, users, tokens, access rights (`auth.md` §6, §9).

pub mod acl;
pub mod domains;
pub mod password;
pub mod permissions;
pub mod tfa;
pub mod ticket;
pub mod tokens;
pub mod users;

use api_types::access::{AclPath, Privilege};
use api_types::auth::{Authid, TokenName, Userid};
use api_types::text::SingleLine;

use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::{Schema, Text};

const USERID: Schema = Schema::text::<Userid>("user id");
const AUTHID: Schema = Schema::text::<Authid>("auth id");
const TOKEN_NAME: Schema = Schema::text::<TokenName>("token name");
const ACL_PATH: Schema = Schema::text::<AclPath>("acl path");
const LINE: Schema = Schema::text::<SingleLine>("single line of text");
const DIGEST: Schema = Schema::Text(Text {
    form: "SHA-256 digest",
    check: |text| match text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(()),
        false => Err("expected 64 hex digits".into()),
    },
    max_len: 64,
});
const NEW_PASSWORD: Schema = Schema::Text(Text {
    form: "password",
    check: |text| {
        if text.chars().count() < 8 {
            Err("value must be at least 8 characters long".into())
        } else if text.chars().any(char::is_control) {
            Err("control characters are not allowed".into())
        } else {
            Ok(())
        }
    },
    max_len: 64,
});

const USERID_PARAM: Param = Param::required("userid", "User.", USERID);
const TOKEN_PARAM: Param = Param::required("token-name", "Name of the token.", TOKEN_NAME);
const COMMENT: Param = Param::optional("comment", "A remark.", LINE);
const ENABLE: Param = Param::optional("enable", "Whether it may be used.", Schema::Boolean);
const EXPIRE: Param = Param::optional(
    "expire",
    "Until when it may be used, seconds since the epoch; 0: for ever.",
    Schema::integer(0, i64::MAX),
);
const DIGEST_PARAM: Param = Param::optional(
    "digest",
    "The file that the caller saw: nothing is changed if it is another one by now.",
    DIGEST,
);

/// The access rights on users.
const USERS_PATH: &[&str] = &["access", "users"];

impl Call {
    /// Refuses whoever is neither the user in question nor has one of these privileges on users. A
    /// token is never its user.
    fn check_self_or(&self, userid: &Userid, any: &[Privilege]) -> Result<(), RestError> {
        if self.auth_id == userid.clone().into() {
            return Ok(());
        }
        self.server.access.check(&self.auth_id, USERS_PATH, any)
    }

    /// The digest that the caller saw.
    fn digest(&self) -> Option<&str> {
        self.params.text("digest")
    }
}

/// The common settings of users and tokens, as far as they were given.
fn change_account(call: &Call, account: &mut api_types::access::Account) -> Result<(), RestError> {
    if let Some(comment) = call.optional::<SingleLine>("comment")? {
        // An empty one unsets it, as in other configurations.
        account.comment = Some(comment).filter(|comment| !comment.as_str().is_empty());
    }
    if let Some(enable) = call
        .params
        .get("enable")
        .and_then(serde_json::Value::as_bool)
    {
        account.enable = Some(enable);
    }
    if let Some(expire) = call
        .params
        .get("expire")
        .and_then(serde_json::Value::as_i64)
    {
        account.expire = Some(expire);
    }
    Ok(())
}

/// The names in the array `delete`.
fn deleted(call: &Call) -> impl Iterator<Item = &str> {
    call.params
        .get("delete")
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_str)
}
