//! Account and bucket: list the buckets, see whether one can be used.

use crate::classify::{bad_document, failure_of};
use crate::client::S3Client;
use crate::error::S3Error;
use crate::operation::Operation;
use crate::xml::{BucketInfo, parse_list_buckets};

/// Many buckets have long answers, but not this long.
const MAX_LIST: usize = 4 * 1024 * 1024;

impl S3Client {
    /// The buckets of the account. Needs no bucket; many access keys may not do this.
    ///
    /// # Errors
    /// As all requests do.
    pub async fn list_buckets(&self) -> Result<Vec<BucketInfo>, S3Error> {
        let draft = self
            .request(Operation::ListBuckets, None)
            .body_limit(MAX_LIST);
        self.run(draft, |response| {
            if !response.is_success() {
                return Err(failure_of(Operation::ListBuckets, response));
            }
            parse_list_buckets(&response.body)
                .map_err(|error| bad_document(Operation::ListBuckets, response, &error))
        })
        .await
    }

    /// Whether the bucket exists and may be used.
    ///
    /// # Errors
    /// `NoSuchBucket`, `Denied` or `WrongRegion` by what little the answer says.
    pub async fn head_bucket(&self) -> Result<(), S3Error> {
        let draft = self.request(Operation::HeadBucket, None);
        self.run(draft, |response| {
            if response.is_success() {
                Ok(())
            } else {
                Err(failure_of(Operation::HeadBucket, response))
            }
        })
        .await
    }
}
