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
pub const INTENDED: &[Intended] = &[
    Intended {
        case: "configs::altered_to_nonsense",
        kafka: &["an unknown operation: UNKNOWN_SERVER_ERROR"],
        ours: &["an unknown operation: INVALID_REQUEST"],
        why: "Kafka fails inside; what is wrong is the request",
    },
    Intended {
        case: "configs::with_synonyms",
        kafka: &[],
        ours: &["log.retention.hours=168 source 5"],
        why: "Kafka leaves the default out where the broker's name for it counts hours",
    },
    Intended {
        case: "topics::create_with_a_negative_timeout",
        kafka: &["-1 ms: REQUEST_TIMED_OUT"],
        ours: &["-1 ms: NONE"],
        why: "a topic is made while the request is answered, so that no time is too short",
    },
    Intended {
        case: "versions::newer_than_the_codec",
        kafka: &[
            "ListOffsets 11-11",
            "OffsetCommit 10-10",
            "OffsetFetch 10-10",
            "ApiVersions 5-5",
            "TxnOffsetCommit 6-6",
            "DeleteGroups 3-3",
        ],
        ours: &[],
        why: "the codec ends with the versions of Kafka 4.1; clients use the newest that both know",
    },
];

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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_difference_is_an_error_that_names_the_case_and_shows_both() {
        assert_eq!(judge("area::case", &lines("a b c"), &lines("a b c")), Ok(()));
        let error = judge("area::case", &lines("a b c"), &lines("a x c")).unwrap_err();
        assert!(error.contains("area::case") && error.contains("- b") && error.contains("+ x"));
        assert!(judge("area::case", &lines("a b c"), &lines("a b")).is_err(), "a line is missing");
    }

    #[test]
    fn an_intended_difference_is_these_lines_and_no_others() {
        let entry = Intended { case: "area::case", kafka: &["b"], ours: &["x"], why: "a test" };
        let found = |kafka: &str, ours: &str| differences(&lines(kafka), &lines(ours));
        assert!(found("a b c", "a x c").iter().all(|d| entry.is(d)));
        assert!(!found("a b c", "a y c").iter().any(|d| entry.is(d)));
        assert_eq!(found("a b c d", "x b c").len(), 2, "places that are apart are two");
    }
}
