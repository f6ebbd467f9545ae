//! Where a producer's records go: to Kafka, or to a test.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::rdkafka::{Acknowledged, Delivery, PlainProducer, ProduceError, SendRefused};
use crate::error::Cause;
use crate::record::{OutputRef, Outputs, TopicPartition};

/// What a producer without a broker has sent, and how its next records fare.
#[derive(Default)]
pub(crate) struct Mock {
    pub(crate) sent: Outputs,
    ends: BTreeMap<TopicPartition, i64>,
    /// The reasons for which the next records fail.
    pub(crate) failures: VecDeque<String>,
    /// The reason for which all further records fail.
    pub(crate) fails_always: Option<String>,
    /// What the next flush reports.
    unreported: Option<ProduceError>,
}

impl Mock {
    fn take(&mut self, output: OutputRef<'_>) -> Result<Acknowledged, ProduceError> {
        let failure = self.failures.pop_front().or_else(|| self.fails_always.clone());
        if let Some(reason) = failure {
            let topic = output.topic.to_owned();
            return Err(ProduceError::Refused { topic, reason, cause: Cause::Outage });
        }
        let at = TopicPartition::new(output.topic, output.partition.unwrap_or(0));
        let end = self.ends.entry(at.clone()).or_default();
        let offset = *end;
        *end += 1;
        self.sent.push(&output);
        Ok(Acknowledged::new(at, offset))
    }
}

/// Where a producer's records go.
pub(crate) enum Sink {
    Kafka(PlainProducer),
    /// To whoever tests what sends.
    Memory(Arc<Mutex<Mock>>),
}

fn lock(mock: &Mutex<Mock>) -> MutexGuard<'_, Mock> {
    mock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    /// Queues records; the next flush reports a failure.
    pub(super) fn send(&self, outputs: &Outputs) -> Result<(), ProduceError> {
        match self {
            Self::Kafka(producer) => outputs.iter().try_for_each(|output| producer.send(output)),
            Self::Memory(mock) => {
                let mut mock = lock(mock);
                for output in outputs.iter() {
                    if let Err(error) = mock.take(output) {
                        mock.unreported.get_or_insert(error);
                    }
                }
                Ok(())
            }
        }
    }

    /// Queues one record, and waits for its end.
    pub(super) fn produce(&self, outputs: &Outputs) -> Result<Acknowledged, ProduceError> {
        let output = one(outputs);
        match self {
            Self::Kafka(producer) => producer.produce(output),
            Self::Memory(mock) => lock(mock).take(output),
        }
    }

    /// Queues one record; waits while the queue is full.
    pub(super) fn produce_with(
        &self,
        outputs: &Outputs,
        delivery: Delivery,
    ) -> Result<(), ProduceError> {
        let output = one(outputs);
        match self {
            Self::Kafka(producer) => producer.send_waiting(output, &Arc::new(delivery)),
            Self::Memory(mock) => {
                let result = lock(mock).take(output);
                let _ = delivery.call(result);
                Ok(())
            }
        }
    }

    /// Queues one record, at once if there is space, and returns a future of its end.
    pub(super) fn produce_async(
        self: &Arc<Self>,
        outputs: Outputs,
    ) -> impl Future<Output = Result<Acknowledged, ProduceError>> + Send + use<> + 'static {
        let (sender, result) = tokio::sync::oneshot::channel();
        let delivery = Arc::new(Delivery::new(move |result| drop(sender.send(result))));
        let first = self.try_produce(&outputs, &delivery);
        let sink = Arc::clone(self);
        async move {
            match first {
                Ok(()) => {}
                Err(SendRefused::Failed(error)) => return Err(error),
                Err(SendRefused::Full) => sink.queue_async(&outputs, &delivery).await?,
            }
            // The client has the other reference, and drops it with the record.
            drop(delivery);
            let abandoned = || {
                let topic = one(&outputs).topic.to_owned();
                Err(ProduceError::Abandoned { topic })
            };
            result.await.unwrap_or_else(|_| abandoned())
        }
    }

    fn try_produce(&self, outputs: &Outputs, delivery: &Arc<Delivery>) -> Result<(), SendRefused> {
        let output = one(outputs);
        match self {
            Self::Kafka(producer) => producer.try_send(output, delivery),
            Self::Memory(mock) => {
                let result = lock(mock).take(output);
                let _ = delivery.call(result);
                Ok(())
            }
        }
    }

    async fn queue_async(
        &self,
        outputs: &Outputs,
        delivery: &Arc<Delivery>,
    ) -> Result<(), ProduceError> {
        match self {
            Self::Kafka(producer) => {
                producer.queue_async(|| self.try_produce(outputs, delivery)).await
            }
            Self::Memory(_) => Ok(()),
        }
    }

    pub(super) fn flush(&self, timeout: Duration) -> Result<(), ProduceError> {
        match self {
            Self::Kafka(producer) => producer.flush(timeout),
            Self::Memory(mock) => lock(mock).unreported.take().map_or(Ok(()), Err),
        }
    }
}

/// The record of outputs that have one.
fn one(outputs: &Outputs) -> OutputRef<'_> {
    outputs.iter().next().expect("it was written just now")
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka(_) => "Kafka",
            Self::Memory(_) => "Memory",
        })
    }
}
