//! Producers outside of a source's transactions: of a contract's events, of any records, and for
//! handlers that need no transaction.
//!
//! A handler's `forward` is transactional and needs none of these. They are for whoever sends
//! events to a source, and for records that may be doubled.

mod batch;
mod destination;
mod event;
mod sink;
mod untyped;

pub use self::batch::{BatchProducer, Produced};
pub use self::destination::{Destination, DestinationError};
pub use self::event::{EventProducer, EventProducerBuilder, SendEventError};
pub(crate) use self::sink::Mock;
pub use self::untyped::{Producer, ProducerBuilder};
pub use crate::client::rdkafka::{Acknowledged, ProduceError};
