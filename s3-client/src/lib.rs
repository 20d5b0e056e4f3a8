//! An S3 client for backup servers, over hyper and openssl.

pub mod env;
