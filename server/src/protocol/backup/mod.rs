//! A backup session: what a client asks of it (`backup-protocol.md` §3).
//!
//! | module | what |
//! |---|---|
//! | `session` | the session: its beginning, its states, its ends |
//! | `writers` | the index writers as the client knows them: pure |
//! | `upload` | chunks and blobs |
//! | `index` | indexes: opened, appended to, closed |
//! | `previous` | the last backup |
//! | `finish` | the commit |
//! | `statistics` | what the log says of an archive |

mod finish;
mod index;
mod previous;
mod session;
mod statistics;
#[cfg(test)]
mod tests;
mod upload;
mod writers;

use api_types::digest::Digest;
use api_types::names::ArchiveName;
use datastore::format::{MAX_CHUNK_ENCODED, MAX_CHUNK_PLAIN, MIN_BLOB_ENCODED};
use hyper::Method;

use super::endpoint::{BodyUse, Endpoint};
use crate::rest::answer::Answer;
use crate::rest::endpoint::Param;
use crate::rest::schema::Schema;

pub use session::{Backup, BackupOptions};

const ARCHIVE: Schema = Schema::text::<ArchiveName>("archive name");
const DIGEST: Schema = Schema::text::<Digest>("digest");
const POSITION: Schema = Schema::integer(0, i64::MAX);

const ARCHIVE_NAME: Param = Param::required("archive-name", "name of the archive", ARCHIVE);
const WID: Param = Param::required(
    "wid",
    "number of the index writer",
    Schema::integer(1, writers::MAX_WRITERS as i64),
);
const CSUM: Param = Param::required("csum", "checksum of the index", DIGEST);

const NONE: &[Param] = &[];
const OF_ARCHIVE: &[Param] = &[ARCHIVE_NAME];

const BLOB: &[Param] = &[
    Param::required("file-name", "name of the blob", ARCHIVE),
    Param::required(
        "encoded-size",
        "length of the body",
        Schema::integer(
            MIN_BLOB_ENCODED.cast_signed(),
            MAX_CHUNK_ENCODED.cast_signed(),
        ),
    ),
];

const CHUNK: &[Param] = &[
    WID,
    Param::required("digest", "digest of the chunk", DIGEST),
    Param::required(
        "size",
        "length of the chunk",
        Schema::integer(1, MAX_CHUNK_PLAIN.cast_signed()),
    ),
    Param::required(
        "encoded-size",
        "length of the body",
        Schema::integer(
            MIN_BLOB_ENCODED.cast_signed() + 1,
            MAX_CHUNK_ENCODED.cast_signed(),
        ),
    ),
];

const APPEND: &[Param] = &[
    WID,
    Param::required("digest-list", "the chunks", Schema::Array(&DIGEST)),
    Param::required(
        "offset-list",
        "where in the archive each begins",
        Schema::Array(&POSITION),
    ),
];

const CREATE_FIXED: &[Param] = &[
    ARCHIVE_NAME,
    Param::optional("size", "length of the image", Schema::integer(1, i64::MAX)),
    Param::optional(
        "reuse-csum",
        "checksum of the last backup's index, to begin with a copy of that",
        DIGEST,
    ),
];

const CLOSE_DYNAMIC: &[Param] = &[
    WID,
    Param::required(
        "chunk-count",
        "number of chunks",
        Schema::integer(1, i64::MAX),
    ),
    Param::required(
        "size",
        "length of the archive",
        Schema::integer(1, i64::MAX),
    ),
    CSUM,
];

const CLOSE_FIXED: &[Param] = &[
    WID,
    Param::required("chunk-count", "number of chunks", POSITION),
    Param::required("size", "length of what was sent", POSITION),
    CSUM,
];

static ENDPOINTS: &[Endpoint<Backup>] = &[
    Endpoint {
        method: Method::POST,
        path: "blob",
        params: BLOB,
        body: BodyUse::Stream,
        handler: |call| Box::pin(upload::blob(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "dynamic_chunk",
        params: CHUNK,
        body: BodyUse::Stream,
        handler: |call| Box::pin(upload::chunk(call, "dynamic")),
    },
    Endpoint {
        method: Method::POST,
        path: "dynamic_close",
        params: CLOSE_DYNAMIC,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(index::close(call, "dynamic")),
    },
    Endpoint {
        method: Method::POST,
        path: "dynamic_index",
        params: OF_ARCHIVE,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(index::create_dynamic(call)),
    },
    Endpoint {
        method: Method::PUT,
        path: "dynamic_index",
        params: APPEND,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(index::append(call, "dynamic")),
    },
    Endpoint {
        method: Method::POST,
        path: "finish",
        params: NONE,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(finish::finish(call)),
    },
    Endpoint {
        method: Method::POST,
        path: "fixed_chunk",
        params: CHUNK,
        body: BodyUse::Stream,
        handler: |call| Box::pin(upload::chunk(call, "fixed")),
    },
    Endpoint {
        method: Method::POST,
        path: "fixed_close",
        params: CLOSE_FIXED,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(index::close(call, "fixed")),
    },
    Endpoint {
        method: Method::POST,
        path: "fixed_index",
        params: CREATE_FIXED,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(index::create_fixed(call)),
    },
    Endpoint {
        method: Method::PUT,
        path: "fixed_index",
        params: APPEND,
        body: BodyUse::Parameters,
        handler: |call| Box::pin(index::append(call, "fixed")),
    },
    Endpoint {
        method: Method::GET,
        path: "previous",
        params: OF_ARCHIVE,
        body: BodyUse::Stream,
        handler: |call| Box::pin(previous::previous(call)),
    },
    Endpoint {
        method: Method::GET,
        path: "previous_backup_time",
        params: NONE,
        body: BodyUse::Parameters,
        handler: |call| {
            let time = call.session.previous().map(|dir| dir.time.secs());
            Box::pin(async move { Answer::of(time) })
        },
    },
    Endpoint {
        method: Method::POST,
        path: "speedtest",
        params: NONE,
        body: BodyUse::Stream,
        handler: |call| Box::pin(upload::speedtest(call)),
    },
];
