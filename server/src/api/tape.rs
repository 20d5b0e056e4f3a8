//! `/tape`: there are no tapes, which is said to exporters that ask in the way that keeps them quiet.

use hyper::Method;
use serde_json::json;

use super::entry;
use crate::rest::answer::Answer;
use crate::rest::table::{Access, Endpoint};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[entry(
    Method::GET,
    "/tape/drive",
    "List the tape drives, of which there are none.",
    &[],
    Access::Anybody,
    |_call| Box::pin(async { Ok(Answer::Data(json!([]))) }),
)];
