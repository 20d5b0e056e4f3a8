//! Looks at single objects that the merge asks for: markers after a HEAD, heals, missing chunks.

use api_types::digest::Digest;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::backend::s3::confirm::Look;
use crate::error::{Error, Result};
use crate::task::check_abort;

use super::Sweep;
use super::shard::ShardOutput;
use crate::gc::report::GcReport;

/// Most markers that one run creates after a HEAD; beyond that a refresh is cheaper.
const MAX_PRESENCE_LOOKS: usize = 10_000;
/// Most missing chunks that one run confirms by HEAD.
const MAX_MISSING_LOOKS: usize = 10_000;
/// From this many looks for markers on, the log says so.
const WORTH_A_WORD: u64 = 100;
/// Looks in flight.
const PARALLEL_LOOKS: usize = 32;

/// Digests to be looked at when the sweep is through.
#[derive(Debug, Default)]
pub(super) struct Looks {
    presence_unknown: Vec<Digest>,
    marked_absent: Vec<Digest>,
    /// Those beyond what one run may look at: counted only, there may be millions.
    presence_over: u64,
    absent_over: u64,
}

impl Looks {
    pub fn collect(&mut self, output: &ShardOutput) {
        let (unknown, absent) = (&output.presence_unknown, &output.marked_absent);
        self.presence_over += take(&mut self.presence_unknown, unknown, MAX_PRESENCE_LOOKS);
        self.absent_over += take(&mut self.marked_absent, absent, MAX_MISSING_LOOKS);
    }

    /// Looks at all of them, or at as many as one run may.
    pub async fn resolve(self, sweep: &Sweep, report: &mut GcReport) -> Result<()> {
        report.presence_unknown = self.presence_over;
        report.missing = self.absent_over;
        if sweep.rules.dry_run {
            report.presence_unknown += count(&self.presence_unknown);
            report.missing += count(&self.marked_absent);
            return Ok(());
        }
        let unknown = count(&self.presence_unknown);
        if unknown >= WORTH_A_WORD {
            sweep.task.warn(&format!(
                "{} chunks in the bucket have no local marker: asking for {unknown} of them one by \
                 one. Running 's3-refresh' rebuilds the markers with one request for a thousand",
                unknown + self.presence_over
            ));
        }
        let mut present = stream::iter(self.presence_unknown)
            .map(|digest| sweep.backend.confirm_presence(&sweep.client, digest))
            .buffer_unordered(PARALLEL_LOOKS);
        while let Some(look) = abortable(sweep, present.try_next()).await? {
            report.presence_created += u64::from(look == Look::Present);
        }
        let mut absent = stream::iter(self.marked_absent)
            .map(|digest| async move {
                let look = sweep
                    .backend
                    .heal_or_confirm_missing(&sweep.client, digest)
                    .await?;
                Ok((digest, look))
            })
            .buffer_unordered(PARALLEL_LOOKS);
        while let Some((digest, look)) = abortable(sweep, absent.try_next()).await? {
            match look {
                Look::Healed => report.healed += 1,
                Look::Missing => report.missing_confirmed.push(digest),
                // There after all (a stale listing), or in somebody's hands.
                Look::Present | Look::Busy => {}
            }
        }
        if !report.missing_confirmed.is_empty() {
            // A copy of the disk made before now has markers of what is not there either.
            sweep.backend.raise_epoch(&sweep.client).await?;
            sweep.backend.sync_dropped_presence().await?;
        }
        report.missing_confirmed.sort_unstable();
        report.missing += count(&report.missing_confirmed);
        Ok(())
    }
}

async fn abortable<T>(sweep: &Sweep, work: impl Future<Output = Result<T>>) -> Result<T> {
    check_abort(&*sweep.task)?;
    tokio::select! {
        biased;
        result = work => result,
        () = sweep.task.cancel().cancelled() => Err(Error::Aborted),
    }
}

/// Adds as many as there is room for; returns how many there was none for.
fn take(digests: &mut Vec<Digest>, more: &[Digest], most: usize) -> u64 {
    let room = most.saturating_sub(digests.len()).min(more.len());
    digests.extend_from_slice(&more[..room]);
    count(&more[room..])
}

fn count(digests: &[Digest]) -> u64 {
    u64::try_from(digests.len()).unwrap_or(u64::MAX)
}
