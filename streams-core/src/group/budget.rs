//! A bound on the memory that another member's message may take.
//!
//! A few bytes can stand for much: a long name and a run of numbers become a partition each. So
//! everything that is read from another member is paid for in bytes of memory before it is made,
//! and not counted in partitions, of which a large group may have any number.

/// The memory that one message may take.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a partition takes beside its topic's name, in a set.
const PARTITION_BYTES: usize = 48;
/// Kafka's limit.
const TOPIC_BYTES_MAX: usize = 249;

/// What is left for the rest of a message.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    /// For one message.
    pub(crate) const fn new() -> Self {
        Self(MESSAGE_BYTES_MAX)
    }

    /// Pays for bytes.
    ///
    /// # Errors
    /// If it is too much.
    pub(crate) fn pay(&mut self, bytes: usize) -> Result<(), String> {
        let too_much = || format!("the message would take more than {MESSAGE_BYTES_MAX} bytes");
        self.0 = self.0.checked_sub(bytes).ok_or_else(too_much)?;
        Ok(())
    }

    /// Pays for partitions of a topic.
    ///
    /// # Errors
    /// If they are too many, or no topic has such a name.
    pub(crate) fn pay_for(&mut self, topic: &str, partitions: usize) -> Result<(), String> {
        if !(1..=TOPIC_BYTES_MAX).contains(&topic.len()) {
            return Err(format!("a topic's name of {} bytes", topic.len()));
        }
        self.pay(partitions.saturating_mul(topic.len() + PARTITION_BYTES))
    }
}
