//! What is left to do later: quarantines that end, metadata objects that are to be looked at once
//! more (`gc.md` §7 and G11, `s3-backend.md` §17.1).
//!
//! A collection sees to both, but it may come once a week; until then a suspect chunk would depend
//! on the cache disk and a lost request on metadata would stay unrepaired. So the server calls
//! [`DataStore::tend`] about once a minute.

use s3_client::TaskKind;
use tokio_util::sync::CancellationToken;

use crate::backend::s3::cleanup::ReconcileReport;
use crate::backend::s3::quarantine::ResolveReport;
use crate::error::{Error, Result};

use super::DataStore;

/// What was seen to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tended {
    /// Quarantines.
    pub quarantines: ResolveReport,
    /// Metadata objects.
    pub metadata: ReconcileReport,
}

impl DataStore {
    /// Sees to what is due; `None` if nothing is, or if somebody else is at work on the store.
    ///
    /// # Errors
    /// If the store is not to be trusted, the bucket does not answer or the disk refuses.
    pub async fn tend(&self, cancel: &CancellationToken) -> Result<Option<Tended>> {
        let (Some(backend), Some(client)) =
            (self.backend.s3(), self.client(TaskKind::Other, cancel))
        else {
            return Ok(None);
        };
        let due = !self.table.due_suspects(self.env.now()).is_empty()
            || backend.cleanup.is_due(self.env.now())
            || backend.has_unread_journal();
        let Ok(_tending) = self.tending.try_lock() else {
            return Ok(None);
        };
        if !due {
            return Ok(None);
        }
        // Only a process that is alone may resolve records ◆.
        let _lease = match self.sweeper_lease(cancel).await {
            Ok(lease) => lease,
            Err(Error::Locked { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Tended {
            quarantines: backend.resolve_quarantine(&client).await?,
            metadata: backend.reconcile_metadata(&client).await?,
        }))
    }
}
