//! Transcripts as text, and how two of them differ.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use similar::{ChangeTag, TextDiff};

const HEAD: &str = "== ";

/// What cases wrote, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript(pub BTreeMap<String, Vec<String>>);

impl Transcript {
    /// Reads a transcript; lines before the first case are comments.
    pub fn parse(text: &str) -> Self {
        let mut cases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut current = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix(HEAD) {
                current = Some(name.to_owned());
                cases.insert(name.to_owned(), Vec::new());
            } else if let Some(name) = &current
                && let Some(lines) = cases.get_mut(name)
                && !line.is_empty()
            {
                lines.push(line.to_owned());
            }
        }
        Self(cases)
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, lines) in &self.0 {
            writeln!(f, "\n{HEAD}{name}")?;
            lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        }
        Ok(())
    }
}

/// Lines that are not the same on both sides, at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// What Apache Kafka said.
    pub(super) kafka: Vec<String>,
    /// What the broker said instead.
    pub(super) ours: Vec<String>,
}

/// Where two transcripts of a case differ.
pub(super) fn differences(kafka: &[String], ours: &[String]) -> Vec<Difference> {
    let (kafka, ours): (Vec<&str>, Vec<&str>) =
        (kafka.iter().map(String::as_str).collect(), ours.iter().map(String::as_str).collect());
    let mut found: Vec<Difference> = Vec::new();
    let mut open = false;
    for change in TextDiff::from_slices(&kafka, &ours).iter_all_changes() {
        let text = change.value().to_owned();
        if change.tag() == ChangeTag::Equal {
            open = false;
            continue;
        }
        if !open {
            found.push(Difference::default());
            open = true;
        }
        if let Some(last) = found.last_mut() {
            match change.tag() {
                ChangeTag::Delete => last.kafka.push(text),
                _ => last.ours.push(text),
            }
        }
    }
    found
}

/// The transcript of a case, with what differs marked: `-` is Kafka's, `+` is the broker's.
pub fn diff(kafka: &[String], ours: &[String]) -> String {
    let (kafka, ours): (Vec<&str>, Vec<&str>) =
        (kafka.iter().map(String::as_str).collect(), ours.iter().map(String::as_str).collect());
    let mut text = String::new();
    for change in TextDiff::from_slices(&kafka, &ours).iter_all_changes() {
        let _ = writeln!(text, "{} {}", change.tag(), change.value());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_read_as_it_was_written() {
        let lines = vec!["NONE at 0".to_owned(), "  0-0: a".to_owned()];
        let transcript = Transcript(BTreeMap::from([("area::case".to_owned(), lines)]));
        let text = format!("A comment.\n{transcript}");
        assert_eq!(Transcript::parse(&text), transcript);
    }
}
