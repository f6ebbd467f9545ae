//! The short form of the chaos program: a cluster of three loses each of its leaders, and then its
//! majority, and no event is lost or doubled.
//!
//! If Java or Maven is missing, the test is listed as ignored; `STREAMS_REQUIRE_KAFKA=1` makes that
//! a failure.

use libtest_mimic::Arguments;
use streams_tests::chaos::{Settings, run};
use streams_tests::kafka;
use streams_tests::trial::trial;

fn main() {
    // The nodes end with the thread that started them, which is the main one.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let name = "kafka::a_cluster_of_three_loses_its_leaders_and_its_majority".to_owned();
    let test = trial(name, kafka::missing(), kafka::REQUIRE, |_| {
        let report = run(&Settings::short(), &mut |line| eprintln!("{line}"))?;
        eprintln!("{report}");
        report.check()
    });
    libtest_mimic::run(&arguments, vec![test]).exit();
}
