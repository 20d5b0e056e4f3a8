//! Traffic control at work, and where figures are sent to.

use api_types::access::Privilege;
use hyper::Method;
use serde::Serialize;

use crate::api::entry;
use crate::api::target::refused;
use crate::config::traffic::TrafficRule;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::error::RestError;
use crate::rest::table::{Access, Endpoint};

const AUDIT: Access = Access::Privileges {
    path: "/",
    any: &[Privilege::SysAudit],
};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/admin/traffic-control",
        "List the rules with what is transferred at present.",
        &[],
        AUDIT,
        |call| Box::pin(list(call)),
    ),
    entry(
        Method::GET,
        "/admin/metrics",
        "List the servers that figures are sent to: there are none.",
        &[],
        AUDIT,
        |_| Box::pin(async { Answer::of(Vec::<()>::new()) }),
    ),
];

/// A rule, and bytes in the last second.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Item<'a> {
    #[serde(flatten)]
    rule: &'a TrafficRule,
    cur_rate_in: u64,
    cur_rate_out: u64,
}

async fn list(call: Call) -> Result<Answer, RestError> {
    let content = call.server.config.traffic_rules().load().map_err(refused)?;
    let shaped = call.server.traffic.shaped();
    let items: Vec<Item<'_>> = shaped
        .iter()
        .map(|shaped| Item {
            rule: &shaped.rule,
            cur_rate_in: shaped.flows.incoming.rate(),
            cur_rate_out: shaped.flows.outgoing.rate(),
        })
        .collect();
    Answer::of(items)?.with("digest", &content.digest)
}
