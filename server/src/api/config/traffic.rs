//! `/config/traffic-control`: how fast connections may be.

use api_types::access::Privilege;
use api_types::auth::Userid;
use api_types::human::ByteSize;
use hyper::Method;

use super::entries::{ApiEntity, create, list, remove, show, update};
use crate::api::entry;
use crate::api::fields::{COMMENT, DIGEST, SAFE_ID};
use crate::config::ConfigFile;
use crate::config::traffic::TrafficRule;
use crate::daemon::Server;
use crate::jobs::calendar::DailyDuration;
use crate::network::Network;
use crate::rest::call::Call;
use crate::rest::endpoint::{Param, joined};
use crate::rest::error::RestError;
use crate::rest::schema::{Schema, Text};
use crate::rest::table::{Access, Endpoint};

const NAME: Param = Param::required("name", "Name of the rule.", SAFE_ID);
const BYTES: Schema = Schema::text::<ByteSize>("byte size");
const NETWORKS: Schema = Schema::Array(&Schema::Text(Text {
    form: "network",
    check: |text| {
        text.parse::<Network>()
            .map(|_| ())
            .map_err(|error| error.to_string())
    },
    max_len: 64,
}));
const TIMES: Schema = Schema::Array(&Schema::Text(Text {
    form: "daily duration",
    check: |text| {
        text.parse::<DailyDuration>()
            .map(|_| ())
            .map_err(|error| error.to_string())
    },
    max_len: 256,
}));
const USERS: Schema = Schema::Array(&Schema::text::<Userid>("user id"));
const NETWORK: &str = "Where connections come from.";
/// What may be left out.
const OPTIONS: [Param; 7] = [
    COMMENT,
    Param::optional("rate-in", "Bytes to receive per second.", BYTES),
    Param::optional("burst-in", "Bytes to receive at once.", BYTES),
    Param::optional("rate-out", "Bytes to send per second.", BYTES),
    Param::optional("burst-out", "Bytes to send at once.", BYTES),
    Param::optional("timeframe", "When it counts.", TIMES),
    Param::optional("users", "For whom.", USERS),
];
/// The parameters of a new one.
pub const CREATE: [Param; 9] = joined(&[
    &[NAME, Param::required("network", NETWORK, NETWORKS)],
    &OPTIONS,
]);
/// The parameters of a change.
pub const UPDATE: [Param; 11] = joined(&[
    &[
        NAME,
        Param::optional("network", NETWORK, NETWORKS),
        Param::optional(
            "delete",
            "Properties to unset.",
            Schema::Array(&Schema::Choice(&[
                "rate-in",
                "burst-in",
                "rate-out",
                "burst-out",
                "comment",
                "timeframe",
                "users",
            ])),
        ),
        DIGEST,
    ],
    &OPTIONS,
]);

const AUDIT: Access = Access::Privileges {
    path: "/",
    any: &[Privilege::SysAudit],
};
const MODIFY: Access = Access::Privileges {
    path: "/",
    any: &[Privilege::SysModify],
};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/config/traffic-control",
        "List the rules.",
        &[],
        MODIFY,
        |call| Box::pin(list::<TrafficRule>(call)),
    ),
    entry(
        Method::POST,
        "/config/traffic-control",
        "Add a rule.",
        &CREATE,
        MODIFY,
        |call| Box::pin(create::<TrafficRule>(call)),
    ),
    entry(
        Method::GET,
        "/config/traffic-control/{name}",
        "Show a rule.",
        &[NAME],
        AUDIT,
        |call| Box::pin(show::<TrafficRule>(call)),
    ),
    entry(
        Method::PUT,
        "/config/traffic-control/{name}",
        "Change a rule.",
        &UPDATE,
        MODIFY,
        |call| Box::pin(update::<TrafficRule>(call)),
    ),
    entry(
        Method::DELETE,
        "/config/traffic-control/{name}",
        "Remove a rule.",
        &[NAME, DIGEST],
        MODIFY,
        |call| Box::pin(remove::<TrafficRule>(call)),
    ),
];

impl ApiEntity for TrafficRule {
    const ID: &'static str = NAME.name;
    const WHAT: &'static str = "traffic control rule";

    fn file(server: &Server) -> &ConfigFile<Self> {
        server.config.traffic_rules()
    }

    /// The table has checked.
    fn is_listed(&self, _call: &Call) -> bool {
        true
    }

    /// The table has checked.
    fn check_see(&self, _call: &Call) -> Result<(), RestError> {
        Ok(())
    }

    /// The table has checked.
    fn check_change(&self, _call: &Call) -> Result<(), RestError> {
        Ok(())
    }
}
