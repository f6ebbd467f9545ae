//! The transcripts of the versions of Apache Kafka, and why an older version differs.

use crate::kafka;

use super::Transcript;

const TRANSCRIPTS: [(&str, &str); 3] = [
    ("4.4.0", include_str!("../../conformance/kafka-4.4.txt")),
    ("4.1.0", include_str!("../../conformance/kafka-4.1.txt")),
    ("3.9.1", include_str!("../../conformance/kafka-3.9.txt")),
];

/// Cases in which an older version answers otherwise than the newest, for one reason.
#[derive(Clone, Copy, Debug)]
pub struct Older {
    /// The version.
    pub version: &'static str,
    /// Why.
    pub why: &'static str,
    /// The cases.
    pub cases: &'static [&'static str],
}

/// All differences of older versions.
pub const OLDER: &[Older] = &[
    Older {
        version: "4.1.0",
        why: "4.2 to 4.4 added these versions; the codec lacks them, so no case sends one",
        cases: &["versions::newer_than_the_codec"],
    },
    Older {
        version: "3.9.1",
        why: "3.9 has transaction.version 0: transactions with an epoch for each (KIP-890, second \
              part) came with 4.0, and 3.9 closes the connection on their versions",
        cases: &[
            "fencing::the_first_owner_can_do_nothing_in_version_2",
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
            "versions::of_end_txn",
            "versions::of_txn_offset_commit",
        ],
    },
    Older {
        version: "3.9.1",
        why: "without transaction.version 2, an owner that repeats the bump of its epoch, or bumps \
              an epoch that the coordinator has aborted, is fenced",
        cases: &[
            "fencing::an_owner_repeats_its_bump",
            "transactions::the_owner_of_one_that_took_too_long",
        ],
    },
    Older {
        version: "3.9.1",
        why: "4.0 and 4.1 added the newest versions of these requests; 3.9 closes the connection",
        cases: &[
            "listings::describe_groups_in_each_version",
            "listings::transactions_are_listed",
            "topics::describe_cluster_in_each_version",
            "versions::are_announced",
            "versions::newer_than_the_codec",
            "versions::of_fetch",
            "versions::of_list_offsets",
            "versions::of_metadata",
            "versions::of_metadata_by_id",
            "versions::of_produce",
        ],
    },
    Older {
        version: "3.9.1",
        why: "4.0 removed the oldest versions of requests (KIP-896)",
        cases: &["malformed::a_version_too_low"],
    },
    Older {
        version: "3.9.1",
        why: "4.0 has a new group coordinator (KIP-848): in an empty group it checks the \
              generation before the member, and OffsetFetch answers twice for a partition that is \
              named twice",
        cases: &["offsets::of_no_partitions", "txn_offsets::of_an_unknown_member"],
    },
    Older {
        version: "3.9.1",
        why: "a partition that a ListOffsets request names twice has one answer since 4.0, and \
              two before",
        cases: &["places::of_the_same_partition_twice"],
    },
];

/// Returns the recorded transcript of a version of Apache Kafka.
///
/// # Panics
/// If the version is none of [`kafka::VERSIONS`].
pub fn recorded(version: &str) -> Transcript {
    let found = TRANSCRIPTS.iter().find(|(of, _)| *of == version);
    Transcript::parse(found.expect("each version has a transcript").1)
}

/// Returns the transcript of the newest version, which the embedded broker must match.
pub fn newest() -> Transcript {
    recorded(kafka::VERSIONS[0])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A case that differs without a listed reason is an error, and so is a listed case that does
    /// not differ.
    #[test]
    fn each_difference_of_an_older_version_has_a_reason() {
        let newest = newest();
        for version in &kafka::VERSIONS[1..] {
            let older = recorded(version);
            let of_version = || OLDER.iter().filter(|entry| entry.version == *version);
            let listed: Vec<&str> = of_version().flat_map(|entry| entry.cases).copied().collect();
            let distinct: BTreeSet<&str> = listed.iter().copied().collect();
            assert_eq!(distinct.len(), listed.len(), "{version}: a case is listed twice");
            let names: BTreeSet<&str> =
                newest.0.keys().chain(older.0.keys()).map(String::as_str).collect();
            let differs = |name: &&str| newest.0.get(*name) != older.0.get(*name);
            let differing: BTreeSet<&str> = names.into_iter().filter(differs).collect();
            let unlisted: Vec<_> = differing.difference(&distinct).collect();
            let equal: Vec<_> = distinct.difference(&differing).collect();
            assert!(unlisted.is_empty(), "{version} differs without a reason: {unlisted:#?}");
            assert!(equal.is_empty(), "{version} is listed and does not differ: {equal:#?}");
            assert!(of_version().all(|entry| !entry.why.is_empty()));
        }
    }
}
