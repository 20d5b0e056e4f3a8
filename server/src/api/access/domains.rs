//! `GET /access/domains`: the realms.

use hyper::Method;
use serde_json::json;

use crate::rest::answer::Answer;
use crate::rest::table::{Access, BodyUse, Endpoint};

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::GET,
    path: "/access/domains",
    about: "The realms that users log in to.",
    params: &[],
    access: Access::World,
    body: BodyUse::Parameters,
    handler: |_| {
        Box::pin(async {
            Ok(Answer::Data(json!([
                {
                    "realm": "pam",
                    "type": "pam",
                    "comment": "Users of this machine",
                    "default": true,
                },
                {
                    "realm": "pbs",
                    "type": "pbs",
                    "comment": "Users of the backup server",
                },
            ])))
        })
    },
}];
