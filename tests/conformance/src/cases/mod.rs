//! The cases, by operation.

use futures_util::future::LocalBoxFuture;

use crate::Capabilities;
use crate::context::Context;

mod account;
mod copying;
mod deleting;
mod listing;
mod prefixes;
mod reading;
mod refusals;
mod uploading;

/// One case of the suite.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: fn(&Capabilities) -> bool,
    pub(crate) run: for<'a> fn(&'a Context) -> LocalBoxFuture<'a, anyhow::Result<()>>,
}

macro_rules! cases {
    ($($module:ident::$name:ident $(if $needs:ident)?,)*) => {
        /// Every case.
        pub(crate) const CASES: &[Case] = &[$(Case {
            name: stringify!($name),
            needs: |_capabilities| true $(&& _capabilities.$needs)?,
            run: |context| Box::pin($module::$name(context)),
        }),*];
    };
}

cases! {
    uploading::create_only_keeps_the_first,
    uploading::create_only_race_has_one_winner if atomic_create,
    uploading::replace_overwrites,
    uploading::an_empty_object_is_an_object,
    uploading::a_large_object_comes_back_whole,
    uploading::the_etag_is_the_md5_sum,
    uploading::a_key_may_have_1024_bytes if long_keys,
    reading::absent_objects_are_none,
    reading::ranges,
    reading::a_range_past_the_end_is_an_error,
    reading::head_tells_size_and_time,
    copying::copies_keep_the_content,
    copying::copies_between_keys_with_colons,
    copying::a_copy_replaces,
    copying::a_missing_source_is_told,
    listing::pages_are_in_order_and_complete,
    listing::a_listing_has_size_and_time,
    listing::a_listing_has_etags if listed_etags,
    listing::an_absent_prefix_lists_nothing,
    listing::prefixes_are_string_prefixes,
    listing::an_object_may_have_the_name_of_a_directory if nested_keys,
    listing::shards_split_a_prefix,
    listing::odd_keys_survive_every_operation,
    deleting::deleting_is_idempotent,
    deleting::no_keys_no_request,
    deleting::batches_count_missing_keys_as_deleted,
    deleting::a_thousand_and_one_keys,
    deleting::one_attempt_tells_each_key,
    prefixes::removal_stays_below_the_prefix,
    prefixes::removal_keeps_the_object_with_the_prefix_as_name if nested_keys,
    prefixes::protected_directories_are_kept,
    refusals::a_wrong_bucket_is_an_error_everywhere if tells_missing_bucket,
    refusals::wrong_credentials_are_denied,
    refusals::a_wrong_region_is_refused if checks_region,
    refusals::a_wrong_fingerprint_is_refused,
    refusals::an_old_signature_is_refused,
    refusals::a_cancelled_client_sends_nothing,
    account::the_bucket_is_listed,
    account::counters_count_what_was_sent,
    account::the_clock_offset_is_small,
    account::the_quick_probe_passes,
    account::the_full_probe_recommends_what_is_set,
}
