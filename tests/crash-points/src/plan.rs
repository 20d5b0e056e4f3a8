//! Which crashes there are, and which of them leave different things behind.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use datastore::disk;
use scenarios::power::{Disk, Loss, Lost, Plug, Step};

use crate::{Case, Covered, Stage};

/// Seeds of the power failures that keep any part of what was not synced.
const SEEDS: u64 = 1;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is killed.
    Killed,
    /// It is killed in the middle of a write.
    Torn,
    /// The power fails.
    Power(Loss),
}

/// A crash.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Before this step.
    pub step: u64,
    /// What that step is; `None` = the work is done.
    pub before: Option<Step>,
    /// How.
    pub kind: Kind,
}

impl Cut {
    /// Whether the power fails.
    #[must_use]
    pub fn is_power(&self) -> bool {
        matches!(self.kind, Kind::Power(_))
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.before {
            Some(Step::Disk { what, .. }) => write!(f, "before step {}: {what}", self.step)?,
            Some(Step::Request(what)) => write!(f, "before request {}: {what}", self.step)?,
            Some(Step::Answer(what)) => write!(f, "before the answer {} to {what}", self.step)?,
            None => f.write_str("after the last step")?,
        }
        match self.kind {
            Kind::Killed => f.write_str(", killed"),
            Kind::Torn => f.write_str(", killed in the middle of it"),
            Kind::Power(loss) => write!(f, ", power failure: {loss:?}"),
        }
    }
}

struct Plan {
    disk: Arc<Disk>,
    /// States of disk and bucket that are looked at already.
    seen: HashSet<(u64, u64)>,
    cuts: Vec<Cut>,
    /// The bucket at the last step.
    bucket: Option<u64>,
    covered: Covered,
}

impl Plan {
    /// Adds the crashes before a step.
    fn step(&mut self, number: u64, before: Option<&Step>, bucket: u64) {
        self.covered.steps += 1;
        let mut add = |kind: Kind, fingerprint: u64| {
            self.covered.crashes += 1;
            if self.seen.insert((fingerprint, bucket)) {
                self.cuts.push(Cut {
                    step: number,
                    before: before.cloned(),
                    kind,
                });
            }
        };
        let disk = Arc::clone(&self.disk);
        add(Kind::Killed, disk.fingerprint());
        if let Some(Step::Disk { writes: true, .. }) = before {
            // A state of its own: half of a write is none that the disk comes to.
            add(Kind::Torn, u64::MAX - number);
        }
        let power = |loss| (Kind::Power(loss), disk.fingerprint_after(loss));
        let all = disk.unsynced();
        // With the same bucket, shorter beginnings were there at an earlier step.
        let shortest = if self.bucket == Some(bucket) {
            all
        } else {
            disk.journaled()
        };
        let beginnings = (shortest..=all).map(|kept| (kept, Lost::Length));
        for (kept, lost) in beginnings.chain([(all, Lost::Bytes)]) {
            let (kind, fingerprint) = power(Loss::Ordered { kept, lost });
            add(kind, fingerprint);
        }
        for choice in 0..SEEDS {
            let seed = number * SEEDS + choice;
            let (kind, fingerprint) = power(Loss::Any { seed });
            add(kind, fingerprint);
        }
        self.bucket = Some(bucket);
    }
}

/// Lets the case run and writes down its crashes, each kind of leftover once.
pub(crate) async fn make<C: Case>(case: &C) -> Result<(Vec<Cut>, Covered)> {
    let mut stage = Stage::new(case.place()).await?;
    let story = case.prepare(&stage).await.context("preparation")?;
    let disk = Disk::watch(stage.world.dir())?;
    let plan = Arc::new(Mutex::new(Plan {
        disk: disk.clone(),
        seen: HashSet::new(),
        cuts: Vec::new(),
        bucket: None,
        covered: Covered::default(),
    }));
    let lock = |plan: &Mutex<Plan>, number, before: Option<&Step>, bucket| {
        let mut plan = plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.step(number, before, bucket);
    };
    let at_steps = Arc::clone(&plan);
    let plug = Plug::counting(disk, move |step, before, bucket| {
        lock(&at_steps, step, Some(before), bucket);
    });
    stage.world.plug = Some(plug.clone());
    {
        let _observation = disk::observe(plug.clone());
        case.act(&stage, &story).await?;
    }
    lock(&plan, plug.steps(), None, plug.changes_of_bucket());
    let mut plan = plan.lock().unwrap_or_else(PoisonError::into_inner);
    let cuts = std::mem::take(&mut plan.cuts);
    let covered = Covered {
        states: cuts.len(),
        ..plan.covered
    };
    Ok((cuts, covered))
}
