//! The Kafka protocol over tokio.
