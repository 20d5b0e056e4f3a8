//! Second factors, of which there are none: what clients and web interfaces expect to hear then
//! (`auth.md` §6.1).

use api_types::access::Privilege;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::USERID_PARAM;
use crate::rest::answer::Answer;
use crate::rest::error::RestError;
use crate::rest::table::{Access, BodyUse, Endpoint};

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::PUT,
        path: "/access/users/{userid}/unlock-tfa",
        about: "Unlock a user's second factors: there are none.",
        params: &[USERID_PARAM],
        access: Access::Privileges {
            path: "/access/users",
            any: &[Privilege::PermissionsModify],
        },
        body: BodyUse::Parameters,
        handler: |_| Box::pin(async { Ok(Answer::Data(false.into())) }),
    },
    Endpoint {
        method: Method::GET,
        path: "/access/tfa",
        about: "Users with second factors: there are none.",
        params: &[],
        access: Access::Anybody,
        body: BodyUse::Parameters,
        handler: |_| Box::pin(async { Ok(Answer::Data(json!([]))) }),
    },
    Endpoint {
        method: Method::GET,
        path: "/access/tfa/{userid}",
        about: "A user's second factors: there are none.",
        params: &[USERID_PARAM],
        access: Access::Anybody,
        body: BodyUse::Parameters,
        handler: |_| Box::pin(async { Ok(Answer::Data(json!([]))) }),
    },
    Endpoint {
        method: Method::POST,
        path: "/access/tfa/{userid}",
        about: "Add a second factor: not supported.",
        params: &[USERID_PARAM],
        access: Access::Anybody,
        body: BodyUse::Parameters,
        handler: |_| {
            Box::pin(async {
                Err(RestError::new(
                    StatusCode::NOT_IMPLEMENTED,
                    "second factors are not supported",
                ))
            })
        },
    },
    Endpoint {
        method: Method::GET,
        path: "/config/access/tfa/webauthn",
        about: "Configuration of second factors: there is none.",
        params: &[],
        access: Access::Anybody,
        body: BodyUse::Parameters,
        handler: |_| Box::pin(async { Ok(Answer::null()) }),
    },
];
