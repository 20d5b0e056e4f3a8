//! A short way to write an endpoint down.

use hyper::Method;

use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::table::{Access, BodyUse, Endpoint, Handled};

/// An endpoint whose body, if any, holds parameters.
pub(super) const fn entry(
    method: Method,
    path: &'static str,
    about: &'static str,
    params: &'static [Param],
    access: Access,
    handler: fn(Call) -> Handled,
) -> Endpoint {
    Endpoint {
        method,
        path,
        about,
        params,
        access,
        body: BodyUse::Parameters,
        handler,
    }
}

/// An endpoint whose parameters are in the query whatever the request says of its body (RAW in
/// `rest-api.md`): downloads.
pub(super) const fn download_entry(
    path: &'static str,
    about: &'static str,
    params: &'static [Param],
    access: Access,
    handler: fn(Call) -> Handled,
) -> Endpoint {
    Endpoint {
        method: Method::GET,
        path,
        about,
        params,
        access,
        body: BodyUse::Stream,
        handler,
    }
}
