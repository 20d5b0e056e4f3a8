//! A reader session: the files of one snapshot, and the chunks that they name
//! (`backup-protocol.md` §4).
//!
//! | module | what |
//! |---|---|
//! | `session` | the session and its endpoints |
//! | `fetch` | chunks from the store |
//! | `lease` | the right to keep what was fetched |
//! | `read_ahead` | which chunks the client will want next: pure |

mod fetch;
mod lease;
pub mod read_ahead;
mod session;
#[cfg(test)]
mod tests;

use api_types::digest::Digest;
use api_types::names::ArchiveName;
use hyper::Method;

use super::endpoint::{BodyUse, Endpoint};
use crate::rest::endpoint::Param;
use crate::rest::schema::Schema;

pub use session::{Reader, ReaderOptions};

static ENDPOINTS: &[Endpoint<Reader>] = &[
    Endpoint {
        method: Method::GET,
        path: "chunk",
        params: &[Param::required(
            "digest",
            "digest of the chunk",
            Schema::text::<Digest>("digest"),
        )],
        body: BodyUse::Stream,
        handler: |call| Box::pin(session::chunk(call)),
    },
    Endpoint {
        method: Method::GET,
        path: "download",
        params: &[Param::required(
            "file-name",
            "name of the file",
            Schema::text::<ArchiveName>("archive name"),
        )],
        body: BodyUse::Stream,
        handler: |call| Box::pin(session::download(call)),
    },
    Endpoint {
        method: Method::GET,
        path: "speedtest",
        params: &[],
        body: BodyUse::Stream,
        handler: |_| Box::pin(async { Ok(session::speedtest()) }),
    },
];
