//! `GET /version`: what clients take the server for.

use hyper::Method;
use serde_json::json;

use crate::rest::answer::Answer;
use crate::rest::table::{Access, BodyUse, Endpoint};

/// The interface that this server answers: clients compare it before they use what is newer.
pub const VERSION: &str = "4.2";
/// Its release.
pub const RELEASE: &str = "1";

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::GET,
    path: "/version",
    about: "Version of the interface.",
    params: &[],
    access: Access::Anybody,
    body: BodyUse::Parameters,
    handler: |_| Box::pin(async { Ok(Answer::Data(version())) }),
}];

/// As monitoring wants it: three texts.
fn version() -> serde_json::Value {
    let repoid = hex::encode(openssl::sha::sha1(env!("CARGO_PKG_VERSION").as_bytes()));
    json!({ "version": VERSION, "release": RELEASE, "repoid": repoid })
}
