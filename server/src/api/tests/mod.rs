//! Endpoints asked by a caller, their answers held against those of the real system.

mod changes;
mod config;
mod contents;
mod files;
mod nodes;
mod s3;
mod work;
mod world;
