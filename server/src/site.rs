//! What of an installation jobs and syncs work with: the same in the daemon and in
//! `coffer-manager`, which has no [`Server`](crate::daemon::Server).

use std::sync::Arc;

use s3_client::env::Env;

use crate::access::control::AccessControl;
use crate::config::Config;
use crate::datastores::Datastores;
use crate::jobs::state::JobStates;

/// The parts of an installation; clones are the same ones.
#[derive(Clone, Debug)]
pub struct Site {
    /// Clock and randomness.
    pub env: Env,
    /// Configuration files.
    pub config: Config,
    /// Datastores.
    pub stores: Arc<Datastores>,
    /// Who may do what.
    pub access: Arc<AccessControl>,
    /// The states of the jobs.
    pub jobs: JobStates,
}
