//! `POST /access/ticket`: a password, or a ticket, for a new ticket (`auth.md` §6).

use api_types::auth::Userid;
use hyper::header::HeaderValue;
use hyper::header::{CONTENT_TYPE, SET_COOKIE};
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::USERID;
use crate::access::control::AuthError;
use crate::access::credentials::{HOST_COOKIE, host_cookie};
use crate::rest::answer::{Answer, AnswerBody, full};
use crate::rest::call::Call;
use crate::rest::dispatch::log_failure;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::format::forget;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, BodyUse, Endpoint};

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::POST,
        path: "/access/ticket",
        about: "Log in, or renew a login.",
        params: &[
            Param::required("username", "Who.", USERID),
            Param::optional(
                "password",
                "The password, or a valid ticket.",
                Schema::ANY_TEXT,
            ),
            Param::optional(
                "path",
                "With a terminal's ticket: for what.",
                Schema::ANY_TEXT,
            ),
            Param::optional(
                "privs",
                "With a terminal's ticket: to do what.",
                Schema::ANY_TEXT,
            ),
            Param::optional(
                "port",
                "With a terminal's ticket: where.",
                Schema::integer(0, 65535),
            ),
            Param::optional(
                "tfa-challenge",
                "A second factor's challenge.",
                Schema::ANY_TEXT,
            ),
            Param::optional("http-only", "The ticket as a cookie only.", Schema::Boolean)
                .or_flag(false),
        ],
        access: Access::World,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(log_in(call)),
    },
    Endpoint {
        method: Method::DELETE,
        path: "/access/ticket",
        about: "Log out: a browser forgets its cookie.",
        params: &[],
        access: Access::World,
        body: BodyUse::Parameters,
        handler: |_| Box::pin(async { Ok(log_out()) }),
    },
    Endpoint {
        method: Method::POST,
        path: "/access/vncticket",
        about: "Check the ticket of a terminal: there are no terminals.",
        params: &[
            Param::required("authid", "Who.", super::AUTHID),
            Param::required("vncticket", "The ticket.", Schema::ANY_TEXT),
            Param::required("path", "For what.", Schema::ANY_TEXT),
            Param::optional("privs", "To do what.", Schema::ANY_TEXT),
        ],
        access: Access::World,
        body: BodyUse::Parameters,
        handler: |_| Box::pin(async { Err(refused()) }),
    },
];

/// The same answer for every reason.
fn refused() -> RestError {
    RestError::new(StatusCode::UNAUTHORIZED, "permission check failed.")
}

async fn log_in(call: Call) -> Result<Answer, RestError> {
    let user: Userid = call.text("username")?;
    match checked(&call, &user).await {
        Ok(()) => {}
        Err(LoginError::Parameter(error)) => return Err(error),
        Err(LoginError::Auth(AuthError::Busy(busy))) => return Err(busy.into()),
        Err(LoginError::Auth(error)) => {
            let peer = call.peer_address;
            log_failure(peer, Some(&user.to_string()), &error);
            return Err(refused());
        }
    }
    let (ticket, csrf) = call.server.access.issue(&user)?;
    tracing::info!(target: "auth", "successful auth for user '{user}'");
    if !call.flag("http-only") {
        return Ok(Answer::Response(envelope(&json!({
            "username": user,
            "ticket": ticket,
            "CSRFPreventionToken": csrf,
        }))));
    }
    // The text of the ticket without what makes it one.
    let info = ticket.split("::").next().unwrap_or_default();
    let mut response = envelope(&json!({
        "username": user,
        "ticket-info": format!("{info}::ticketinfo"),
        "CSRFPreventionToken": csrf,
    }));
    let cookie = format!("{HOST_COOKIE}={ticket}; Secure; SameSite=Lax; HttpOnly; Path=/;");
    let cookie = HeaderValue::from_str(&cookie)
        .map_err(|error| RestError::bad_request(format!("failed to make an answer: {error}")))?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(Answer::Response(response))
}

enum LoginError {
    Parameter(RestError),
    Auth(AuthError),
}

async fn checked(call: &Call, user: &Userid) -> Result<(), LoginError> {
    let access = &call.server.access;
    if call.params.text("tfa-challenge").is_some() {
        return Err(LoginError::Auth(AuthError::SecondFactor));
    }
    let is_terminal = ["path", "privs", "port"]
        .iter()
        .any(|name| call.params.get(name).is_some());
    if is_terminal {
        let error = AuthError::Realm("there are no terminals to log in to".into());
        return Err(LoginError::Auth(error));
    }
    let password = call.params.text("password");
    let cookie = cookie_to_renew(call, &call.headers);
    if let Some(ticket) = &cookie {
        match access.login_by_ticket(user, ticket) {
            Ok(()) => return Ok(()),
            Err(error) if password.is_none() => return Err(LoginError::Auth(error)),
            Err(_) => {}
        }
    }
    let Some(password) = password else {
        return Err(LoginError::Parameter(RestError::parameter(
            "password",
            "parameter is missing and it is not optional.",
        )));
    };
    let result = if cookie.is_some() {
        access.check_password(user, password, &call.turn).await
    } else {
        access.login(user, password, &call.turn).await
    };
    result.map_err(LoginError::Auth)
}

/// The ticket that a browser shows without knowing it.
fn cookie_to_renew(call: &Call, headers: &HeaderMap) -> Option<String> {
    call.flag("http-only")
        .then(|| host_cookie(headers))
        .flatten()
}

/// With the words that stand beside the data here, and the type that it has here, whatever the
/// format.
fn envelope(data: &Value) -> Response<AnswerBody> {
    let body = json!({ "data": data, "status": 200, "success": true });
    let mut response = Response::new(full(body.to_string()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn log_out() -> Answer {
    Answer::Response(forget(envelope(&json!({}))))
}
