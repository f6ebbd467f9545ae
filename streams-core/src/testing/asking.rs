//! Interjections that a test asks for.

use std::sync::Arc;

use super::driver::TestDriver;
use crate::handler::{EventContext, EventSource};
use crate::runtime::worker::ToWorker;
use crate::runtime::{InterjectError, SourceHandle};
use crate::task::Interject;

impl<A: EventSource> TestDriver<A> {
    /// Runs an interjection now, in every partition: by its function's name (`sweep`), or its whole
    /// path.
    ///
    /// # Panics
    /// If there is none of this name, or the source stops or has stopped.
    #[track_caller]
    pub fn interject(&mut self, name: &str) -> &mut Self {
        (0..self.partitions).for_each(|partition| self.begin_interjection(partition, name));
        self.settle();
        self.assert_runs();
        self
    }

    /// As [`TestDriver::interject`], in one partition.
    ///
    /// # Panics
    /// As [`TestDriver::interject`].
    #[track_caller]
    pub fn interject_in(&mut self, partition: i32, name: &str) -> &mut Self {
        self.begin_interjection(partition, name);
        self.settle();
        self.assert_runs();
        self
    }

    #[track_caller]
    fn begin_interjection(&self, partition: i32, name: &str) {
        let is_named = |path: &str| path == name || path.rsplit("::").next() == Some(name);
        let known = self.instance.worker.interjections();
        let Some(interjection) = known.iter().find(|known| is_named(&known.name)) else {
            let known: Vec<_> = known.iter().map(|known| &known.name).collect();
            panic!("no interjection `{name}`: there are {known:?}");
        };
        // Its failure is the source's, as when the clock calls it.
        let call = Arc::clone(&interjection.call);
        let run = Interject::unasked(move |ctx, at| call(ctx, at));
        self.instance.mailbox.send(ToWorker::Interject(partition, run));
    }

    /// Runs `run` in `partition`, as [`SourceHandle::interject`] does, and returns its result.
    ///
    /// # Errors
    /// As [`SourceHandle::interject`].
    ///
    /// # Panics
    /// If there is no result yet: the interjection waits for a completer, or for a transaction that
    /// an incomplete event keeps open.
    #[track_caller]
    pub fn interject_once<R: Send + 'static>(
        &mut self,
        partition: i32,
        run: impl FnMut(&mut EventContext<A::Store>) -> crate::Result<R> + Send + 'static,
    ) -> Result<R, InterjectError> {
        let mut asked = self.instance.handle.interject(partition, run);
        self.settle();
        let Some(result) = asked.try_take() else {
            panic!(
                "the interjection in partition {partition} has no result yet: it waits for a \
                 completer; ask by `handle()`, complete it, and call `run_pending`"
            );
        };
        result
    }

    /// Returns the handle of the source, for code that asks and tells it: queries, interjections
    /// with results, schedules, `stop`. After a restart there is another one.
    ///
    /// Nothing runs by itself here: call [`TestDriver::run_pending`] before a result is waited for.
    pub fn handle(&self) -> SourceHandle<A> {
        self.instance.handle.clone()
    }
}
