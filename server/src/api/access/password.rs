//! `PUT /access/password`.

use api_types::access::Privilege;
use api_types::auth::Userid;
use hyper::{Method, StatusCode};

use super::users::find;
use super::{NEW_PASSWORD, USERID_PARAM};
use crate::access::control::AuthError;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::dispatch::log_failure;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, BodyUse, Endpoint};

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::PUT,
    path: "/access/password",
    about: "Change a password: one's own, or another's with the right to.",
    params: &[
        USERID_PARAM,
        Param::required("password", "The new one.", NEW_PASSWORD),
        Param::optional(
            "confirmation-password",
            "The caller's own, to show that it is still them.",
            Schema::ANY_TEXT,
        ),
    ],
    access: Access::ByHandler,
    body: BodyUse::Parameters,
    handler: |call| Box::pin(change(call)),
}];

async fn change(call: Call) -> Result<Answer, RestError> {
    let userid: Userid = call.text("userid")?;
    let caller = &call.auth_id;
    let access = &call.server.access;
    let forbidden = || RestError::new(StatusCode::FORBIDDEN, "permission check failed");
    if caller.is_token() {
        return Err(forbidden());
    }
    let is_self = caller.user == userid;
    let is_root = caller.user.is_root();
    let may_others = userid.realm().as_str() != "pam"
        && access
            .privileges(caller, &[])
            .has_any(Privilege::PermissionsModify.into());
    if !(is_self || is_root || may_others) {
        return Err(forbidden());
    }
    if !is_root {
        confirm(&call).await?;
    }
    find(&*access.current_users()?, &userid)?;
    match userid.realm().as_str() {
        "pbs" => {
            let password = call.params.text("password").unwrap_or_default();
            access.set_password(&userid, password).await?;
            Ok(Answer::null())
        }
        "pam" => Err(no_password_here(&userid)),
        other => Err(RestError::new(
            StatusCode::NOT_IMPLEMENTED,
            format!("realm '{other}' does not store passwords here"),
        )),
    }
}

/// Whoever sits down at somebody's open browser does not know their password.
async fn confirm(call: &Call) -> Result<(), RestError> {
    let unauthorized = |text: &str| RestError::new(StatusCode::UNAUTHORIZED, text);
    let Some(password) = call.params.text("confirmation-password") else {
        return Err(unauthorized("confirmation password is missing"));
    };
    let user = &call.auth_id.user;
    let access = &call.server.access;
    match access.check_password(user, password, &call.turn).await {
        Ok(()) => Ok(()),
        Err(AuthError::Busy(busy)) => Err(busy.into()),
        Err(error) => {
            log_failure(call.peer_address, Some(&user.to_string()), &error);
            Err(unauthorized("confirmation password is wrong"))
        }
    }
}

/// For users whose password the system keeps.
pub(super) fn no_password_here(userid: &Userid) -> RestError {
    RestError::new(
        StatusCode::NOT_IMPLEMENTED,
        format!("the password of '{userid}' is the system's: change it there, with 'passwd'"),
    )
}
