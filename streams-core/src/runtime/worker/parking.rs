//! Parked events: a worker parks the events of a key behind one that failed, and runs them once
//! somebody has unparked the key.

use std::time::Instant;

use super::Worker;
use super::step::{Ended, Ran, Step};
use crate::client::{Fetcher, TxnProducer};
use crate::eos::Offer;
use crate::handler::parked::{self, UNPARKED, is_parked, next_unparked};
use crate::handler::{EventSource, HandlerError, Outcome};
use crate::record::{ProducerRecord, Record};
use crate::runtime::error::{EventPlace, SourceError};
use crate::task::Task;

/// What becomes of an unparked event that failed.
pub(super) enum ParkedEnd {
    /// The event is left out.
    Skip,
    /// This letter is sent in its place.
    Letter(ProducerRecord),
    /// Its key is parked again.
    Park,
}

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Returns true if an earlier event of the record's key is parked.
    pub(super) fn is_behind_parked(&self, partition: i32, record: &Record) -> bool {
        let task = self.tasks.get(&partition);
        record.key().zip(task).is_some_and(|(key, task)| is_parked(task.context.framework(), key))
    }

    /// Parks a record behind the events of its key, in the transaction that commits its offset.
    pub(super) fn park(&mut self, now: Instant, slot: usize, partition: i32, record: Record) {
        self.run_event(now, slot, partition, Step::handler(record), |ctx, _, input| {
            if let Some(record) = input.record() {
                parked::park(ctx.framework_mut(), record);
            }
            Outcome::Complete
        });
    }

    /// Parks the record of an event that failed. Returns false if the source stops instead.
    pub(super) fn park_failed(
        &mut self,
        partition: i32,
        record: &Record,
        at: impl FnOnce() -> EventPlace,
    ) -> bool {
        let Some(task) = self.tasks.get_mut(&partition) else {
            return false;
        };
        let mark = task.context.mark();
        parked::park(task.context.framework_mut(), record);
        match task.context.seal(mark) {
            Ok(_) => true,
            Err(source) => {
                self.fail(SourceError::Changelog { at: at(), source });
                false
            }
        }
    }

    /// Runs the events of the keys that are unparked.
    pub(super) fn run_unparked(&mut self, now: Instant) {
        let next = |task: &Task<A::Store>| {
            if !task.begins_events() {
                return None;
            }
            let at = task.topic_partition();
            let is_due = |key: &[u8]| task.parking.is_due(now, key);
            let record = next_unparked(task.context.framework(), at, is_due)?;
            Some((at.clone(), record))
        };
        while !self.failed
            && let Some((at, record)) = self.tasks.values().find_map(next)
        {
            let record = match record {
                Ok(record) => record,
                Err(reason) => {
                    let at = EventPlace { partition: at, offset: None, name: "parked".to_owned() };
                    let reason = reason.to_owned();
                    return self.fail(SourceError::Handler { at, reason, fatal: false });
                }
            };
            let Offer::Join { slot, .. } = self.offer_event(now) else {
                self.full = true;
                return;
            };
            let step = Step::parked(record);
            self.run_event(now, slot, at.partition(), step, |ctx, shared, input| {
                let Some((record, key)) = input.record().and_then(|r| Some((r, r.key()?))) else {
                    return Outcome::Failed(HandlerError::fail("a parked event has a key"));
                };
                parked::remove(ctx.framework_mut(), key, record.offset());
                A::dispatch(ctx, shared, record)
            });
        }
    }

    /// Ends an unparked event that failed.
    pub(super) fn end_unparked(
        &mut self,
        now: Instant,
        (slot, partition): (usize, i32),
        step: Step,
        end: ParkedEnd,
    ) -> Option<Ran> {
        let task = self.tasks.get_mut(&partition)?;
        let at = step.place(task);
        let record = step.input.record()?;
        let (key, offset) = (record.key()?, record.offset());
        task.parking.ended(key);
        let mark = task.context.mark();
        match end {
            ParkedEnd::Skip => parked::remove(task.context.framework_mut(), key, offset),
            ParkedEnd::Letter(letter) => {
                parked::remove(task.context.framework_mut(), key, offset);
                task.context.forward_record(letter);
            }
            ParkedEnd::Park => drop(task.context.framework_mut().remove(UNPARKED, key)),
        }
        if let Err(source) = task.context.seal(mark) {
            self.fail(SourceError::Changelog { at, source });
            return None;
        }
        self.end_step(now, slot, partition, step, Ended::Complete)
    }
}
