//! Backup and reader sessions (`backup-protocol.md`).
