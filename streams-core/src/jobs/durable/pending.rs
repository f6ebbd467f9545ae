//! The pending jobs of a task: the machine, fed with the rows of the partition's changelog.
//!
//! Pure: no async, no clock, no threads.

use std::collections::BTreeMap;
use std::fmt;

use super::row::{JOBS, JobRow, split_row_key};
use super::runner::Cancel;
use super::{DurableJobs, JobId, JobMachine, JobOutcome, PendingJob, RunId};
use crate::store::FrameworkTables;

/// Why the pending jobs of a partition can't run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResumeError {
    /// So many pending jobs have a type that nobody has registered.
    UnknownType { job_type: String, count: usize },
    /// A row is not of a version that this program knows.
    UnknownRow,
}

/// The pending jobs of a task.
pub(crate) struct TaskJobs {
    pub(crate) machine: JobMachine<JobOutcome>,
    bounds: DurableJobs,
    /// How the runs of now are cancelled.
    cancels: BTreeMap<RunId, Cancel>,
}

impl fmt::Debug for TaskJobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskJobs")
            .field("bounds", &self.bounds)
            .field("runs", &self.cancels.len())
            .finish_non_exhaustive()
    }
}

impl TaskJobs {
    pub(crate) fn new(bounds: DurableJobs) -> Self {
        let machine = JobMachine::new(bounds.concurrency);
        Self { machine, bounds, cancels: BTreeMap::new() }
    }

    /// The store is whole: all jobs that `rows` has are pending.
    pub(crate) fn resume(
        &mut self,
        rows: &FrameworkTables,
        knows: impl Fn(&str) -> bool,
        now_ms: i64,
    ) -> Result<(), ResumeError> {
        self.clear();
        self.machine.advance(now_ms);
        let mut unknown: Option<(String, usize)> = None;
        for (key, value) in rows.with_prefix(JOBS, b"") {
            let (Some((key, id)), Some(row)) = (split_row_key(key), JobRow::decode(value)) else {
                return Err(ResumeError::UnknownRow);
            };
            match &mut unknown {
                Some((job_type, count)) if *job_type == row.job_type => *count += 1,
                None if !knows(row.job_type) => unknown = Some((row.job_type.to_owned(), 1)),
                Some(_) | None => {}
            }
            self.machine.committed(id, Some(pending(key, &row)));
        }
        match unknown {
            Some((job_type, count)) => Err(ResumeError::UnknownType { job_type, count }),
            None => Ok(()),
        }
    }

    /// A change of a row is committed; `value` is what the row has by now.
    pub(crate) fn committed(&mut self, table: &str, key: &[u8], value: Option<&[u8]>) {
        if table != JOBS.0 {
            return;
        }
        let Some((key, id)) = split_row_key(key) else {
            return;
        };
        let row = value.and_then(JobRow::decode);
        self.machine.committed(id, row.as_ref().map(|row| pending(key, row)));
    }

    /// A change of a row is undone: the row has the value `former` again.
    pub(crate) fn undone(&mut self, table: &str, key: &[u8], former: Option<&[u8]>) {
        if table != JOBS.0 {
            return;
        }
        let Some((key, id)) = split_row_key(key) else {
            return;
        };
        match former.and_then(JobRow::decode) {
            // The job was scheduled in one event and cancelled in a later one, which is undone.
            Some(row) if !self.machine.knows(id) => {
                self.machine.committed(id, Some(pending(key, &row)));
            }
            Some(_) => {}
            None => self.machine.committed(id, None),
        }
    }

    /// Returns true if there is nothing to begin, to finalize or to cancel.
    pub(crate) fn is_idle(&self) -> bool {
        self.machine.is_idle()
    }

    /// Returns true if the partition takes no more records until there are fewer jobs.
    pub(crate) fn is_full(&self, rows: &FrameworkTables) -> bool {
        rows.len(JOBS) >= self.bounds.max_rows || rows.bytes(JOBS) >= self.bounds.max_bytes
    }

    /// A run has begun.
    pub(crate) fn began(&mut self, run: RunId, cancel: Cancel) {
        self.cancels.insert(run, cancel);
    }

    /// A run has ended. Returns false if its outcome has no effect.
    pub(crate) fn ended(&mut self, id: JobId, run: RunId, outcome: JobOutcome) -> bool {
        self.cancels.remove(&run);
        self.machine.finished(id, run, outcome)
    }

    /// Cancels the runs of jobs that are not pending any more.
    pub(crate) fn cancel(&mut self) {
        for run in self.machine.take_cancelled() {
            if let Some(cancel) = self.cancels.remove(&run) {
                cancel();
            }
        }
    }

    /// Cancels all runs and forgets all jobs: the partition is not this member's any more.
    pub(crate) fn clear(&mut self) {
        self.machine.clear();
        for cancel in std::mem::take(&mut self.cancels).into_values() {
            cancel();
        }
    }
}

const fn pending<'a>(key: &'a [u8], row: &JobRow<'_>) -> PendingJob<'a> {
    PendingJob { key, due_ms: row.due_ms, holds_key: row.holds_key }
}
