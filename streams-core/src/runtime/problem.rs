//! What is wrong with a source's topics.

use std::fmt;

/// What a topic is to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRole {
    /// The topic whose events the source processes.
    Source,
    /// The topic that holds the changes of the stores.
    Changelog,
    /// A topic that handlers forward to.
    Output,
}

impl fmt::Display for TopicRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source topic",
            Self::Changelog => "changelog",
            Self::Output => "output topic",
        })
    }
}

/// The ways out of a changelog that does not belong to the committed offsets.
const CHOICES: &str = "restore the topic, or set the names that the application had before; or \
                       process everything again with a new group; or accept the changelog as it \
                       is with `changelog_missing(ChangelogMissing::Accept)`";

/// Why a source cannot use a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicProblem {
    /// The topic does not exist, and the source may not create it.
    #[error(
        "the {role} `{topic}` does not exist: create it{}, or let the source create it with \
         `create_topics(CreateTopics::IfMissing)`",
        creation(*role, *partitions)
    )]
    Missing {
        /// What the topic is to the source.
        role: TopicRole,
        /// Its name.
        topic: String,
        /// How many partitions it needs, if that is known.
        partitions: Option<i32>,
    },
    /// Source and changelog must have the same number of partitions: the changes of partition `n`
    /// are logged to partition `n`.
    #[error(
        "topic `{source_topic}` has {source_partitions} partitions, and its changelog \
         `{changelog}` has {changelog_partitions}: they must agree; give the application a new \
         changelog, or bring the partitions of the smaller topic up to the other's"
    )]
    PartitionCounts {
        /// The source topic.
        source_topic: String,
        /// Its number of partitions.
        source_partitions: i32,
        /// The changelog topic.
        changelog: String,
        /// Its number of partitions.
        changelog_partitions: i32,
    },
    /// The topic has another number of partitions than the application says.
    #[error(
        "topic `{topic}` has {actual} partitions, and the application asks for {configured}: leave \
         `partitions` out to take the topic as it is, or change one of them"
    )]
    ConfiguredPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        actual: i32,
        /// How many are asked for.
        configured: i32,
    },
    /// Kafka deletes records of the changelog by age or size, and with them state.
    #[error(
        "the changelog `{changelog}` has the `cleanup.policy` `{policy}`, with which Kafka deletes \
         state by age: it must be `compact`; if no record is deleted yet, set it with \
         `kafka-configs.sh --alter --entity-type topics --entity-name {changelog} --add-config \
         cleanup.policy=compact`, and else process everything again with a new changelog and group"
    )]
    CleanupPolicy {
        /// The changelog topic.
        changelog: String,
        /// Its policy.
        policy: String,
    },
    /// The changelog does not exist, and the group has processed events.
    #[error(
        "the changelog `{changelog}` does not exist, but group `{group}` has committed offsets for \
         topic `{source_topic}`: the state that belongs to them is missing, because the topic was \
         deleted or a name has changed; {choices}",
        choices = CHOICES
    )]
    ChangelogMissing {
        /// The changelog topic.
        changelog: String,
        /// The group.
        group: String,
        /// The source topic.
        source_topic: String,
    },
    /// The changelog is another topic than the one that the committed offsets belong to.
    #[error(
        "the changelog `{changelog}` is not the topic that group `{group}` wrote its state to: it \
         was deleted and created again, or a name has changed; {choices}",
        choices = CHOICES
    )]
    ChangelogReplaced {
        /// The changelog topic.
        changelog: String,
        /// The group.
        group: String,
    },
    /// The changelog's partition lacks the record that the group wrote with its first commit.
    #[error(
        "the changelog `{changelog}`, partition {partition}, has lost records, but group `{group}` \
         has a committed offset for this partition: retention or a tool has deleted them; \
         {choices}",
        choices = CHOICES
    )]
    ChangelogEmptied {
        /// The changelog topic.
        changelog: String,
        /// Its partition.
        partition: i32,
        /// The group.
        group: String,
    },
}

fn creation(role: TopicRole, partitions: Option<i32>) -> String {
    let count = partitions.map(|partitions| format!("{partitions} partitions"));
    let compact = (role == TopicRole::Changelog).then(|| "cleanup.policy=compact".to_owned());
    let with: Vec<String> = count.into_iter().chain(compact).collect();
    if with.is_empty() { String::new() } else { format!(" with {}", with.join(" and ")) }
}

/// The problems of one start, as one sentence a topic.
pub(super) fn list(problems: &[TopicProblem]) -> String {
    let listed: Vec<String> = problems.iter().map(ToString::to_string).collect();
    listed.join("; ")
}
