//! A whole backup: every archive of the command line, and the manifest.
