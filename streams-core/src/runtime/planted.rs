//! Bugs that the tests switch on, to see that they are caught.
//!
//! Only with the feature `planted-bugs`, which no application has; otherwise [`is`] is `false` and
//! costs nothing.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// EOS-7: commits go out without member id and generation.
    CommitWithoutGeneration,
    /// EOS-7: a transaction without an offset to advance commits none, so that nothing fences it.
    InterjectionWithoutFence,
    /// A warm copy becomes active without the last records of its changelog.
    StaleCopy,
    /// What a dead owner left open is not aborted.
    NoTakeOver,
}

#[cfg(feature = "planted-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| std::env::var("STREAMS_PLANTED_BUG").ok());
    planted.as_deref() == Some(&format!("{bug:?}"))
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
