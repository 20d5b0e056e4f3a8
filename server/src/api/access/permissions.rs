//! `GET /access/permissions`: what someone may do, path by path.

use std::collections::BTreeSet;

use api_types::access::{AclPath, Privilege, Privileges};
use api_types::auth::Authid;
use hyper::Method;
use serde_json::{Map, Value};

use super::{ACL_PATH, AUTHID};
use crate::access::acl::Granted;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::table::{Access, BodyUse, Endpoint};

/// Shown even if nothing is said about them.
const TOP: &[&str] = &["/", "/access", "/datastore", "/remote", "/system"];

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::GET,
    path: "/access/permissions",
    about: "What oneself, one of one's tokens or, with the right to see it, another may do.",
    params: &[
        Param::optional("auth-id", "Who; absent: the caller.", AUTHID),
        Param::optional("path", "Only there.", ACL_PATH),
    ],
    access: Access::ByHandler,
    body: BodyUse::Parameters,
    handler: |call| Box::pin(async move { list(&call) }),
}];

fn list(call: &Call) -> Result<Answer, RestError> {
    let access = &call.server.access;
    let caller = &call.auth_id;
    let who: Authid = call.optional("auth-id")?.unwrap_or_else(|| caller.clone());
    let is_own = who == *caller || (!caller.is_token() && who.user == caller.user);
    if !is_own {
        access.check(caller, &["access"], &[Privilege::SysAudit])?;
    }
    let acl = access.current_acl()?;
    let paths: BTreeSet<String> = match call.optional::<AclPath>("path")? {
        Some(path) => BTreeSet::from([path.to_string()]),
        None => acl
            .tree
            .entries()
            .into_iter()
            .map(|entry| entry.path.to_string())
            .chain(TOP.iter().map(|path| (*path).to_owned()))
            .collect(),
    };
    let mut result = Map::new();
    for path in paths {
        let components: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let granted = acl.tree.granted(&who, &components);
        if !granted.here.is_empty() {
            result.insert(path, describe(granted));
        }
    }
    Ok(Answer::Data(Value::Object(result)))
}

/// Each privilege with whether it also counts below.
fn describe(granted: Granted) -> Value {
    let entries = granted.here.iter().map(|privilege| {
        let below = granted.below.has_any(Privileges::from(privilege));
        (privilege.as_str().to_owned(), Value::Bool(below))
    });
    Value::Object(entries.collect())
}
