//! What is stored is what is there: after each request of any test here, a cluster that is made of
//! what was stored has the same in it.

use bytes::Bytes;

use super::client::Protocol;
use super::*;

/// A store in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    values: BTreeMap<String, Bytes>,
    partitions: BTreeMap<(Uuid, i32), StoredPartition>,
    pub(super) steps_together: usize,
}

impl MemoryStore {
    fn take(&mut self, step: StoreStep) {
        self.steps_together += usize::from(step.together && !step.values.is_empty());
        for (key, value) in step.values {
            match value {
                Some(value) => self.values.insert(key, value),
                None => self.values.remove(&key),
            };
        }
        for (topic, partition, change) in step.partitions {
            let stored = self.partitions.entry((topic, partition)).or_default();
            match change {
                PartitionChange::Append(base, batches) => {
                    assert_eq!(stored.end(), base, "it follows");
                    stored.appended.push(batches);
                }
                PartitionChange::Replace(state, batches) => {
                    let replaced = Some((state, batches));
                    *stored = StoredPartition { replaced, appended: Vec::new() };
                }
                PartitionChange::Remove => drop(self.partitions.remove(&(topic, partition))),
            }
        }
    }

    fn restore(&self, settings: Settings) -> Cluster {
        let mut cluster = Cluster::new(settings);
        let mut read = |topic, partition| {
            Ok(self.partitions.get(&(topic, partition)).cloned().unwrap_or_default())
        };
        cluster.restore(&self.values, &mut read).unwrap();
        cluster.check_invariants();
        cluster
    }
}

/// What is to be the same: where segments begin follows from the configuration of the day, and
/// that a producer was forgotten is not stored.
fn essence(log: &PartitionLog) -> serde_json::Value {
    let mut state: serde_json::Value = serde_json::from_slice(&log.state()).unwrap();
    let state_map = state.as_object_mut().unwrap();
    state_map.remove("segments");
    state_map.remove("horizons");
    let open = log.producers().iter().filter(|(_, producer)| producer.open.is_some());
    let open: Vec<(i64, i16, Option<i64>)> =
        open.map(|(id, producer)| (id, producer.epoch, producer.open)).collect();
    state_map.insert("producers".to_owned(), serde_json::to_value(open).unwrap());
    let batches: Vec<Vec<u8>> = log.batches_from(i64::MIN).map(|b| b.to_vec()).collect();
    state_map.insert("batches".to_owned(), serde_json::to_value(batches).unwrap());
    state
}

impl Bench {
    /// Stores what the last step has changed, and compares.
    pub(super) fn store_and_compare(&mut self) {
        // Tests set a topic's configuration without a request.
        let topics = self.cluster.topics.keys().map(|name| format!("topic/{name}")).collect();
        self.cluster.note_changes(&topics, false);
        while let Some(step) = self.cluster.poll_store() {
            self.store.take(step);
        }
        let restored = self.store.restore(self.cluster.settings.clone());
        assert_eq!(restored.all_values(), self.cluster.all_values());
        let names = |cluster: &Cluster| cluster.topics.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&restored), names(&self.cluster));
        for (name, topic) in &self.cluster.topics {
            let others = &restored.topics[name];
            assert_eq!((topic.id, &topic.config), (others.id, &others.config));
            assert_eq!(topic.partitions.len(), others.partitions.len());
            for (log, other) in topic.partitions.iter().zip(&others.partitions) {
                assert_eq!(essence(log), essence(other), "{name}");
            }
        }
    }

    /// Goes on with a cluster that is made of what was stored.
    fn restart(&mut self) {
        self.store_and_compare();
        self.cluster = self.store.restore(self.cluster.settings.clone());
        self.cluster.begin_storing();
    }
}

#[test]
fn an_open_transaction_goes_on_after_a_restart_or_times_out() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut bench = Bench::new();
        let (mut one, mut two) = (bench.producer(protocol, "one"), bench.producer(protocol, "two"));
        bench.produce(&mut one, 0, &["a"]).unwrap();
        bench.produce(&mut two, 0, &["b"]).unwrap();
        assert_eq!(bench.commit_offset(&one, 7, ("", -1)), 0);
        bench.restart();
        assert_eq!(bench.read(1, 0).stable, 0, "BRK-2: both are still open");
        bench.produce(&mut one, 1, &["c"]).unwrap();
        assert_eq!(bench.end(&mut one, true), 0);
        assert!(bench.store.steps_together > 0, "markers and state are one step");
        assert_eq!(bench.offset(false), 7, "BRK-5");
        bench.restart();
        assert_eq!(bench.offset(true), 7);
        bench.wait(11_000);
        assert_eq!(bench.read(1, 0).values, ["a"], "BRK-3: the other one is aborted");
        assert_ne!(bench.end(&mut two, true), 0, "BRK-4");
    }
}

#[test]
fn sequences_go_on_after_a_restart() {
    let mut bench = Bench::new();
    let (id, epoch) = bench.init(None, None).unwrap();
    let batch = |sequence| client::batch_of((id, epoch), sequence, false, &["x"]);
    assert_eq!(bench.produce_batch(8, None, 0, batch(0)), Ok(0));
    bench.restart();
    assert_eq!(bench.produce_batch(8, None, 0, batch(0)), Ok(0), "a repetition");
    assert_eq!(bench.produce_batch(8, None, 0, batch(1)), Ok(1));
    let gap = bench.produce_batch(8, None, 0, batch(3));
    assert_eq!(gap, Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_ne!(bench.init(None, None).unwrap().0, id, "a producer id is given out once");
}
