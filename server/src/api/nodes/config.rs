//! `/nodes/{node}/config`: what concerns the machine as a whole.

use api_types::access::Privilege;
use hyper::Method;
use s3_client::transport::HttpProxy;
use serde_json::{Map, Value};

use crate::api::entry;
use crate::api::fields::{DIGEST, LINE, NODE};
use crate::api::target::refused;
use crate::config::node::{HTTP_PROXY, KEYS};
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::{Schema, Text};
use crate::rest::table::{Access, Endpoint};

/// The one number among the values.
const MAX_DAYS: Param = Param::optional(
    "task-log-max-days",
    "Days for which task logs are kept.",
    Schema::integer(0, i64::MAX),
);
const ACME_DOMAIN: &str = "A domain of the certificate.";
const PROXY: Schema = Schema::Text(Text {
    form: "http proxy",
    check: |text| text.parse::<HttpProxy>().map(|_| ()),
    max_len: 1024,
});

/// What can be changed.
pub const PARAMS: &[Param] = &[
    NODE,
    Param::optional("acme", "Account for certificates.", LINE),
    Param::optional("acmedomain0", ACME_DOMAIN, LINE),
    Param::optional("acmedomain1", ACME_DOMAIN, LINE),
    Param::optional("acmedomain2", ACME_DOMAIN, LINE),
    Param::optional("acmedomain3", ACME_DOMAIN, LINE),
    Param::optional("acmedomain4", ACME_DOMAIN, LINE),
    Param::optional(HTTP_PROXY, "Proxy for requests to others.", PROXY),
    Param::optional("email-from", "Sender of mails.", LINE),
    Param::optional("ciphers-tls-1.3", "Ciphers of TLS 1.3.", LINE),
    Param::optional("ciphers-tls-1.2", "Ciphers of TLS 1.2.", LINE),
    Param::optional("default-lang", "Language of the web interface.", LINE),
    Param::optional("description", "Notes.", Schema::ANY_TEXT),
    MAX_DAYS,
    Param::optional("consent-text", "Shown before a login.", LINE),
    Param::optional("location", "Where the machine is.", LINE),
    Param::optional(
        "delete",
        "Properties to unset.",
        Schema::Array(&Schema::Choice(KEYS)),
    ),
    DIGEST,
];

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/nodes/{node}/config",
        "Show the configuration of the machine.",
        &[NODE],
        Access::Privileges {
            path: "/system",
            any: &[Privilege::SysAudit],
        },
        |call| Box::pin(get(call)),
    ),
    entry(
        Method::PUT,
        "/nodes/{node}/config",
        "Change the configuration of the machine.",
        PARAMS,
        Access::Privileges {
            path: "/system",
            any: &[Privilege::SysModify],
        },
        |call| Box::pin(put(call)),
    ),
];

async fn get(call: Call) -> Result<Answer, RestError> {
    let (config, digest) = call.server.config.node().load().map_err(refused)?;
    let value = |key: &str, text: &str| match text.parse::<i64>() {
        Ok(number) if key == MAX_DAYS.name => number.into(),
        _ => Value::from(text),
    };
    let values: Map<String, Value> = config
        .iter()
        .map(|(key, text)| (key.to_owned(), value(key, text)))
        .collect();
    Answer::of(values)?.with("digest", digest)
}

async fn put(call: Call) -> Result<Answer, RestError> {
    // An empty digest counts for nothing here.
    let digest = call
        .params
        .text(DIGEST.name)
        .filter(|text| !text.is_empty());
    let unset: Vec<String> = call
        .params
        .get("delete")
        .and_then(|list| serde_json::from_value(list.clone()).ok())
        .unwrap_or_default();
    call.server
        .config
        .node()
        .update(digest, |config| {
            unset.iter().for_each(|key| config.unset(key));
            for (key, value) in call.params.iter().filter(|(key, _)| KEYS.contains(key)) {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                config.set(key, &text).map_err(RestError::bad_request)?;
            }
            Ok::<_, RestError>(())
        })
        .await?;
    Ok(Answer::null())
}
