//! Records that a handler produces without a transaction.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use super::untyped::Producer;
use super::{Acknowledged, ProduceError};
use crate::handler::{Completer, EventContext, ExecutionState, Result as HandlerResult};
use crate::record::ProducerRecord;
use crate::store::StateStore;

/// A record of a [`BatchProducer`], and what became of it. GKES: `Record.Error`, `Record.Offset`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Produced {
    /// The record.
    pub record: ProducerRecord,
    /// Where the broker has put it, or why it has not.
    pub result: Result<Acknowledged, ProduceError>,
}

/// Produces records from handlers, without a transaction: to another cluster, or visible before the
/// event is committed. GKES: `BatchProducer`.
///
/// The event completes when all of its records are acknowledged or have failed: the callback gets
/// each record's outcome, and says how the event ends. A replay of the event produces the records
/// again, so readers may see them twice. For records that belong to the event's transaction there
/// is [`EventContext::forward`].
///
/// # Examples
/// ```
/// use std::sync::Arc;
///
/// use streams_core::prelude::*;
/// use streams_core::producer::BatchProducer;
/// use streams_core::record::ProducerRecord;
///
/// #[derive(Events)]
/// enum Alert {
///     Raised(String),
/// }
///
/// struct App {
///     other_cluster: BatchProducer<NoStore>,
/// }
///
/// #[event_source(events = Alert, store = NoStore, shared = App)]
/// mod alerts {
///     use super::*;
///
///     #[event_handler("Raised")]
///     fn raised(
///         ctx: &mut EventContext<NoStore>,
///         app: &App,
///         text: String,
///     ) -> Result<ExecutionState> {
///         let record = |topic| ProducerRecord::to(topic).value(text.clone());
///         let records = ["mail", "pager"].map(record);
///         app.other_cluster.produce(ctx, records, |_, produced| {
///             for one in produced {
///                 one.result?; // a failure stops the source in good order
///             }
///             Ok(Complete)
///         })
///     }
/// }
/// # fn main() {}
/// ```
pub struct BatchProducer<S> {
    producer: Producer,
    store: PhantomData<fn(S)>,
}

/// The records of one event that are on their way.
struct Batch<S: 'static> {
    state: Mutex<BatchState>,
    /// Completes the event, once.
    complete: Mutex<Option<Complete<S>>>,
}

struct BatchState {
    produced: Vec<(ProducerRecord, Option<Result<Acknowledged, ProduceError>>)>,
    missing: usize,
}

type Callback<S> =
    Box<dyn FnOnce(&mut EventContext<S>, Vec<Produced>) -> HandlerResult<ExecutionState> + Send>;

struct Complete<S: 'static> {
    completer: Completer<S>,
    callback: Callback<S>,
}

impl<S: StateStore> BatchProducer<S> {
    /// Returns a batch producer that sends through `producer`. GKES: `NewBatchProducer`.
    pub const fn new(producer: Producer) -> Self {
        Self { producer, store: PhantomData }
    }

    /// Produces `records`, and ends the event with what `callback` returns once all of them are
    /// acknowledged or have failed. Return what this returns from the handler.
    ///
    /// The callback runs on the partition's worker, with the store, inside of a transaction; the
    /// records come in the order in which they were given. Without records it runs at once. While
    /// the client's queue is full, this waits for space, and so does the worker.
    ///
    /// # Errors
    /// What `callback` returns, if there are no records.
    pub fn produce(
        &self,
        ctx: &mut EventContext<S>,
        records: impl IntoIterator<Item = ProducerRecord>,
        callback: impl FnOnce(&mut EventContext<S>, Vec<Produced>) -> HandlerResult<ExecutionState>
        + Send
        + 'static,
    ) -> HandlerResult<ExecutionState> {
        let records: Vec<ProducerRecord> = records.into_iter().collect();
        if records.is_empty() {
            return callback(ctx, Vec::new());
        }
        let complete = Complete { completer: ctx.completer(), callback: Box::new(callback) };
        let missing = records.len();
        let produced = records.iter().map(|record| (record.clone(), None)).collect();
        let batch = Arc::new(Batch {
            state: Mutex::new(BatchState { produced, missing }),
            complete: Mutex::new(Some(complete)),
        });
        for (index, record) in records.into_iter().enumerate() {
            let told = Arc::clone(&batch);
            let queued =
                self.producer.produce_with(record, move |result| told.ended(index, result));
            if let Err(error) = queued {
                batch.ended(index, Err(error));
            }
        }
        Ok(ExecutionState::Incomplete)
    }
}

impl<S: StateStore> Batch<S> {
    /// The record of this index is acknowledged or has failed.
    fn ended(&self, index: usize, result: Result<Acknowledged, ProduceError>) {
        let produced = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((_, told @ None)) = state.produced.get_mut(index) else {
                return;
            };
            *told = Some(result);
            state.missing -= 1;
            if state.missing > 0 {
                return;
            }
            std::mem::take(&mut state.produced)
        };
        let complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Complete { completer, callback }) = complete else {
            return;
        };
        let told = |(record, result): (ProducerRecord, Option<_>)| {
            Some(Produced { record, result: result? })
        };
        let produced = produced.into_iter().filter_map(told).collect();
        completer.complete(move |ctx| callback(ctx, produced));
    }
}

impl<S> Clone for BatchProducer<S> {
    fn clone(&self) -> Self {
        Self { producer: self.producer.clone(), store: PhantomData }
    }
}

impl<S> fmt::Debug for BatchProducer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BatchProducer").field(&self.producer).finish()
    }
}
