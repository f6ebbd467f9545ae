//! Durable jobs: a worker begins those that are pending, and runs the finalizers of those that have
//! ended, each as an event of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::step::Step;
use super::{EVENTS_PER_ROUND, ToWorker, Worker};
use crate::ExecutionState;
use crate::client::{Fetcher, TxnProducer};
use crate::eos::{Offer, PartitionId};
use crate::handler::{EventContext, EventSource, IntoOutcome, Result as HandlerResult};
use crate::jobs::durable::{
    JOBS, JobId, JobIds, JobOutcome, JobRow, JobRun, JobTypes, Next, ResumeError, RunId, row_key,
};
use crate::runtime::error::SourceError;
use crate::task::Task;

/// A job has ended.
pub(crate) struct JobDone {
    partition: i32,
    /// The assignment in which the job began: its outcome has no effect in a later one.
    assignment: PartitionId,
    id: JobId,
    run: RunId,
    outcome: JobOutcome,
}

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// The partition's store is whole: its jobs may run.
    pub(super) fn resume_jobs(&mut self, partition: i32) -> Result<(), SourceError> {
        let Self { tasks, parts, wall_ms, .. } = self;
        let Some(task) = tasks.get_mut(&partition) else {
            return Ok(());
        };
        let knows = |job_type: &str| parts.jobs.knows(job_type);
        let resumed = task.jobs.resume(task.context.framework(), knows, *wall_ms);
        let partition = task.topic_partition().clone();
        resumed.map_err(|error| match error {
            ResumeError::UnknownType { job_type, count } => {
                SourceError::UnknownJobType { partition, job_type, count }
            }
            ResumeError::UnknownRow => SourceError::UnknownJobRow { partition },
        })?;
        let ids = JobIds::of(task.context.framework(), Arc::clone(&parts.job_types));
        *task.context.job_ids_mut() = ids;
        Ok(())
    }

    /// Takes the outcome of a job, until its finalizer runs.
    pub(super) fn job_done(&mut self, done: JobDone) {
        let JobDone { partition, assignment, id, run, outcome } = done;
        let task = self.tasks.get_mut(&partition).filter(|task| task.id == assignment);
        if let Some(task) = task {
            task.jobs.ended(id, run, outcome);
        }
    }

    /// Begins the jobs that may run, and cancels those that are not pending any more.
    pub(super) fn start_jobs(&mut self) {
        if self.failed || self.parts.runner.is_none() {
            return;
        }
        let partitions = self.tasks.iter().filter(|(_, task)| !task.jobs.is_idle());
        for partition in partitions.map(|(partition, _)| *partition).collect::<Vec<_>>() {
            if let Err(error) = self.start_jobs_of(partition) {
                return self.fail(error);
            }
        }
    }

    fn start_jobs_of(&mut self, partition: i32) -> Result<(), SourceError> {
        let Self { tasks, parts, completions, wall_ms, .. } = self;
        let (Some(task), Some(runner)) = (tasks.get_mut(&partition), &parts.runner) else {
            return Ok(());
        };
        task.jobs.cancel();
        if !task.begins() {
            return Ok(());
        }
        task.jobs.machine.advance(*wall_ms);
        let (rows, at, assignment) =
            (task.context.framework(), task.context.topic_partition(), task.id);
        let mut begun = vec![];
        let exists = |key: &[u8], id| rows.get(JOBS, &row_key(key, id)).is_some();
        while let Some((id, key, run)) = task.jobs.machine.start(exists) {
            let row = rows.get(JOBS, &row_key(&key, id)).and_then(JobRow::decode);
            let Some(JobRow { job_type, payload, step, attempt, .. }) = row else {
                return Err(SourceError::UnknownJobRow { partition: at.clone() });
            };
            let work = parts.jobs.begin(job_type, payload, JobRun { partition, id, step, attempt });
            let work = match work {
                Some(work) => work.map_err(|source| SourceError::UndecodableJob {
                    partition: at.clone(),
                    job_type: job_type.to_owned(),
                    id,
                    source,
                })?,
                None => {
                    let (partition, job_type) = (at.clone(), job_type.to_owned());
                    return Err(SourceError::UnknownJobType { partition, job_type, count: 1 });
                }
            };
            let mailbox = completions.0.clone();
            let report = move |outcome| {
                let done = JobDone { partition, assignment, id, run, outcome };
                mailbox.send(ToWorker::JobDone(done));
            };
            begun.push((run, runner.run(work, Box::new(report))));
        }
        for (run, cancel) in begun {
            task.jobs.began(run, cancel);
        }
        Ok(())
    }

    /// Runs the finalizers of jobs that have ended. Returns true if there are more that could run
    /// at once.
    pub(super) fn run_finalizers(&mut self, now: Instant) -> bool {
        let ready = |task: &Task<A::Store>| {
            if !task.begins() || task.jobs.is_idle() {
                return None;
            }
            let rows = task.context.framework();
            let exists = |key: &[u8], id| rows.get(JOBS, &row_key(key, id)).is_some();
            let (id, key) = task.jobs.machine.next_finalizer(exists)?;
            Some((task.topic_partition().partition(), id, row_key(&key, id)))
        };
        for _ in 0..EVENTS_PER_ROUND {
            let Some((partition, id, row_key)) = self.tasks.values().find_map(ready) else {
                return false;
            };
            let Offer::Join { slot, .. } = self.offer_event(now) else {
                self.full = true;
                return false;
            };
            self.run_finalizer(now, slot, partition, id, &row_key);
            if self.failed {
                return false;
            }
        }
        true
    }

    fn run_finalizer(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        id: JobId,
        row_key: &[u8],
    ) {
        let Some(task) = self.tasks.get_mut(&partition) else {
            return;
        };
        let Some(value) = task.context.framework().get(JOBS, row_key).map(<[u8]>::to_vec) else {
            return;
        };
        let (Some(row), Some(outcome)) =
            (JobRow::decode(&value), task.jobs.machine.take_result(id))
        else {
            return;
        };
        let step = Step::finalizer(row.job_type);
        let (types, wall_ms) = (Arc::clone(&self.parts.jobs), self.wall_ms);
        self.run_event(now, slot, partition, step, |ctx, _, _| {
            finalize(ctx, &types, (row_key, &row), &outcome, wall_ms).into_outcome()
        });
        if let Some(task) = self.tasks.get_mut(&partition) {
            task.jobs.machine.finalized(id, outcome);
        }
    }

    /// When the next job is due.
    pub(super) fn jobs_due(&self, now: Instant) -> Option<Instant> {
        let tasks = self.tasks.values().filter(|task| task.begins() && !self.failed);
        let due_ms = tasks.filter_map(|task| task.jobs.machine.next_due()).min()?;
        let left = u64::try_from(due_ms.saturating_sub(self.wall_ms)).unwrap_or(0);
        now.checked_add(Duration::from_millis(left))
    }
}

/// Runs a job's finalizer, and gives the job's row what it asks for.
fn finalize<S: crate::StateStore>(
    ctx: &mut EventContext<S>,
    types: &JobTypes<S>,
    (row_key, row): (&[u8], &JobRow<'_>),
    outcome: &JobOutcome,
    now_ms: i64,
) -> HandlerResult<ExecutionState> {
    let job_type = row.job_type;
    let Some(next) = types.finalize(ctx, (job_type, row.payload), outcome) else {
        return ctx.fail(format!("nobody has registered the job type `{job_type}`"));
    };
    let next = next?;
    if ctx.framework().get(JOBS, row_key).is_none() {
        // The finalizer has cancelled its own job.
        return Ok(ExecutionState::Complete);
    }
    match next {
        Next::Done => drop(ctx.framework_mut().remove(JOBS, row_key)),
        Next::Then(next) => {
            ctx.check_job_type(next.job_type)?;
            let (payload, job_type, due_ms) = (next.payload?, next.job_type, next.due_ms);
            let (step, payload) = (row.step + 1, payload.as_slice());
            let row = JobRow { step, attempt: 1, due_ms, holds_key: false, job_type, payload };
            ctx.framework_mut().put(JOBS, row_key.to_vec(), row.encode());
        }
        Next::Retry(after) => {
            let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
            let due_ms = Some(now_ms.saturating_add(after));
            let attempt = row.attempt.saturating_add(1);
            let row = JobRow { attempt, due_ms, holds_key: true, ..*row };
            ctx.framework_mut().put(JOBS, row_key.to_vec(), row.encode());
        }
    }
    Ok(ExecutionState::Complete)
}
