//! Tables under events, failures, aborts, commits and restarts. Each script runs on a hash table
//! and on an ordered one, and both must agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::codec::{Encoded, EventCodec, decode};
use crate::record::{Headers, OutputMark, Outputs, TopicPartition};

#[derive(streams_derive::StateStore, Debug)]
struct Tables {
    plain: Table<String, u64>,
    #[table("sorted.v1")]
    sorted: OrderedTable<String, u64>,
}

fn tables() -> Tables {
    Tables::create(&TopicPartition::new("t", 3))
}

/// A store in the hands of a task, and the changelog it has written.
struct Task {
    store: Tables,
    changelog: Outputs,
    topic: Arc<str>,
    event: EventSeq,
}

impl Task {
    fn new() -> Self {
        let topic = "changelog".into();
        Self { store: tables(), changelog: Outputs::default(), topic, event: EventSeq(0) }
    }

    /// `a=1` puts, `a+1` adds to what is there or to 0, `a*2` multiplies what is there, `-a`
    /// removes.
    fn change(&mut self, changes: &str) {
        for change in changes.split_whitespace() {
            let at = change.find(['=', '+', '*', '-']).unwrap();
            let (key, number) = (change[..at].to_owned(), change[at + 1..].parse());
            let Tables { plain, sorted } = &mut self.store;
            match change.as_bytes()[at] {
                b'=' => {
                    let number = number.unwrap();
                    assert_eq!(plain.put(key.clone(), number), sorted.put(key, number));
                }
                b'+' => {
                    let add = number.unwrap();
                    plain.update(key.clone(), |number| *number += add);
                    sorted.update(key, |number| *number += add);
                }
                b'*' => {
                    let factor = number.unwrap();
                    let times = |number: &mut u64| {
                        *number = number.wrapping_mul(factor);
                        *number
                    };
                    assert_eq!(plain.modify(&key, times), sorted.modify(&key, times));
                }
                _ => {
                    let key = &change[1..];
                    assert_eq!(plain.remove(key), sorted.remove(key));
                    assert!(!plain.contains_key(key));
                }
            }
        }
    }

    fn event(&mut self, changes: &str) {
        self.event = self.event.next();
        self.change(changes);
        let mut changelog = Changelog::new(&mut self.changelog, &self.topic, 3);
        self.store.drain_changes(self.event, &mut changelog).unwrap();
    }

    /// An event whose handler fails after its changes.
    fn failing_event(&mut self, changes: &str) {
        self.event = self.event.next();
        self.change(changes);
        self.store.undo_from(self.event);
    }

    fn state(&self) -> BTreeMap<String, u64> {
        state(&self.store)
    }

    /// The changelog as text: `table/key=value`, a tombstone without value.
    fn log(&self) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', "/");
        let value = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap()).to_string();
        self.changelog
            .iter()
            .map(|r| format!("{}={}", text(r.key.unwrap()), r.value.map_or(String::new(), value)))
            .collect()
    }

    fn restored(&self) -> Tables {
        let mut store = tables();
        for (offset, record) in (0..).zip(self.changelog.iter()) {
            assert_eq!((record.topic, record.partition), ("changelog", Some(3)));
            let (key, value) = (record.key.unwrap(), record.value);
            let headers = &Headers::default();
            store.restore(Change { offset, key, value, headers }).unwrap();
        }
        store
    }
}

/// What both tables hold.
fn state(store: &Tables) -> BTreeMap<String, u64> {
    let rows = |(key, value): (&String, &u64)| (key.clone(), *value);
    let plain: BTreeMap<_, _> = store.plain.iter().map(rows).collect();
    assert!(store.sorted.iter().map(rows).eq(plain.clone()));
    assert_eq!((store.plain.len(), store.sorted.is_empty()), (plain.len(), plain.is_empty()));
    plain
}

fn shown(state: &BTreeMap<String, u64>) -> String {
    state.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

enum Step {
    Event(&'static str),
    Fails(&'static str),
    Abort(u64),
    Commit(u64),
}

#[test]
fn what_is_undone_and_what_is_not() {
    use Step::{Abort, Commit, Event, Fails};
    let cases: [(&str, &[Step], &str); 9] = [
        ("events add up", &[Event("a=1 b=2"), Event("a+1 -b c+7 c*2 d*2")], "a=2 c=14"),
        ("a failed event leaves no trace", &[Event("a=1"), Fails("a=2 b=3 -a a+9")], "a=1"),
        ("nor does one that removed", &[Event("a=1"), Fails("-a")], "a=1"),
        (
            "an abort takes several events",
            &[Event("a=1"), Event("a=2 b=2"), Event("-a"), Abort(2)],
            "a=1",
        ),
        ("all of them", &[Event("a=1"), Event("-a b=2"), Abort(1)], ""),
        ("none of them", &[Event("a=1"), Event("b=2"), Abort(3)], "a=1 b=2"),
        ("not what is committed", &[Event("a=1"), Event("a=2"), Commit(2), Abort(1)], "a=1"),
        (
            "a failed event number is no gap",
            &[Event("a=1"), Fails("a=5"), Event("a=3"), Abort(3)],
            "a=1",
        ),
        (
            "the rest after a commit",
            &[Event("a=1"), Event("a+1"), Commit(2), Event("-a"), Abort(2)],
            "a=1",
        ),
    ];
    for (name, steps, expected) in cases {
        let mut task = Task::new();
        for step in steps {
            match step {
                Event(changes) => task.event(changes),
                Fails(changes) => task.failing_event(changes),
                Abort(from) => task.store.undo_from(EventSeq(*from)),
                Commit(before) => task.store.commit_before(EventSeq(*before)),
            }
        }
        assert_eq!(shown(&task.state()), expected, "{name}");
    }
}

#[test]
fn a_key_is_logged_once_an_event_with_its_last_value() {
    let mut task = Task::new();
    task.event("a=1 b=5 a+1 a+1 b=6");
    task.event("a=9 -a c=1 -c -d");
    let plain: Vec<_> = task.log().into_iter().filter(|row| row.starts_with("plain")).collect();
    assert_eq!(plain, ["plain/a=3", "plain/b=6", "plain/a=", "plain/c="]);
    assert_eq!(task.log().len(), 2 * plain.len());
    assert!(task.log().contains(&"sorted.v1/a=3".to_owned()));
}

#[test]
fn many_changes_of_one_event_are_logged_once_too() {
    let mut task = Task::new();
    let changes: Vec<String> = (0..1_000).map(|n| format!("k{}+1", n % 400)).collect();
    task.event(&changes.join(" "));
    assert_eq!(task.log().len(), 2 * 400);
    assert_eq!(state(&task.restored()), task.state());
}

#[test]
fn an_event_without_changes_logs_nothing() {
    let mut task = Task::new();
    task.event("");
    task.event("-a b*2");
    assert_eq!(task.log(), Vec::<String>::new());
}

/// Any history of events, failures and aborts, against snapshots; what the changelog of the events
/// that stayed restores is what the store holds.
#[test]
fn any_history_is_what_its_events_left() {
    let mut seed = 11u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for _ in 0..200 {
        let mut task = Task::new();
        // Before each event: its number, the rows, and where its changes start in the changelog.
        let mut before: Vec<(EventSeq, BTreeMap<String, u64>, OutputMark)> = vec![];
        let mut committed = EventSeq(0);
        for _ in 0..random(40) {
            let change = |n| ["a=1", "b+2", "-a", "c*3", "a+1", "-b", "c=4", "d=5"][n as usize];
            let changes: Vec<_> = (0..random(12)).map(|_| change(random(8))).collect();
            match random(8) {
                0 => task.failing_event(&changes.join(" ")),
                1 if !before.is_empty() => {
                    let at = random(before.len() as u64) as usize;
                    let (event, rows, mark) = before[at].clone();
                    if event < committed {
                        continue;
                    }
                    before.truncate(at);
                    task.store.undo_from(event);
                    task.changelog.truncate(mark);
                    assert_eq!(task.state(), rows);
                }
                2 => {
                    let before = EventSeq(task.event.0.saturating_sub(random(4)));
                    committed = committed.max(before);
                    task.store.commit_before(committed);
                }
                _ => {
                    before.push((task.event.next(), task.state(), task.changelog.mark()));
                    task.event(&changes.join(" "));
                }
            }
        }
        assert_eq!(state(&task.restored()), task.state());
    }
}

#[test]
fn what_is_no_row_is_an_error_that_names_the_table() {
    let number = 7u64.to_be_bytes();
    for (key, value, expected) in [
        (&b"plain\0a"[..], &number[..], None),
        (b"plain\0", &number, None),
        (
            b"plain\0\xff",
            &number,
            Some("table `plain`: can't decode alloc::string::String: the key is not UTF-8"),
        ),
        (b"sorted.v1\0a", b"short", Some("table `sorted.v1`: can't decode u64: it has 5 bytes")),
        (
            b"sorted\0a",
            &number,
            Some("table `sorted`, and the store's tables are `plain`, `sorted.v1`: if the field"),
        ),
        (b"a", &number, Some("no table's name before its key")),
        (b"", &number, Some("no table's name before its key")),
    ] {
        let change = Change { offset: 42, key, value: Some(value), headers: &Headers::default() };
        let message = tables().restore(change).err().map(|error| error.to_string());
        match (&message, expected) {
            (None, None) => {}
            (Some(message), Some(part)) => {
                assert!(message.contains(part), "{message}");
                assert!(message.contains("record at offset 42"), "{message}");
            }
            _ => panic!("{key:?}: {message:?}"),
        }
    }
}

#[test]
fn ordered_tables_are_in_order() {
    let mut task = Task::new();
    task.event("b=2 a=1 c=3");
    let sorted = &task.store.sorted;
    assert_eq!(sorted.iter().rev().map(|(_, n)| *n).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(sorted.range("b".to_owned()..).map(|(_, n)| *n).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((sorted.first().unwrap().1, sorted.last().unwrap().1), (&1, &3));
    assert_eq!((&task.store.plain).into_iter().count(), 3);
}

/// A value that its codec can't always write.
#[derive(Clone, Debug, Default)]
struct Even(u64);

enum EvenOnly {}

impl crate::codec::Codec<'_, Even> for EvenOnly {
    fn encode(value: &Even, out: &mut Vec<u8>) -> Result<(), CodecError> {
        if value.0 % 2 == 1 {
            return Err(CodecError::encode::<Even>("it is odd"));
        }
        out.extend_from_slice(&value.0.to_be_bytes());
        Ok(())
    }

    fn decode(encoded: Encoded<'_>) -> Result<Even, CodecError> {
        decode::<u64>(encoded).map(Even)
    }
}

impl EventCodec<'_> for Even {
    type Via = EvenOnly;
}

#[derive(streams_derive::StateStore, Debug)]
struct TwoTables {
    fine: Table<String, u64>,
    #[table("halves.v2")]
    halves: Table<String, Even>,
}

#[test]
fn an_encode_error_names_the_table() {
    let mut store = TwoTables::create(&TopicPartition::new("t", 0));
    let (mut outputs, topic) = (Outputs::default(), "changelog".into());
    store.fine.put("a".to_owned(), 1);
    store.halves.put("a".to_owned(), Even(3));
    let mut changelog = Changelog::new(&mut outputs, &topic, 0);
    let error = store.drain_changes(EventSeq(1), &mut changelog).unwrap_err();
    assert!(matches!(&error, CodecError::Table { table, .. } if table == "halves.v2"), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("a row of table `halves.v2`: can't encode "), "{text}");
    assert!(text.ends_with("it is odd"), "{text}");
}
