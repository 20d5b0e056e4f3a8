//! A tree of files from and to a pxar archive (`pxar.md`), and the chunking; no network.
