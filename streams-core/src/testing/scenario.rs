//! given, when, then.

use std::time::Duration;

use super::cluster::View;
use super::{TestDriver, shown};
use crate::codec::{AsKey, KeyCodec};
use crate::handler::{EventSource, Events, Topic};
use crate::record::{Outputs, ProducerRecord, Record};

/// given, when, then: what has happened, what happens now, what comes of it.
///
/// A `when` sets a mark, and each `then_..` looks at what was forwarded since.
impl<A: EventSource> TestDriver<A> {
    /// These events have happened.
    ///
    /// # Panics
    /// If one can't be encoded, or the source stops.
    #[track_caller]
    pub fn given<'k, 'e, K: KeyCodec, Q: AsKey<K> + ?Sized + 'k>(
        &mut self,
        events: impl IntoIterator<Item = (&'k Q, <A::Events as Events>::At<'e>)>,
    ) -> &mut Self {
        self.send_all(events);
        self.set_mark()
    }

    /// This event happens now.
    ///
    /// # Panics
    /// If it can't be encoded, or the source had stopped before.
    #[track_caller]
    pub fn when<K: KeyCodec>(
        &mut self,
        key: &(impl AsKey<K> + ?Sized),
        event: <A::Events as Events>::At<'_>,
    ) -> &mut Self {
        self.assert_runs();
        self.set_mark();
        self.append(None, key, &event);
        self.settle();
        self
    }

    /// This record comes now, right or wrong.
    ///
    /// # Panics
    /// If its topic has no such partition, or the source had stopped before.
    #[track_caller]
    pub fn when_record(&mut self, record: ProducerRecord) -> &mut Self {
        self.assert_runs();
        self.set_mark();
        self.append_record(record);
        self.settle();
        self
    }

    /// So much time goes by.
    ///
    /// # Panics
    /// If the source stops or had stopped.
    #[track_caller]
    pub fn when_time_passes(&mut self, time: Duration) -> &mut Self {
        self.set_mark();
        self.advance(time)
    }

    fn set_mark(&mut self) -> &mut Self {
        self.mark = self.appended();
        self.seen.clear();
        self
    }

    /// These events were forwarded to `topic`, and nothing else.
    ///
    /// # Panics
    /// If there were others, which it shows; or if the source has stopped.
    #[track_caller]
    pub fn then_forwarded<'k, 'e, E: Events, K: KeyCodec, Q: AsKey<K> + ?Sized + 'k>(
        &mut self,
        topic: &Topic<E, K>,
        events: impl IntoIterator<Item = (&'k Q, E::At<'e>)>,
    ) -> &mut Self {
        self.assert_runs();
        let mut outputs = Outputs::default();
        for (key, event) in events {
            if let Err(error) = topic.write(&mut outputs, None, key, &event) {
                panic!("what is expected can't be encoded: {error}");
            }
        }
        let expected: Vec<String> =
            outputs.iter().map(|output| shown::record(&super::to_record(&output, 0, 0))).collect();
        let is_here = |record: &Record| **record.topic_partition().topic() == *topic.name();
        let actual = self.forwarded(is_here);
        if expected != actual {
            let difference = shown::difference(&expected, &actual);
            panic!("what was forwarded to `{}` is not what was expected\n{difference}", {
                topic.name()
            });
        }
        self.seen.push(topic.name().to_owned());
        self
    }

    /// Nothing else was forwarded than what was looked at already.
    ///
    /// # Panics
    /// If something was, which it shows; or if the source has stopped.
    #[track_caller]
    pub fn then_nothing_else(&mut self) -> &mut Self {
        self.assert_runs();
        let is_new = |record: &Record| {
            !self.seen.iter().any(|seen| **record.topic_partition().topic() == **seen)
        };
        let others = self.outputs_since(self.mark, View::Committed);
        let others: Vec<String> = others
            .iter()
            .filter(|record| is_new(record))
            .map(|record| format!("  {}: {}", record.topic_partition(), shown::record(record)))
            .collect();
        assert!(others.is_empty(), "more was forwarded than expected\n{}", others.join("\n"));
        self
    }

    /// `check` holds for the store of `partition`.
    ///
    /// # Panics
    /// If it doesn't, there is no such partition, or the source has stopped.
    #[track_caller]
    pub fn then_store(&mut self, partition: i32, check: impl FnOnce(&A::Store)) -> &mut Self {
        check(self.store(partition));
        self
    }

    /// The committed offset of `partition` is this.
    ///
    /// # Panics
    /// If it isn't.
    #[track_caller]
    pub fn then_committed(&mut self, partition: i32, offset: i64) -> &mut Self {
        let committed = self.committed(partition);
        assert_eq!(committed, Some(offset), "the committed offset of partition {partition}");
        self
    }

    /// The source has stopped, and says why: the text contains `reason`.
    ///
    /// # Panics
    /// If it runs, or says something else.
    #[track_caller]
    pub fn then_fails(&mut self, reason: &str) -> &mut Self {
        let Some(error) = self.failure() else {
            panic!("the source runs on, and should have stopped: {reason}");
        };
        let text = error.to_string();
        assert!(text.contains(reason), "the source has stopped for another reason: {text}");
        self
    }

    fn forwarded(&self, is_wanted: impl Fn(&Record) -> bool) -> Vec<String> {
        let records = self.outputs_since(self.mark, View::Committed);
        records.iter().filter(|record| is_wanted(record)).map(shown::record).collect()
    }
}
