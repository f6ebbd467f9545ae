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
    "isolation::a_reader_beyond_the_last_stable_offset",
    "members::a_session_timeout_out_of_range",
    "members::a_sync_with_another_protocol",
    "members::an_empty_group_id",
    "members::leaving_a_group_that_is_not_there",
    "members::nobody_is_assigned_before_the_leader_speaks",
    "offsets::of_a_generation_in_a_group_that_is_not_there",
    "offsets::of_a_partition_that_is_not_there",
    "offsets::of_an_unknown_topic",
    "offsets::of_several_groups_at_once",
    "offsets::while_the_group_rebalances",
    "offsets::with_metadata_that_is_too_long",
    "sequences::a_negative_sequence",
    "static_members::a_replacement_with_other_metadata",
    "static_members::an_instance_nobody_has",
    "static_members::are_replaced_without_a_rebalance",
    "static_members::commit_offsets",
    "static_members::the_one_that_was_replaced_is_fenced",
    "txn_offsets::of_a_group_that_was_not_added",
    "txn_offsets::of_a_group_that_was_not_added_in_version_2",
    "txn_offsets::of_an_unknown_member",
    "txn_offsets::of_an_unknown_topic",
    "txn_offsets::of_another_instance",
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
