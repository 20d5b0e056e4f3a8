//! Whether a bucket can be used.

use api_types::access::Privilege;
use api_types::names::EndpointId;
use api_types::s3::BucketName;
use hyper::Method;
use s3_client::{DirPrefix, probe};

use crate::api::entry;
use crate::api::target::refused;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

const PARAMS: &[Param] = &[
    Param::required(
        "id",
        "The endpoint.",
        Schema::text::<EndpointId>("s3 endpoint id"),
    ),
    Param::required(
        "bucket",
        "The bucket.",
        Schema::text::<BucketName>("bucket name"),
    ),
    Param::optional(
        "store-prefix",
        "Write the test object below this prefix.",
        Schema::ANY_TEXT,
    ),
];

const ACCESS: Access = Access::Privileges {
    path: "/",
    any: &[Privilege::SysModify],
};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::PUT,
        "/admin/s3/{id}/check",
        "Check bucket, write, read and delete with a test object.",
        PARAMS,
        ACCESS,
        |call| Box::pin(check(call)),
    ),
    entry(
        Method::PUT,
        "/admin/s3/{id}/reset-counters",
        "Count the requests to a bucket anew.",
        PARAMS,
        ACCESS,
        |call| Box::pin(reset_counters(call)),
    ),
];

fn client(call: &Call) -> Result<s3_client::S3Client, RestError> {
    let id: EndpointId = call.text("id")?;
    let endpoints = call.server.config.s3_endpoints().load().map_err(refused)?;
    let endpoint = endpoints.get(id.as_str()).map_err(refused)?;
    Ok(call
        .server
        .s3
        .client(endpoint, Some(call.text("bucket")?))?)
}

fn prefix(call: &Call) -> Result<Option<DirPrefix>, RestError> {
    call.params
        .text("store-prefix")
        .filter(|prefix| !prefix.is_empty())
        .map(|prefix| DirPrefix::new(prefix.to_owned()))
        .transpose()
        .map_err(|error| RestError::parameter("store-prefix", error.to_string()))
}

async fn check(call: Call) -> Result<Answer, RestError> {
    let client = client(&call)?;
    probe::quick(&client, prefix(&call)?.as_ref())
        .await
        .map_err(|error| RestError::bad_request(format!("check of the bucket failed: {error}")))?;
    Ok(Answer::null())
}

async fn reset_counters(call: Call) -> Result<Answer, RestError> {
    prefix(&call)?;
    client(&call)?.counter_handle().reset();
    Ok(Answer::null())
}
