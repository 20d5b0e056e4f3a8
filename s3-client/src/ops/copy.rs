//! Copies inside the bucket.

use crate::classify::{Failure, bad_document, failure_of};
use crate::client::S3Client;
use crate::encode::encode_path;
use crate::error::{S3Error, S3ErrorKind};
use crate::key::ObjectKey;
use crate::operation::Operation;
use crate::ops::Answered;
use crate::transport::Response;
use crate::xml::parse_copy;

/// What a copy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyOutcome {
    /// The copy is there.
    Copied,
    /// The source does not exist, which is proven.
    SourceMissing,
}

fn read_copy(response: &Response) -> Result<CopyOutcome, Failure> {
    if response.is_success() {
        // The status line comes before the copy is done: only the body tells how it ended.
        return match parse_copy(&response.body) {
            Ok(_) => Ok(CopyOutcome::Copied),
            Err(error) => Err(bad_document(Operation::CopyObject, response, &error)),
        };
    }
    let failure = failure_of(Operation::CopyObject, response);
    if failure.kind == S3ErrorKind::NoSuchKey {
        return Ok(CopyOutcome::SourceMissing);
    }
    Err(failure)
}

impl S3Client {
    /// Copies an object inside the bucket, overwriting what is at `to`.
    ///
    /// # Errors
    /// As all requests do.
    pub async fn copy_object(
        &self,
        from: &ObjectKey,
        to: &ObjectKey,
    ) -> Result<Answered<CopyOutcome>, S3Error> {
        let bucket = self
            .bucket()
            .map(api_types::s3::BucketName::as_str)
            .unwrap_or_default();
        let source = format!("{bucket}/{}", encode_path(from.as_str()));
        let draft = self
            .request(Operation::CopyObject, Some(to))
            .header("content-type", "application/octet-stream")
            .header("x-amz-copy-source", source)
            .header("x-amz-metadata-directive", "REPLACE");
        self.run_noting(draft, read_copy).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::RetryClass;
    use crate::classify::tests::{error_body, response};

    #[test]
    fn only_the_body_tells() {
        let done = response(
            200,
            &[],
            "<CopyObjectResult><ETag>x</ETag></CopyObjectResult>",
        );
        assert_eq!(read_copy(&done), Ok(CopyOutcome::Copied));
        let failed = read_copy(&response(200, &[], &error_body("InternalError"))).unwrap_err();
        assert_eq!(failed.retry, RetryClass::Transient);
        let denied = read_copy(&response(200, &[], &error_body("AccessDenied"))).unwrap_err();
        assert_eq!(denied.retry, RetryClass::Never);
        assert!(read_copy(&response(200, &[], "")).is_err());
        let missing = response(404, &[], &error_body("NoSuchKey"));
        assert_eq!(read_copy(&missing), Ok(CopyOutcome::SourceMissing));
        assert!(read_copy(&response(404, &[], "")).is_err());
    }
}
