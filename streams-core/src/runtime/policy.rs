//! What the user decides about records, offsets and topics that are not as expected.

use super::error_policy::ErrorPolicy;

/// What to do with a record that can't be decoded, or whose type has no handler: a short form of
/// [`ErrorPolicy`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUndecodable {
    /// Stop the source with an error: nothing is lost.
    #[default]
    Fail,
    /// Leave the record out, with a warning.
    Skip,
    /// Send the record to this topic, in the transaction that commits its offset; the headers of
    /// [`dead_letter`](crate::dead_letter) say where it came from and why.
    DeadLetter(String),
}

impl From<OnUndecodable> for ErrorPolicy {
    fn from(policy: OnUndecodable) -> Self {
        match policy {
            OnUndecodable::Fail => Self::fail(),
            OnUndecodable::Skip => Self::skip(),
            OnUndecodable::DeadLetter(topic) => Self::dead_letter(topic),
        }
    }
}

/// What to do with a batch of records of the source topic that can't be read: corrupt, or
/// compressed in a way that the client does not know.
///
/// A batch of the changelog that can't be read always stops the source, because a store would lack
/// its changes. As in all clients on librdkafka, a changed byte inside of a record shows only if
/// the record does not decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUnreadable {
    /// Stop the source with an error that names partition and offset: nothing is lost.
    #[default]
    Fail,
    /// Leave out all records of the batch, with a warning. It counts in
    /// [`SourceHandle::batches_skipped`](crate::SourceHandle::batches_skipped).
    Skip,
}

/// Where to start a partition that has neither state nor a committed offset. The source commits
/// the position before it reports the partition as active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// With the first record that is there.
    #[default]
    Earliest,
    /// With the next record that comes.
    Latest,
}

/// Whether a source creates its topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreateTopics {
    /// The source creates the topics that are missing: source, changelog, outputs.
    #[default]
    IfMissing,
    /// The source creates no topic. If topics are missing or unsuitable, one error lists them all.
    Never,
}

/// What to do with a partition that this group has processed, and that has no committed offset.
///
/// # What a source detects
///
/// When a partition becomes active for the first time, the source commits the start position, and
/// it writes a record that is no change of the store into the changelog partition, in one
/// transaction. The record stays there: its key is its own, so compaction never removes it. Every
/// commit carries a tag of the changelog topic's id. From then on the offset and the changelog
/// vouch for each other:
///
/// | committed offset | changelog partition | meaning | decided by |
/// |---|---|---|---|
/// | no | no record | the group starts | [`StartFrom`] |
/// | no | any record | the offset has expired, or a tool has deleted it | [`OffsetsMissing`] |
/// | yes | missing topic | the topic is deleted, or a name has changed | [`ChangelogMissing`] |
/// | yes | a topic with another id | the topic was created again | [`ChangelogMissing`] |
/// | yes | the same topic, no record | retention or a tool deleted them | [`ChangelogMissing`] |
/// | yes, by an earlier version | any | no tag: the source believes the changelog | |
/// | yes, by another client or a tool | missing topic | the group moves here, without state | |
///
/// A source detects none of these: offsets *and* changelog of a group are gone, which looks like a
/// new group; a changelog is gone after a tool has set the offsets of all partitions, which looks
/// like a group of another client; an offset expired in a group of an earlier version that never
/// had state. Brokers before Kafka 2.8 have no topic ids: there the source detects a missing
/// changelog, and neither one that was created again nor one that lost its records.
///
/// A tool that sets an offset drops the metadata that was committed with it: the source processes
/// again what it had completed beyond that offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetsMissing {
    /// Stop the source with an error: no event is processed twice.
    #[default]
    Fail,
    /// Start as [`StartFrom`] says, with the state that the changelog has. With
    /// [`StartFrom::Earliest`] the source processes each event again that the topic still has; with
    /// [`StartFrom::Latest`] it skips the events since the last commit.
    StartFrom,
}

/// What to do if the group has committed offsets, and the changelog does not have the state that
/// belongs to them: the topic is missing, empty, or another one than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangelogMissing {
    /// Stop the source with an error: no state is lost in silence.
    #[default]
    Fail,
    /// Continue from the committed offsets with whatever state the changelog has, and with none if
    /// the topic is missing. Choose this after a move of the changelog to another topic, or if the
    /// state may begin empty, and remove the setting after one start.
    Accept,
}

/// What to do with partitions that are added to the source's topic.
///
/// With more partitions, keys go to other partitions than before. The state of such a key, and its
/// events that are not processed yet, stay in the old one: its new events find an empty store, and
/// may be processed before the old ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewPartitions {
    /// Leave them alone, and log an error that explains the choices, again and again. The source
    /// continues with the partitions that it has, and nothing reads the new ones:
    /// [`SourceHandle::unused_partitions`](crate::SourceHandle::unused_partitions).
    #[default]
    Refuse,
    /// Use them: the changelog is grown to as many, and the group shares them out. Right for
    /// sources without state, and where the order of a key's events does not matter.
    Use,
}
