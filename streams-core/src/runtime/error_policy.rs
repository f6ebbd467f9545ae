//! What a source does about an event or a transaction that failed.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::SourceError;
use super::failure::EventFailure;
use crate::error::{Cause, ConfigError, TxnError};
use crate::record::{Record, TopicPartition};
use crate::task::ParkingBounds;

/// The code with which a process exits after [`ErrorResponse::FatallyExit`].
pub const FATAL_EXIT_CODE: i32 = 70;

/// The shortest time before another attempt.
pub(crate) const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);
/// The longest time before another attempt.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);
const RETRIES_MAX: u32 = 1_000_000;
const PARKED_ROWS_MAX: usize = 100_000_000;
const PARKED_BYTES_MIN: usize = 1024;
const PARKED_BYTES_MAX: usize = 16 * 1024 * 1024 * 1024;
/// Doublings beyond this are above every maximum.
const DOUBLINGS_MAX: u32 = 40;

/// What waits while an event waits for another attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RetryOrder {
    /// Every later event of the partition: the order of the partition holds.
    #[default]
    Partition,
    /// Later events of the same key: the order of each key holds, and other keys go on.
    ///
    /// An event without a key holds up no other event. Waiting events count among the events in
    /// flight: once there are too many, the fetch of the partition pauses.
    Key,
}

/// The answer to an event that failed. GKES: `ErrorResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorResponse {
    /// Leave the event out: its effects are undone, and its offset is committed.
    Continue,
    /// Run the event again later.
    ///
    /// For an interjection, at its next time.
    Retry {
        /// The time until the next attempt; the source takes at least 1 ms and at most 24 h.
        after: Duration,
        /// What waits meanwhile.
        order: RetryOrder,
    },
    /// Send the record to this topic, and go on. The letter and the offset are committed in one
    /// transaction; the event's own effects are undone.
    ///
    /// The topic must be named in the source's settings, by a policy or by
    /// [`SourceBuilder::output`](crate::SourceBuilder::output): else the source stops. An
    /// interjection has no record, so the source stops there too.
    DeadLetter(String),
    /// Park the key: this event and later ones of its key wait in the changelog, until a handler
    /// or an interjection calls [`EventContext::unpark`](crate::EventContext::unpark). Other keys
    /// go on.
    ///
    /// The source stops if the record has no key, and at an interjection.
    Park,
    /// Stop in good order, and leave the group: other members get the partitions at once.
    FailConsumer,
    /// End the process with [`FATAL_EXIT_CODE`], and do not leave the group: other members get the
    /// partitions after the session timeout. See
    /// [`SourceBuilder::on_fatal`](crate::SourceBuilder::on_fatal).
    FatallyExit,
}

/// The times between the attempts of an event.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use streams_core::Backoff;
///
/// let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(1));
/// assert_eq!(backoff.after(1), Duration::from_millis(100));
/// assert_eq!(backoff.after(3), Duration::from_millis(400));
/// assert_eq!(backoff.after(9), Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// The same time before each attempt: 1 ms to 24 h.
    pub const fn constant(time: Duration) -> Self {
        Self { first: time, max: time }
    }

    /// `first` before the second attempt, and twice as long before each further one, up to `max`.
    pub const fn exponential(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// Returns the time between the failure of this attempt, counted from 1 on, and the next one.
    pub fn after(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(DOUBLINGS_MAX);
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        let nanos = self.first.as_nanos().saturating_mul(u128::from(factor));
        let nanos = nanos.min(self.max.as_nanos());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn check(&self, name: &'static str) -> Result<(), ConfigError> {
        ConfigError::check_duration(name, self.first, RETRY_AFTER_MIN..=RETRY_AFTER_MAX)?;
        ConfigError::check_duration(name, self.max, self.first..=RETRY_AFTER_MAX)
    }
}

impl From<Duration> for Backoff {
    fn from(time: Duration) -> Self {
        Self::constant(time)
    }
}

type Respond = Arc<dyn Fn(&ErrorContext<'_>) -> ErrorResponse + Send + Sync>;

#[derive(Clone)]
enum Rule {
    Always(ErrorResponse),
    Retry(Box<RetryPolicy>, Box<ErrorPolicy>),
    Ask(Respond),
}

#[doc = include_str!("../docs/errors.md")]
#[derive(Clone)]
pub struct ErrorPolicy(Rule);

impl ErrorPolicy {
    /// Stops the source in good order: [`ErrorResponse::FailConsumer`].
    pub const fn fail() -> Self {
        Self(Rule::Always(ErrorResponse::FailConsumer))
    }

    /// Leaves the event out, with a warning: [`ErrorResponse::Continue`].
    pub const fn skip() -> Self {
        Self(Rule::Always(ErrorResponse::Continue))
    }

    /// Sends the record to `topic`: [`ErrorResponse::DeadLetter`]. The source creates the topic if
    /// it is missing, as it does with an output's.
    pub fn dead_letter(topic: impl Into<String>) -> Self {
        Self(Rule::Always(ErrorResponse::DeadLetter(topic.into())))
    }

    /// Parks the key of the event: [`ErrorResponse::Park`].
    pub const fn park_by_key() -> Self {
        Self(Rule::Always(ErrorResponse::Park))
    }

    /// Ends the process: [`ErrorResponse::FatallyExit`].
    pub const fn exit() -> Self {
        Self(Rule::Always(ErrorResponse::FatallyExit))
    }

    /// Runs the event again, up to `times` times: 1 to 1,000,000.
    ///
    /// While the event waits, the partition waits, or the events of its key
    /// ([`RetryPolicy::order`]). What happens after the last attempt, [`RetryPolicy::then`] says;
    /// by default the source stops.
    pub fn retry(times: u32, backoff: impl Into<Backoff>) -> RetryPolicy {
        RetryPolicy { times, backoff: backoff.into(), order: RetryOrder::Partition }
    }

    /// Asks a function. It runs on the worker's thread, which processes nothing meanwhile; a panic
    /// in it stops the source.
    ///
    /// Name the topics of its dead letters by
    /// [`SourceBuilder::output`](crate::SourceBuilder::output).
    pub fn with(
        respond: impl Fn(&ErrorContext<'_>) -> ErrorResponse + Send + Sync + 'static,
    ) -> Self {
        Self(Rule::Ask(Arc::new(respond)))
    }

    pub(crate) fn respond(&self, error: &ErrorContext<'_>) -> ErrorResponse {
        self.respond_to(error, error.attempt)
    }

    fn respond_to(&self, error: &ErrorContext<'_>, attempt: u32) -> ErrorResponse {
        match &self.0 {
            Rule::Always(response) => response.clone(),
            Rule::Ask(respond) => respond(error),
            Rule::Retry(retry, then) if attempt > retry.times => {
                then.respond_to(error, attempt - retry.times)
            }
            Rule::Retry(retry, _) => {
                let RetryPolicy { backoff, order, .. } = **retry;
                ErrorResponse::Retry { after: backoff.after(attempt), order }
            }
        }
    }

    /// The topics of dead letters that are known before the source starts.
    pub(crate) fn dead_letter_topic(&self) -> Option<&str> {
        match &self.0 {
            Rule::Always(ErrorResponse::DeadLetter(topic)) => Some(topic),
            Rule::Always(_) | Rule::Ask(_) => None,
            Rule::Retry(_, then) => then.dead_letter_topic(),
        }
    }

    fn check(&self, name: &'static str, sources: [&str; 2]) -> Result<(), ConfigError> {
        match &self.0 {
            Rule::Always(ErrorResponse::DeadLetter(topic))
                if topic.is_empty() || sources.contains(&topic.as_str()) =>
            {
                let hint = "the topic of dead letters must have a name, and be neither the source \
                            topic nor its changelog";
                Err(ConfigError::Invalid { name, value: topic.clone(), hint: hint.to_owned() })
            }
            Rule::Always(_) | Rule::Ask(_) => Ok(()),
            Rule::Retry(retry, then) => {
                ConfigError::check(name, retry.times, 1..=RETRIES_MAX)?;
                retry.backoff.check(name)?;
                then.check(name, sources)
            }
        }
    }
}

impl Default for ErrorPolicy {
    fn default() -> Self {
        Self::fail()
    }
}

impl fmt::Debug for ErrorPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Always(response) => fmt::Debug::fmt(response, f),
            Rule::Retry(retry, then) => {
                f.debug_struct("Retry").field("retry", retry).field("then", then).finish()
            }
            Rule::Ask(_) => f.write_str("Ask"),
        }
    }
}

impl<F: Fn(&ErrorContext<'_>) -> ErrorResponse + Send + Sync + 'static> From<F> for ErrorPolicy {
    fn from(respond: F) -> Self {
        Self::with(respond)
    }
}

impl From<RetryPolicy> for ErrorPolicy {
    fn from(retry: RetryPolicy) -> Self {
        retry.then(Self::fail())
    }
}

/// A policy that runs an event again; made by [`ErrorPolicy::retry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "give it to the source's settings, or say what comes after the last attempt: `.then`"]
pub struct RetryPolicy {
    times: u32,
    backoff: Backoff,
    order: RetryOrder,
}

impl RetryPolicy {
    /// Sets what waits between the attempts; by default the partition.
    pub const fn order(mut self, order: RetryOrder) -> Self {
        self.order = order;
        self
    }

    /// Sets what happens after the last attempt.
    pub fn then(self, policy: impl Into<ErrorPolicy>) -> ErrorPolicy {
        ErrorPolicy(Rule::Retry(Box::new(self), Box::new(policy.into())))
    }
}

/// An event that failed, as an error handler sees it. GKES: `ErrorContext`.
#[derive(Debug)]
pub struct ErrorContext<'e> {
    pub(crate) partition: &'e TopicPartition,
    pub(crate) input: Option<&'e Record>,
    pub(crate) name: &'e str,
    pub(crate) failure: &'e EventFailure,
    pub(crate) attempt: u32,
}

impl ErrorContext<'_> {
    /// Returns the record; `None` for an interjection.
    pub const fn input(&self) -> Option<&Record> {
        self.input
    }

    /// Returns the partition of the event.
    pub const fn topic_partition(&self) -> &TopicPartition {
        self.partition
    }

    /// Returns the record's offset; `None` for an interjection.
    pub fn offset(&self) -> Option<i64> {
        self.input.map(Record::offset)
    }

    /// Returns the record type, or the path of the interjection's function.
    pub const fn record_type(&self) -> &str {
        self.name
    }

    /// Returns the error: the handler's own, which `downcast_ref` recognises, a
    /// [`CodecError`](crate::CodecError), or the text of a panic.
    pub fn error(&self) -> &(dyn Error + 'static) {
        self.failure.error()
    }

    /// Returns the number of the attempt that has failed, from 1 on.
    ///
    /// The count belongs to this member's assignment of the partition: another member, or this one
    /// after a restart, begins at 1 again. An aborted transaction does not change it. Of an
    /// interjection, it counts the runs that failed in a row and were to be retried.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns true if the application's code has panicked.
    ///
    /// The changes of the partition's store are undone as after an error. What the code has changed
    /// elsewhere, in the value that handlers share, for example, may be half done.
    pub const fn is_panic(&self) -> bool {
        self.failure.is_panic()
    }

    /// Returns true if the source has no handler for the record type.
    pub const fn is_unrouted(&self) -> bool {
        matches!(self.failure, EventFailure::Unrouted)
    }
}

/// The answer to a transaction that failed. GKES: the `ErrorResponse` of a `TxnErrorHandler`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransactionResponse {
    /// Do what the framework does by itself: undo the events of the transaction and process them
    /// again, or stop the source if that could not help.
    #[default]
    Continue,
    /// Stop in good order, and leave the group.
    FailConsumer,
    /// End the process, as [`ErrorResponse::FatallyExit`] does.
    FatallyExit,
}

/// A transaction that failed, as an error handler sees it.
#[derive(Debug)]
pub struct TransactionErrorContext<'e> {
    pub(crate) error: &'e TxnError,
    pub(crate) failures: u32,
}

impl TransactionErrorContext<'_> {
    /// Returns the error: the step that failed, Kafka's message, and the transactional id.
    pub const fn error(&self) -> &TxnError {
        self.error
    }

    /// Returns where the reason lies: in the cluster, in the group, or in the transaction.
    ///
    /// [`Cause::Group`] is part of every rebalance: a commit met a new generation.
    pub const fn cause(&self) -> Cause {
        self.error.cause
    }

    /// Returns how many steps of transactions have failed on this worker since its last commit,
    /// this one included.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

type RespondToTransaction =
    Arc<dyn Fn(&TransactionErrorContext<'_>) -> TransactionResponse + Send + Sync>;

/// What is called when the process is to exit.
pub(crate) type OnFatal = Arc<dyn Fn(&SourceError) + Send + Sync>;

/// The error policies of a source.
#[derive(Clone, Default)]
pub(crate) struct ErrorPolicies {
    pub(crate) decode: ErrorPolicy,
    pub(crate) handler: ErrorPolicy,
    pub(crate) transaction: Option<RespondToTransaction>,
    /// The bounds of parked events.
    pub(crate) parking: ParkingBounds,
    /// By default the process exits.
    pub(crate) on_fatal: Option<OnFatal>,
}

impl ErrorPolicies {
    /// The topics of dead letters that are known before the source starts.
    pub(crate) fn dead_letter_topics(&self) -> impl Iterator<Item = &str> {
        [&self.decode, &self.handler].into_iter().filter_map(ErrorPolicy::dead_letter_topic)
    }

    pub(crate) fn check(&self, source: &str, changelog: &str) -> Result<(), ConfigError> {
        self.decode.check("on_decode_error", [source, changelog])?;
        self.handler.check("on_handler_error", [source, changelog])?;
        let ParkingBounds { max_rows, max_bytes } = self.parking;
        ConfigError::check("parked_events_max (rows)", max_rows, 1..=PARKED_ROWS_MAX)?;
        ConfigError::check(
            "parked_events_max (bytes)",
            max_bytes,
            PARKED_BYTES_MIN..=PARKED_BYTES_MAX,
        )
    }
}

impl fmt::Debug for ErrorPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { decode, handler, .. } = self;
        let mut shown = f.debug_struct("ErrorPolicies");
        shown.field("decode", decode).field("handler", handler).finish_non_exhaustive()
    }
}

/// Ends the process after an error that forbids everything else.
#[expect(clippy::exit, reason = "`FatallyExit` is the application's wish")]
pub(crate) fn exit(error: &SourceError) {
    use std::io::Write;
    let code = FATAL_EXIT_CODE;
    tracing::error!(%error, code, "the process exits without leaving the group");
    let _ = writeln!(std::io::stderr(), "the process exits with code {code}: {error}");
    let _ = std::io::stdout().flush();
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(policy: &ErrorPolicy, attempts: u32) -> Vec<ErrorResponse> {
        let (partition, failure) = (TopicPartition::new("t", 0), EventFailure::Unrouted);
        let answer = |attempt| {
            let (partition, failure) = (&partition, &failure);
            let error = ErrorContext { partition, input: None, name: "", failure, attempt };
            policy.respond(&error)
        };
        (1..=attempts).map(answer).collect()
    }

    #[test]
    fn a_retry_ends_and_the_next_policy_counts_on() {
        let (ms, order) = (Duration::from_millis, RetryOrder::Key);
        let second = ErrorPolicy::retry(1, ms(7)).then(ErrorPolicy::dead_letter("letters"));
        let backoff = Backoff::exponential(ms(10), ms(20));
        let policy = ErrorPolicy::retry(2, backoff).order(order).then(second);
        let retry = |after, order| ErrorResponse::Retry { after: ms(after), order };
        let letter = ErrorResponse::DeadLetter("letters".to_owned());
        let expected = [
            retry(10, order),
            retry(20, order),
            retry(7, RetryOrder::Partition),
            letter.clone(),
            letter,
        ];
        assert_eq!(answers(&policy, 5), expected);
        assert_eq!(policy.dead_letter_topic(), Some("letters"));
        let unfinished = ErrorPolicy::from(ErrorPolicy::retry(1, ms(1)));
        assert_eq!(answers(&unfinished, 2)[1], ErrorResponse::FailConsumer);
    }

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        let check = |policy: ErrorPolicy| {
            let policies = ErrorPolicies { handler: policy, ..ErrorPolicies::default() };
            policies.check("in", "changes").map_err(|error| error.to_string())
        };
        let ms = Duration::from_millis;
        assert_eq!(check(ErrorPolicy::dead_letter("letters")), Ok(()));
        for topic in ["", "in", "changes"] {
            let error = check(ErrorPolicy::dead_letter(topic)).expect_err("it can't be used");
            assert!(error.starts_with("`on_handler_error` is"), "{error}");
        }
        for retry in [
            ErrorPolicy::retry(0, ms(1)),
            ErrorPolicy::retry(1, Duration::ZERO),
            ErrorPolicy::retry(1, Duration::from_hours(25)),
            ErrorPolicy::retry(1, Backoff::exponential(ms(2), ms(1))),
        ] {
            assert!(check(retry.into()).is_err(), "{retry:?}");
        }
        let inner = ErrorPolicy::retry(1, ms(1)).then(ErrorPolicy::dead_letter("in"));
        assert!(check(inner).is_err());
    }
}
