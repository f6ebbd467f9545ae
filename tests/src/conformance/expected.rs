//! Where the embedded broker is meant to differ from Apache Kafka, and where it does not keep up
//! yet.

use super::transcript::{Difference, diff, differences};

/// One place in one case where another answer is intended.
#[derive(Clone, Copy, Debug)]
pub struct Intended {
    /// The case.
    pub case: &'static str,
    /// Kafka's lines.
    pub kafka: &'static [&'static str],
    /// The embedded broker's lines instead.
    pub ours: &'static [&'static str],
    /// Why.
    pub why: &'static str,
}

/// The intended differences, all of them.
pub const INTENDED: &[Intended] = &[];

/// Cases that the embedded broker does not pass yet. One that passes has to leave this list.
pub const PENDING: &[&str] = &[
    "batches::come_back_as_sent",
    "batches::get_offset_and_leader_epoch_from_the_broker",
    "batches::of_an_old_magic",
    "batches::of_an_unknown_magic",
    "batches::of_every_compression",
    "batches::that_are_cut_off",
    "batches::two_in_one_request",
    "batches::with_the_transactional_bit_alone",
    "batches::without_a_key_on_a_compacted_topic",
    "fencing::a_fenced_batch_leaves_the_log_alone",
    "fencing::a_second_owner_aborts_the_first_ones_transaction",
    "fencing::an_empty_transactional_id",
    "fencing::an_id_that_was_never_initialised",
    "fencing::an_owner_goes_on_under_its_own_epoch",
    "fencing::an_owner_repeats_its_bump",
    "fencing::an_owner_that_was_fenced_goes_on",
    "fencing::the_first_answer_to_a_second_owner",
    "fencing::the_first_owner_can_do_nothing",
    "fencing::the_first_owner_can_do_nothing_in_version_2",
    "fetch::a_leader_epoch_that_is_not",
    "fetch::a_session_epoch_without_a_session",
    "fetch::an_empty_log",
    "fetch::an_unknown_session",
    "fetch::does_not_wait_for_an_error",
    "fetch::limits_that_are_nothing",
    "isolation::a_reader_beyond_the_last_stable_offset",
    "places::a_leader_epochs_end",
    "places::a_leader_epochs_end_of_an_unknown_partition",
    "places::after_records_were_deleted",
    "places::by_time",
    "places::by_time_in_an_open_transaction",
    "places::by_time_within_a_batch",
    "places::of_an_empty_log",
    "places::of_an_unknown_topic_or_partition",
    "places::of_the_latest_timestamp",
    "places::of_the_latest_timestamp_in_an_empty_log",
    "places::of_the_same_partition_twice",
    "places::of_times_that_mean_something_else",
    "places::with_a_leader_epoch",
    "produce::acknowledgements",
    "produce::one_of_several_is_wrong",
    "produce::to_the_same_partition_twice",
    "produce::with_log_append_time",
    "produce::without_acknowledgement_and_wrong",
    "sequences::a_negative_sequence",
    "transactions::an_unknown_topic_is_added",
    "transactions::another_transactional_id_in_the_request",
    "transactions::are_verified_for_other_brokers",
    "transactions::nothing_is_added",
    "transactions::several_are_added_at_once",
    "transactions::the_owner_of_one_that_took_too_long",
    "transactions::the_owner_of_one_that_took_too_long_in_version_2",
    "transactions::version_2_a_sequence_that_goes_on",
    "transactions::version_2_abort_without_a_beginning",
    "transactions::version_2_aborts",
    "transactions::version_2_an_epoch_for_each",
    "transactions::version_2_commits",
    "transactions::version_2_end_again_the_other_way",
    "transactions::version_2_end_again_with_the_old_epoch",
    "transactions::version_2_end_without_a_beginning",
    "transactions::version_2_over_partitions_and_offsets",
    "transactions::version_2_second_owner",
    "transactions::version_2_the_old_epoch_is_fenced",
    "transactions::version_2_to_an_unknown_topic",
    "txn_offsets::of_a_group_that_was_not_added_in_version_2",
    "txn_offsets::of_an_unknown_member",
    "txn_offsets::of_an_unknown_topic",
];

impl Intended {
    fn is(&self, difference: &Difference) -> bool {
        difference.kafka == self.kafka && difference.ours == self.ours
    }
}

/// Holds what the embedded broker said against what Apache Kafka says.
///
/// # Errors
/// What differs and is not intended; or what was listed and does not differ.
pub fn judge(case: &str, kafka: &[String], ours: &[String]) -> Result<(), String> {
    let found = differences(kafka, ours);
    let intended: Vec<&Intended> = INTENDED.iter().filter(|entry| entry.case == case).collect();
    let unexpected = found.iter().any(|d| !intended.iter().any(|entry| entry.is(d)));
    let pending = PENDING.contains(&case);
    match (unexpected, pending) {
        (true, true) => return Ok(()),
        (true, false) => {
            let diff = diff(kafka, ours);
            return Err(format!("{case}: `-` is Apache Kafka, `+` is this broker\n{diff}"));
        }
        (false, true) => return Err(format!("{case} passes: take it off PENDING")),
        (false, false) => {}
    }
    match intended.iter().find(|entry| !found.iter().any(|d| entry.is(d))) {
        Some(entry) => Err(format!("{case}: an intended difference is gone: {:?}", entry.ours)),
        None => Ok(()),
    }
}
