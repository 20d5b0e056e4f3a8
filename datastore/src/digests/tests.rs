use std::sync::Arc;
use std::time::Duration;

use api_types::digest::Digest;
use proptest::prelude::*;
use tokio::time::Instant;

use super::{BatchId, DigestTable, State, TakenBack, UploadGuard};

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

#[tokio::test(start_paused = true)]
async fn an_upload_guard_clears_the_state_however_it_ends() {
    let table = Arc::new(DigestTable::new(1));
    let d = digest(1);
    let token = table.with(&d, |slot| slot.begin_upload()).unwrap();
    let guard = UploadGuard::new(table.clone(), d, token);
    assert!(table.with(&d, |slot| slot.begin_upload()).is_none());
    drop(guard);
    assert!(table.with(&d, |slot| slot.is_ordinary()));
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_survives_an_upload() {
    let table = Arc::new(DigestTable::new(1));
    let d = digest(1);
    let until = table_now() + Duration::from_secs(60);
    table.with(&d, |slot| slot.suspect(until));
    let token = table.with(&d, |slot| slot.begin_upload()).unwrap();
    UploadGuard::new(table.clone(), d, token)
        .finish(|slot| {
            slot.stamp_now();
            Ok::<_, ()>(())
        })
        .unwrap();
    assert!(table.with(&d, |slot| slot.suspicion().is_some() && !slot.is_ordinary()));
    assert_eq!(table.suspects(), vec![d]);
    assert!(table.due_suspects(table_now()).is_empty());
    assert_eq!(table.due_suspects(until), vec![d]);
}

#[test]
fn a_digest_taken_back_is_not_sent() {
    let table = DigestTable::new(1);
    let d = digest(2);
    let batch = BatchId(7);
    assert!(table.with(&d, |slot| slot.condemn(batch, true)));
    assert!(!table.with(&d, |slot| slot.condemn(BatchId(8), true)));
    assert_eq!(
        table.with(&d, |slot| slot.take_back()),
        Some(TakenBack::HadPresence)
    );
    assert!(!table.with(&d, |slot| slot.start_deleting(batch)));
}

#[test]
fn only_the_own_batch_ends_a_delete() {
    let table = DigestTable::new(1);
    let d = digest(3);
    assert!(table.with(&d, |slot| slot.condemn(BatchId(1), false)));
    assert!(!table.with(&d, |slot| slot.start_deleting(BatchId(2))));
    assert!(table.with(&d, |slot| slot.start_deleting(BatchId(1))));
    assert_eq!(table.with(&d, |slot| slot.take_back()), None);
    assert_eq!(table.with(&d, |slot| slot.end_deleting(BatchId(2))), None);
    assert_eq!(
        table.with(&d, |slot| slot.end_deleting(BatchId(1))),
        Some(false)
    );
}

#[test]
fn the_generation_never_falls_and_old_stamps_go() {
    let table = DigestTable::new(5);
    table.raise_generation(3);
    assert_eq!(table.generation(), 5);
    table.with(&digest(1), |slot| slot.stamp_now());
    table.raise_generation(6);
    table.with(&digest(2), |slot| slot.stamp_now());
    table.drop_stamps_below(6);
    assert_eq!(table.with(&digest(1), |slot| slot.stamp()), None);
    assert_eq!(table.with(&digest(2), |slot| slot.stamp()), Some(6));
}

fn table_now() -> Instant {
    s3_client::env::Env::system().now()
}

#[derive(Clone, Debug)]
enum Step {
    BeginUpload,
    EndUpload,
    Condemn(u64, bool),
    TakeBack,
    StartDeleting(u64),
    EndDeleting(u64),
    Release(u64),
    Suspect,
    ClearSuspicion,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::BeginUpload),
        Just(Step::EndUpload),
        (0..3u64, any::<bool>()).prop_map(|(b, had)| Step::Condemn(b, had)),
        Just(Step::TakeBack),
        (0..3u64).prop_map(Step::StartDeleting),
        (0..3u64).prop_map(Step::EndDeleting),
        (0..3u64).prop_map(Step::Release),
        Just(Step::Suspect),
        Just(Step::ClearSuspicion),
    ]
}

proptest! {
    /// Whatever the order of calls: a delete starts only from a condemnation by the same batch of
    /// a digest that was ordinary, and nothing but its own end leaves `Deleting`.
    #[test]
    fn no_path_to_a_delete_but_through_the_condemnation(steps in proptest::collection::vec(step(), 1..60)) {
        let table = DigestTable::new(1);
        let d = digest(9);
        let until = table_now() + Duration::from_secs(1);
        let mut token = None;
        for step in steps {
            let before = table.with(&d, |slot| slot.state());
            let ordinary = table.with(&d, |slot| slot.is_ordinary());
            match step {
                Step::BeginUpload => {
                    let begun = table.with(&d, |slot| slot.begin_upload());
                    prop_assert_eq!(begun.is_some(), before.is_none());
                    token = begun.or(token);
                }
                Step::EndUpload => if let Some(token) = token {
                    table.with(&d, |slot| slot.end_upload(token));
                },
                Step::Condemn(b, had) => {
                    prop_assert_eq!(table.with(&d, |slot| slot.condemn(BatchId(b), had)), ordinary);
                }
                Step::TakeBack => {
                    let taken = table.with(&d, |slot| slot.take_back());
                    prop_assert_eq!(taken.is_some(), matches!(before, Some(State::Condemned { .. })));
                }
                Step::StartDeleting(b) => {
                    let started = table.with(&d, |slot| slot.start_deleting(BatchId(b)));
                    let legal = matches!(before, Some(State::Condemned { batch, .. }) if batch == BatchId(b));
                    prop_assert_eq!(started, legal);
                }
                Step::EndDeleting(b) => {
                    let ended = table.with(&d, |slot| slot.end_deleting(BatchId(b)));
                    let legal = matches!(before, Some(State::Deleting { batch, .. }) if batch == BatchId(b));
                    prop_assert_eq!(ended.is_some(), legal);
                }
                Step::Release(b) => { table.with(&d, |slot| slot.release(BatchId(b))); }
                Step::Suspect => table.with(&d, |slot| slot.suspect(until)),
                Step::ClearSuspicion => table.with(&d, |slot| slot.clear_suspicion()),
            }
            let after = table.with(&d, |slot| slot.state());
            if matches!(before, Some(State::Deleting { .. })) && after != before {
                prop_assert!(matches!(step, Step::EndDeleting(_)));
            }
        }
    }
}
