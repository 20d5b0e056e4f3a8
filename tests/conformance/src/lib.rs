//! The S3 conformance suite, runnable against any endpoint.
