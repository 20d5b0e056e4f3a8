//! A whole restore.
