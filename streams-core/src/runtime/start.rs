//! The start of a source: its topics, its threads, its clients.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::builder::SourceBuilder;
use super::control::{Control, Timeouts, WorkerHandle};
use super::error::SourceError;
use super::handle::{Lifecycle, Port, SourceHandle};
use super::instance::InstanceName;
use super::mailbox::Mailbox;
use super::prepare::{Clients, PrepareSettings};
use super::running::{RunningSource, SharedState};
use super::shared::NothingMissing;
use super::takeover::{TakeOver, transactional_id};
use super::topics::Topics;
use super::worker::{FromWorker, ToWorker, Worker, WorkerParts};
use crate::client::CoordinatorWatch;
use crate::client::rdkafka::{RdFetcher, RdTxnProducer, check_properties};
use crate::global::GlobalWatch;
use crate::group::GroupConfig;
use crate::handler::EventSource;
use crate::metrics::MetricsSink;

impl<A: EventSource, Missing: 'static> SourceBuilder<A, Missing> {
    /// Checks the settings, makes or checks the topics, and starts.
    ///
    /// Blocks until the topics are known; joining the group goes on after that. If no broker
    /// answers at all, the start fails after five seconds: the address may be wrong. Once a broker
    /// has answered, the start waits out an outage for at most
    /// [`outage_timeout`](Self::outage_timeout), and blocks that long.
    ///
    /// # Errors
    /// If a setting can't be used, no broker answers, the cluster refuses this client's credentials
    /// or permissions, an outage lasts for too long, or the topics don't fit.
    pub fn start(self) -> Result<RunningSource<A>, SourceError>
    where
        Missing: NothingMissing,
    {
        let mut settings = self.check()?;
        settings.await_start()?;
        if settings.group.instance_id.is_none() {
            let name = InstanceName::take(&settings.group.group_id, settings.group.seed);
            settings.unnamed = Some(Arc::new(name));
        }
        tracing::debug!("the routing table:\n{}", A::TABLE);
        let (reports, from_workers) = settings.reports();
        let (ready, started) = std::sync::mpsc::channel();
        let (user, commands) = tokio::sync::mpsc::unbounded_channel();
        let state = SharedState::default();
        let (queue_limit, schedules) = (settings.interjection_queue, settings.schedules());
        let coordinator = CoordinatorWatch::default();
        let at_start = Arc::new(AtomicI32::new(i32::MAX));
        let runner = settings.job_runner()?;
        let metrics = MetricsSink::spawn(&settings.labels(), settings.metrics_handler.clone())
            .map_err(|error| SourceError::Thread(error.to_string()))?;
        let workers: Vec<WorkerStart<A>> = (0..settings.workers)
            .map(|index| {
                let (mailbox, inbox) = Mailbox::new();
                let mut parts =
                    settings.worker(index, reports.clone(), &mailbox, &coordinator, &at_start);
                parts.runner.clone_from(&runner);
                parts.metrics = metrics.clone();
                (parts, mailbox, inbox)
            })
            .collect();
        let ports = workers.iter().map(|(_, mailbox, _)| Port::new(mailbox.clone())).collect();
        let handles = handles::<A>(&workers);
        let shared = state.clone();
        let spawned =
            std::thread::Builder::new().name("streams-control".to_owned()).spawn(move || {
                let at_end = AtEnd(shared.clone());
                let runtime = runtime()?;
                let ended = runtime.block_on(async move {
                    match settings.await_topics().await {
                        Ok(topics) => {
                            let partitions = topics.partitions;
                            at_start.store(partitions, Ordering::Relaxed);
                            let threads = start_workers::<A>(workers, topics)?;
                            let _ = ready.send(Ok(partitions));
                            let control = settings.control(coordinator, topics, handles, shared);
                            let group = settings.group_of(partitions);
                            let end = control.run(&group, from_workers, commands).await;
                            join(threads, &end.abandoned);
                            end.result
                        }
                        Err(error) => {
                            let _ = ready.send(Err(error));
                            Ok(())
                        }
                    }
                });
                at_end.end(ended.as_ref().err());
                ended
            });
        let thread = spawned.map_err(|error| SourceError::Thread(error.to_string()))?;
        let Ok(started) = started.recv() else {
            return Err(not_started(thread));
        };
        let partitions = started?;
        let lifecycle = Lifecycle { commands: user, state };
        let handle = SourceHandle::new(partitions, lifecycle, ports, queue_limit, schedules);
        Ok(RunningSource::new(handle, thread, metrics))
    }

    /// Checks the clients' properties, and waits until all global changelogs have caught up.
    fn await_start(&self) -> Result<(), SourceError> {
        check_properties(&self.cluster, self.eos.transaction_timeout)?;
        let wait = |global: &GlobalWatch| Ok(global.wait_restored(self.outage_timeout)?);
        self.globals.iter().try_for_each(wait)
    }

    /// Returns the channel of the workers' reports. A global changelog that fails reports as a
    /// worker does.
    fn reports(&self) -> (UnboundedSender<FromWorker>, UnboundedReceiver<FromWorker>) {
        let (reports, from_workers) = tokio::sync::mpsc::unbounded_channel();
        for global in &self.globals {
            let reports = reports.downgrade();
            global.on_failure(move |failure| {
                if let Some(reports) = reports.upgrade() {
                    let _ = reports.send(FromWorker::Failed(failure.clone().into()));
                }
            });
        }
        (reports, from_workers)
    }

    fn worker(
        &self,
        index: usize,
        reports: tokio::sync::mpsc::UnboundedSender<FromWorker>,
        mailbox: &Mailbox<ToWorker<A::Store, RdTxnProducer>>,
        coordinator: &CoordinatorWatch,
        at_start: &Arc<AtomicI32>,
    ) -> WorkerParts<A, RdTxnProducer, RdFetcher> {
        let instance = self.instance_name();
        let (cluster, group) = (self.cluster.clone(), self.group.group_id.clone());
        let (pool_size, timeout) = (self.eos.pool_size, self.eos.transaction_timeout);
        let (application, coordinator) = (group.clone(), coordinator.clone());
        let queue_bytes = self.eos.max_batch_bytes;
        let make_producer = move |slot: usize| {
            let id = transactional_id(&application, &instance, index * pool_size + slot);
            RdTxnProducer::new(&cluster, &id, timeout, coordinator.clone(), queue_bytes)
        };
        let (cluster, waker) = (self.cluster.clone(), mailbox.waker().clone());
        let at_start = Arc::clone(at_start);
        let make_fetcher = move |reads| {
            let waker = waker.clone();
            let fetcher = RdFetcher::new(&cluster, &group, reads, move || waker.wake())?;
            Ok(fetcher.grown_from(Arc::clone(&at_start)))
        };
        // The control thread may be gone before a worker's last word.
        let report = move |message| drop(reports.send(message));
        let (make_producer, make_fetcher) = (Arc::new(make_producer), Box::new(make_fetcher));
        self.worker_parts(index, make_producer, make_fetcher, Box::new(report))
    }

    /// The group's settings, once the number of partitions is known.
    fn group_of(&self, partitions: i32) -> GroupConfig {
        let partitions = [(self.topic.clone(), partitions)].into();
        GroupConfig { partitions, ..self.group.clone() }
    }

    fn control(
        &self,
        coordinator: CoordinatorWatch,
        topics: Topics,
        workers: Vec<WorkerHandle>,
        state: SharedState,
    ) -> Control {
        let prepare = self.prepare_settings(coordinator, topics);
        Control::new(&prepare, self.timeouts(), workers, state)
            .watching(self.growth)
            .on_fatal(self.errors.on_fatal.clone())
    }

    const fn timeouts(&self) -> Timeouts {
        let (leave_timeout, max_poll_interval) = (self.leave_timeout, self.max_poll_interval);
        Timeouts { leave_timeout, max_poll_interval }
    }

    fn take_over(&self) -> TakeOver {
        TakeOver {
            endpoint: self.endpoint(),
            group: self.group.group_id.clone(),
            instance: self.instance_name(),
            producers: self.workers * self.eos.pool_size,
            changelog: self.changelog_name(),
            said_hidden: Arc::default(),
        }
    }

    fn prepare_settings(&self, coordinator: CoordinatorWatch, topics: Topics) -> PrepareSettings {
        PrepareSettings {
            endpoint: self.endpoint(),
            group: self.group.group_id.clone(),
            source: Arc::from(self.topic.as_str()),
            changelog: self.changelog_name(),
            changelog_tag: topics.changelog,
            counts: self.partition_counts.clone(),
            changelog_missing: self.changelog_missing,
            start_from: self.start_from,
            outage_timeout: self.outage_timeout,
            take_over: self.take_over(),
            clients: Clients::default(),
            coordinator,
        }
    }
}

/// Tells that the source has ended, also if the control thread panics.
struct AtEnd(SharedState);

impl AtEnd {
    fn end(&self, failure: Option<&SourceError>) {
        self.0.end(failure);
    }
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end(Some(&SourceError::Thread("control".to_owned())));
        }
    }
}

/// Returns why the control thread has ended before it could tell how the start went.
fn not_started(thread: JoinHandle<Result<(), SourceError>>) -> SourceError {
    match thread.join() {
        Ok(Err(error)) => error,
        _ => SourceError::Thread("the control thread did not start".to_owned()),
    }
}

/// Waits for the workers' threads, without those that are stuck, by their numbers.
fn join(threads: Vec<JoinHandle<()>>, abandoned: &BTreeSet<usize>) {
    for (worker, thread) in threads.into_iter().enumerate() {
        // A worker that did not end in time may have done so since.
        if !abandoned.contains(&worker) || thread.is_finished() {
            let _ = thread.join();
        }
    }
}

type WorkerStart<A> = (
    WorkerParts<A, RdTxnProducer, RdFetcher>,
    Mailbox<ToWorker<<A as EventSource>::Store, RdTxnProducer>>,
    std::sync::mpsc::Receiver<ToWorker<<A as EventSource>::Store, RdTxnProducer>>,
);

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| SourceError::Thread(error.to_string()))
}

fn handles<A: EventSource>(workers: &[WorkerStart<A>]) -> Vec<WorkerHandle> {
    let handle =
        |(parts, mailbox, _): &WorkerStart<A>| WorkerHandle::new(mailbox, Arc::clone(&parts.pulse));
    workers.iter().map(handle).collect()
}

fn start_workers<A: EventSource>(
    workers: Vec<WorkerStart<A>>,
    topics: Topics,
) -> Result<Vec<JoinHandle<()>>, SourceError> {
    let start = |(mut parts, mailbox, inbox): WorkerStart<A>| {
        parts.changelog_tag = topics.changelog;
        let name = format!("streams-worker-{}", parts.index);
        std::thread::Builder::new()
            .name(name)
            .spawn(move || Worker::<A, _, _>::run(parts, mailbox, inbox))
            .map_err(|error| SourceError::Thread(error.to_string()))
    };
    workers.into_iter().map(start).collect()
}
