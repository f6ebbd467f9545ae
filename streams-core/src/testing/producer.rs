//! A producer without a broker.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::to_record;
use crate::codec::KeyCodec;
use crate::handler::{Events, Topic};
use crate::record::{Outputs, Record};
use crate::runtime::EventProducer;

/// What an [`EventProducer`] without a broker has sent.
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
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MockProducer(Arc<Mutex<Outputs>>);

impl MockProducer {
    /// A producer of the real type, and what hears of it.
    pub fn new<E: Events, K: KeyCodec>(topic: Topic<E, K>) -> (EventProducer<E, K>, Self) {
        let mock = Self::default();
        (EventProducer::in_memory(topic, Arc::clone(&mock.0)), mock)
    }

    /// All that was sent, in order. Where the producer chose no partition, it is 0.
    pub fn sent(&self) -> Vec<Record> {
        let outputs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |(offset, output)| to_record(&output, output.partition.unwrap_or(0), offset);
        (0..).zip(outputs.iter()).map(place).collect()
    }
}

impl fmt::Debug for MockProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MockProducer").field(&self.sent()).finish()
    }
}
