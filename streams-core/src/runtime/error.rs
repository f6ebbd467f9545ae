//! Why a source does not start, or stopped.

use std::time::Duration;

use super::problem::TopicProblem;
use crate::client::wire::ClientError;
use crate::client::{FetchError, UnreadableBatch};
use crate::codec::CodecError;
use crate::error::{Cause, ConfigError, TxnError};
use crate::global::GlobalError;
use crate::record::TopicPartition;

/// Why a source does not start, or stopped. Nothing of what failed is committed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A setting can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The cluster can't be reached, or refuses.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A global changelog that handlers read has failed, or does not catch up.
    #[error(transparent)]
    Global(#[from] GlobalError),
    /// Topics are missing or unsuitable.
    #[error("{}", super::problem::list(.0))]
    Topics(Vec<TopicProblem>),
    /// A handler failed.
    #[error("the handler of {at} failed: {reason}; the event is undone, and not committed")]
    Handler {
        /// The event.
        at: EventPlace,
        /// What the handler said.
        reason: String,
        /// Whether nothing may run on.
        fatal: bool,
    },
    /// A handler panicked.
    #[error("the handler of {at} panicked: {message}; the event is undone, and not committed")]
    Panicked {
        /// The event.
        at: EventPlace,
        /// The panic's message.
        message: String,
    },
    /// A batch of records can't be read.
    #[error(
        "{0}: it is corrupt, or compressed in a way that the client does not know; nothing past it \
         is committed: repair the topic, or let the application leave the batch out \
         (`on_unreadable_batch`)"
    )]
    Unreadable(UnreadableBatch),
    /// A batch of changes can't be read.
    #[error("the store of a partition can't be restored: {0}; repair the changelog")]
    UnreadableChanges(UnreadableBatch),
    /// A piece of the application's code that is not a handler panicked: a codec, a store, a
    /// callback.
    #[error("{at} panicked: {message}; nothing of it is committed")]
    CodePanicked {
        /// The code.
        at: CodePlace,
        /// The panic's message.
        message: String,
    },
    /// A worker has not come back from one piece of code for longer than `max_poll_interval`, or
    /// did not end when the source had to.
    #[error(
        "worker {worker} is stuck{}: it has not moved for {waited:?}; this member leaves the group \
         without what is not committed, and the thread is abandoned: bound what the code waits \
         for, take a completer for slow work, or raise `max_poll_interval`", inside(at.as_ref())
    )]
    Stuck {
        /// The worker's number.
        worker: usize,
        /// The application's code that it is in; `None` if it is in none.
        at: Option<CodePlace>,
        /// For how long it has not moved.
        waited: std::time::Duration,
    },
    /// A record's bytes are not its payload.
    #[error(
        "{at} can't be decoded: {source}; fix its producer, or let the application skip such \
         records or send them to a dead-letter topic (`on_decode_error`)"
    )]
    Undecodable {
        /// The event.
        at: EventPlace,
        /// What the codec says.
        source: CodecError,
    },
    /// A record's type has no handler.
    #[error(
        "{at} has no handler: add one, or a `#[default_handler]`, or let the application skip such \
         records or send them to a dead-letter topic (`on_decode_error`)"
    )]
    Unrouted {
        /// The event.
        at: EventPlace,
    },
    /// An error policy sends a dead letter to a topic that the source's settings do not name.
    #[error(
        "the error policy of {at} sends its dead letter to topic `{topic}`, which the source does \
         not know: name it with `.output(\"{topic}\")`, so that the source finds or creates it at \
         its start; the event failed because {reason}"
    )]
    DeadLetterTopic {
        /// The event.
        at: EventPlace,
        /// The topic.
        topic: String,
        /// Why the event failed.
        reason: String,
    },
    /// A change of the store can't be logged.
    #[error(
        "the changes of {at} can't be logged: {source}; the event is undone, and not committed"
    )]
    Changelog {
        /// The event.
        at: EventPlace,
        /// What the codec says.
        source: CodecError,
    },
    /// A store can't be restored.
    #[error("the store of {partition} can't be restored from its changelog: {source}")]
    Restore {
        /// The source's partition.
        partition: TopicPartition,
        /// What the store says.
        source: CodecError,
    },
    /// A restore takes longer than tombstones are kept.
    #[error(
        "the store of {partition} can't be restored within {age_max:?}, a quarter of \
         `delete.retention.ms` of {changelog}: tombstones that it has not read may be gone, and \
         rows that were deleted would come back; raise `delete.retention.ms` of the changelog"
    )]
    RestoreTooSlow {
        /// The source's partition.
        partition: TopicPartition,
        /// The partition of its changelog.
        changelog: TopicPartition,
        /// For how long it was tried, twice.
        age_max: std::time::Duration,
    },
    /// The group has processed the partition, and has no committed offset for it.
    #[error(
        "the changelog of {partition} {}, but group `{group}` has no committed offset for it: the \
         offset expired or the group was deleted; start over with a new changelog topic, or commit \
         the offset that belongs to this state, or let \
         `offsets_missing(OffsetsMissing::StartFrom)` start as `start_from` says",
        evidence(*records)
    )]
    OffsetMissing {
        /// The source's partition.
        partition: TopicPartition,
        /// The group.
        group: String,
        /// How many changes of the store the changelog has.
        records: u64,
    },
    /// A committed offset lies outside the log.
    #[error(
        "group `{group}` committed offset {committed} for {partition}, but the log holds offsets \
         {low} to {high}: retention deleted records before they were processed, or the topic was \
         deleted and created again; set the offset to continue from with \
         `kafka-consumer-groups.sh --reset-offsets`"
    )]
    OffsetOutOfRange {
        /// The source's partition.
        partition: TopicPartition,
        /// The group.
        group: String,
        /// What is committed.
        committed: i64,
        /// The first offset that is there.
        low: i64,
        /// One past the last.
        high: i64,
    },
    /// A durable job is pending whose type nobody has registered.
    #[error(
        "{partition} has {count} pending jobs of type `{job_type}`, which nobody has registered: \
         no job is dropped; register the type with `durable_job`, or start the version of the \
         application that has it until its jobs are done"
    )]
    UnknownJobType {
        /// The source's partition.
        partition: TopicPartition,
        /// The type.
        job_type: String,
        /// How many of its jobs are pending.
        count: usize,
    },
    /// A pending job is in a form that this version does not know.
    #[error(
        "{partition} has a pending job in a form that this version does not know: a newer version \
         of the framework wrote it; no job is dropped; start that version"
    )]
    UnknownJobRow {
        /// The source's partition.
        partition: TopicPartition,
    },
    /// A pending job's bytes are not a job of its type.
    #[error(
        "job {id} of {partition} (type `{job_type}`) can't be decoded: {source}; no job is \
         dropped; let the type read its former form, or give a new form a type of its own"
    )]
    UndecodableJob {
        /// The source's partition.
        partition: TopicPartition,
        /// The type.
        job_type: String,
        /// The job's number.
        id: crate::jobs::durable::JobId,
        /// What the codec says.
        source: CodecError,
    },
    /// Nobody ends a transaction that a former owner left open.
    #[error(
        "a transaction that a former owner left open in topic `{topic}`, partitions \
         {partitions:?}, was neither committed nor aborted in time: nothing is lost; abort it with \
         `kafka-transactions.sh abort`, and start again"
    )]
    Undecided {
        /// The changelog.
        topic: String,
        /// Its partitions.
        partitions: Vec<i32>,
    },
    /// The metadata of a committed offset can't be read.
    #[error(
        "the committed offset of {partition} has metadata that can't be read: {reason}; another \
         program or a newer version committed for this group: end it, or set the offset again with \
         `kafka-consumer-groups.sh --reset-offsets`, which drops the metadata, so that events that \
         are done beyond the offset are processed again"
    )]
    OffsetMetadata {
        /// The source's partition.
        partition: TopicPartition,
        /// What is wrong.
        reason: String,
    },
    /// A transaction failed in a way that a replay would repeat.
    #[error("{0}")]
    Transaction(TxnError),
    /// Transactions were aborted again and again.
    #[error("{count} transactions were aborted in a row; the last error was: {last}")]
    TooManyAborts {
        /// How many.
        count: u32,
        /// The last error.
        last: String,
    },
    /// The cluster was away, or refused to work, for longer than the source waits.
    #[error(
        "the cluster has not worked for {timeout:?} (`outage_timeout`), the last error was: \
         {last}; nothing is lost: bring the cluster back, and start again"
    )]
    Outage {
        /// For how long.
        timeout: Duration,
        /// The last error.
        last: String,
    },
    /// An incomplete event has outlived its transaction twice.
    #[error(
        "{at} was incomplete for longer than {timeout:?} (`transaction_timeout`), twice: its \
         effects can't be committed before its completer comes, and the broker aborts the \
         transaction after that time; complete the event sooner, forward and change tables in the \
         completer only, or raise `transaction_timeout`"
    )]
    PinnedTooLong {
        /// The event.
        at: EventPlace,
        /// The setting.
        timeout: Duration,
    },
    /// A partition can't be read.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// This system can't listen to a signal that is to stop the source.
    #[error("can't listen to signals: {0}; name signals that this system has")]
    Signals(String),
    /// The group can't be joined.
    #[error("{0}")]
    Group(String),
    /// A thread of the source ended without a word.
    #[error("a thread of the source ended unexpectedly: {0}")]
    Thread(String),
}

/// What a changelog tells of a partition that was processed.
fn evidence(records: u64) -> String {
    match records {
        0 => "shows that the partition was processed".to_owned(),
        records => format!("has {records} records"),
    }
}

impl SourceError {
    /// Returns where the reason lies. Whatever is not a request's failure would happen again.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Client(error) => error.cause(),
            _ => Cause::Transaction,
        }
    }
}

/// An event, for people: `contacts-3@42 (CreateContact)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPlace {
    /// The partition.
    pub partition: TopicPartition,
    /// The record's offset; `None` for an interjection.
    pub offset: Option<i64>,
    /// The record type, or the interjection's name.
    pub name: String,
}

impl std::fmt::Display for EventPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.offset {
            Some(offset) => {
                write!(f, "record {}@{offset} (type `{}`)", self.partition, self.name)
            }
            None => write!(f, "interjection {} of {}", self.name, self.partition),
        }
    }
}

/// Which piece of the application's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserCode {
    /// A handler of a record.
    Handler,
    /// What a completer was completed with.
    Completion,
    /// An interjection.
    Interjection,
    /// The encoding of an event's changes for the changelog.
    Changes,
    /// A callback of the source's settings: `on_assigned`, say.
    Callback,
    /// A function of the store: `create`, say.
    Store,
    /// The restore of a record of the changelog.
    Restore,
}

/// A piece of the application's code and what it was called for, for people: `the handler of record
/// contacts-3@42 (type CreateContact)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodePlace {
    /// Which code.
    pub code: UserCode,
    /// The source's partition.
    pub partition: TopicPartition,
    /// The record's offset, in the changelog for [`UserCode::Restore`]; `None` if there is none.
    pub offset: Option<i64>,
    /// The record type; or the name of the interjection, the callback, the store's function, or the
    /// table.
    pub name: String,
}

impl CodePlace {
    pub(crate) fn new(code: UserCode, partition: &TopicPartition, name: &str) -> Self {
        Self { code, partition: partition.clone(), offset: None, name: name.to_owned() }
    }
}

impl std::fmt::Display for CodePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, partition, offset, name } = self;
        let event =
            EventPlace { partition: partition.clone(), offset: *offset, name: name.clone() };
        match code {
            UserCode::Handler => write!(f, "the handler of {event}"),
            UserCode::Completion => write!(f, "the completion of {event}"),
            UserCode::Interjection => write!(f, "{event}"),
            UserCode::Changes => write!(f, "the encoding of the changes of {event}"),
            UserCode::Callback => write!(f, "callback `{name}` of {partition}"),
            UserCode::Store => write!(f, "`{name}` of the store of {partition}"),
            UserCode::Restore => {
                let offset = offset.unwrap_or_default();
                write!(f, "the restore of {partition} from offset {offset} of its changelog")?;
                if name.is_empty() { Ok(()) } else { write!(f, " (table `{name}`)") }
            }
        }
    }
}

fn inside(at: Option<&CodePlace>) -> String {
    at.map_or_else(String::new, |at| format!(" in {at}"))
}
