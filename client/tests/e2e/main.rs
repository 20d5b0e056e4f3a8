//! The program against the daemon: backups and restores of all kinds, on a directory and on a
//! bucket, with keys, with interruptions, and with everything that can be wrong.

mod client;
mod commands;
mod daemon;
mod fixtures;
mod interrupted;
mod keys;
mod kinds;
mod modes;
mod refused;
mod tree;
