//! What the user decides about records, offsets and topics that are not as expected.

/// What to do with a record that can't be decoded, or whose type has no handler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUndecodable {
    /// Stop the source with an error: nothing is lost.
    #[default]
    Fail,
    /// Leave the record out, with a warning.
    Skip,
    /// Send the record to this topic, as it is, in the transaction that commits its offset; the
    /// headers `__source__` and `__error__` say where it came from and why.
    DeadLetter(String),
}

/// Where to start a partition that has neither state nor a committed offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// With the first record that is there.
    #[default]
    Earliest,
    /// With the next record that comes.
    Latest,
}
