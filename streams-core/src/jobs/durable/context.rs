//! What a handler does with durable jobs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::row::{JOB_IDS, JOBS, JobRow, key_prefix, row_key, split_row_key};
use super::{Job, JobId, encoded, unix_ms};
use crate::codec::{AsKey, KeyCodec};
use crate::handler::{EventContext, HandlerError, Result};
use crate::store::{FrameworkTables, StateStore};

/// So many numbers are reserved by one row, so that most jobs write no other row than their own.
const IDS_AT_ONCE: u64 = 1_024;

/// The numbers of a partition's next jobs, and the job types of its source.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobIds {
    /// `None` in a context without a source, which takes any type.
    types: Option<Arc<[&'static str]>>,
    next: u64,
}

impl JobIds {
    /// The numbers of a partition with these rows: no job has had one of them.
    pub(crate) fn of(rows: &FrameworkTables, types: Arc<[&'static str]>) -> Self {
        Self { types: Some(types), next: reserved(rows) }
    }
}

fn reserved(rows: &FrameworkTables) -> u64 {
    let value = rows.get(JOB_IDS, b"").and_then(|value| value.try_into().ok());
    value.map_or(0, u64::from_be_bytes)
}

impl<S: StateStore> EventContext<S> {
    /// Writes `job` into the partition's changelog, in this event's transaction. Once that is
    /// committed, the job runs, and then its finalizer ([`jobs::durable`](crate::jobs::durable)).
    /// Returns the job's number, by which it can be cancelled.
    ///
    /// The jobs of one key run one at a time, in the order in which they were scheduled; jobs of
    /// different keys run at the same time. `key` need not be the record's.
    ///
    /// # Errors
    /// If the job has no form in its codec, or nobody has registered its type
    /// ([`SourceBuilder::durable_job`](crate::SourceBuilder::durable_job)).
    pub fn schedule<K: KeyCodec, J: Job>(
        &mut self,
        key: &(impl AsKey<K> + ?Sized),
        job: J,
    ) -> Result<JobId> {
        self.schedule_due(key, &job, None)
    }

    /// As [`EventContext::schedule`], but the job runs at `when` or later, by the clock of the
    /// member that has the partition then. Until it is due it holds up no other job of its key.
    ///
    /// # Errors
    /// As [`EventContext::schedule`].
    pub fn schedule_at<K: KeyCodec, J: Job>(
        &mut self,
        key: &(impl AsKey<K> + ?Sized),
        job: J,
        when: SystemTime,
    ) -> Result<JobId> {
        self.schedule_due(key, &job, Some(unix_ms(when)))
    }

    /// As [`EventContext::schedule_at`], with the time from [`EventContext::now`] on.
    ///
    /// # Errors
    /// As [`EventContext::schedule`].
    pub fn schedule_after<K: KeyCodec, J: Job>(
        &mut self,
        key: &(impl AsKey<K> + ?Sized),
        job: J,
        delay: Duration,
    ) -> Result<JobId> {
        // A time that no clock can tell never comes.
        let due_ms = self.now().checked_add(delay).map_or(i64::MAX, unix_ms);
        self.schedule_due(key, &job, Some(due_ms))
    }

    fn schedule_due<K: KeyCodec, J: Job>(
        &mut self,
        key: &(impl AsKey<K> + ?Sized),
        job: &J,
        due_ms: Option<i64>,
    ) -> Result<JobId> {
        let (job_type, payload) = (J::TYPE, encoded(job)?);
        self.check_job_type(job_type)?;
        let mut key_bytes = vec![];
        key.encode_as_key(&mut key_bytes);
        let id = self.next_job_id();
        let row =
            JobRow { step: 0, attempt: 1, due_ms, holds_key: false, job_type, payload: &payload };
        self.framework_mut().put(JOBS, row_key(&key_bytes, id), row.encode());
        Ok(id)
    }

    /// Cancels job `id` of `key`, in this event's transaction: it is removed, and its finalizer
    /// does not run. Returns false if it is not pending.
    ///
    /// If the job runs by now, it is cancelled once the transaction is committed. What it has done
    /// outside of Kafka by then stays done, and a job that occupies a thread runs to its end.
    pub fn cancel_job<K: KeyCodec>(&mut self, key: &(impl AsKey<K> + ?Sized), id: JobId) -> bool {
        let mut key_bytes = vec![];
        key.encode_as_key(&mut key_bytes);
        self.framework_mut().remove(JOBS, &row_key(&key_bytes, id))
    }

    /// Cancels all pending jobs of `key`, as [`EventContext::cancel_job`] does. Returns how many
    /// there were.
    pub fn cancel_jobs<K: KeyCodec>(&mut self, key: &(impl AsKey<K> + ?Sized)) -> usize {
        let ids = self.pending_jobs::<K>(key);
        ids.iter().filter(|id| self.cancel_job::<K>(key, **id)).count()
    }

    /// Returns the pending jobs of `key`, in the order in which they were scheduled.
    pub fn pending_jobs<K: KeyCodec>(&self, key: &(impl AsKey<K> + ?Sized)) -> Vec<JobId> {
        let mut key_bytes = vec![];
        key.encode_as_key(&mut key_bytes);
        let prefix = key_prefix(&key_bytes);
        let rows = self.framework().with_prefix(JOBS, &prefix);
        rows.filter_map(|(row, _)| split_row_key(row)).map(|(_, id)| id).collect()
    }

    /// Returns an error if the source has no such job type.
    pub(crate) fn check_job_type(&self, job_type: &str) -> Result<()> {
        match &self.job_ids().types {
            Some(types) if !types.contains(&job_type) => Err(HandlerError::fail(format!(
                "nobody has registered the job type `{job_type}`, so no job of it could run: \
                 register it with `durable_job` before the source starts"
            ))),
            _ => Ok(()),
        }
    }

    fn next_job_id(&mut self) -> JobId {
        let next = self.job_ids().next;
        if next >= reserved(self.framework()) {
            let end = next + IDS_AT_ONCE;
            self.framework_mut().put(JOB_IDS, vec![], end.to_be_bytes().to_vec());
        }
        self.job_ids_mut().next = next + 1;
        JobId(next)
    }
}
