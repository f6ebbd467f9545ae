//! Exactly-once, stateful event-sourcing applications on Apache Kafka.
extern crate self as streams_core;

pub mod codec;
pub mod handler;
pub mod record;
pub mod store;
