//! `/config/s3`: S3 endpoints. Their secret keys are never answered.

use api_types::access::Privilege;
use api_types::digest::Fingerprint;
use api_types::human::ByteSize;
use api_types::names::EndpointId;
use api_types::s3::{AccessKey, EndpointHost, Region, S3EndpointConfig, SecretKey, StorageClass};
use hyper::Method;
use serde_json::json;

use super::entries::{changed, digest, entry as made, failed, given};
use crate::api::entry;
use crate::api::fields::DIGEST;
use crate::api::rights::has_any;
use crate::api::target::refused;
use crate::config::ConfigError;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::{Param, joined};
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

const ID: Param = Param::required(
    "id",
    "Name of the endpoint.",
    Schema::text::<EndpointId>("s3 endpoint id"),
);
const HOST: Schema = Schema::text::<EndpointHost>("host");
const ACCESS_KEY: Schema = Schema::text::<AccessKey>("access key");
const SECRET_KEY: Schema = Schema::text::<SecretKey>("secret key");
const COUNT: Schema = Schema::integer(1, 1024);
const SECONDS: Schema = Schema::integer(1, 86_400);
const BYTES: Schema = Schema::text::<ByteSize>("byte size");

const PORT: Param = Param::optional("port", "Port; 443 if absent.", Schema::integer(1, 65535));
const REGION: Param = Param::optional(
    "region",
    "Region to sign for.",
    Schema::text::<Region>("region"),
);
const FINGERPRINT: Param = Param::optional(
    "fingerprint",
    "SHA-256 of the server's certificate.",
    Schema::text::<Fingerprint>("fingerprint"),
);
const PATH_STYLE: Param = Param::optional(
    "path-style",
    "Put the bucket into the path instead of the host name.",
    Schema::Boolean,
);
const PUT_RATE_LIMIT: Param = Param::optional(
    "put-rate-limit",
    "PUT requests per second.",
    Schema::integer(1, i64::MAX),
);
const PROVIDER_QUIRKS: Param = Param::optional(
    "provider-quirks",
    "Deviations of the provider to work around.",
    Schema::Array(&Schema::Choice(&[
        "skip-if-none-match-header",
        "delete-objects-via-delete-object",
    ])),
);
const RATE_IN: Param = Param::optional("rate-in", "Bytes to download per second.", BYTES);
const BURST_IN: Param = Param::optional("burst-in", "Bytes to download at once.", BYTES);
const RATE_OUT: Param = Param::optional("rate-out", "Bytes to upload per second.", BYTES);
const BURST_OUT: Param = Param::optional("burst-out", "Bytes to upload at once.", BYTES);
const STRICT: Param = Param::optional(
    "strict-fingerprint",
    "The fingerprint must match even if the certificate is trusted anyway.",
    Schema::Boolean,
);
const REQUEST_TIMEOUT: Param = Param::optional(
    "request-timeout",
    "Seconds that a request may take.",
    SECONDS,
);
const CONNECT_TIMEOUT: Param = Param::optional(
    "connect-timeout",
    "Seconds that a connection may take.",
    SECONDS,
);
const MAX_CONNECTIONS: Param = Param::optional("max-connections", "Connections at once.", COUNT);
const LIST_CONCURRENCY: Param = Param::optional("list-concurrency", "Listings at once.", COUNT);
const DELETE_CONCURRENCY: Param =
    Param::optional("delete-concurrency", "Delete requests at once.", COUNT);
const UPLOAD_CONCURRENCY: Param = Param::optional("upload-concurrency", "Uploads at once.", COUNT);
const STORAGE_CLASS: Param = Param::optional(
    "storage-class",
    "Storage class of uploaded chunks.",
    Schema::text::<StorageClass>("storage class"),
);
const DELETE: Param = Param::optional(
    "delete",
    "Properties to unset.",
    Schema::Array(&Schema::Choice(&[
        "port",
        "region",
        "fingerprint",
        "path-style",
        "put-rate-limit",
        "rate-in",
        "burst-in",
        "rate-out",
        "burst-out",
        "provider-quirks",
        "strict-fingerprint",
        "request-timeout",
        "connect-timeout",
        "max-connections",
        "list-concurrency",
        "delete-concurrency",
        "upload-concurrency",
        "storage-class",
    ])),
);

/// What an endpoint may have.
const OPTIONS: [Param; 18] = [
    PORT,
    REGION,
    FINGERPRINT,
    PATH_STYLE,
    PUT_RATE_LIMIT,
    PROVIDER_QUIRKS,
    RATE_IN,
    BURST_IN,
    RATE_OUT,
    BURST_OUT,
    STRICT,
    REQUEST_TIMEOUT,
    CONNECT_TIMEOUT,
    MAX_CONNECTIONS,
    LIST_CONCURRENCY,
    DELETE_CONCURRENCY,
    UPLOAD_CONCURRENCY,
    STORAGE_CLASS,
];
const NEW: [Param; 22] = joined(&[
    &[
        ID,
        Param::required("endpoint", "Host name or address.", HOST),
        Param::required("access-key", "Access key.", ACCESS_KEY),
        Param::required("secret-key", "Secret key.", SECRET_KEY),
    ],
    &OPTIONS,
]);
const CHANGED: [Param; 24] = joined(&[
    &[
        ID,
        Param::optional("endpoint", "Host name or address.", HOST),
        Param::optional("access-key", "Access key.", ACCESS_KEY),
        Param::optional("secret-key", "Secret key.", SECRET_KEY),
        DELETE,
        DIGEST,
    ],
    &OPTIONS,
]);

const AUDIT: Access = Access::Privileges {
    path: "/system/s3-endpoint/{id}",
    any: &[Privilege::SysAudit],
};
const MODIFY: Access = Access::Privileges {
    path: "/system/s3-endpoint/{id}",
    any: &[Privilege::SysModify],
};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/config/s3",
        "List the S3 endpoints.",
        &[],
        Access::Anybody,
        |call| Box::pin(list(call)),
    ),
    entry(
        Method::POST,
        "/config/s3",
        "Add an S3 endpoint.",
        &NEW,
        Access::Privileges {
            path: "/system/s3-endpoint",
            any: &[Privilege::SysModify],
        },
        |call| Box::pin(create(call)),
    ),
    entry(
        Method::GET,
        "/config/s3/{id}",
        "Show an S3 endpoint.",
        &[ID],
        AUDIT,
        |call| Box::pin(show(call)),
    ),
    entry(
        Method::PUT,
        "/config/s3/{id}",
        "Change an S3 endpoint.",
        &CHANGED,
        MODIFY,
        |call| Box::pin(update(call)),
    ),
    entry(
        Method::DELETE,
        "/config/s3/{id}",
        "Remove an S3 endpoint that no datastore uses.",
        &[ID, DIGEST],
        MODIFY,
        |call| Box::pin(remove(call)),
    ),
    entry(
        Method::GET,
        "/config/s3/{id}/list-buckets",
        "List the buckets of the endpoint's account.",
        &[ID],
        Access::Privileges {
            path: "/",
            any: &[Privilege::SysAudit],
        },
        |call| Box::pin(list_buckets(call)),
    ),
];

/// What is changed and what that is, in the words of refusals.
fn said(error: ConfigError) -> RestError {
    failed(error, ID.name, "s3 endpoint")
}

async fn list(call: Call) -> Result<Answer, RestError> {
    let content = call.server.config.s3_endpoints().load().map_err(refused)?;
    let seen: Vec<&S3EndpointConfig> = content
        .entries
        .iter()
        .filter(|endpoint| {
            let path = ["system", "s3-endpoint", endpoint.id.as_str()];
            has_any(&call, &path, &[Privilege::SysAudit])
        })
        .collect();
    Answer::of(seen)?.with("digest", &content.digest)
}

async fn create(call: Call) -> Result<Answer, RestError> {
    let id: EndpointId = call.text(ID.name)?;
    let properties = given(&call, &[ID.name]).replace_in(Vec::new(), &[]);
    let endpoint: S3EndpointConfig =
        made(S3EndpointConfig::SECTION_TYPE, id.as_str(), &properties)?;
    call.server
        .config
        .s3_endpoints()
        .update(None, |content| content.insert(endpoint))
        .await
        .map_err(said)?;
    Ok(Answer::null())
}

async fn show(call: Call) -> Result<Answer, RestError> {
    let id: EndpointId = call.text(ID.name)?;
    let content = call.server.config.s3_endpoints().load().map_err(refused)?;
    Answer::of(content.get(id.as_str()).map_err(said)?)?.with("digest", &content.digest)
}

async fn update(call: Call) -> Result<Answer, RestError> {
    let id: EndpointId = call.text(ID.name)?;
    call.server
        .config
        .s3_endpoints()
        .update(digest(&call), |content| {
            let endpoint = content.get_mut(id.as_str())?;
            *endpoint = changed(&call, endpoint, &[ID.name])?;
            anyhow::Ok(())
        })
        .await?;
    Ok(Answer::null())
}

async fn remove(call: Call) -> Result<Answer, RestError> {
    let id: EndpointId = call.text(ID.name)?;
    call.server
        .config
        .remove_s3_endpoint(id.as_str(), digest(&call))
        .await
        .map_err(said)?;
    Ok(Answer::null())
}

async fn list_buckets(call: Call) -> Result<Answer, RestError> {
    let id: EndpointId = call.text(ID.name)?;
    let content = call.server.config.s3_endpoints().load().map_err(refused)?;
    let endpoint = content.get(id.as_str()).map_err(said)?;
    let client = call.server.s3.client(endpoint, None)?;
    let buckets = client
        .list_buckets()
        .await
        .map_err(|error| RestError::bad_request(format!("failed to list the buckets: {error}")))?;
    let buckets: Vec<_> = buckets
        .into_iter()
        .map(|bucket| json!({ "name": bucket.name }))
        .collect();
    Answer::of(buckets)
}
