//! `GET /ping`.

use hyper::Method;
use serde_json::json;

use crate::rest::answer::Answer;
use crate::rest::table::{Access, BodyUse, Endpoint};

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::GET,
    path: "/ping",
    about: "Whether the server answers at all.",
    params: &[],
    access: Access::World,
    body: BodyUse::Parameters,
    handler: |_| Box::pin(async { Ok(Answer::Data(json!({ "pong": true }))) }),
}];
