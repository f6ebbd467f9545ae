//! Where the embedded broker is meant to differ from Apache Kafka, and where it does not keep up
//! yet.

use super::transcript::{Difference, diff, differences};

/// One place in one case where another answer is intended.
#[derive(Clone, Copy, Debug)]
pub struct Intended {
    /// The case.
    pub case: &'static str,
    /// Kafka's lines.
    pub kafka: &'static [&'static str],
    /// The embedded broker's lines instead.
    pub ours: &'static [&'static str],
    /// Why.
    pub why: &'static str,
}

/// The intended differences, all of them.
pub const INTENDED: &[Intended] = &[];

/// Cases that the embedded broker does not pass yet. One that passes has to leave this list.
pub const PENDING: &[&str] = &[];

impl Intended {
    fn is(&self, difference: &Difference) -> bool {
        difference.kafka == self.kafka && difference.ours == self.ours
    }
}

/// Holds what the embedded broker said against what Apache Kafka says.
///
/// # Errors
/// What differs and is not intended; or what was listed and does not differ.
pub fn judge(case: &str, kafka: &[String], ours: &[String]) -> Result<(), String> {
    let found = differences(kafka, ours);
    let intended: Vec<&Intended> = INTENDED.iter().filter(|entry| entry.case == case).collect();
    let unexpected = found.iter().any(|d| !intended.iter().any(|entry| entry.is(d)));
    let pending = PENDING.contains(&case);
    match (unexpected, pending) {
        (true, true) => return Ok(()),
        (true, false) => {
            let diff = diff(kafka, ours);
            return Err(format!("{case}: `-` is Apache Kafka, `+` is this broker\n{diff}"));
        }
        (false, true) => return Err(format!("{case} passes: take it off PENDING")),
        (false, false) => {}
    }
    match intended.iter().find(|entry| !found.iter().any(|d| entry.is(d))) {
        Some(entry) => Err(format!("{case}: an intended difference is gone: {:?}", entry.ours)),
        None => Ok(()),
    }
}
