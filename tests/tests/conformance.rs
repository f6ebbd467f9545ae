//! The embedded broker against Apache Kafka, case by case.
//!
//! `kafka::` cases hold a real Apache Kafka to the transcript of its version (`conformance/`), so
//! that the transcript stays true. `STREAMS_KAFKA_VERSION` selects the version; the newest is the
//! default. `embedded::` cases hold the embedded broker to the transcript of the newest version. If
//! Java or Maven is missing, `cargo test` ignores the `kafka::` cases; `STREAMS_REQUIRE_KAFKA=1`
//! makes that a failure.

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use streams_broker::Broker;
use streams_tests::broker::TestBroker;
use streams_tests::conformance::{Case, INTENDED, PENDING, Transcript, cases, diff, judge};
use streams_tests::conformance::{newest, prepare, recorded, run};
use streams_tests::kafka::{self, Kafka};

/// Most cases wait most of the time.
const THREADS: usize = 16;

/// A broker that is there when a case needs it.
fn start(arguments: &Arguments, prefix: &str, real: bool) -> Option<Arc<TestBroker>> {
    let filter = arguments.filter.as_deref().unwrap_or("");
    let wanted = |case: &Case| match arguments.exact {
        true => format!("{prefix}{}", case.name) == filter,
        false => format!("{prefix}{}", case.name).contains(filter),
    };
    if arguments.list || !cases().iter().any(wanted) {
        return None;
    }
    let broker = match real {
        true => Kafka::start().map(TestBroker::Kafka),
        false => Broker::builder().start().map(TestBroker::Embedded).map_err(Into::into),
    };
    let ready = broker.and_then(|broker| prepare(&broker.bootstrap(), "test").map(|()| broker));
    match ready {
        Ok(broker) => Some(Arc::new(broker)),
        Err(error) => panic!("the broker for {prefix} does not start: {error:?}"),
    }
}

/// The table of cases and the record hold the same names.
fn every_case_is_recorded(recorded: &Transcript) -> Result<(), Failed> {
    let names: Vec<&str> = cases().iter().map(|case| case.name).collect();
    let recorded: Vec<&str> = recorded.0.keys().map(String::as_str).collect();
    let missing: Vec<_> = names.iter().filter(|name| !recorded.contains(name)).collect();
    let gone: Vec<_> = recorded.iter().filter(|name| !names.contains(name)).collect();
    let listed = INTENDED.iter().map(|entry| entry.case).chain(PENDING.iter().copied());
    let unknown: Vec<_> = listed.filter(|name| !names.contains(name)).collect();
    if missing.is_empty() && gone.is_empty() && unknown.is_empty() {
        return Ok(());
    }
    Err(format!("not recorded: {missing:?}; no case: {gone:?}; in a list: {unknown:?}").into())
}

fn recorded_trial(case: Case, recorded: &Transcript, broker: Option<Arc<TestBroker>>) -> Trial {
    let truth = recorded.0.get(case.name).cloned().unwrap_or_default();
    Trial::test(format!("kafka::{}", case.name), move || {
        let broker = broker.ok_or_else(|| Failed::from("Apache Kafka was not started"))?;
        let said = run(&case, &broker.bootstrap(), "test")?;
        if said == truth {
            return Ok(());
        }
        let diff = diff(&truth, &said);
        Err(format!("{}: `-` is recorded, `+` is what Kafka says\n{diff}", case.name).into())
    })
}

fn embedded_trial(case: Case, recorded: &Transcript, broker: Option<Arc<TestBroker>>) -> Trial {
    let truth = recorded.0.get(case.name).cloned().unwrap_or_default();
    Trial::test(format!("embedded::{}", case.name), move || {
        let broker = broker.ok_or_else(|| Failed::from("the broker was not started"))?;
        let said = run(&case, &broker.bootstrap(), "test")?;
        judge(case.name, &truth, &said).map_err(Failed::from)
    })
}

fn main() {
    let arguments = Arguments::from_args();
    let required = std::env::var(kafka::REQUIRE).is_ok_and(|value| value == "1");
    let missing = kafka::missing();
    let version = kafka::version().expect("a version");
    let (newest, selected) = (newest(), recorded(version));
    let embedded = start(&arguments, "embedded::", false);
    let real = match missing {
        None => start(&arguments, "kafka::", true),
        Some(_) => None,
    };
    let mut trials = Vec::new();
    for case in cases() {
        trials.push(embedded_trial(case, &newest, embedded.clone()));
        let skip = missing.is_some() && !required;
        trials.push(recorded_trial(case, &selected, real.clone()).with_ignored_flag(skip));
    }
    if let Some(reason) = &missing {
        eprintln!("Apache Kafka is not asked: {reason}");
    }
    for version in kafka::VERSIONS {
        let name = format!("every_case_is_recorded::{version}");
        trials.push(Trial::test(name, move || every_case_is_recorded(&recorded(version))));
    }
    let threads = arguments.test_threads.unwrap_or(THREADS);
    let arguments = Arguments { test_threads: Some(threads), ..arguments };
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The brokers end before the process does.
    drop((embedded, real));
    conclusion.exit();
}
