//! A call on its way to its handler: checked, with all that the handler may need.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api_types::auth::Authid;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::HeaderMap;
use hyper::upgrade::OnUpgrade;

use super::error::RestError;
use super::params::Params;
use crate::access::attempts::Turn;
use crate::daemon::Server;

/// The body of a request.
pub type Body = BoxBody<Bytes, anyhow::Error>;

/// A call that may be made, with parameters that are what the endpoint declares.
pub struct Call {
    /// Everything shared.
    pub server: Arc<Server>,
    /// Who asks. For endpoints that anybody may call unauthenticated it says nothing: see
    /// [`Call::NOBODY`].
    pub auth_id: Authid,
    /// The parameters, checked.
    pub params: Params,
    /// From where.
    pub peer: Option<IpAddr>,
    /// The same with the port, for the log.
    pub peer_address: Option<SocketAddr>,
    /// Its turn, should something have to be hashed for it.
    pub turn: Arc<Turn>,
    /// The headers of the request.
    pub headers: HeaderMap,
    /// The body, untouched if the endpoint declares [`super::table::BodyUse::Stream`], else empty.
    pub body: Body,
    /// The way to the connection itself, if the request may be upgraded.
    pub upgrade: Option<OnUpgrade>,
}

impl Call {
    /// Who asks where nobody was asked for credentials ([`super::table::Access::World`]): a user
    /// that cannot be created, since the realm has no one, and so has no rights.
    pub const NOBODY: &'static str = "nobody@unauthenticated";

    /// A parameter that is a text of this type, which the endpoint declares as required.
    pub fn text<T: std::str::FromStr<Err = api_types::ParseError>>(
        &self,
        name: &str,
    ) -> Result<T, RestError> {
        self.optional(name)?.ok_or_else(|| {
            RestError::parameter(name, "parameter is missing and it is not optional.")
        })
    }

    /// A parameter that is a text of this type, if it was given.
    pub fn optional<T: std::str::FromStr<Err = api_types::ParseError>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, RestError> {
        self.params.text(name).map(str::parse).transpose().map_err(
            |error: api_types::ParseError| RestError::parameter(name, error.reason.to_string()),
        )
    }

    /// A parameter that is yes or no; no if it was not given and has no default.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.params
            .get(name)
            .and_then(serde_json::Value::as_bool)
            .unwrap_or_default()
    }
}
