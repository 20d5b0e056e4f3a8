//! XML documents of S3: a pull parser that never builds a tree, and a writer for one request.

mod documents;
mod walk;

pub use documents::{
    BucketInfo, CopyResult, DeleteEntry, DeleteResult, ErrorDocument, ListDocument, ListEntry,
    delete_request, parse_copy, parse_delete, parse_error, parse_list, parse_list_buckets,
};
pub use walk::XmlError;
