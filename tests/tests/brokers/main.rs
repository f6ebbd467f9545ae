//! The same tests on the embedded broker and on Apache Kafka.
//!
//! Where Java, Maven or kcat are missing, a test is ignored by name, with the reason;
//! `STREAMS_REQUIRE_KAFKA=1` makes that a failure.

mod async_jobs;
mod codecs;
mod contacts;
mod durable_jobs;
mod faults;
mod globals;
mod group;
mod leave;
mod migration;
mod observed;
mod outlived;
mod poison;
mod producers;
mod running_totals;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use streams_tests::broker::TestBroker;
use streams_tests::kafka::{self, Kafka};
use streams_tests::trial::{LONG, not_a_long_round, trial};

/// What a test needs beside its broker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Kcat,
    /// Java, and Kafka's jars.
    Java,
    /// A broker that takes faults.
    Faults,
}

type Body = fn(&TestBroker, &str) -> anyhow::Result<()>;

/// Most tests wait most of the time: for the load, for sessions that end, for Java.
const THREADS: usize = 7;

/// The longest first, so that none of them is left alone at the end.
const TESTS: &[(&str, Needs, Body)] = &[
    ("zombies_commit_nothing_and_come_back", Needs::Nothing, group::zombies),
    ("a_rolling_restart", Needs::Nothing, group::rolling_restart),
    ("three_members_and_back_to_one", Needs::Nothing, group::three_and_back),
    ("a_live_group_of_java_moves_here_and_back", Needs::Java, migration::cooperative_sticky),
    ("durable_jobs_have_their_effects_once", Needs::Nothing, durable_jobs::killed),
    ("pending_jobs_survive_a_restart", Needs::Nothing, durable_jobs::restarted),
    ("a_zombie_commits_nothing", Needs::Nothing, running_totals::zombie),
    ("a_live_group_moves_here_and_back", Needs::Nothing, migration::range),
    ("a_crash_is_taken_over_without_waiting", Needs::Nothing, group::crash),
    ("a_crash_is_taken_over_from_a_warm_copy", Needs::Nothing, group::standby),
    ("a_store_that_moved_away_takes_over", Needs::Nothing, group::retired),
    ("a_second_signal_ends_a_drain", Needs::Nothing, leave::second_signal),
    ("a_leave_timeout_ends_a_drain", Needs::Nothing, leave::leave_timeout),
    ("s3_each_codec_of_kafka_is_read_and_written", Needs::Nothing, codecs::each),
    ("a_restart_ends_what_a_larger_pool_left", Needs::Nothing, group::smaller_pool),
    ("c1_a_transaction_that_the_broker_times_out_is_replayed", Needs::Nothing, outlived::replayed),
    ("a_poison_event_that_is_retried_holds_up_its_key", Needs::Nothing, poison::retried_by_key),
    ("a_poison_event_parks_its_key", Needs::Nothing, poison::parked),
    ("a_poison_event_stops_the_source", Needs::Nothing, poison::stopped),
    ("a_poison_event_holds_up_its_partition", Needs::Nothing, poison::retried_by_partition),
    ("a_poison_event_is_sent_away", Needs::Nothing, poison::sent_away),
    ("a_poison_event_is_skipped", Needs::Nothing, poison::skipped),
    ("an_error_at_each_step_of_a_transaction", Needs::Faults, faults::each_step),
    ("a_global_table_has_the_last_value_of_each_key", Needs::Nothing, globals::compacted),
    ("a_global_table_shows_committed_records_alone", Needs::Nothing, globals::transactions),
    ("a_global_changelog_pauses_resumes_and_grows", Needs::Nothing, globals::paused),
    ("a_producer_tells_where_each_record_is", Needs::Nothing, producers::places),
    ("two_members_share_and_hand_over", Needs::Nothing, running_totals::two_members),
    ("running_totals_survives_sigkill", Needs::Nothing, running_totals::sigkill),
    ("async_jobs_survive_sigkill_in_the_order_of_each_key", Needs::Nothing, async_jobs::sigkill),
    ("a_restart_restores_the_store", Needs::Nothing, running_totals::restart),
    ("a_record_that_does_not_decode_stops_the_source", Needs::Nothing, running_totals::undecodable),
    ("contacts_once_prints_the_four_lines", Needs::Nothing, contacts::once),
    ("async_jobs_prints_the_lines_of_the_seed", Needs::Nothing, async_jobs::once),
    (
        "the_figures_of_a_source_agree_with_its_topics",
        Needs::Nothing,
        observed::agrees_with_the_oracle,
    ),
    ("kcat_sends_and_reads", Needs::Kcat, contacts::kcat),
    ("a_partition_count_that_differs_is_refused", Needs::Nothing, running_totals::partitions),
    ("d3_a_changelog_that_was_lost_is_refused", Needs::Nothing, running_totals::changelog_lost),
];

fn missing_kcat() -> Option<String> {
    let found = std::process::Command::new("kcat").arg("-V").output().is_ok();
    (!found).then(|| "no kcat".to_owned())
}

fn main() {
    let arguments = Arguments::from_args();
    let no_kafka = kafka::missing();
    let no_kcat = missing_kcat();
    let lists = arguments.list || arguments.exact && arguments.filter.is_none();
    // Started from the main thread, which lives as long as the process.
    let real = match (&no_kafka, lists || is_filtered_out(&arguments, "kafka::")) {
        (None, false) => match Kafka::start() {
            Ok(kafka) => Some(Arc::new(TestBroker::Kafka(kafka))),
            Err(error) => panic!("Apache Kafka does not start: {error:?}"),
        },
        _ => None,
    };
    let mut trials = Vec::new();
    let name = "kafka::the_broker_restarts_under_load".to_owned();
    trials.push(trial(name, no_kafka.clone(), kafka::REQUIRE, |_| faults::kafka_restarts()));
    let name = "kafka::a_global_table_outlives_a_restart_of_the_broker".to_owned();
    let (skip, variable) = long_round(no_kafka.clone());
    trials.push(trial(name, skip, variable, |_| globals::kafka_restarts()));
    for (name, needs, body) in TESTS {
        if *needs != Needs::Faults {
            let no_kcat = || no_kcat.clone().filter(|_| *needs == Needs::Kcat);
            let skip = no_kafka.clone().or_else(no_kcat);
            let real = real.clone();
            let name = format!("kafka::{name}");
            trials.push(trial(name, skip, kafka::REQUIRE, move |topic| match &real {
                Some(broker) => body(broker, topic),
                None => anyhow::bail!("Apache Kafka was not started"),
            }));
        }
        let (skip, variable) = match needs {
            Needs::Kcat => (no_kcat.clone(), kafka::REQUIRE),
            Needs::Java => long_round(no_kafka.clone()),
            Needs::Nothing | Needs::Faults => (None, kafka::REQUIRE),
        };
        trials.push(trial(format!("embedded::{name}"), skip, variable, move |topic| {
            body(&TestBroker::embedded()?, topic)
        }));
    }
    let name = "kafka::a_lost_request_and_a_lost_reply_at_each_step".to_owned();
    trials.push(trial(name, no_kafka.clone(), kafka::REQUIRE, |_| faults::lost_on_kafka()));
    let name = "kafka::d2_a_static_member_that_misses_a_generation_doubles_nothing".to_owned();
    trials.push(trial(name, no_kafka, kafka::REQUIRE, |_| faults::missed_generation()));
    trials.push(Trial::test("running_totals::no_broker_at_the_address", || {
        running_totals::no_broker().map_err(|error| Failed::from(format!("{error:#}")))
    }));
    let threads = arguments.test_threads.unwrap_or(THREADS);
    let arguments = Arguments { test_threads: Some(threads), ..arguments };
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The broker ends before the process does.
    drop(real);
    conclusion.exit();
}

/// Why a test of the long rounds is left out, and the variable that requires it.
fn long_round(missing: Option<String>) -> (Option<String>, &'static str) {
    match not_a_long_round() {
        None => (missing, kafka::REQUIRE),
        is_left_out => (is_left_out, LONG),
    }
}

fn is_filtered_out(arguments: &Arguments, prefix: &str) -> bool {
    let filter = arguments.filter.as_deref().unwrap_or("");
    let matches = |name: &&str| format!("{prefix}{name}").contains(filter);
    !TESTS.iter().map(|(name, _, _)| *name).any(|name| matches(&name))
}
