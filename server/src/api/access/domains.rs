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
            // Without root's rights nobody of the realm pam can log in.
            let pam = nix::unistd::geteuid().is_root();
            Ok(Answer::Data(json!([
                {
                    "realm": "pam",
                    "type": "pam",
                    "comment": "Users of this machine",
                    "default": pam,
                },
                {
                    "realm": "pbs",
                    "type": "pbs",
                    "comment": "Users of the backup server",
                    "default": !pam,
                },
            ])))
        })
    },
}];
