//! Datastores: the configuration entity and the property strings in it.

mod backend;
mod config;
mod maintenance;
mod thresholds;
mod tuning;

pub use backend::{BackendType, DatastoreBackend};
pub use config::{DatastoreConfig, DatastorePath};
pub use maintenance::{MaintenanceMessage, MaintenanceMode, MaintenanceType, Operation};
pub use thresholds::NotificationThresholds;
pub use tuning::{ChunkOrder, DatastoreTuning, SyncLevel};
