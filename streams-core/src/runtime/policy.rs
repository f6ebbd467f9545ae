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

/// What to do with a batch of records of the source topic that can't be read: corrupt, or
/// compressed in a way that the client does not know.
///
/// A batch of the changelog that can't be read always stops the source, because a store would lack
/// its changes. As in all clients on librdkafka, a changed byte inside of a record shows only if
/// the record does not decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUnreadable {
    /// Stop the source with an error that names partition and offset: nothing is lost.
    #[default]
    Fail,
    /// Leave out all records of the batch, with a warning. It counts in
    /// [`RunningSource::batches_skipped`](crate::RunningSource::batches_skipped).
    Skip,
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
