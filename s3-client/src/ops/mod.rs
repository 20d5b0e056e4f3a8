//! The operations: each builds a request, reads its answer with a pure function, and says in its
//! own type what the answers mean.

mod answered;
mod bucket;
mod copy;
mod delete;
mod delete_attempt;
mod delete_prefix;
mod list;
mod listing;
mod object;
mod put;
mod sharded;

pub use answered::Answered;
pub use copy::CopyOutcome;
pub use delete::{DeleteFailure, DeleteOutcome, DeleteReport, MAX_DELETE_KEYS};
pub use delete_attempt::{DeleteAttempt, KeyOutcome};
pub use delete_prefix::DeleteFilter;
pub use list::{IncompleteReason, ListError, ListOptions, ListPage, ListedObject, PageOrder};
pub use listing::Listing;
pub use object::{ETag, Object, ObjectHead};
pub(crate) use put::Answer;
pub use put::{PutMode, PutOptions, PutOutcome};
pub use sharded::{ShardEvent, ShardItem, ShardedListing};
