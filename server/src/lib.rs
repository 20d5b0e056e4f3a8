//! Worker tasks, configuration files and the admin tool of Coffer.
