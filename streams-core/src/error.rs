//! The errors of each boundary, and what to do about each of Kafka's.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A setting that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number or a time out of its range.
    #[error("`{name}` is {value}: it must be from {low} to {high}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// The least it may be.
        low: String,
        /// The most it may be.
        high: String,
    },
    /// A setting that has to be there and isn't.
    #[error("`{name}` is missing: {hint}")]
    Missing {
        /// The setting.
        name: &'static str,
        /// What to write.
        hint: &'static str,
    },
    /// A setting that is there and makes no sense.
    #[error("`{name}` is `{value}`: {hint}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What it should be.
        hint: String,
    },
    /// A property that the Kafka client does not know, or whose value it refuses.
    #[error("{reason}")]
    Property {
        /// The property's name.
        name: String,
        /// What librdkafka says, with the name and without the value of a secret.
        reason: String,
    },
    /// Properties that do not go together.
    #[error("the properties of the Kafka {client} do not go together: {reason}")]
    Properties {
        /// The kind of client: `producer` or `consumer`.
        client: &'static str,
        /// What librdkafka says, without the values of secrets.
        reason: String,
    },
}

impl ConfigError {
    pub(crate) fn check<T: PartialOrd + fmt::Display>(
        name: &'static str,
        value: T,
        range: RangeInclusive<T>,
    ) -> Result<(), Self> {
        if range.contains(&value) {
            return Ok(());
        }
        let (low, high) = (range.start().to_string(), range.end().to_string());
        Err(Self::OutOfRange { name, value: value.to_string(), low, high })
    }

    pub(crate) fn check_duration(
        name: &'static str,
        value: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<(), Self> {
        if range.contains(&value) {
            return Ok(());
        }
        let (low, high) = (format!("{:?}", range.start()), format!("{:?}", range.end()));
        Err(Self::OutOfRange { name, value: format!("{value:?}"), low, high })
    }
}

/// The step of a transaction that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnStep {
    /// `InitProducerId`: takes the transactional id over, and fences its former owner.
    Init,
    /// Beginning, in the client alone.
    Begin,
    /// `AddPartitionsToTxn` and `Produce`, until all are acknowledged.
    Produce,
    /// `AddOffsetsToTxn` and `TxnOffsetCommit`.
    SendOffsets,
    /// `EndTxn` with commit.
    Commit,
    /// `EndTxn` with abort.
    Abort,
}

impl TxnStep {
    const fn is_commit(self) -> bool {
        matches!(self, Self::Commit)
    }
}

impl fmt::Display for TxnStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "initialising the transactional producer",
            Self::Begin => "beginning the transaction",
            Self::Produce => "producing",
            Self::SendOffsets => "sending the offsets",
            Self::Commit => "committing",
            Self::Abort => "aborting",
        })
    }
}

/// What an error of a transactional producer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Abort the transaction and replay its events; the producer stays.
    Abort,
    /// The same, but the producer can't go on: it is made anew under its transactional id.
    Recover,
    /// The same, and the worker's other producers that have made no progress since are made anew
    /// too: what holds up this client holds them up as well.
    RecoverAll,
    /// Committed or not, nobody knows: the producer is made anew, which ends the transaction one
    /// way or the other, and the committed offset tells which.
    Indefinite,
    /// The broker refuses the producer's epoch: it has aborted the transaction after
    /// `transaction_timeout`, or another process has initialised the transactional id. The group
    /// says whether this member may go on.
    Fenced,
    /// A replay would fail the same way: stop, and say why.
    Stop,
}

/// Where the reason of an error lies. It decides for how long the source tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The cluster: a broker, a leader, a coordinator or a replica is away or overloaded. The
    /// source tries again until `outage_timeout` is over.
    Outage,
    /// The cluster refuses this client's credentials, or the principal lacks a permission. The
    /// source reports it at its start, and tries again for a short time once it has committed.
    Access,
    /// The group: its generation has changed, or it has expelled the member. The next generation
    /// replays the events.
    Group,
    /// The transaction itself, as far as anybody can tell: a replay may fail in the same way, so
    /// the source counts.
    Transaction,
}

/// How long the source waits out an outage, unless it says otherwise.
pub(crate) const OUTAGE_TIMEOUT: Duration = Duration::from_hours(1);
/// How long a source that has worked puts up with refused credentials and missing permissions. A
/// broker that restarts may not know them yet.
pub(crate) const ACCESS_REFUSED_MAX: Duration = Duration::from_secs(60);

impl Cause {
    /// Returns the cause of a Kafka error; `code` is the protocol's number.
    ///
    /// # Examples
    /// ```
    /// use streams_core::error::Cause;
    ///
    /// const NOT_ENOUGH_REPLICAS: i16 = 19;
    /// assert_eq!(Cause::of(NOT_ENOUGH_REPLICAS), Cause::Outage);
    /// ```
    pub const fn of(code: i16) -> Self {
        match code {
            // LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, REQUEST_TIMED_OUT,
            // BROKER_NOT_AVAILABLE, REPLICA_NOT_AVAILABLE, NETWORK_EXCEPTION.
            5..=9 | 13 => Self::Outage,
            // COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR.
            14..=16 => Self::Outage,
            // NOT_ENOUGH_REPLICAS, NOT_ENOUGH_REPLICAS_AFTER_APPEND, NOT_CONTROLLER.
            19 | 20 | 41 => Self::Outage,
            // CONCURRENT_TRANSACTIONS, KAFKA_STORAGE_ERROR, LISTENER_NOT_FOUND.
            51 | 56 | 72 => Self::Outage,
            // FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, OFFSET_NOT_AVAILABLE, UNSTABLE_OFFSET_
            // COMMIT, THROTTLING_QUOTA_EXCEEDED.
            74 | 75 | 78 | 88 | 89 => Self::Outage,
            // TOPIC_, GROUP_, CLUSTER_, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, SECURITY_DISABLED,
            // SASL_AUTHENTICATION_FAILED.
            29 | 30 | 31 | 53 | 54 | 58 => Self::Access,
            // ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID.
            22 | 25 | 27 | 82 => Self::Group,
            _ => Self::Transaction,
        }
    }
}

/// A failed step of a transaction.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{step} failed for {transactional_id}: {message}")]
pub struct TxnError {
    /// The step.
    pub step: TxnStep,
    /// The producer's transactional id.
    pub transactional_id: String,
    /// What the client said, with Kafka's name of the error.
    pub message: String,
    /// What to do.
    pub disposition: Disposition,
    /// Where the reason lies.
    pub cause: Cause,
}

/// Kafka's error codes that a transaction can meet, and what each asks for.
///
/// `code` is the protocol's number. The reasons stand at the arms; KIP-98, KIP-360, KIP-447 and
/// KIP-890 decide most of them.
pub const fn disposition(step: TxnStep, code: i16) -> Disposition {
    match code {
        // INVALID_PRODUCER_EPOCH, PRODUCER_FENCED: the broker has aborted the transaction, or
        // another process has initialised the same transactional id. This producer must not commit
        // any more (EOS-5).
        47 | 90 => Disposition::Fenced,
        // The client repeats EndTxn by itself. The first one may have committed, and then no error
        // of a later one proves anything: INVALID_TXN_STATE, UNKNOWN_SERVER_ERROR, whatever it is.
        _ if step.is_commit() => Disposition::Indefinite,
        // ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID: the
        // group moved on between our last heartbeat and this commit (KIP-447). The member learns
        // of it by itself; what we hold is replayed, by us or by the new owner.
        22 | 25 | 27 | 82 => Disposition::Abort,
        // TRANSACTION_ABORTABLE: KIP-890's way to say it.
        120 => Disposition::Abort,
        // OUT_OF_ORDER_SEQUENCE_NUMBER, DUPLICATE_SEQUENCE_NUMBER, UNKNOWN_PRODUCER_ID,
        // INVALID_PRODUCER_ID_MAPPING, INVALID_TXN_STATE: broker and client disagree about this
        // producer. Nothing is lost by starting it anew; the epoch moves on (KIP-360).
        45 | 46 | 59 | 49 | 48 => Disposition::Recover,
        // MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_RECORD, INVALID_TIMESTAMP,
        // CORRUPT_MESSAGE, UNSUPPORTED_FOR_MESSAGE_FORMAT: the records themselves.
        10 | 18 | 87 | 32 | 2 | 43 => Disposition::Stop,
        // UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, UNKNOWN_TOPIC_ID: the client has
        // retried long enough for a topic that is only new.
        3 | 17 | 100 => Disposition::Stop,
        // TOPIC_, GROUP_, CLUSTER_, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, SASL, SECURITY_DISABLED:
        // the pool decides by `Cause::Access` for how long it tries again. The client may have
        // given up for good.
        29 | 30 | 31 | 53 | 58 | 54 => Disposition::Recover,
        // INVALID_TRANSACTION_TIMEOUT, UNSUPPORTED_VERSION, INVALID_REQUEST, INVALID_CONFIG,
        // OFFSET_METADATA_TOO_LARGE: settings, or a bug of ours. A replay changes nothing.
        50 | 35 | 42 | 40 | 12 => Disposition::Stop,
        // Everything else has not happened: abort and replay. REQUEST_TIMED_OUT, NETWORK_EXCEPTION,
        // COORDINATOR_*, NOT_COORDINATOR and the like: the client retried as long as it may.
        _ => Disposition::Abort,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d6_no_error_of_a_commit_proves_that_it_did_not_happen() {
        const PRODUCER_FENCED: i16 = 90;
        const INVALID_PRODUCER_EPOCH: i16 = 47;
        for code in -1..130 {
            let disposition = disposition(TxnStep::Commit, code);
            match code {
                // The worker asks the group first, and then the offsets.
                INVALID_PRODUCER_EPOCH | PRODUCER_FENCED => {
                    assert_eq!(disposition, Disposition::Fenced);
                }
                _ => assert_eq!(disposition, Disposition::Indefinite, "{code}"),
            }
        }
    }

    #[test]
    fn a_lost_reply_is_indefinite_only_on_a_commit() {
        assert_eq!(disposition(TxnStep::Commit, 7), Disposition::Indefinite);
        assert_eq!(disposition(TxnStep::SendOffsets, 7), Disposition::Abort);
        assert_eq!(disposition(TxnStep::Produce, 13), Disposition::Abort);
    }

    #[test]
    fn eos5_fencing_is_never_retried() {
        for step in [TxnStep::Init, TxnStep::Produce, TxnStep::SendOffsets, TxnStep::Commit] {
            assert_eq!(disposition(step, 90), Disposition::Fenced);
            assert_eq!(disposition(step, 47), Disposition::Fenced);
        }
    }
}
