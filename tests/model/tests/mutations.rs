//! Each load-bearing rule, dropped alone, has a counterexample; each other one has none.

use model::explore::Invariant::{self, G1, G2, G3, G8, G11, G13};
use model::explore::{Counterexample, explore};
use model::marking::{self, Marking, topics as mark};
use model::rule::{Place, Rule, Rules};
use model::servers::Servers;
use model::store::{Config, Store, topics};

/// Where the absence of a rule shows, the invariant it breaks, and in how many steps at most.
enum Shows {
    InStore(Config, Invariant),
    InMarking(marking::Config, Invariant),
    InServers(Invariant),
    Nowhere,
}

use Shows::{InMarking, InServers, InStore, Nowhere};

fn shows(rule: Rule) -> Shows {
    match rule {
        Rule::FloorConstant => InMarking(mark::REGISTER, G1),
        Rule::GenBeforeScan => InMarking(mark::REGISTER, G3),
        Rule::ScanBeforeList => InMarking(mark::REGISTER, G1),
        Rule::StampOnDuplicate | Rule::LeaveAfterVisible => InMarking(mark::REGISTER, G3),
        Rule::StampOnUpload => InMarking(mark::UPLOADS, G3),
        Rule::BaseLockOrPin => InMarking(mark::BASES, G3),
        Rule::PinsEachPass => InMarking(mark::BY_HAND, G3),
        Rule::AnotherPass => InMarking(mark::BASES, G1),
        Rule::MovesKnown => InMarking(mark::MOVES, G1),
        Rule::ManifestlessMarked | Rule::BucketOnlyRead => InMarking(mark::BUCKET, G1),
        Rule::OrphansAgeOut => InMarking(mark::BUCKET, G11),
        Rule::PresenceRemovedFirst => InStore(topics::AMBIGUOUS, G1),
        Rule::FinalRecheck | Rule::WaitWhileDeleting => InStore(topics::AMBIGUOUS, G8),
        Rule::RestoreOnlyWhatWasTaken | Rule::HeadBeforePresence => InStore(topics::STALE, G2),
        Rule::JournalFsync | Rule::DurableUnlink => InStore(topics::POWER, G2),
        Rule::Quarantine
        | Rule::QuarantineLongEnough
        | Rule::SuspectSurvivesUpload
        | Rule::LaterOkResolvesNothing
        | Rule::NorDoesADenial
        | Rule::NoAttemptAfterSuspect
        | Rule::CheckAtEnd
        | Rule::NotUnderUpload
        | Rule::ExceptionalLeftAlone
        | Rule::AbortLeavesSuspect => InStore(topics::AMBIGUOUS, G2),
        Rule::PayloadKept => InStore(topics::AMBIGUOUS, G3),
        Rule::SuspectNotEvicted => InStore(topics::CACHE, G3),
        Rule::FullQuarantineAfterRestart => InStore(topics::CRASHES, G2),
        Rule::FillNeedsMarker => InStore(topics::CACHE, G2),
        Rule::RebuildWaits => InStore(topics::REBUILD, G2),
        Rule::Validated412 => InStore(topics::VERIFY, G3),
        Rule::VerifySecondGet | Rule::VerifyJournal => InStore(topics::VERIFY, G1),
        Rule::VerifyAlone => InStore(topics::PROCESSES_VERIFY, G1),
        Rule::MissingBarsBase
        | Rule::FinishAsksLost
        | Rule::FinishAsksAgain
        | Rule::ReportCoversRecent => InStore(topics::MISSING, G13),
        Rule::ProcessLock => InStore(topics::PROCESSES, G1),
        Rule::JournalReadUnderLock | Rule::ResolvedOnlyAlone => InStore(topics::PROCESSES, G2),
        Rule::NoFileBeforeThat => InStore(topics::PROCESSES_CACHE, G3),
        Rule::FillUnderLock => InStore(topics::PROCESSES_CACHE, G2),
        Rule::EpochInBucket | Rule::EpochPerRequest => InStore(topics::RESTORE, G2),
        Rule::TakeoverWaits => InServers(G2),
        Rule::SignedByCheck => InServers(G2),
        Rule::CheckBeforeManifest => InServers(G1),
        Rule::ManifestBeforeLeaving
        | Rule::FinishLooksAtBase
        | Rule::IndexPutFirst
        | Rule::ReplaceForSuspect
        | Rule::HeadBeforeMissing
        | Rule::DurableGeneration => Nowhere,
    }
}

const MANY: usize = 200_000_000;
/// The longest of the shortest counterexamples; a longer one means that the models have become
/// blind for the short one.
const LONGEST: usize = 30;

#[test]
fn each_load_bearing_rule_dropped_alone_is_noticed() {
    for rule in Rule::ALL {
        let rules = Rules::without(rule);
        let (explored, expected) = match shows(rule) {
            InStore(config, expected) => (explore(&Store::new(config, rules), MANY), expected),
            InMarking(config, expected) => (explore(&Marking::new(config, rules), MANY), expected),
            InServers(expected) => (explore(&Servers { rules }, MANY), expected),
            Nowhere => continue,
        };
        let found = explored
            .counterexample
            .unwrap_or_else(|| panic!("{rule:?} is not noticed"));
        println!("{rule:?}, {found}");
        let Counterexample { invariant, trace } = &found;
        assert_eq!(*invariant, expected, "{rule:?}: {found}");
        assert!(
            trace.len() <= LONGEST,
            "{rule:?}: {} steps: {found}",
            trace.len()
        );
    }
}

#[test]
fn the_other_rules_are_not_load_bearing_by_themselves() {
    for rule in Rule::ALL {
        let Nowhere = shows(rule) else { continue };
        assert!(matches!(rule.place(), Place::NotLoadBearing(_)), "{rule:?}");
        let rules = Rules::without(rule);
        let found = match rule {
            Rule::ReplaceForSuspect => explore(&Store::new(topics::CRASHES, rules), MANY),
            Rule::HeadBeforeMissing => explore(&Store::new(topics::STALE, rules), MANY),
            Rule::FinishLooksAtBase => explore(&Marking::new(mark::BY_HAND, rules), MANY),
            _ => explore(&Marking::new(mark::BUCKET, rules), MANY),
        };
        if let Some(found) = found.counterexample {
            panic!("{rule:?}: {found}");
        }
    }
}
