//! The load-bearing rules of `gc.md` §8.1.

use super::{Entry, entry};

/// The load-bearing rules of `gc.md` §8.1.
pub const RULES: &[Entry] = &[
    entry(
        "floor constant",
        "tests/scenarios/tests/sessions.rs",
        "t13_a_session_that_ends_between_mark_and_sweep_keeps_its_chunks",
    ),
    entry(
        "gen before scan",
        "tests/scenarios/tests/sessions.rs",
        "t07_a_duplicate_answer_after_the_mark_keeps_the_chunk",
    ),
    entry(
        "scan before index list",
        "tests/scenarios/tests/sessions.rs",
        "t13_a_session_that_ends_between_mark_and_sweep_keeps_its_chunks",
    ),
    entry(
        "stamp on duplicate",
        "tests/scenarios/tests/sessions.rs",
        "t07_a_duplicate_answer_after_the_mark_keeps_the_chunk",
    ),
    entry(
        "stamp on upload",
        "tests/scenarios/tests/sessions.rs",
        "t06_chunks_uploaded_after_the_mark_stay",
    ),
    entry(
        "deregister after the index is visible",
        "tests/scenarios/tests/rules.rs",
        "a_session_is_registered_until_it_has_committed",
    ),
    entry(
        "base lock or pin",
        "tests/scenarios/tests/rules.rs",
        "pins_are_read_in_every_pass",
    ),
    entry(
        "pins read with each listing pass",
        "tests/scenarios/tests/rules.rs",
        "pins_are_read_in_every_pass",
    ),
    entry(
        "vanished: another pass",
        "tests/scenarios/tests/interleavings.rs",
        "t15_reuse_through_the_base_then_prune_in_a_directory",
    ),
    entry(
        "moves known to the marker",
        "tests/scenarios/tests/interleavings.rs",
        "t16_moved_groups_keep_their_chunks_in_a_directory",
    ),
    entry(
        "manifest-less indexes marked",
        "tests/scenarios/tests/rules.rs",
        "unfinished_indexes_are_marked",
    ),
    entry(
        "bucket-only indexes read",
        "tests/scenarios/tests/metadata.rs",
        "t54_snapshots_that_only_the_bucket_has_are_marked",
    ),
    entry(
        "orphan indexes age out",
        "tests/scenarios/tests/rules.rs",
        "an_index_that_only_the_bucket_has_ages_out",
    ),
    entry(
        "presence removed before sending",
        "tests/scenarios/tests/rules.rs",
        "unlinks_records_and_requests_have_their_order",
    ),
    entry(
        "final re-check",
        "tests/scenarios/tests/sessions.rs",
        "t08_a_condemned_chunk_is_taken_back",
    ),
    entry(
        "un-condemn restores only what it took",
        "tests/scenarios/tests/sessions.rs",
        "t08_a_condemned_chunk_is_taken_back",
    ),
    entry(
        "wait while Deleting",
        "tests/scenarios/tests/sessions.rs",
        "t09_an_insert_waits_for_the_delete_and_uploads",
    ),
    entry(
        "journal fsync",
        "tests/scenarios/tests/rules.rs",
        "unlinks_records_and_requests_have_their_order",
    ),
    entry(
        "quarantine; long enough",
        "tests/scenarios/tests/ambiguous.rs",
        "t30_a_later_200_does_not_resolve_a_lost_attempt",
    ),
    entry(
        "Suspect survives an upload",
        "tests/scenarios/tests/crashes.rs",
        "t28_the_end_of_the_quarantine_restores_what_a_late_delete_took",
    ),
    entry(
        "a later 200 resolves nothing",
        "tests/scenarios/tests/ambiguous.rs",
        "t30_a_later_200_does_not_resolve_a_lost_attempt",
    ),
    entry(
        "nor does a denial",
        "tests/scenarios/tests/ambiguous.rs",
        "t30_a_denial_does_not_resolve_a_lost_attempt",
    ),
    entry(
        "no attempt after Suspect",
        "tests/scenarios/tests/aborts.rs",
        "t56_an_abort_with_a_delete_under_way_leaves_suspects",
    ),
    entry(
        "payload kept, also for no-cache",
        "tests/scenarios/tests/crashes.rs",
        "t28_a_no_cache_upload_of_a_suspect_chunk_is_kept_all_the_same",
    ),
    entry(
        "payload kept, also by eviction",
        "tests/scenarios/tests/crashes.rs",
        "t28_a_suspect_payload_is_not_evicted",
    ),
    entry(
        "check at the end of quarantine",
        "tests/scenarios/tests/crashes.rs",
        "t28_the_end_of_the_quarantine_restores_what_a_late_delete_took",
    ),
    entry(
        "not under an upload",
        "tests/scenarios/tests/crashes.rs",
        "t28_a_quarantine_does_not_end_under_an_upload",
    ),
    entry(
        "full quarantine after restart",
        "tests/scenarios/tests/crashes.rs",
        "t28_a_long_downtime_does_not_shorten_the_quarantine",
    ),
    entry(
        "exceptional digests left alone",
        "tests/scenarios/tests/ambiguous.rs",
        "t30_a_suspect_chunk_is_not_condemned",
    ),
    entry(
        "abort leaves Suspect",
        "tests/scenarios/tests/aborts.rs",
        "t56_an_abort_with_a_delete_under_way_leaves_suspects",
    ),
    entry(
        "durable unlink before the record goes",
        "tests/scenarios/tests/rules.rs",
        "unlinks_records_and_requests_have_their_order",
    ),
    entry(
        "HEAD before the merge creates presence",
        "tests/scenarios/tests/rules.rs",
        "a_listing_alone_creates_no_presence",
    ),
    entry(
        "cache fill needs a marker",
        "tests/scenarios/tests/reads.rs",
        "t51_a_fetch_that_is_older_than_a_delete_creates_no_presence",
    ),
    entry(
        "rebuild waits for an empty journal",
        "tests/scenarios/tests/rules.rs",
        "a_rebuild_waits_until_no_delete_is_unresolved",
    ),
    entry(
        "412 validated",
        "tests/scenarios/tests/holes.rs",
        "h07_an_existing_object_is_checked_before_it_is_believed",
    ),
    entry(
        "verify: second GET",
        "datastore/src/verify/tests/bucket.rs",
        "an_object_that_was_repaired_meanwhile_is_left_alone",
    ),
    entry(
        "verify: journal",
        "tests/scenarios/tests/holes.rs",
        "h08_a_move_of_a_damaged_chunk_may_die_anywhere",
    ),
    entry(
        "verify: exclusive process lock",
        "datastore/src/verify/tests/bucket.rs",
        "not_alone_a_damaged_object_is_only_listed",
    ),
    entry(
        "missing chunks bar a base",
        "tests/scenarios/tests/presence.rs",
        "t47_a_missing_chunk_is_reported_and_uploaded_again",
    ),
    entry(
        "finish asks lost",
        "tests/scenarios/tests/presence.rs",
        "t47_a_missing_chunk_is_reported_and_uploaded_again",
    ),
    entry(
        "process lock",
        "tests/scenarios/tests/guards.rs",
        "t23_a_new_process_waits_for_the_old_ones_backup",
    ),
    entry(
        "journal read under the lock",
        "tests/scenarios/tests/guards.rs",
        "t23_deletes_of_the_old_process_are_suspect_in_the_new_one",
    ),
    entry(
        "no chunk file touched before that",
        "tests/scenarios/tests/rules.rs",
        "a_process_without_a_lease_touches_no_chunk_file",
    ),
    entry(
        "records resolved only when alone",
        "tests/scenarios/tests/rules.rs",
        "a_quarantine_ends_only_for_a_process_that_is_alone",
    ),
    entry(
        "draining process writes no cache",
        "tests/scenarios/tests/rules.rs",
        "a_draining_process_fills_no_cache",
    ),
    entry(
        "epoch in the bucket",
        "tests/scenarios/tests/presence.rs",
        "t45_a_disk_rolled_back_is_refused",
    ),
    entry(
        "takeover waits, then lists",
        "tests/scenarios/tests/rules.rs",
        "a_takeover_waits_before_it_believes_a_listing",
    ),
    entry(
        "request signed by the check",
        "tests/scenarios/tests/guards.rs",
        "t24_a_delete_sent_too_late_is_refused_by_its_signature",
    ),
    entry(
        "check before the manifest",
        "tests/scenarios/tests/guards.rs",
        "t24_a_fenced_session_does_not_commit",
    ),
];
