//! Producers without a broker.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::to_record;
use crate::codec::KeyCodec;
use crate::handler::{Events, Topic};
use crate::producer::{EventProducer, Mock, Producer};
use crate::record::Record;

/// What a producer without a broker has sent, and how its next records fare.
///
/// # Examples
/// ```
/// use streams_core::EventProducer;
/// use streams_core::prelude::*;
/// use streams_core::testing::MockProducer;
///
/// #[derive(Events)]
/// enum Numbers {
///     Add(i64),
/// }
///
/// fn count_visitor(producer: &EventProducer<Numbers>) {
///     producer.send("visitors", &Numbers::Add(1)).expect("it is sent");
/// }
///
/// # fn main() {
/// let (producer, mock) = MockProducer::new(Topic::new("numbers"));
/// count_visitor(&producer);
/// let [sent] = &mock.sent()[..] else { panic!("one record") };
/// assert_eq!((sent.record_type(), sent.key()), ("Add", Some(&b"visitors"[..])));
///
/// mock.fail_next("NOT_ENOUGH_REPLICAS");
/// let error = producer.produce("visitors", &Numbers::Add(1)).unwrap_err();
/// assert_eq!(error.to_string(), "can't send to topic `numbers`: NOT_ENOUGH_REPLICAS");
/// assert_eq!(producer.produce("visitors", &Numbers::Add(1)).unwrap().offset, 1);
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MockProducer(Arc<Mutex<Mock>>);

impl MockProducer {
    /// Returns a producer of the real type, and what hears of it.
    pub fn new<E: Events, K: KeyCodec>(topic: Topic<E, K>) -> (EventProducer<E, K>, Self) {
        let mock = Self::default();
        (EventProducer::in_memory(topic, Arc::clone(&mock.0)), mock)
    }

    /// Returns a [`Producer`] with a default topic, and what hears of it.
    pub fn untyped(topic: &str) -> (Producer, Self) {
        let mock = Self::default();
        (Producer::in_memory(Some(topic), Arc::clone(&mock.0)), mock)
    }

    fn lock(&self) -> MutexGuard<'_, Mock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next record fail for this reason, after those that were to fail before. GKES:
    /// `Record.WithError`.
    pub fn fail_next(&self, reason: impl Into<String>) {
        self.lock().failures.push_back(reason.into());
    }

    /// Lets all further records fail for this reason; with `None` they are taken again.
    pub fn fail_all(&self, reason: Option<&str>) {
        self.lock().fails_always = reason.map(str::to_owned);
    }

    /// Returns all records that were taken, in order. Where the producer chose no partition, it
    /// is 0.
    pub fn sent(&self) -> Vec<Record> {
        let mock = self.lock();
        let place = |(offset, output)| to_record(&output, output.partition.unwrap_or(0), offset);
        (0..).zip(mock.sent.iter()).map(place).collect()
    }
}

impl fmt::Debug for MockProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MockProducer").field(&self.sent()).finish()
    }
}
