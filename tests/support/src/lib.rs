//! Starts the S3 servers that tests run against, and finds the fixtures.
