//! The short form of the chaos program: a cluster of three loses each of its leaders, and then its
//! majority, and no event is lost or doubled.
//!
//! It takes three minutes, so it is one of the long rounds: without `STREAMS_LONG_TESTS=1` it is
//! listed as ignored. If Java or Maven is missing, it is ignored too, unless
//! `STREAMS_REQUIRE_KAFKA=1` is set: then it fails.

use libtest_mimic::Arguments;
use streams_tests::chaos::{Settings, run};
use streams_tests::kafka;
use streams_tests::trial::{LONG, not_a_long_round, trial};

fn main() {
    // The nodes end with the thread that started them, which is the main one.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let name = "kafka::a_cluster_of_three_loses_its_leaders_and_its_majority".to_owned();
    let (skip, variable) = match not_a_long_round() {
        None => (kafka::missing(), kafka::REQUIRE),
        is_left_out => (is_left_out, LONG),
    };
    let test = trial(name, skip, variable, |_| {
        let report = run(&Settings::short(), &mut |line| eprintln!("{line}"))?;
        eprintln!("{report}");
        report.check()
    });
    libtest_mimic::run(&arguments, vec![test]).exit();
}
