//! What can go wrong with a transaction.

use crate::error::{Disposition, TxnStep};

/// Something that goes wrong in the next transaction, by
/// [`TestDriver::inject`](super::TestDriver::inject).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The transaction is aborted: its events are undone, and come again.
    Abort,
    /// The request to commit is lost: nobody knows at first, then it is found aborted.
    LoseRequest,
    /// The transaction is committed and the reply is lost: nobody knows at first, then it is found
    /// committed.
    LoseReply,
    /// Another instance has taken the transactional ids over: the source stops.
    Fence,
    /// This step fails, and asks for this.
    At(TxnStep, Disposition),
}
