//! Judging candidates under their locks, and condemning those that may go.

use api_types::digest::Digest;

use crate::backend::s3::delete::{CandidateEntry, Condemned, DeleteBatch};
use crate::error::Result;
use crate::gc::candidate::{
    self, BadFacts, BadVerdict, CandidateFacts, DigestCondition, PendingReason, Verdict,
};
use crate::gc::merge::ObjectFacts;

use crate::gc::report::GcReport;

use super::Sweep;

/// A listed object that no index needs, or the evidence of a corrupt chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    digest: Digest,
    object: ObjectFacts,
    bad: Option<BadCandidate>,
}

#[derive(Clone, Copy, Debug)]
struct BadCandidate {
    number: u8,
    marked: bool,
    good_listed: bool,
}

impl Candidate {
    pub fn chunk(digest: Digest, object: ObjectFacts) -> Self {
        Self {
            digest,
            object,
            bad: None,
        }
    }

    /// Size of the object if it is a chunk that its own age does not protect.
    pub fn deletable_bytes(&self, grace: i64) -> Option<u64> {
        let age = candidate::object_age(self.object.list_date, self.object.last_modified);
        let young = age.is_some_and(|age| age < grace);
        (self.bad.is_none() && !young).then_some(self.object.size)
    }

    pub fn bad(
        digest: Digest,
        number: u8,
        object: ObjectFacts,
        marked: bool,
        good_listed: bool,
    ) -> Self {
        Self {
            digest,
            object,
            bad: Some(BadCandidate {
                number,
                marked,
                good_listed,
            }),
        }
    }
}

impl Sweep {
    /// Judges a page of candidates and adds the condemned ones to `batch`.
    ///
    /// The batch travels through the blocking pool, so that a dropped task finds every condemned
    /// digest in the batch that its guard releases.
    pub(super) async fn judge_page(
        &self,
        batch: DeleteBatch,
        page: Vec<Candidate>,
        report: &mut GcReport,
    ) -> Result<DeleteBatch> {
        let this = self.clone();
        let mut sum = std::mem::take(report);
        let (batch, sum, judged) = self
            .backend
            .blocking(move || {
                let mut batch = batch;
                let judged = page
                    .iter()
                    .try_for_each(|candidate| this.judge(candidate, &mut batch, &mut sum));
                (batch, sum, judged)
            })
            .await;
        *report = sum;
        judged?;
        Ok(batch)
    }

    fn judge(
        &self,
        candidate: &Candidate,
        batch: &mut DeleteBatch,
        report: &mut GcReport,
    ) -> Result<()> {
        match candidate.bad {
            None => self.judge_chunk(candidate, batch, report),
            Some(bad) => self.judge_bad(candidate, bad, batch, report),
        }
    }

    fn judge_chunk(
        &self,
        candidate: &Candidate,
        batch: &mut DeleteBatch,
        report: &mut GcReport,
    ) -> Result<()> {
        let size = candidate.object.size;
        let digest = candidate.digest;
        let (condemned, verdict) = self.backend.condemn(batch.id(), &digest, |entry| {
            let verdict = candidate::judge(&self.facts(candidate, entry));
            (verdict == Verdict::Delete && !self.rules.dry_run, verdict)
        })?;
        match verdict {
            Verdict::Delete if self.rules.dry_run => report.deleted.add(size),
            Verdict::Delete if condemned => batch.push(Condemned { digest, size }),
            Verdict::Delete => report.add_pending(PendingReason::Busy, size),
            Verdict::Pending(reason) => {
                if reason == PendingReason::FirstSeen {
                    self.first_seen.record(digest, self.rules.generation);
                }
                report.add_pending(reason, size);
            }
        }
        Ok(())
    }

    fn judge_bad(
        &self,
        candidate: &Candidate,
        bad: BadCandidate,
        batch: &mut DeleteBatch,
        report: &mut GcReport,
    ) -> Result<()> {
        let (digest, size) = (candidate.digest, candidate.object.size);
        let entry = CandidateEntry {
            state: None,
            suspect: false,
            stamp: None,
            local: None,
        };
        let facts = BadFacts {
            marked: bad.marked,
            good_listed: bad.good_listed,
            retention: self.rules.bad_retention,
        };
        match candidate::judge_bad(&facts, &self.facts(candidate, &entry)) {
            BadVerdict::Delete => {
                if self.rules.dry_run {
                    report.removed_bad.add(size);
                } else {
                    self.backend.local.remove_bad(&digest, bad.number)?;
                    let key = self.backend.keys.bad_chunk(&digest, bad.number)?;
                    batch.push_evidence(key, size);
                }
            }
            BadVerdict::KeepReferenced | BadVerdict::KeepEvidence | BadVerdict::Pending(_) => {
                report.kept_bad.add(size);
            }
        }
        Ok(())
    }

    fn facts(&self, candidate: &Candidate, entry: &CandidateEntry) -> CandidateFacts {
        let condition = if entry.state.is_some() {
            DigestCondition::Busy
        } else if entry.suspect {
            DigestCondition::Suspect
        } else {
            DigestCondition::Ordinary
        };
        CandidateFacts {
            condition,
            stamp: entry.stamp,
            floor: self.rules.floor,
            last_modified: candidate.object.last_modified,
            list_date: candidate.object.list_date,
            local_atime: entry.local.map(|local| local.atime.millis()),
            now: self.backend.env.unix_millis(),
            grace: self.rules.grace,
            first_seen: self.first_seen.generation_of(&candidate.digest),
            generation: self.rules.generation,
        }
    }

    /// Removes the local files of ordinary digests that are neither marked nor in the bucket.
    pub(super) fn drop_stale(&self, digests: &[Digest]) -> Result<u64> {
        let mut removed = 0;
        if self.rules.dry_run {
            return Ok(removed);
        }
        for digest in digests {
            let floor = self.rules.floor;
            let gone = self
                .backend
                .drop_stale_presence(digest, |entry| entry.stamp.is_none_or(|s| s < floor))?;
            removed += u64::from(gone);
        }
        Ok(removed)
    }
}
