//! `/config/remote`: other servers. Their passwords are never answered.

use api_types::access::Privilege;
use api_types::auth::Authid;
use api_types::digest::Fingerprint;
use hyper::Method;

use super::entries::{ApiEntity, create, digest, failed, given, list, show, update};
use crate::api::entry;
use crate::api::fields::{COMMENT, DIGEST, SAFE_ID};
use crate::api::rights::has_any;
use crate::config::ConfigFile;
use crate::config::properties::Given;
use crate::config::remotes::{Remote, RemoteHost, RemotePassword};
use crate::daemon::Server;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::{Param, joined};
use crate::rest::error::RestError;
use crate::rest::schema::{Schema, Text};
use crate::rest::table::{Access, Endpoint};

/// The remote.
pub const NAME: Param = Param::required("name", "Name of the remote.", SAFE_ID);
const HOST: Schema = Schema::text::<RemoteHost>("host name or address");
const AUTH_ID: Schema = Schema::text::<Authid>("auth id");
const PASSWORD: Schema = Schema::Text(Text {
    form: "password",
    check: |text| match text {
        "" => Err("must not be empty".into()),
        _ => Ok(()),
    },
    max_len: 1024,
});
/// What may be left out.
const OPTIONS: [Param; 4] = [
    Param::optional("port", "Port; 8007 if absent.", Schema::integer(1, 65535)),
    Param::optional(
        "fingerprint",
        "SHA-256 of its certificate.",
        Schema::text::<Fingerprint>("fingerprint"),
    ),
    COMMENT,
    Param::optional(
        "use-node-proxy",
        "Reach it through the node's HTTP proxy.",
        Schema::Boolean,
    ),
];
/// The parameters of a new one.
pub const CREATE: [Param; 8] = joined(&[
    &[
        NAME,
        Param::required("host", "Where it is.", HOST),
        Param::required("auth-id", "Who we are there.", AUTH_ID),
        Param::required("password", "Password or token secret.", PASSWORD),
    ],
    &OPTIONS,
]);
/// The parameters of a change.
pub const UPDATE: [Param; 10] = joined(&[
    &[
        NAME,
        Param::optional("host", "Where it is.", HOST),
        Param::optional("auth-id", "Who we are there.", AUTH_ID),
        Param::optional("password", "Password or token secret.", PASSWORD),
        Param::optional(
            "delete",
            "Properties to unset.",
            Schema::Array(&Schema::Choice(&[
                "comment",
                "fingerprint",
                "port",
                "use-node-proxy",
            ])),
        ),
        DIGEST,
    ],
    &OPTIONS,
]);

const AUDIT: Access = Access::Privileges {
    path: "/remote/{name}",
    any: &[Privilege::RemoteAudit],
};
const MODIFY: Access = Access::Privileges {
    path: "/remote/{name}",
    any: &[Privilege::RemoteModify],
};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/config/remote",
        "List the remotes.",
        &[],
        Access::Anybody,
        |call| Box::pin(list::<Remote>(call)),
    ),
    entry(
        Method::POST,
        "/config/remote",
        "Add a remote.",
        &CREATE,
        Access::Privileges {
            path: "/remote",
            any: &[Privilege::RemoteModify],
        },
        |call| Box::pin(create::<Remote>(call)),
    ),
    entry(
        Method::GET,
        "/config/remote/{name}",
        "Show a remote.",
        &[NAME],
        AUDIT,
        |call| Box::pin(show::<Remote>(call)),
    ),
    entry(
        Method::PUT,
        "/config/remote/{name}",
        "Change a remote.",
        &UPDATE,
        MODIFY,
        |call| Box::pin(update::<Remote>(call)),
    ),
    entry(
        Method::DELETE,
        "/config/remote/{name}",
        "Remove a remote that no sync job uses.",
        &[NAME, DIGEST],
        MODIFY,
        |call| Box::pin(remove(call)),
    ),
];

impl ApiEntity for Remote {
    const ID: &'static str = NAME.name;
    const WHAT: &'static str = "remote";

    fn file(server: &Server) -> &ConfigFile<Self> {
        server.config.remotes()
    }

    fn is_listed(&self, call: &Call) -> bool {
        has_any(call, &["remote", &self.name], &[Privilege::RemoteAudit])
    }

    /// The table has checked.
    fn check_see(&self, _call: &Call) -> Result<(), RestError> {
        Ok(())
    }

    /// The table has checked.
    fn check_change(&self, _call: &Call) -> Result<(), RestError> {
        Ok(())
    }

    fn given(call: &Call) -> Given {
        let password = call.params.text("password").map(RemotePassword::encode);
        given(call, &[Self::ID, "password"]).set("password", password.as_ref())
    }
}

async fn remove(call: Call) -> Result<Answer, RestError> {
    let name = call.params.text(NAME.name).unwrap_or_default();
    call.server
        .config
        .remove_remote(name, digest(&call))
        .await
        .map_err(|error| failed(error, NAME.name, Remote::WHAT))?;
    Ok(Answer::null())
}
