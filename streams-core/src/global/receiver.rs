//! Who receives the changes.

use std::ops::Range;

use super::error::ReceiveError;
use crate::record::Record;

/// Receives every record of a topic, on the thread of its [`GlobalChangeLog`]. GKES:
/// `ChangeLogReceiver`.
///
/// A closure of one record is a receiver too. A receiver that blocks holds up its global changelog,
/// and nothing else.
///
/// # Examples
/// ```
/// use std::collections::BTreeSet;
/// use std::sync::{Arc, Mutex};
///
/// use streams_core::global::{ChangeLogReceiver, ReceiveError};
/// use streams_core::record::Record;
///
/// /// The blocked users, shared with the handlers.
/// #[derive(Clone, Default)]
/// struct Blocked(Arc<Mutex<BTreeSet<Vec<u8>>>>);
///
/// impl ChangeLogReceiver for Blocked {
///     fn receive_change(&mut self, record: &Record) -> Result<(), ReceiveError> {
///         let user = record.key().ok_or("a record without a user")?.to_vec();
///         let mut blocked = self.0.lock().map_err(|_| "a handler panicked")?;
///         match record.value() {
///             Some(_) => blocked.insert(user),
///             None => blocked.remove(&user),
///         };
///         Ok(())
///     }
/// }
/// ```
///
/// [`GlobalChangeLog`]: super::GlobalChangeLog
pub trait ChangeLogReceiver: Send + 'static {
    /// Receives a record. The records of one partition come in the order of their offsets. GKES:
    /// `ReceiveChange`.
    ///
    /// # Errors
    /// If the receiver cannot take the record. The global changelog stops then.
    fn receive_change(&mut self, record: &Record) -> Result<(), ReceiveError>;

    /// Called when no further record is at hand, and before the global changelog says that it has
    /// caught up: a receiver that collects changes applies them now.
    ///
    /// # Errors
    /// If the receiver cannot apply them. The global changelog stops then.
    fn apply(&mut self) -> Result<(), ReceiveError> {
        Ok(())
    }

    /// Called when the receiver has received all that the topic had when it began to read, at first
    /// and after [`begin_again`](Self::begin_again).
    ///
    /// # Errors
    /// If the receiver cannot go on. The global changelog stops then.
    fn caught_up(&mut self) -> Result<(), ReceiveError> {
        Ok(())
    }

    /// Called when the receiver may have missed tombstones of a compacted topic: it lacked the
    /// topic's end for longer than a quarter of `delete.retention.ms` (at least 10 s), after which
    /// the broker may remove them. A receiver that returns true gets all records again, from the
    /// first ones, and should forget what these do not mention once it has
    /// [`caught up`](Self::caught_up). By default it returns false, and goes on with what it has.
    ///
    /// # Errors
    /// If the receiver cannot go on. The global changelog stops then.
    fn begin_again(&mut self) -> Result<bool, ReceiveError> {
        Ok(false)
    }

    /// Called when records of a partition are left out because the log does not hold them any more
    /// ([`OnTruncated::Skip`](super::OnTruncated::Skip)).
    ///
    /// # Errors
    /// If the receiver cannot do without them. The global changelog stops then.
    fn truncated(&mut self, _partition: i32, _lost: Range<i64>) -> Result<(), ReceiveError> {
        Ok(())
    }
}

impl<F> ChangeLogReceiver for F
where
    F: FnMut(&Record) -> Result<(), ReceiveError> + Send + 'static,
{
    fn receive_change(&mut self, record: &Record) -> Result<(), ReceiveError> {
        self(record)
    }
}
