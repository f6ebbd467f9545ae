//! The control thread's book, told by hand what the group and the workers say.

use std::sync::Mutex;

use super::*;
use crate::client::CoordinatorWatch;
use crate::client::wire::{ClientError, Endpoint};
use crate::eos::Snapshot;
use crate::runtime::history::CommittedWith;
use crate::runtime::prepare::Clients;
use crate::runtime::takeover::TakeOver;
use crate::runtime::{ChangelogMissing, RunState, StartFrom};

/// A control thread with one worker, which has partition 3.
struct Bench {
    control: Control,
    words: Arc<Mutex<Vec<String>>>,
    commands: UnboundedReceiver<GroupCommand>,
}

fn at() -> TopicPartition {
    TopicPartition::new("in", PARTITION)
}

const PARTITION: i32 = 3;

const TIMEOUTS: Timeouts =
    Timeouts { leave_timeout: Duration::ZERO, max_poll_interval: Duration::from_secs(60) };

fn name() -> Partitions {
    Partitions::from([("in".to_owned(), PARTITION)])
}

fn text(word: &Word) -> String {
    match word {
        Word::Assign(_) => "assign".to_owned(),
        Word::Warm(_, ends) => format!("warm {ends:?}"),
        Word::Forget(_) => "forget".to_owned(),
        Word::Revoke(_) => "revoke".to_owned(),
        Word::Retire(_) => "retire".to_owned(),
        Word::Suspend(_) => "suspend".to_owned(),
        Word::Resume(_) => "resume".to_owned(),
        Word::LoseAll => "lose all".to_owned(),
        Word::Hold(hold) => format!("hold {hold}"),
        Word::Release => "release".to_owned(),
        Word::Generation(_) => "generation".to_owned(),
        Word::Confirmed(question) => format!("confirmed {question}"),
        Word::CopyAgeMax(age_max) => format!("copy age {age_max:?}"),
        Word::Resolved(..) => "resolved".to_owned(),
        Word::Stop => "stop".to_owned(),
        Word::StopNow => "stop now".to_owned(),
    }
}

impl Bench {
    fn new(keeps_standbys: bool) -> Self {
        let (endpoint, group) = (Endpoint::plaintext("127.0.0.1:1"), "g".to_owned());
        let take_over = TakeOver {
            endpoint: endpoint.clone(),
            group: group.clone(),
            instance: "i".to_owned(),
            producers: 3,
            changelog: "changes".to_owned(),
            said_hidden: Arc::default(),
        };
        let settings = PrepareSettings {
            endpoint,
            group,
            source: "in".into(),
            changelog: "changes".to_owned(),
            outage_timeout: std::time::Duration::from_secs(1),
            changelog_tag: None,
            changelog_missing: ChangelogMissing::default(),
            counts: crate::handler::PartitionCounts::default(),
            start_from: StartFrom::default(),
            take_over,
            clients: Clients::default(),
            coordinator: CoordinatorWatch::default(),
        };
        let words: Arc<Mutex<Vec<String>>> = Arc::default();
        let said = Arc::clone(&words);
        let send = move |word: Word| said.lock().expect("no panic").push(text(&word));
        let worker = WorkerHandle { send: Box::new(send), pulse: Arc::default() };
        let state = SharedState::default();
        let mut control = Control::new(&settings, TIMEOUTS, vec![worker], state);
        control.keeps_standbys = keeps_standbys;
        control.owned.insert(PARTITION, 0);
        let commands = control.group_inbox.take().expect("it is new");
        Self { control, words, commands }
    }

    /// What the worker was told since.
    fn words(&self) -> Vec<String> {
        std::mem::take(&mut self.words.lock().expect("no panic"))
    }

    fn rejoining(&mut self, hold: u64, outgoing: Partitions) -> Vec<String> {
        self.control.group_event(GroupEvent::Rejoining { hold, outgoing });
        self.words()
    }

    fn held(&mut self, hold: u64) {
        let suspended = vec![PARTITION];
        self.control.worker_says(FromWorker::Held { worker: 0, hold, suspended });
    }

    fn ends(&mut self, hold: u64, ends: (i64, i64)) {
        let ends = Ok(ChangelogEnds::from([(PARTITION, ends)]));
        self.control.done(Done::HoldEnds { hold, ends });
    }

    /// The partition is another's from now on, and a copy of it is wanted here.
    fn given_on(&mut self) -> Vec<String> {
        let generation = Generation {
            group_id: "g".into(),
            member_id: "m".into(),
            generation_id: 2,
            instance_id: None,
        };
        self.control.group_event(GroupEvent::Joined {
            generation,
            assigned: Partitions::new(),
            handed_over: Partitions::new(),
            revoked: name(),
            owned: Partitions::new(),
            warm: name(),
        });
        self.words()
    }

    /// What the member was told was released.
    fn released(&mut self) -> Option<(u64, Partitions)> {
        match self.commands.try_recv() {
            Ok(GroupCommand::Held(hold, released)) => Some((hold, released)),
            _ => None,
        }
    }
}

#[tokio::test]
async fn one_that_is_given_on_stays_as_a_copy_from_where_its_changelog_ended_then() {
    let mut bench = Bench::new(true);
    assert_eq!(bench.rejoining(1, name()), ["suspend", "hold 1"]);
    bench.held(1);
    assert_eq!(bench.released(), None, "the end is asked before anybody else has it");
    bench.ends(1, (0, 7));
    assert_eq!(bench.released(), Some((1, name())));
    assert_eq!(bench.given_on(), ["retire"]);
    // Its worker has not answered when the next hold begins, and the next owner writes.
    assert_eq!(bench.rejoining(2, Partitions::new()), ["hold 2"]);
    bench.control.worker_says(FromWorker::Retired(at()));
    assert_eq!(bench.words(), ["warm (0, 7)"]);
}

#[tokio::test]
async fn without_that_end_its_store_is_no_copy() {
    let mut bench = Bench::new(false);
    bench.rejoining(1, name());
    bench.held(1);
    assert_eq!(bench.released(), Some((1, name())));
    assert_eq!(bench.given_on(), ["revoke"], "the next owner writes already");
}

#[tokio::test]
async fn an_end_that_is_known_late_is_not_the_end_of_what_goes_on() {
    let mut bench = Bench::new(true);
    bench.rejoining(1, name());
    bench.held(1);
    bench.control.group_event(GroupEvent::Waiting { resumed: name() });
    assert_eq!(bench.words(), ["resume", "release"]);
    bench.ends(1, (0, 7));
    assert_eq!(bench.given_on(), ["retire"]);
    bench.control.worker_says(FromWorker::Retired(at()));
    assert_eq!(bench.words(), [""; 0], "it is asked again");
}

#[tokio::test]
async fn what_a_worker_says_of_an_earlier_hold_is_not_of_this_one() {
    let mut bench = Bench::new(false);
    bench.rejoining(1, name());
    bench.rejoining(2, name());
    bench.held(1);
    assert_eq!(bench.released(), None);
    bench.held(2);
    assert_eq!(bench.released(), Some((2, name())));
}

#[tokio::test]
async fn a_late_end_of_an_earlier_assignment_is_not_acknowledged() {
    let mut bench = Bench::new(false);
    bench.control.worker_says(FromWorker::Drained(at()));
    assert!(bench.commands.try_recv().is_err(), "it is ours again");
    bench.given_on();
    bench.control.worker_says(FromWorker::Drained(at()));
    let said = bench.commands.try_recv();
    assert!(matches!(said, Ok(GroupCommand::Acknowledge(partitions, 2)) if partitions == name()));
}

#[tokio::test]
async fn one_that_was_lost_while_it_retired_is_not_acknowledged_and_its_copy_goes() {
    let mut bench = Bench::new(true);
    assert_eq!(bench.given_on(), ["retire"]);
    bench.control.worker_says(FromWorker::Retired(at()));
    bench.control.group_event(GroupEvent::Lost { reason: "expelled".to_owned() });
    assert_eq!(bench.words(), ["lose all"]);
    let ends = Ok(ChangelogEnds::from([(PARTITION, (0, 7))]));
    bench.control.done(Done::RetiredAt { number: PARTITION, round: 1, ends });
    assert_eq!(bench.words(), [""; 0]);
    assert!(bench.commands.try_recv().is_err());
    // The worker's word may come after that too.
    bench.control.worker_says(FromWorker::Retired(at()));
    assert!(bench.control.retired.is_empty(), "nothing is asked");
}

#[tokio::test]
async fn a_copy_that_the_group_has_not_confirmed_goes_when_all_is_lost() {
    let mut bench = Bench::new(true);
    bench.given_on();
    bench.control.worker_says(FromWorker::Retired(at()));
    let ends = Ok(ChangelogEnds::from([(PARTITION, (0, 7))]));
    bench.control.done(Done::RetiredAt { number: PARTITION, round: 1, ends });
    assert_eq!(bench.words(), ["warm (0, 7)"]);
    bench.control.group_event(GroupEvent::Lost { reason: "expelled".to_owned() });
    assert_eq!(bench.words(), ["lose all", "forget"], "others may have written before the end");
}

#[test]
fn a_confirmation_goes_to_the_worker_that_asked() {
    let mut bench = Bench::new(false);
    bench.control.worker_says(FromWorker::Confirm { worker: 0, question: 5 });
    let command = bench.commands.try_recv();
    let Ok(GroupCommand::Confirm(question)) = command else { panic!("{command:?}") };
    bench.control.group_event(GroupEvent::Confirmed { question: question + 1 });
    assert_eq!(bench.words(), [""; 0]);
    bench.control.group_event(GroupEvent::Confirmed { question });
    assert_eq!(bench.words(), ["confirmed 5"]);
}

#[tokio::test]
async fn s4_a_stuck_worker_is_left_behind_and_the_member_leaves() {
    let mut bench = Bench::new(false);
    let now = std::time::Instant::now();
    bench.control.watch = Watch::new(now, Duration::from_millis(1), 1);
    std::thread::sleep(Duration::from_millis(2));
    bench.control.look_for_stuck();
    assert_eq!(bench.words(), ["stop now", "stop"]);
    let left = bench.commands.try_recv();
    assert!(matches!(left, Ok(GroupCommand::Leave)), "{left:?}");
    let failure = bench.control.failure.take();
    assert!(matches!(failure, Some(SourceError::Stuck { worker: 0, .. })), "{failure:?}");
    assert!(bench.control.abandoned.contains(&0));
    bench.control.look_for_stuck();
    assert_eq!(bench.words(), [""; 0], "once");
}

#[tokio::test]
async fn s4_a_signal_that_comes_again_ends_without_a_worker_that_does_not() {
    let mut bench = Bench::new(false);
    bench.control.user_command(UserCommand::Signal);
    assert_eq!(bench.words(), ["stop"]);
    bench.control.user_command(UserCommand::Signal);
    assert_eq!(bench.words(), ["stop now"]);
    bench.control.time_is_over();
    let left = bench.commands.try_recv();
    assert!(matches!(left, Ok(GroupCommand::Leave)), "{left:?}");
    assert!(bench.control.abandoned.contains(&0));
    bench.control.time_is_over();
    assert_eq!(bench.control.phase, Phase::Ended, "nor is the coordinator waited for");
}

/// Several handles may stop a source, and its owner drops it: none of them cuts the end short.
#[tokio::test]
async fn a_stop_that_is_asked_for_again_changes_nothing() {
    let mut bench = Bench::new(false);
    let status = bench.control.state.status().fork();
    bench.control.user_command(UserCommand::Stop);
    assert_eq!(bench.words(), ["stop"]);
    assert_eq!(status.state(), RunState::Stopping, "the application's tasks hear of it");
    bench.control.user_command(UserCommand::Stop);
    assert_eq!(bench.words(), [""; 0]);
    for _ in 0..2 {
        bench.control.user_command(UserCommand::StopNow);
    }
    assert_eq!(bench.words(), ["stop now"], "the worker has its time to end");
    assert!(bench.control.abandoned.is_empty());
}

fn refused(name: &str, code: i16) -> SourceError {
    let (what, detail) = ("asking for the offsets of in-3".to_owned(), String::new());
    SourceError::Client(ClientError::Refused { what, name: name.to_owned(), code, detail })
}

fn no_broker() -> SourceError {
    let (bootstrap, reason) = ("127.0.0.1:1".to_owned(), "connection refused".to_owned());
    let tried = Duration::from_secs(5);
    SourceError::Client(ClientError::NoBroker { bootstrap, tried, reason })
}

fn not_found(bench: &mut Bench, since: std::time::Instant, numbers: &[i32], error: SourceError) {
    let retry = Retry::new(since, bench.control.settings.outage_timeout);
    let attempt = Attempt { round: 0, may_be_open: false, retry };
    let numbers = numbers.to_vec();
    bench.control.done(Done::Prepared { numbers, attempt, result: Err(error) });
}

#[tokio::test]
async fn c3_a_take_over_waits_out_an_outage_up_to_its_bound() {
    let now = std::time::Instant::now();
    for error in [no_broker, || refused("LEADER_NOT_AVAILABLE", 5)] {
        let mut bench = Bench::new(false);
        not_found(&mut bench, now, &[PARTITION], error());
        assert!(bench.control.failure.is_none(), "{:?}", bench.control.failure);
        let over = now.checked_sub(Duration::from_secs(61)).expect("the machine runs for longer");
        not_found(&mut bench, over, &[PARTITION], error());
        let text = bench.control.failure.map(|error| error.to_string()).expect("it gives up");
        assert!(text.contains("for 1s (`outage_timeout`)"), "{text}");
        assert!(text.contains(&error().to_string()), "{text}");
    }
}

#[tokio::test]
async fn c3_a_missing_right_is_no_outage() {
    let mut bench = Bench::new(false);
    let error = refused("TOPIC_AUTHORIZATION_FAILED", 29);
    not_found(&mut bench, std::time::Instant::now(), &[PARTITION], error);
    let failure = bench.control.failure.map(|error| error.to_string());
    let expected = "asking for the offsets of in-3: TOPIC_AUTHORIZATION_FAILED (29)";
    assert!(failure.as_ref().is_some_and(|text| text.contains(expected)), "{failure:?}");
}

#[tokio::test]
async fn c3_a_partition_without_a_leader_does_not_hold_up_another() {
    let mut bench = Bench::new(false);
    bench.control.owned.insert(PARTITION + 1, 0);
    let now = std::time::Instant::now();
    let error = refused("LEADER_NOT_AVAILABLE", 5);
    not_found(&mut bench, now, &[PARTITION, PARTITION + 1], error);
    // Each is looked for by itself, and the first is found.
    let attempt = Attempt { round: 0, may_be_open: false, retry: bench.control.retry() };
    let start = Snapshot::at(0);
    let found = Assignment {
        partition: at(),
        committed: None,
        committed_with: CommittedWith::Unknown,
        start,
        changelog: (0, 0),
    };
    let (numbers, result) = (vec![PARTITION], Ok(vec![found]));
    bench.control.done(Done::Prepared { numbers, attempt, result });
    assert_eq!(bench.words(), ["assign"]);
    not_found(&mut bench, now, &[PARTITION + 1], refused("LEADER_NOT_AVAILABLE", 5));
    assert!(bench.control.failure.is_none(), "{:?}", bench.control.failure);
}

#[tokio::test]
async fn c3_a_partition_that_is_lost_is_looked_for_no_more() {
    let mut bench = Bench::new(false);
    bench.control.owned.clear();
    let error = refused("TOPIC_AUTHORIZATION_FAILED", 29);
    not_found(&mut bench, std::time::Instant::now(), &[PARTITION], error);
    assert!(bench.control.failure.is_none(), "{:?}", bench.control.failure);
}

#[tokio::test]
async fn d7_the_workers_hear_for_how_long_the_changelog_keeps_tombstones() {
    let mut bench = Bench::new(false);
    let answer = |bench: &mut Bench, retention| {
        let retry = bench.control.retry();
        bench.control.done(Done::Retention { retry, retention });
        bench.words()
    };
    assert_eq!(answer(&mut bench, Ok(Some(Duration::from_secs(400)))), ["copy age 100s"]);
    assert_eq!(answer(&mut bench, Err(no_broker())), [""; 0], "the last value counts");
}

/// A bench whose member keeps a warm copy of another partition.
fn with_a_copy() -> Bench {
    let mut bench = Bench::new(false);
    bench.control.copies.joined(BTreeSet::from([COPY]), |_| false);
    bench
}

const COPY: i32 = 7;

fn copies_not_found(bench: &mut Bench, since: std::time::Instant, error: SourceError) {
    let retry = Retry::new(since, bench.control.settings.outage_timeout);
    let (partitions, ends) = (vec![COPY], Err(error));
    bench.control.done(Done::CopiesFound { partitions, retry, ends });
}

#[tokio::test]
async fn c3_a_warm_copy_waits_out_an_outage_up_to_its_bound() {
    let now = std::time::Instant::now();
    for error in [no_broker, || refused("LEADER_NOT_AVAILABLE", 5)] {
        let mut bench = with_a_copy();
        copies_not_found(&mut bench, now, error());
        assert!(bench.commands.try_recv().is_err(), "the group has no need to choose another");
        assert!(bench.control.copies.holds(COPY));
        let retry = bench.control.retry();
        let ends = Ok(ChangelogEnds::from([(COPY, (0, 7))]));
        bench.control.done(Done::CopiesFound { partitions: vec![COPY], retry, ends });
        assert_eq!(bench.words(), ["warm (0, 7)"]);
        let over = now.checked_sub(Duration::from_secs(61)).expect("the machine runs for longer");
        copies_not_found(&mut bench, over, error());
        let said = bench.commands.try_recv();
        let Ok(GroupCommand::WarmFailed(_, reason)) = said else { panic!("{said:?}") };
        assert!(reason.contains("`outage_timeout`"), "{reason}");
        assert!(!bench.control.copies.holds(COPY));
        assert!(bench.control.failure.is_none(), "the source continues without the copy");
    }
}

#[tokio::test]
async fn c3_a_warm_copy_without_a_permission_fails_at_once() {
    let mut bench = with_a_copy();
    let error = refused("TOPIC_AUTHORIZATION_FAILED", 29);
    copies_not_found(&mut bench, std::time::Instant::now(), error);
    let said = bench.commands.try_recv();
    assert!(matches!(said, Ok(GroupCommand::WarmFailed(..))), "{said:?}");
}

#[tokio::test]
async fn c3_a_copy_that_the_group_does_not_want_any_more_is_not_asked_for() {
    let mut bench = with_a_copy();
    bench.control.copies.joined(BTreeSet::new(), |_| false);
    copies_not_found(&mut bench, std::time::Instant::now(), refused("UNKNOWN", 29));
    assert!(bench.commands.try_recv().is_err());
}

#[tokio::test]
async fn c3_a_source_that_has_worked_puts_up_with_a_missing_permission_for_a_while() {
    let mut bench = Bench::new(false);
    bench.control.worker_says(FromWorker::Active(at()));
    let attempt = Attempt { round: 0, may_be_open: false, retry: bench.control.retry() };
    let (numbers, result) = (vec![PARTITION], Err(refused("TOPIC_AUTHORIZATION_FAILED", 29)));
    bench.control.done(Done::Prepared { numbers, attempt, result });
    assert!(bench.control.failure.is_none(), "{:?}", bench.control.failure);
}
