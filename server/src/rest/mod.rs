//! The REST interface: one table of endpoints, and what follows from it (`rest-api.md`).
//!
//! ```text
//! request ─► path (normalised) ─► endpoint ─► credentials ─► access ─► parameters ─► handler ─► answer
//!                                    ▲
//!                         the table says, for each path and method: parameters with their
//!                         types and limits, who may call it, what it does, what it returns
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`schema`] | types of parameters: limits, texts to values |
//! | [`endpoint`] | an entry of the table |
//! | [`path`] | what clients send as a path |
//! | [`params`] | parameters from query, form, JSON and path, checked |
//! | [`error`] | what a failure answers |
//! | [`table`] | the table itself, and what is at a path |
//! | [`call`], [`answer`] | what a handler gets and gives |
//! | [`dispatch`] | all of it, from request to answer |
//! | [`mod@format`] | how answers look |
//! | [`openapi`] | the table as a document |

pub mod answer;
pub mod body;
pub mod call;
pub mod dispatch;
pub mod endpoint;
pub mod error;
pub mod format;
pub mod openapi;
pub mod params;
pub mod path;
pub mod schema;
pub mod table;
