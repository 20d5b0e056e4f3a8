//! `/access/acl`: who has which role where.

use api_types::access::{AclPath, Privilege, Role};
use api_types::auth::Authid;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ACL_PATH, AUTHID, DIGEST_PARAM};
use crate::access::control::AccessControl;
use crate::config::users::Users;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, BodyUse, Endpoint};

const ACL: &[&str] = &["access", "acl"];

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::GET,
        path: "/access/acl",
        about: "Access rights: all of them, or those of one's tokens without the right to see others.",
        params: &[
            Param::optional("path", "Only at this path and below.", ACL_PATH),
            Param::optional("exact", "Only at this very path.", Schema::Boolean).or_flag(false),
        ],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(async move { list(&call) }),
    },
    Endpoint {
        method: Method::PUT,
        path: "/access/acl",
        about: "Give or take a role on a path.",
        params: &[
            Param::required("path", "Where.", ACL_PATH),
            Param::required("role", "What.", Schema::text::<Role>("role")),
            Param::optional(
                "propagate",
                "Whether it also counts below.",
                Schema::Boolean,
            )
            .or_flag(true),
            Param::optional("auth-id", "To whom.", AUTHID),
            Param::optional("group", "To a group: there are none.", Schema::ANY_TEXT),
            Param::optional("delete", "Take it instead.", Schema::Boolean).or_flag(false),
            DIGEST_PARAM,
        ],
        access: Access::ByHandler,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(update(call)),
    },
    Endpoint {
        method: Method::GET,
        path: "/access/roles",
        about: "Roles and their privileges.",
        params: &[],
        access: Access::Anybody,
        body: BodyUse::Parameters,
        handler: |_| Box::pin(async { Ok(Answer::Data(roles())) }),
    },
];

fn list(call: &Call) -> Result<Answer, RestError> {
    let path: Option<AclPath> = call.optional("path")?;
    let exact = call.flag("exact");
    let access = &call.server.access;
    let acl = access.current_acl()?;
    let sees_all = access
        .privileges(&call.auth_id, ACL)
        .has_any(Privilege::SysAudit.into());
    let is_visible = |who: &Authid| sees_all || is_own_token(&call.auth_id, who);
    let entries: Vec<Value> = acl
        .tree
        .entries()
        .into_iter()
        .filter(|entry| is_visible(&entry.auth_id))
        .filter(|entry| {
            path.as_ref()
                .is_none_or(|path| lies_at(path, &entry.path, exact))
        })
        .map(|entry| {
            json!({
                "path": entry.path,
                "propagate": entry.propagate,
                "roleid": entry.role,
                "ugid": entry.auth_id,
                "ugid_type": "user",
            })
        })
        .collect();
    Answer::Data(entries.into()).with("digest", &acl.digest)
}

/// Whether `path` is at `start` or, unless `exact`, below it.
fn lies_at(start: &AclPath, path: &AclPath, exact: bool) -> bool {
    let (start, path): (Vec<_>, Vec<_>) =
        (start.components().collect(), path.components().collect());
    if exact {
        path == start
    } else {
        path.starts_with(&start)
    }
}

/// A user, not a token, and one of their tokens.
fn is_own_token(caller: &Authid, who: &Authid) -> bool {
    !caller.is_token() && who.is_token() && who.user == caller.user
}

async fn update(call: Call) -> Result<Answer, RestError> {
    let path: AclPath = call.text("path")?;
    let role: Role = call.text("role")?;
    let who: Option<Authid> = call.optional("auth-id")?;
    let delete = call.flag("delete");
    if call.params.text("group").is_some() {
        return Err(RestError::bad_request(
            "parameter 'group' - groups are currently not supported.",
        ));
    }
    let who = who.ok_or_else(|| {
        RestError::parameter("auth-id", "parameter is missing and it is not optional.")
    })?;
    let access = &call.server.access;
    let may_all = access
        .privileges(&call.auth_id, ACL)
        .has_any(Privilege::PermissionsModify.into());
    if !may_all && !is_own_token(&call.auth_id, &who) {
        return Err(RestError::new(
            StatusCode::FORBIDDEN,
            "permission check failed",
        ));
    }
    change(
        access,
        &path,
        &who,
        role,
        Change::of(&call, delete),
        call.digest(),
    )
    .await?;
    Ok(Answer::null())
}

/// What becomes of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is given.
    Give {
        /// Also below the path.
        propagate: bool,
    },
    /// It is taken.
    Take,
}

impl Change {
    fn of(call: &Call, delete: bool) -> Self {
        if delete {
            Self::Take
        } else {
            let propagate = call.flag("propagate");
            Self::Give { propagate }
        }
    }
}

/// Gives or takes a role.
pub async fn change(
    access: &AccessControl,
    path: &AclPath,
    who: &Authid,
    role: Role,
    change: Change,
    digest: Option<&str>,
) -> Result<(), RestError> {
    if let Change::Give { .. } = change {
        check_exists(&*access.current_users()?, who)?;
        if !path.is_known() {
            return Err(RestError::bad_request(format!(
                "invalid acl path '{path}'."
            )));
        }
    }
    access
        .acl()
        .update(digest, |tree| {
            match change {
                Change::Give { propagate } => tree.insert(path, who.clone(), role, propagate),
                // What is not there is gone.
                Change::Take => drop(tree.remove(path, who, role)),
            }
            Ok(())
        })
        .await
}

fn check_exists(users: &Users, who: &Authid) -> Result<(), RestError> {
    if !users.users().iter().any(|user| user.userid == who.user) {
        return Err(RestError::bad_request("no such user."));
    }
    if who.is_token()
        && !users
            .tokens_of(&who.user)
            .any(|token| token.tokenid == *who)
    {
        return Err(RestError::bad_request("no such API token."));
    }
    Ok(())
}

fn roles() -> Value {
    Role::ALL
        .iter()
        .map(|role| {
            let privileges: Vec<_> = role.privileges().iter().map(|p| p.as_str()).collect();
            json!({ "roleid": role, "privs": privileges })
        })
        .collect()
}
