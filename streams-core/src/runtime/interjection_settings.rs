//! The settings of a source's interjections.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::builder::SourceBuilder;
use super::schedules::{self, Schedules};
use crate::ExecutionState;
use crate::eos::metadata_bytes_min;
use crate::error::ConfigError;
use crate::handler::{EventContext, EventSource, Interjection, Result as HandlerResult, Scheduled};

/// How many interjections of a worker may wait, by default.
pub(super) const INTERJECTION_QUEUE: usize = 1_024;
const INTERJECTION_QUEUE_MAX: usize = 1_000_000;

impl<A: EventSource, Missing: 'static> SourceBuilder<A, Missing> {
    /// Adds an interjection whose interval is known only now. GKES: `ScheduleInterjection`.
    ///
    /// Its function takes what the handlers share; [`Self::schedule_interjection`] takes a closure.
    #[must_use]
    pub fn interjection(mut self, interjection: Interjection<A::Store, A::Shared>) -> Self {
        self.interjections.push(interjection);
        self
    }

    /// Adds an interjection that runs in each partition every `every`, longer or shorter by a
    /// random time up to `jitter`; `run` may capture what it needs. GKES: `ScheduleInterjection`.
    ///
    /// `every` is 1 ms to 365 days, and `jitter` is not longer. The schedule is committed under
    /// `name`, which must be the same in all members. A source that runs takes further ones:
    /// [`SourceHandle::schedule_interjection`](crate::SourceHandle::schedule_interjection).
    ///
    /// # Examples
    /// ```
    /// # use streams_core::prelude::*;
    /// # use streams_core::SourceBuilder;
    /// # use std::time::{Duration, SystemTime};
    /// fn reporting<A: EventSource>(source: SourceBuilder<A>, url: String) -> SourceBuilder<A> {
    ///     let (every, jitter) = (Duration::from_secs(60), Duration::ZERO);
    ///     source.schedule_interjection("report", every, jitter, move |ctx, _at| {
    ///         println!("{} to {url}", ctx.topic_partition());
    ///         Ok(Complete)
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn schedule_interjection(
        mut self,
        name: impl Into<String>,
        every: Duration,
        jitter: Duration,
        run: impl Fn(&mut EventContext<A::Store>, SystemTime) -> HandlerResult<ExecutionState>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.scheduled.push(Scheduled::new(name.into(), every, jitter, run));
        self
    }

    /// How many interjections of a worker may wait for their turn or for their commit, by
    /// [`SourceHandle::interject`](crate::SourceHandle::interject) and its like: 1 to 1,000,000, by
    /// default 1,024. One more is refused with
    /// [`InterjectError::QueueFull`](crate::InterjectError::QueueFull).
    #[must_use]
    pub const fn interjection_queue(mut self, interjections: usize) -> Self {
        self.interjection_queue = interjections;
        self
    }

    pub(super) fn check_interjections(&self) -> Result<(), ConfigError> {
        let rows = self.interjections.iter().map(|row| (row.every, row.jitter));
        for (every, jitter) in rows.chain(self.scheduled.iter().map(|one| (one.every, one.jitter)))
        {
            schedules::check(every, jitter)?;
        }
        let queue = self.interjection_queue;
        ConfigError::check("interjection_queue", queue, 1..=INTERJECTION_QUEUE_MAX)?;
        let interjections = self.interjections.len() + self.scheduled.len();
        let (limit, least) =
            (self.eos.offset_metadata_max_bytes, metadata_bytes_min(interjections));
        if limit < least {
            let (name, value) = ("offset_metadata_max_bytes", limit.to_string());
            let hint = format!(
                "the schedule of {interjections} interjections travels in the offset's metadata, \
                 which takes up to {least} bytes: raise `EosConfig::offset_metadata_max_bytes` and \
                 the brokers' `offset.metadata.max.bytes`"
            );
            return Err(ConfigError::Invalid { name, value, hint });
        }
        Ok(())
    }

    /// All interjections that the clock calls from the start.
    pub(super) fn all_scheduled(&self) -> Vec<Scheduled<A::Store>> {
        let shared = self.shared_by_all();
        let rows = self.interjections.iter();
        let rows = rows.map(|row| Scheduled::of_row(*row, Arc::clone(&shared)));
        rows.chain(self.scheduled.iter().cloned()).collect()
    }

    /// The names of the interjections, which no further one may have.
    pub(crate) fn schedules(&self) -> Schedules {
        let rows = self.interjections.iter().map(|row| Arc::from(row.name));
        let names = rows.chain(self.scheduled.iter().map(|one| Arc::clone(&one.name)));
        Schedules::new(names, self.eos.offset_metadata_max_bytes)
    }
}
