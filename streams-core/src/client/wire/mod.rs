//! The Kafka protocol over tokio: administration and group membership.
//!
//! Only this folder and `client/rdkafka` name a Kafka library.

mod admin;
mod connection;
mod consumer_protocol;
mod delete;
mod error;
mod group;
mod growth;
mod known;
#[cfg(test)]
mod scripted_tests;
mod security;
mod tail;
mod topics;
mod transactions;

pub(crate) use self::admin::UNKNOWN_TOPIC_OR_PARTITION;
pub use self::admin::{Admin, CommittedOffset, Isolation, NewTopic, OffsetAt};
pub use self::connection::Connection;
pub use self::error::{ClientError, error_name};
pub use self::group::WireTransport;
pub use self::security::{Endpoint, Security};
pub use self::tail::Tail;
pub use self::topics::TopicDescription;
pub use self::transactions::{GroupMember, OpenTransaction};
