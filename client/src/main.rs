//! The program `coffer-client`; see the library.

fn main() {}
