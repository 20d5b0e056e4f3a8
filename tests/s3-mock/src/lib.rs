//! A scripted, in-process S3 server for tests.
