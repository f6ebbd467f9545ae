//! What can go wrong between us and a broker.

use std::time::Duration;

use kafka_protocol::ResponseError;

use super::admin::UNKNOWN_TOPIC_OR_PARTITION;
use crate::error::Cause;

pub(super) const LEADER_NOT_AVAILABLE: i16 = 5;

/// A failed request.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No broker answered.
    #[error(
        "no broker answers at {bootstrap} (tried for {tried:?}, the last error was: {reason}): \
         is Kafka running there, and is the address right?"
    )]
    NoBroker {
        /// The addresses.
        bootstrap: String,
        /// For how long they were tried.
        tried: Duration,
        /// The last error.
        reason: String,
    },
    /// The connection broke, or the broker was silent for too long.
    #[error("the connection to {address} failed: {reason}")]
    Connection {
        /// The broker's address.
        address: String,
        /// What happened.
        reason: String,
    },
    /// A step failed for want of an answer.
    #[error("{what}: {error}")]
    During {
        /// The step, and on what.
        what: String,
        /// What went wrong.
        error: Box<Self>,
    },
    /// A topic was created, and no broker describes all of its partitions yet.
    #[error(
        "the new topic `{topic}` is not ready after {waited:?}: {reason}; the brokers are busy, \
         or too few of them are there"
    )]
    NotReady {
        /// The topic.
        topic: String,
        /// For how long the client has waited.
        waited: Duration,
        /// What the broker says of the topic.
        reason: String,
    },
    /// Broker and client have no version of a request in common.
    #[error(
        "{address} speaks versions {low} to {high} of API {api}, and this client {min} to {max}: \
         brokers from Kafka 2.5 on are supported"
    )]
    Version {
        /// The broker's address.
        address: String,
        /// The API's key.
        api: i16,
        /// The broker's lowest version.
        low: i16,
        /// The broker's highest version.
        high: i16,
        /// Our lowest.
        min: i16,
        /// Our highest.
        max: i16,
    },
    /// The broker refused.
    #[error("{what}: {name} ({code}){detail}")]
    Refused {
        /// What was asked, of what.
        what: String,
        /// Kafka's name of the error.
        name: String,
        /// Kafka's code.
        code: i16,
        /// What the broker added.
        detail: String,
    },
}

impl ClientError {
    pub(super) fn connection(address: &str, reason: impl ToString) -> Self {
        Self::Connection { address: address.to_owned(), reason: reason.to_string() }
    }

    /// The broker does not know a topic that exists.
    pub(crate) fn unknown_topic(topic: &str) -> Self {
        Self::refused(format!("describing topic `{topic}`"), UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// The broker describes a topic without its partitions, which it has not heard of yet.
    pub(super) fn no_partitions(topic: &str) -> Self {
        let (what, code) = (format!("describing topic `{topic}`"), LEADER_NOT_AVAILABLE);
        let detail = ": the broker knows none of its partitions yet".to_owned();
        Self::Refused { what, name: error_name(code), code, detail }
    }

    pub(super) fn refused(what: impl Into<String>, code: i16) -> Self {
        Self::Refused { what: what.into(), name: error_name(code), code, detail: String::new() }
    }

    /// Names the step that failed, if the error does not name it itself.
    pub(super) fn during(self, what: impl FnOnce() -> String) -> Self {
        match self {
            Self::NoBroker { .. } | Self::Connection { .. } => {
                Self::During { what: what(), error: Box::new(self) }
            }
            named => named,
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::During { error, .. } => error.is_retriable(),
            Self::Connection { .. } | Self::NotReady { .. } => true,
            Self::Refused { code, .. } => {
                ResponseError::try_from_code(*code).is_some_and(|error| error.is_retriable())
            }
            Self::NoBroker { .. } | Self::Version { .. } => false,
        }
    }

    /// Where the reason lies.
    pub fn cause(&self) -> Cause {
        match self {
            Self::During { error, .. } => error.cause(),
            Self::NoBroker { .. } | Self::Connection { .. } | Self::NotReady { .. } => {
                Cause::Outage
            }
            Self::Refused { code, .. } => match Cause::of(*code) {
                Cause::Transaction if self.is_retriable() => Cause::Outage,
                cause => cause,
            },
            Self::Version { .. } => Cause::Transaction,
        }
    }

    /// Kafka's code, if the broker refused.
    pub const fn code(&self) -> Option<i16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::During { error, .. } => error.code(),
            _ => None,
        }
    }

    /// Returns true if no broker answers at all.
    pub(crate) fn is_no_broker(&self) -> bool {
        match self {
            Self::NoBroker { .. } => true,
            Self::During { error, .. } => error.is_no_broker(),
            _ => false,
        }
    }
}

/// Kafka's name of an error code, as in its documentation: `UNKNOWN_MEMBER_ID`.
pub fn error_name(code: i16) -> String {
    let Some(error) = ResponseError::try_from_code(code) else {
        return "NONE".to_owned();
    };
    let mut name = String::new();
    for letter in format!("{error:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(error_name(25), "UNKNOWN_MEMBER_ID");
        assert_eq!(error_name(3), "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(error_name(0), "NONE");
    }
}
