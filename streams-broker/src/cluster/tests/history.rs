//! Histories of transactions at random, against a model that believes only what it was told.
//!
//! Two transactional ids, each with an owner and the zombies that owned it before, by either
//! protocol. The model: a value is committed if the produce and then the commit were acknowledged.
//! After each step a reader sees, of both partitions, exactly the committed values up to the last
//! stable offset, in order (BRK-3); that offset never goes back (BRK-2); the group's offset is the
//! last committed one (BRK-5); and no zombie was told that it did anything (BRK-4).

use super::client::{Producer, Protocol};
use super::*;

const SEEDS: u64 = 60;
const STEPS: usize = 120;
const NAMES: [&str; 2] = ["left", "right"];

/// Numbers that look random, the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }
}

/// A producer, and what it was told of its open transaction.
#[derive(Clone, Debug)]
struct Handle {
    producer: Producer,
    /// Partition, offset, value.
    written: Vec<(usize, i64, String)>,
    /// The number of the commit, and the offset.
    offset: Option<(u64, i64)>,
    is_zombie: bool,
}

struct History {
    bench: Bench,
    random: Random,
    handles: Vec<Handle>,
    /// By partition: offset and value.
    committed: [BTreeMap<i64, String>; 2],
    offset: Option<(u64, i64)>,
    stable: [i64; 2],
    next: u64,
    /// What has happened, for the one who has to read it.
    story: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::new();
        bench.compared_every = 100;
        let mut random = Random(seed);
        bench.cluster.settings.transactions.marker_delay_ms = [0, 0, 30][random.below(3) as usize];
        let mut history = Self {
            bench,
            random,
            handles: Vec::new(),
            committed: Default::default(),
            offset: None,
            stable: [0, 0],
            next: 0,
            story: Vec::new(),
        };
        NAMES.iter().for_each(|name| history.take_over(name));
        history
    }

    fn step(&mut self) {
        // Zombies are the smaller part of it.
        let at = loop {
            let at = self.random.below(self.handles.len() as u64) as usize;
            if !self.handles[at].is_zombie || self.random.below(4) == 0 {
                break at;
            }
        };
        match self.random.below(20) {
            0..=8 => self.produce(at),
            9..=10 => self.commit_offset(at),
            11..=14 => self.end(at, true),
            15..=16 => self.end(at, false),
            17 => {
                let name = NAMES[self.random.below(2) as usize];
                self.take_over(name);
            }
            _ => {
                let ms = [1, 40, 6_000][self.random.below(3) as usize];
                self.story.push(format!("{ms} ms go by"));
                self.bench.wait(ms);
            }
        }
        self.check();
    }

    fn take_over(&mut self, name: &str) {
        let protocol = [Protocol::V1, Protocol::V2][self.random.below(2) as usize];
        // At most: the transaction before is ended, its markers come, the epoch is bumped.
        let given = (0..3).find_map(|_| {
            let given = self.bench.init(Some(name), None);
            self.bench.wait(30);
            given.ok()
        });
        let (id, epoch) = given.expect("an initialisation comes through");
        self.story.push(format!("{name} is taken over by {protocol:?} {id}/{epoch}"));
        for handle in &mut self.handles {
            handle.is_zombie |= handle.producer.name.as_deref() == Some(name);
        }
        let zombies = self.handles.iter().filter(|handle| handle.is_zombie).count();
        if zombies > 4 {
            let oldest = self.handles.iter().position(|handle| handle.is_zombie);
            oldest.map(|at| self.handles.remove(at));
        }
        let name = Some(name.to_owned());
        let producer = Producer { protocol, name, id, epoch, sequences: BTreeMap::new() };
        self.handles.push(Handle { producer, written: vec![], offset: None, is_zombie: false });
    }

    fn produce(&mut self, at: usize) {
        self.next += 1;
        let (value, partition) = (format!("v{}", self.next), self.random.below(2) as usize);
        let handle = &mut self.handles[at];
        let index = i32::try_from(partition).unwrap();
        let before = handle.producer.clone();
        let told = self.bench.produce(&mut handle.producer, index, &[&value]);
        self.story.push(format!("{before:?} writes {value} to {partition}: {told:?}"));
        let Ok(base) = told else {
            return;
        };
        assert!(!handle.is_zombie, "BRK-4: a zombie wrote");
        if self.random.below(4) == 0 {
            // The reply was lost: the same once more.
            let again = self.bench.produce_only(&mut before.clone(), index, &[&value]);
            assert_eq!(again, Ok(base), "a repetition is told what the first one was");
        }
        handle.written.push((partition, base, value));
    }

    fn commit_offset(&mut self, at: usize) {
        self.next += 1;
        let handle = &mut self.handles[at];
        let offset = i64::try_from(self.next).unwrap();
        let code = self.bench.commit_offset(&handle.producer, offset, ("", -1));
        self.story.push(format!("{:?} commits offset {offset}: {code}", handle.producer));
        if code == 0 {
            assert!(!handle.is_zombie, "BRK-4: a zombie committed an offset");
            handle.offset = Some((self.next, offset));
        }
    }

    fn end(&mut self, at: usize, commit: bool) {
        let handle = &mut self.handles[at];
        let before = handle.producer.clone();
        let code = self.bench.end(&mut handle.producer, commit);
        self.story.push(format!("{before:?} ends with {commit}: {code}"));
        if code != 0 {
            return;
        }
        if handle.is_zombie {
            // An end by KIP-890 in the epoch before an owner's by the older protocol is to Kafka a
            // retry of the owner's. The zombie had nothing open, or the epoch would be later.
            let nothing = handle.written.is_empty() && handle.offset.is_none();
            assert!(nothing, "BRK-4: a zombie ended a transaction");
            handle.producer = before;
            return;
        }
        let (written, offset) = (std::mem::take(&mut handle.written), handle.offset.take());
        if commit {
            for (partition, offset, value) in written {
                self.committed[partition].insert(offset, value);
            }
            self.offset = self.offset.max(offset);
            if self.random.below(4) == 0 {
                // The reply was lost. Markers may still be due: then it is told to ask again.
                let code = self.bench.end(&mut before.clone(), true);
                assert!([0, codes::CONCURRENT_TRANSACTIONS].contains(&code), "a retry: {code}");
            }
        }
    }

    fn check(&mut self) {
        for partition in [0, 1] {
            let read = self.bench.read(1, i32::try_from(partition).unwrap());
            assert!(read.stable >= self.stable[partition], "BRK-2: it goes back");
            self.stable[partition] = read.stable;
            let visible = self.committed[partition].range(..read.stable);
            let expected: Vec<&String> = visible.map(|(_, value)| value).collect();
            let shown: Vec<&String> = read.values.iter().collect();
            assert_eq!(shown, expected, "BRK-3: what is committed, once");
        }
        let offset = self.bench.offset(true);
        if offset != -i64::from(codes::UNSTABLE_OFFSET_COMMIT) {
            let expected = self.offset.map_or(-1, |(_, offset)| offset);
            assert_eq!(offset, expected, "BRK-5: the last committed offset");
        }
    }

    fn finish(&mut self) {
        // All that is open times out.
        self.bench.wait(20_000);
        self.bench.wait(100);
        self.check();
        for partition in [0, 1] {
            let read = self.bench.read(1, partition);
            assert_eq!(read.stable, read.end, "BRK-3: all is decided");
        }
        assert_ne!(self.bench.offset(true), -i64::from(codes::UNSTABLE_OFFSET_COMMIT));
    }
}

#[test]
fn brk2_brk3_brk4_brk5_over_histories_at_random() {
    let mut committed = 0;
    for seed in 0..SEEDS {
        let mut history = History::new(seed);
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..STEPS).for_each(|_| history.step());
            history.finish();
        }));
        if told.is_err() {
            panic!("seed {seed}:\n{}", history.story.join("\n"));
        }
        committed += history.committed.iter().map(BTreeMap::len).sum::<usize>();
    }
    assert!(committed > 1_000, "the histories are empty: {committed}");
}
