//! Synthetic data: chunks, indexes, snapshots, and stores that hold them.

pub mod bucket;
pub mod chunk_files;
pub mod corpus;
pub mod cpu;
pub mod index_file;
pub mod load;
pub mod markers;
pub mod process;
pub mod series;
pub mod snapshots;
pub mod steps;
pub mod store;
pub mod synthetic;
