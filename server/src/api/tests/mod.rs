//! Endpoints asked by a caller, their answers held against those of the real system.

mod accounts;
mod changes;
mod config;
mod contents;
mod entries;
mod figures;
mod files;
mod hanging;
mod nodes;
mod relocate;
mod s3;
mod spec;
mod sync_jobs;
mod work;
mod world;
