//! `coffer-server --dev` as a process, driven by a client that speaks raw HTTP over TLS.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not tests to the lint
#![allow(clippy::disallowed_methods)] // real processes take real time
#![cfg(feature = "embedded-s3")]

mod access;
mod backup;
mod beside;
mod clients;
mod connections;
mod frames;
mod hostile;
mod interrupted;
mod kinds;
mod life;
mod memory;
mod pull;
mod push;
mod push_trouble;
mod recordings;
mod revoked;
mod scan;
mod support;
