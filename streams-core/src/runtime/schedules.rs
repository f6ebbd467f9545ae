//! The names of scheduled interjections, and the room that their times take.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::handle::SourceHandle;
use crate::eos::metadata_bytes_min;
use crate::error::ConfigError;
use crate::handler::{EventSource, Scheduled};

const INTERJECTION_MIN: Duration = Duration::from_millis(1);
const INTERJECTION_MAX: Duration = Duration::from_hours(24 * 365);

/// Why an interjection can't be scheduled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The interval or the jitter can't be used.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// Another interjection has this name.
    #[error(
        "an interjection `{name}` is scheduled already: cancel it first, or give each its own name"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The schedule would not fit into the metadata of a committed offset.
    #[error(
        "the interjection `{name}` can't be scheduled: with it the schedule takes up to {least} \
         bytes of the offset's metadata, which may have {limit}: cancel another one, or raise \
         `EosConfig::offset_metadata_max_bytes` and the brokers' `offset.metadata.max.bytes`"
    )]
    NoRoom {
        /// The name.
        name: String,
        /// What the schedule needs.
        least: usize,
        /// What there is.
        limit: usize,
    },
    /// The source has ended.
    #[error("the source has ended: nobody runs the interjection")]
    Stopped,
}

/// Checks how often an interjection runs.
pub(super) fn check(every: Duration, jitter: Duration) -> Result<(), ConfigError> {
    ConfigError::check_duration("every", every, INTERJECTION_MIN..=INTERJECTION_MAX)?;
    ConfigError::check_duration("jitter", jitter, Duration::ZERO..=every)?;
    Ok(())
}

/// The names that are taken.
#[derive(Debug)]
pub(crate) struct Schedules {
    names: Mutex<Names>,
    metadata_max_bytes: usize,
}

#[derive(Debug)]
struct Names {
    /// How many interjections the source has had from the start: several may have one name.
    fixed: usize,
    fixed_names: BTreeSet<Arc<str>>,
    added: BTreeSet<Arc<str>>,
}

impl Schedules {
    /// The names of the interjections that the source has from the start.
    pub(crate) fn new(
        fixed: impl IntoIterator<Item = Arc<str>>,
        metadata_max_bytes: usize,
    ) -> Self {
        let fixed: Vec<_> = fixed.into_iter().collect();
        let names = Names {
            fixed: fixed.len(),
            fixed_names: fixed.into_iter().collect(),
            added: BTreeSet::new(),
        };
        Self { names: Mutex::new(names), metadata_max_bytes }
    }

    /// Takes the name, and tells the workers before anybody else can take or free it.
    pub(super) fn add<S>(
        &self,
        scheduled: &Scheduled<S>,
        tell: impl FnOnce(),
    ) -> Result<(), ScheduleError> {
        check(scheduled.every, scheduled.jitter)?;
        let name = &scheduled.name;
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.fixed_names.contains(name) || names.added.contains(name) {
            return Err(ScheduleError::NameTaken { name: name.to_string() });
        }
        let least = metadata_bytes_min(names.fixed + names.added.len() + 1);
        let limit = self.metadata_max_bytes;
        if limit < least {
            return Err(ScheduleError::NoRoom { name: name.to_string(), least, limit });
        }
        names.added.insert(Arc::clone(name));
        tell();
        Ok(())
    }

    /// Frees the name, and tells the workers.
    pub(super) fn remove(&self, name: &Arc<str>, tell: impl FnOnce()) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.added.remove(name) {
            tell();
        }
    }
}

/// An interjection that was scheduled while the source runs. Dropping it changes nothing: the
/// interjection goes on until it is cancelled or the source ends.
pub struct ScheduledInterjection<A: EventSource> {
    source: SourceHandle<A>,
    name: Arc<str>,
}

impl<A: EventSource> ScheduledInterjection<A> {
    pub(super) const fn new(source: SourceHandle<A>, name: Arc<str>) -> Self {
        Self { source, name }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Cancels it in all partitions, and frees its name. A run that has begun goes on to its end.
    pub fn cancel(self) {
        self.source.unschedule(&self.name);
    }
}

impl<A: EventSource> fmt::Debug for ScheduledInterjection<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduledInterjection").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExecutionState::Complete;

    #[test]
    fn names_are_unique_and_the_metadata_has_room() {
        let schedules = Schedules::new(["a".into(), "a".into()], metadata_bytes_min(4));
        let hour = Duration::from_hours(1);
        let scheduled = |name: &str| Scheduled::<()>::new(name, hour, hour, |_, _| Ok(Complete));
        let add = |name: &str| schedules.add(&scheduled(name), || {}).map_err(|e| e.to_string());
        assert!(add("a").is_err_and(|text| text.contains("`a` is scheduled already")));
        assert_eq!(add("b"), Ok(()));
        assert_eq!(add("c"), Ok(()));
        assert!(add("c").is_err_and(|text| text.contains("`c` is scheduled already")));
        assert!(add("d").is_err_and(|text| text.contains("`d` can't be scheduled")));
        schedules.remove(&"b".into(), || {});
        schedules.remove(&"b".into(), || panic!("it is gone"));
        schedules.remove(&"a".into(), || panic!("it was there from the start"));
        assert_eq!(add("d"), Ok(()), "there is room again");
        let often = Scheduled::<()>::new("e", Duration::ZERO, Duration::ZERO, |_, _| Ok(Complete));
        assert!(matches!(schedules.add(&often, || {}), Err(ScheduleError::Invalid(_))));
    }
}
