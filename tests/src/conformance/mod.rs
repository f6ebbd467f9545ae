//! Conformance: named cases that talk to a broker, and what they saw, line by line.
//!
//! Apache Kafka is the truth: `tests/conformance/kafka-4.4.txt` is what its newest version said,
//! and older versions have a transcript of their own. [`OLDER`] gives a reason for each case in
//! which an older version differs. Lines hold offsets, error codes by name, placeholders for ids;
//! nothing random and no times. Each case has topics, groups and transactional ids of its own, so
//! that cases run side by side.

mod admin;
mod batches;
mod cleaning;
mod configs;
pub(crate) mod connection;
mod ctx;
mod expected;
mod fencing;
mod fetch;
mod groups;
mod isolation;
mod librdkafka;
mod listings;
mod logs;
mod malformed;
mod members;
mod offsets;
mod places;
mod produce;
mod producers;
mod recorded;
mod records;
mod run;
mod sequences;
mod static_members;
mod tidy;
mod topics;
mod transactions;
mod transcript;
mod txn_offsets;
mod versions;

pub use expected::{INTENDED, Intended, PENDING, judge};
pub use recorded::{OLDER, Older, newest, recorded};
pub use run::{prepare, run, run_all};
pub use transcript::{Transcript, diff};

use ctx::Ctx;

/// A case: what it is called, and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its area and its name.
    pub name: &'static str,
    body: fn(&mut Ctx) -> anyhow::Result<()>,
}

/// The cases of an area.
macro_rules! named {
    ($area:literal: $($name:ident),* $(,)?) => {
        pub(super) const CASES: &[$crate::conformance::Case] = &[$($crate::conformance::Case {
            name: concat!($area, "::", stringify!($name)),
            body: $name,
        }),*];
    };
}
use named;

/// All cases, in the order of the transcript.
pub fn cases() -> Vec<Case> {
    let mut cases = [
        batches::CASES,
        isolation::CASES,
        sequences::CASES,
        fencing::CASES,
        members::CASES,
        static_members::CASES,
        offsets::CASES,
        txn_offsets::CASES,
        transactions::CASES,
        produce::CASES,
        fetch::CASES,
        places::CASES,
        malformed::CASES,
        versions::CASES,
        topics::CASES,
        configs::CASES,
        listings::CASES,
        cleaning::CASES,
        librdkafka::CASES,
    ]
    .concat();
    cases.sort_by_key(|case| case.name);
    cases
}
