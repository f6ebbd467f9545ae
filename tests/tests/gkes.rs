//! The guide for users of GKES: it has each of GKES's names, and what it says of taking over a GKES
//! application's topics is so.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use streams_broker::Broker;
use streams_core::codec::{CodecError, LexoInt64};
use streams_core::eos::EosConfig;
use streams_core::group::Assignor;
use streams_core::metrics::Operation;
use streams_core::prelude::*;
use streams_core::record::{ProducerRecord, RECORD_TYPE_HEADER, TopicPartition};
use streams_core::store::{Change, Changelog, EventSeq, UndoLog};
use streams_core::{SourceBuilder, SourceError};
use streams_tests::broker::create_compacted_topics;
use streams_tests::oracle::read_committed;

const GUIDE: &str = "docs/from-gkes.md";
const NAMES: &str = "tests/data/gkes-exports.txt";

/// The rows whose counterpart says `not yet`. The number may only shrink.
const NOT_YET: usize = 1;

/// What the counterpart says where the guide promises nothing.
const MISSING: &str = "not yet";
const NOT_NEEDED: &str = "not needed: ";
const NOTHING: &str = "—";

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One row of the guide's tables.
#[derive(Debug)]
struct Row {
    name: String,
    counterpart: String,
    covered_by: String,
}

impl Row {
    /// The row of a line, if it is one; the line is quoted if it is none but begins as one does.
    fn of(line: &str) -> Option<Result<Self, String>> {
        let cells = line.strip_prefix("| `")?;
        let broken = || format!("not a row of three columns: {line}");
        let row = || {
            let (name, cells) = cells.split_once("` | ")?;
            let (counterpart, covered_by) = cells.strip_suffix(" |")?.split_once(" | ")?;
            let [counterpart, covered_by] = [counterpart, covered_by].map(str::trim);
            let one_more = covered_by.contains(" | ");
            let (name, counterpart) = (name.to_owned(), counterpart.to_owned());
            (!one_more).then(|| Self { name, counterpart, covered_by: covered_by.to_owned() })
        };
        Some(row().ok_or_else(broken))
    }

    /// Returns what is wrong with the row.
    fn mistakes(&self) -> Vec<String> {
        let Self { name, counterpart, covered_by } = self;
        let promises = !counterpart.starts_with(NOT_NEEDED) && !counterpart.contains(MISSING);
        if counterpart.is_empty() {
            return vec![format!("{name}: no counterpart")];
        }
        if covered_by == NOTHING {
            let uncovered = format!("{name}: no test covers the counterpart");
            return if promises { vec![uncovered] } else { vec![] };
        }
        let spans: Vec<&str> = covered_by.split(", ").collect();
        let wrong = spans.iter().filter_map(|span| not_found(span).err());
        wrong.map(|error| format!("{name}: {error}")).collect()
    }
}

/// Looks for what a code span names: a file, or `file::function`.
fn not_found(span: &str) -> Result<(), String> {
    let place = span.strip_prefix('`').and_then(|span| span.strip_suffix('`'));
    let place = place.ok_or_else(|| format!("`covered by` is no code span: {span}"))?;
    let (file, function) =
        place.split_once("::").map_or((place, None), |(file, name)| (file, Some(name)));
    let text = fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))?;
    let Some(function) = function else { return Ok(()) };
    let begin = format!("fn {function}");
    let is_whole = |rest: &str| rest.starts_with(['(', '<']);
    match text.split(&begin).skip(1).any(is_whole) {
        true => Ok(()),
        false => Err(format!("{file} has no function `{function}`")),
    }
}

/// Returns all that is wrong with the guide's tables.
fn mistakes(guide: &str, names: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for line in guide.lines() {
        match Row::of(line) {
            None => {}
            Some(Err(broken)) => found.push(broken),
            Some(Ok(row)) => {
                if let Some(former) = rows.insert(row.name.clone(), row) {
                    found.push(format!("{}: two rows", former.name));
                }
            }
        }
    }
    let names = names.lines().filter(|line| !line.starts_with('#'));
    let mut expected = BTreeSet::new();
    for name in names {
        if !expected.insert(name) {
            found.push(format!("{name}: twice in the list of names"));
        }
        if !rows.contains_key(name) {
            found.push(format!("{name}: no row"));
        }
    }
    let unknown = rows.keys().filter(|name| !expected.contains(name.as_str()));
    found.extend(unknown.map(|name| format!("{name}: not a name of GKES")));
    found.extend(rows.values().flat_map(Row::mistakes));
    found
}

#[test]
fn each_name_of_gkes_has_a_row_with_its_counterpart_and_its_test() {
    let names = read(NAMES);
    let count = names.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(count, 334, "{NAMES} lacks names of GKES v1.0.6");
    let mistakes = mistakes(&read(GUIDE), &names);
    assert!(mistakes.is_empty(), "{GUIDE}:\n{}", mistakes.join("\n"));
}

#[test]
fn the_names_without_a_counterpart_get_fewer() {
    let guide = read(GUIDE);
    let rows = guide.lines().filter_map(|line| Row::of(line)?.ok());
    let missing = rows.filter(|row| row.counterpart.contains(MISSING)).count();
    assert!(missing <= NOT_YET, "{missing} rows say `{MISSING}`, and {NOT_YET} may");
    assert!(missing == NOT_YET, "only {missing} rows say `{MISSING}`: lower NOT_YET");
}

#[test]
fn each_mistake_in_the_guide_is_found() {
    let good =
        "| `A` | [`B`](crate::B) | `tests/tests/gkes.rs::each_mistake_in_the_guide_is_found` |";
    let also = "| `C` | not needed: none | — |";
    let guide = |rows: &[&str]| rows.join("\n");
    let in_all = |rows: &[&str]| mistakes(&guide(rows), "# a comment\nA\nC");
    assert!(in_all(&[good, also]).is_empty(), "{:?}", in_all(&[good, also]));
    let one = |rows: &[&str], says: &str| {
        let found = in_all(rows);
        assert!(found.iter().any(|found| found.contains(says)), "{found:?} lacks: {says}");
    };
    one(&[good], "C: no row");
    one(&[good, also, "| `D` | not needed: none | — |"], "D: not a name of GKES");
    one(&[good, also, also], "C: two rows");
    one(&[good, "| `C` |  | — |"], "C: no counterpart");
    one(&[good, "| `C` | [`B`](crate::B) | — |"], "C: no test covers the counterpart");
    one(&[good, "| `C` | [`B`](crate::B) |"], "not a row of three columns");
    one(&[good, "| `C` | `B` | `tests/tests/none.rs::f` |"], "C: tests/tests/none.rs: ");
    one(
        &[good, "| `C` | `B` | `tests/tests/gkes.rs::each_mistake` |"],
        "no function `each_mistake`",
    );
    one(&[good, "| `C` | `B` | tests/tests/gkes.rs |"], "no code span");
    let twice = mistakes(&guide(&[good, also]), "A\nC\nC");
    assert_eq!(twice, ["C: twice in the list of names"]);
}

#[test]
fn constants_and_defaults_are_those_of_gkes() {
    assert_eq!(RECORD_TYPE_HEADER, "__grt__");
    assert_eq!(LexoInt64::SIZE_BYTES, 9);
    assert_eq!(Assignor::IncrCoop.name(), "incr_coop");
    assert_eq!(Operation::TxnCommit.name(), "TxnCommit");
    assert_eq!(Operation::PartitionPrepped.name(), "PartitionPrepped");
    let of_gkes = EosConfig::default()
        .pool_size(3)
        .and_then(|eos| eos.pending_transactions(1))
        .and_then(|eos| eos.target_batch_size(1_000))
        .and_then(|eos| eos.max_batch_size(10_000))
        .and_then(|eos| eos.batch_delay(Duration::from_millis(10)));
    assert_eq!(of_gkes.unwrap(), EosConfig::default());
}

const PATIENCE: Duration = Duration::from_secs(20);
const GROUP: &str = "contacts";
const INPUT: &str = "contact-events";
/// GKES's default name.
const CHANGELOG: &str = "gkes_change_log_contact-events_contacts";
/// The key of GKES's own markers, and their only header, which has no value.
const MARK: &str = "gkes__mark";

/// A row as Go's JSON has it.
#[derive(EventCodec, Serialize, Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Contact {
    id: String,
    visits: u64,
}

#[derive(Events)]
enum ContactEvent {
    Visit(String),
}

static VISITS: Topic<ContactEvent> = Topic::new("visits");

/// The guide's store: it reads and writes the changelog of a `SimpleStore`.
#[derive(Default)]
struct Contacts {
    rows: BTreeMap<String, Contact>,
    /// For each change its key, and the row before it.
    former: UndoLog<(String, Option<Contact>)>,
}

impl Contacts {
    fn put(&mut self, row: Contact) {
        let key = row.id.clone();
        let former = self.rows.insert(key.clone(), row);
        self.former.push((key, former));
    }
}

impl StateStore for Contacts {
    fn create(_: &TopicPartition) -> Self {
        Self::default()
    }

    fn drain_changes(
        &mut self,
        event: EventSeq,
        changelog: &mut Changelog<'_>,
    ) -> Result<(), CodecError> {
        let keys: BTreeSet<&String> = self.former.pending().map(|(key, _)| key).collect();
        for key in keys {
            let mut record = changelog.record();
            record.headers([(RECORD_TYPE_HEADER, Some(&b"Contact"[..]))]);
            record.key_with(|out| {
                out.extend_from_slice(key.as_bytes());
                Ok::<_, CodecError>(())
            })?;
            if let Some(row) = self.rows.get(key) {
                record.value_with(|out| streams_core::codec::encode(row, out))?;
            }
            record.finish();
        }
        self.former.assign(event);
        Ok(())
    }

    fn undo_from(&mut self, event: EventSeq) {
        while let Some((key, former)) = self.former.pop_from(event) {
            match former {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }

    fn commit_before(&mut self, event: EventSeq) {
        self.former.commit_before(event);
    }

    fn restore(&mut self, change: Change<'_>) -> Result<(), CodecError> {
        if change.headers.get(MARK).is_some() {
            return Ok(());
        }
        let key = String::from_utf8(change.key.to_vec()).map_err(|error| change.error(error))?;
        match change.value {
            Some(json) => {
                let row = serde_json::from_slice(json).map_err(|error| change.error(error))?;
                self.rows.insert(key, row);
            }
            None => _ = self.rows.remove(&key),
        }
        Ok(())
    }
}

#[event_source(events = ContactEvent, store = Contacts)]
mod by_hand {
    use super::*;

    #[event_handler("Visit")]
    fn visit(ctx: &mut EventContext<Contacts>, id: String) -> Result<ExecutionState> {
        let visits = ctx.store.rows.get(&id).map_or(0, |row| row.visits) + 1;
        ctx.store.put(Contact { id: id.clone(), visits });
        ctx.forward(&VISITS, &id, ContactEvent::Visit(format!("{id}={visits}")))?;
        Ok(Complete)
    }
}

#[derive(StateStore)]
struct Derived {
    contacts: Table<String, Contact>,
}

#[event_source(events = ContactEvent, store = Derived)]
mod derived {
    use super::*;

    #[event_handler("Visit")]
    fn visit(ctx: &mut EventContext<Derived>, id: String) -> Result<ExecutionState> {
        ctx.store.contacts.update(id, |row| row.visits += 1);
        Ok(Complete)
    }
}

/// What a GKES application left: three events, two of them processed, and a changelog with a row, a
/// row that is deleted, and a marker.
struct Left {
    broker: Broker,
    producer: EventProducer<ContactEvent>,
}

impl Left {
    fn new() -> Self {
        let broker = Broker::builder().topic(INPUT, 1).topic(VISITS.name(), 1).start().unwrap();
        create_compacted_topics(&broker.bootstrap(), &[(CHANGELOG, 1)]).unwrap();
        let producer = EventProducer::new(&broker.bootstrap(), Topic::new(INPUT)).unwrap();
        let left = Self { broker, producer };
        ["a", "a", "a"].iter().for_each(|id| left.visit(id));
        left.log(|row| row.key("a").value(r#"{"Id":"a","Visits":1}"#));
        left.log(|row| row.key("b").value(r#"{"Id":"b","Visits":9}"#));
        left.log(|mark| mark.key(MARK).header(MARK, None).value("0f1e2d3c"));
        left.log(|row| row.key("a").value(r#"{"Id":"a","Visits":2}"#));
        left.log(|deleted| deleted.key("b"));
        left.producer.flush(PATIENCE).unwrap();
        left
    }

    fn visit(&self, id: &str) {
        self.producer.send(id, &ContactEvent::Visit(id.to_owned())).unwrap();
        self.producer.flush(PATIENCE).unwrap();
    }

    fn log(&self, record: impl FnOnce(ProducerRecord) -> ProducerRecord) {
        let record = record(ProducerRecord::to(CHANGELOG).partition(0));
        self.producer.send_record(record).unwrap();
    }

    /// Commits an offset as `kafka-consumer-groups.sh --reset-offsets` does.
    fn reset_offsets(&self, offset: i64) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker.bootstrap()).set("group.id", GROUP);
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(INPUT, 0).set_offset(Offset::Offset(offset)).unwrap();
        consumer.commit(&list, CommitMode::Sync).unwrap();
    }

    fn source<A: EventSource<Shared = ()>>(&self) -> SourceBuilder<A> {
        A::builder().bootstrap(self.broker.bootstrap()).group(GROUP).topic(INPUT)
    }

    fn outputs(&self, at_least: usize) -> Vec<String> {
        let bootstrap = self.broker.bootstrap();
        let read = read_committed(&bootstrap, VISITS.name(), at_least, PATIENCE).unwrap();
        read.into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
    }
}

#[test]
fn a_store_written_by_hand_continues_from_a_gkes_changelog() {
    let left = Left::new();
    left.reset_offsets(2);
    for visits in 3..6 {
        // Restarted each time, so the second and third read what this framework wrote too.
        let source = left.source::<by_hand::Source>().start().unwrap();
        assert_eq!(left.outputs(visits - 2).last().unwrap(), &format!("a={visits}"));
        source.stop();
        source.wait().unwrap();
        left.visit("a");
    }
    left.visit("b");
    let source = left.source::<by_hand::Source>().start().unwrap();
    assert_eq!(left.outputs(5), ["a=3", "a=4", "a=5", "a=6", "b=1"]);
    source.stop();
    source.wait().unwrap();
}

#[test]
fn without_offsets_or_with_a_derived_store_a_gkes_changelog_is_refused() {
    let left = Left::new();
    let source = left.source::<by_hand::Source>().start().unwrap();
    let error = source.wait().expect_err("the offsets are missing");
    assert!(matches!(error, SourceError::OffsetMissing { .. }), "{error}");
    left.reset_offsets(2);
    let source = left.source::<derived::Source>().start().unwrap();
    let error = source.wait().expect_err("the rows are of another store").to_string();
    assert!(error.contains("no table's name before its key"), "{error}");
}
