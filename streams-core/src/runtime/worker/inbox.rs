//! The messages to a worker, and what the worker does with each.

use std::sync::Arc;
use std::time::Instant;

use super::{Assignment, FromWorker, ToWorker, Waiting, Worker, find};
use crate::client::{Fetcher, TxnProducer};
use crate::eos::{Event, PartitionId, Snapshot};
use crate::handler::{Completion, CompletionSink, EventContext, EventSource, EventTicket};
use crate::jobs::durable::TaskJobs;
use crate::record::TopicPartition;
use crate::runtime::callbacks::Call;
use crate::runtime::error::{SourceError, UserCode};
use crate::runtime::history::CommittedWith;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::slot::{SlotCommand, SlotReply};
use crate::store::StateStore;
use crate::task::{Opening, Parking, Restore, ScheduleState, Task, TaskState};

/// Takes completions to the worker.
pub(super) struct CompletionMailbox<S: 'static, P>(pub(super) Mailbox<ToWorker<S, P>>);

impl<S: Send, P: TxnProducer> CompletionSink<S> for CompletionMailbox<S, P> {
    fn complete(&self, completion: Completion<S>) {
        self.0.send(ToWorker::Completion(completion));
    }

    fn release(&self, hold: EventTicket) {
        self.0.send(ToWorker::HoldDropped(hold));
    }
}

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    pub(super) fn handle(&mut self, now: Instant, message: ToWorker<A::Store, P>) {
        match message {
            ToWorker::Slot(slot, reply) => self.slot_reply(now, slot, reply),
            ToWorker::Completion(completion) => {
                self.waiting.push_back(Waiting::Completion(completion));
            }
            ToWorker::HoldDropped(ticket) => {
                if let Some(task) = find(&mut self.tasks, &ticket.topic_partition) {
                    task.context.release(&ticket);
                }
            }
            ToWorker::Interject(partition, run) => self.admit(partition, run),
            ToWorker::Schedule(scheduled) => self.schedule(now, scheduled),
            ToWorker::Unschedule(name) => self.unschedule(&name),
            ToWorker::JobDone(done) => self.job_done(done),
            ToWorker::Assign(assignment) => self.assign(now, assignment),
            ToWorker::Warm(partition, changelog) => self.warm(now, &partition, changelog),
            ToWorker::Forget(partition) => self.forget(&partition),
            ToWorker::Revoke(partition) => self.revoke(now, &partition, false),
            ToWorker::Retire(partition) => self.revoke(now, &partition, true),
            ToWorker::LoseAll => self.lose_all(now),
            ToWorker::Hold(hold) => {
                (self.holding, self.rejoining) = (Some(hold), true);
                self.pool.handle(now, Event::HoldCommits);
            }
            ToWorker::Suspend(partition) => self.suspend(now, &partition),
            ToWorker::Resume(partition) => self.resume(now, &partition),
            ToWorker::Release => {
                (self.holding, self.rejoining) = (None, true);
                self.pool.handle(now, Event::ReleaseCommits);
            }
            ToWorker::Generation(generation) => {
                self.generation = Some(generation);
                (self.holding, self.rejoining) = (None, false);
                self.pool.handle(now, Event::ReleaseCommits);
            }
            ToWorker::Confirmed(question) => self.confirmed(question),
            ToWorker::CopyAgeMax(age_max) => self.copy_age_max = age_max,
            ToWorker::Resolved(txn, committed) => {
                self.pool.handle(now, Event::Resolved { txn, committed });
            }
            ToWorker::Stop => {
                self.stopping = true;
                self.pool.handle(now, Event::ReleaseCommits);
                self.forget_all();
                let all: Vec<_> =
                    self.tasks.values().map(|t| t.topic_partition().clone()).collect();
                all.iter().for_each(|partition| self.revoke(now, partition, false));
            }
            ToWorker::StopNow => {
                self.stopping = true;
                self.lose_all(now);
                self.forget_all();
                self.abort_all();
                self.ended = true;
            }
        }
    }

    fn assign(&mut self, now: Instant, assignment: Assignment) {
        let Assignment { partition, committed, committed_with, start, changelog } = assignment;
        if self.stopping || self.failed {
            self.close(partition.partition());
            return (self.parts.report)(FromWorker::Drained(partition));
        }
        self.call_back(Call::Assigned, &partition);
        let number = partition.partition();
        let warm = self.take_warm(now, number, changelog);
        let restore = match warm {
            Some(restore) => restore,
            None => match self.new_task(&partition) {
                Ok(task) => {
                    self.tasks.insert(number, task);
                    Restore::new(self.moment(now), changelog.0, changelog.1)
                }
                Err(error) => return self.fail(error),
            },
        };
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        (task.committed, task.start) = (committed, start);
        task.committed_with = committed_with;
        let Some(restore) = restore else {
            self.end_restore(number);
            return self.activate(now, number);
        };
        let (from, end, applied) = (restore.position(), changelog.1, restore.records());
        tracing::info!(%partition, from, end, applied, "restoring");
        task.state = TaskState::Restoring(restore);
        // The fetcher drops the records that it fetched before: the former owner may have written
        // its last changes after the end that the fetcher has reached.
        if let Err(error) = self.begin_restore(number, from) {
            self.fail(error);
        }
    }

    /// Returns a number that no assignment had before.
    pub(super) const fn next_id(&mut self) -> PartitionId {
        let id = PartitionId(self.next_assignment);
        self.next_assignment += 1;
        id
    }

    /// A task with an empty store.
    pub(super) fn new_task(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<Task<A::Store>, SourceError> {
        let id = self.next_id();
        let sink = Arc::clone(&self.completions) as Arc<dyn CompletionSink<A::Store>>;
        let changelog = Arc::clone(&self.parts.changelog);
        let stores = &self.parts.stores;
        let create = || {
            EventContext::with_store(partition.clone(), changelog, sink, stores.create(partition))
        };
        let mut context = self.pulse.guard(UserCode::Store, partition, None, "create", create)?;
        context.set_schedulers(&self.parts.schedulers);
        context.set_counts(self.parts.counts.clone());
        context.propagate_traces(self.parts.propagate_trace_context);
        let mut task = Task::new(id, context, None, Snapshot::at(0), None);
        task.jobs = TaskJobs::new(self.parts.jobs.bounds);
        task.parking = Parking::new(self.parts.errors.parking);
        Ok(task)
    }

    /// The store is whole: events can be processed.
    pub(super) fn activate(&mut self, now: Instant, partition: i32) {
        let checked = self.check_history(partition);
        if let Err(error) = checked.and_then(|()| self.resume_jobs(partition)) {
            return self.fail(error);
        }
        let Some(task) = self.tasks.get_mut(&partition) else {
            return;
        };
        task.state = TaskState::Active;
        let is_known = task.committed.is_some() && task.restored.opened;
        let is_open = is_known && task.committed_with != CommittedWith::Another;
        task.opening = if is_open { Opening::Done } else { Opening::Due };
        let (id, at, start) = (task.id, task.topic_partition().clone(), task.start.clone());
        let assigned = self.fetcher.assign(&at, start.offset);
        let (schedule, is_unknown) = self.first_schedule(now, &start.schedule);
        let due = self.due_times(now, &schedule);
        if let Some(task) = self.tasks.get_mut(&partition) {
            task.interjections = due;
            task.schedule = match is_unknown {
                true => ScheduleState::Unknown,
                false => ScheduleState::Known,
            };
            tracing::info!(partition = %at, offset = start.offset, "active");
        }
        self.pool.add_partition(id, Snapshot { schedule, ..start });
        self.call_back(Call::Activated, &at);
        match assigned {
            // Its first event is not committed yet.
            Ok(()) if !is_open => {}
            Ok(()) => (self.parts.report)(FromWorker::Active(at)),
            Err(error) => self.fail(error.into()),
        }
    }

    /// Suspends the partition's task. A task with an incomplete event continues: its completer may
    /// never come.
    fn suspend(&mut self, now: Instant, partition: &TopicPartition) {
        let id = self.task_of(partition).filter(|task| task.begins()).map(|task| task.id);
        let Some(id) = id.filter(|id| self.pool.can_suspend(*id)) else {
            return;
        };
        self.call_back(Call::WillRevoke, partition);
        self.pool.handle(now, Event::Suspend { partition: id });
        if let Some(task) = self.task_of(partition) {
            task.suspended = true;
        }
    }

    fn resume(&mut self, now: Instant, partition: &TopicPartition) {
        if let Some(task) = self.task_of(partition).filter(|task| task.suspended) {
            task.suspended = false;
            let id = task.id;
            self.pool.handle(now, Event::Resume { partition: id });
            self.call_back(Call::Activated, partition);
        }
    }

    fn revoke(&mut self, now: Instant, partition: &TopicPartition, retires: bool) {
        let Some(task) = self.task_of(partition) else {
            // The member has lost the partition, or its task never began: no pending
            // transaction has an event of it.
            return (self.parts.report)(FromWorker::Drained(partition.clone()));
        };
        // The group revokes the partition again before the control thread has acknowledged it. The
        // control thread does so when it knows the changelog's end.
        if task.state == TaskState::Retired && retires {
            return;
        }
        // The task is still a warm copy: the worker drops it without a callback.
        if task.state.is_copy() {
            self.forget(partition);
            return (self.parts.report)(FromWorker::Drained(partition.clone()));
        }
        let id = task.id;
        let begins = matches!(task.state, TaskState::Restoring(_) | TaskState::Active);
        // A suspended task has called `on_will_revoke` already.
        let says = begins && !task.suspended;
        self.end_waiting(Some(partition.partition()));
        if says {
            self.call_back(Call::WillRevoke, partition);
        }
        let Some(task) = self.task_of(partition) else {
            return;
        };
        match std::mem::replace(&mut task.state, TaskState::Closing) {
            TaskState::Restoring(_) | TaskState::Warm(_) => {
                self.end_restore(partition.partition());
                self.close(partition.partition());
                (self.parts.report)(FromWorker::Drained(partition.clone()));
            }
            TaskState::Active => {
                (task.retires, task.suspended) = (retires, false);
                // No completion has an effect any more: work for its events is in vain.
                task.context.end_incarnation();
                task.backlog.clear();
                task.retries.clear();
                task.parking.clear();
                task.interjections.clear();
                self.fetcher.unassign(partition);
                self.pool.handle(now, Event::Close { partition: id });
            }
            // The task retires only if each revocation says so: the worker may be stopping.
            TaskState::Closing | TaskState::Retired => task.retires &= retires,
        }
    }

    /// Closes a task: drops it together with its store.
    pub(super) fn close(&mut self, partition: i32) {
        if let Some(mut task) = self.tasks.remove(&partition) {
            task.end_uncommitted(|| self.given_up(partition));
            let at = task.topic_partition().clone();
            task.jobs.clear();
            self.revoke_store(&mut task);
            tracing::info!(partition = %at, "closed");
            // A promoted copy is no copy any more; a retired task has called `on_revoked` already.
            if !task.state.is_copy() {
                self.call_back(Call::Revoked, &at);
            }
            // A job of its events hears of the end now, and on the thread of the worker.
            task.context.end_incarnation();
            // A store of 130,000 rows takes up to 100 ms.
            self.closer.drop(task);
        }
    }

    /// No owner and no copy needs the task's store any more.
    pub(super) fn revoke_store(&mut self, task: &mut Task<A::Store>) {
        let at = task.topic_partition().clone();
        let revoked = || task.context.store.revoked();
        if let Err(error) = self.pulse.guard(UserCode::Store, &at, None, "revoked", revoked) {
            self.fail(error);
        }
    }

    /// Loses all partitions. Warm copies stay: they hold only committed changes, and follow
    /// the next owners.
    fn lose_all(&mut self, now: Instant) {
        let is_ours = |task: &&Task<A::Store>| !matches!(task.state, TaskState::Warm(_));
        let ours: Vec<_> =
            self.tasks.values().filter(is_ours).map(|t| t.topic_partition().clone()).collect();
        for partition in ours {
            self.fetcher.unassign(&partition);
            self.end_restore(partition.partition());
            self.close(partition.partition());
        }
        self.end_waiting(None);
        // EOS-7: without a generation the worker commits nothing.
        (self.generation, self.holding) = (None, None);
        self.pool.handle(now, Event::LoseAll);
        self.explain_fences_by_loss();
    }

    fn slot_reply(&mut self, now: Instant, slot: usize, reply: SlotReply<P>) {
        let event = match reply {
            SlotReply::Ready(producer) => {
                let known = &mut self.slots[slot];
                known.reset();
                known.producer = Some(producer);
                match std::mem::replace(&mut known.started, true) {
                    false => Event::Ready { slot },
                    true => Event::Recovered { slot },
                }
            }
            SlotReply::InitFailed(error) => {
                let (disposition, cause) = self.keep(now, slot, error);
                Event::RecoverFailed { slot, disposition, cause }
            }
            SlotReply::Flushed(txn) => Event::Flushed { txn },
            SlotReply::Committed { txn, offsets_took } => {
                self.slots[slot].end_span("committed");
                self.slots[slot].reset();
                self.offsets_patience.sent(offsets_took);
                Event::Committed { txn }
            }
            SlotReply::Failed(txn, error) => {
                let (disposition, cause) = self.keep(now, slot, error);
                Event::Failed { txn, disposition, cause }
            }
            SlotReply::Aborted => {
                self.slots[slot].reset();
                Event::Aborted { slot }
            }
            SlotReply::AbortFailed(error) => {
                let (disposition, _) = self.keep(now, slot, error);
                Event::AbortFailed { slot, disposition }
            }
        };
        self.pool.handle(now, event);
    }

    /// Aborts the producers' pending transactions, so that no reader waits for their timeout.
    pub(super) fn abort_all(&mut self) {
        for slot in &self.slots {
            if slot.producer.is_some() && slot.transmit {
                slot.command(SlotCommand::Abort);
            }
        }
    }
}
