//! Bugs that the tests switch on, to see that they are caught; there are none outside of tests.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// EOS-7: commits go out without member id and generation.
    CommitWithoutGeneration,
    /// EOS-7: a transaction without an offset to advance commits none, so that nothing fences it.
    InterjectionWithoutFence,
    /// A warm copy becomes active without the last records of its changelog.
    StaleCopy,
    /// A partition is handed over to a member that has not said that it is ready.
    HandOverUnready,
    /// GRP-1: a partition is given to its receiver while its owner still has it.
    TakeWhileOwned,
    /// GRP-1: a member keeps its partitions, though a generation began without it.
    KeepThroughMissedGeneration,
    /// A partition on its way goes on, though balance does not need it any more.
    MoveTooMany,
    /// A second job of a key starts while the first one runs.
    LaneRunsTwo,
    /// A failed job waits for its next attempt behind the later jobs of its key.
    RetryBehindItsKey,
    /// A key is in two running batches.
    BatchesShareKey,
    /// No attempt of a job exceeds its timeout.
    NoTimeout,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Switches a bug on, or all off, for what runs in this thread.
#[cfg(test)]
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(test)]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(test))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
