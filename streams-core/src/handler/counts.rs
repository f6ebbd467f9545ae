//! The numbers of partitions that handlers know.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use super::{HandlerError, Result, Topic};
use crate::record::{OutputMark, Outputs};

/// The number of partitions of each topic that a source declares. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionCounts {
    /// Set once the topics are known; the numbers follow topics that grow.
    by_topic: Arc<OnceLock<BTreeMap<String, AtomicI32>>>,
    /// The number of all other topics, in a test.
    of_others: Option<i32>,
}

impl PartitionCounts {
    /// All topics have this number.
    pub(crate) fn all(partitions: i32) -> Self {
        Self { of_others: Some(partitions), ..Self::default() }
    }

    /// These topics have these numbers; further calls change the numbers of the same topics.
    pub(crate) fn learn(&self, counts: impl IntoIterator<Item = (String, i32)>) {
        let mut new = BTreeMap::new();
        for (topic, count) in counts {
            match self.by_topic.get().and_then(|known| known.get(&topic)) {
                Some(known) => known.store(count, Ordering::Relaxed),
                None => drop(new.insert(topic, AtomicI32::new(count))),
            }
        }
        let _ = self.by_topic.set(new);
    }

    /// The number of partitions of `topic`, if it is known.
    pub(crate) fn of(&self, topic: &str) -> Option<i32> {
        let known = self.by_topic.get().and_then(|known| known.get(topic));
        known.map(|count| count.load(Ordering::Relaxed)).or(self.of_others)
    }

    /// The number of partitions of `topic`.
    ///
    /// # Errors
    /// If it is not known.
    pub(super) fn expect(&self, topic: &str) -> Result<i32> {
        self.of(topic).ok_or_else(|| {
            HandlerError::fail(format!(
                "the number of partitions of topic `{topic}` is not known: declare the topic by \
                 `.output(\"{topic}\")` before the source starts"
            ))
        })
    }

    /// Chooses the partition of the last output, which begins at `mark`, if its topic has a
    /// partitioner and the handler has chosen none.
    ///
    /// # Errors
    /// If the topic's number of partitions is not known, or the partitioner chooses none of them.
    /// The output is taken back then.
    pub(super) fn place<E, K>(
        &self,
        topic: &Topic<E, K>,
        outputs: &mut Outputs,
        mark: OutputMark,
    ) -> Result<()> {
        let Some(partitioner) = topic.chosen_by() else {
            return Ok(());
        };
        let Some(output) = outputs.last().filter(|output| output.partition.is_none()) else {
            return Ok(());
        };
        let (name, key) = (topic.name(), output.key);
        let chosen = self.expect(name).and_then(|partitions| {
            let chosen = partitioner.partition(name, key, partitions);
            if (0..partitions).contains(&chosen) {
                return Ok(chosen);
            }
            let last = partitions - 1;
            Err(HandlerError::fail(format!(
                "the partitioner of topic `{name}` chose partition {chosen}, and the topic has 0 \
                 to {last}: correct {partitioner:?}, or choose by `forward_to_partition`"
            )))
        });
        match chosen {
            Ok(chosen) => outputs.set_last_partition(chosen),
            Err(error) => {
                outputs.truncate(mark);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The topics whose numbers are known.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.by_topic.get().into_iter().flat_map(|known| known.keys().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_their_topics() {
        let counts = PartitionCounts::default();
        assert_eq!(counts.of("a"), None);
        counts.learn([("a".to_owned(), 3), ("b".to_owned(), 1)]);
        let clone = counts.clone();
        counts.learn([("a".to_owned(), 5), ("c".to_owned(), 7)]);
        assert_eq!((clone.of("a"), clone.of("b"), clone.of("c")), (Some(5), Some(1), None));
        assert_eq!(clone.topics().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(PartitionCounts::all(4).of("x"), Some(4));
    }
}
