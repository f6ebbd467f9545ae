//! The health of a member, by the states that `running_totals` prints: `state Healthy`.

use std::time::{Duration, Instant};

use crate::process::Program;

const POLL: Duration = Duration::from_millis(100);

/// The states that a member has printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The last state; `None` before the first.
    pub state: Option<String>,
    /// How often a partition has begun not to advance.
    pub stalls: usize,
}

impl Health {
    /// Reads the states in a member's standard output. A last line without its end does not count.
    pub fn read(stdout: &str) -> Self {
        let mut health = Self::default();
        let whole = stdout.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        for state in whole.filter_map(|line| line.strip_prefix("state ")) {
            let word = state.split(' ').next().unwrap_or_default();
            health.stalls += usize::from(word == "Stalled");
            health.state = Some(word.to_owned());
        }
        health
    }

    /// Waits until a member is healthy. Returns its last states, whether it is or not.
    pub fn wait(member: &Program, patience: Duration) -> Self {
        let deadline = Instant::now() + patience;
        loop {
            let health = Self::read(&member.stdout());
            if health.is_healthy() || Instant::now() >= deadline {
                return health;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Returns true if the source works, and each partition advances.
    pub fn is_healthy(&self) -> bool {
        self.state.as_deref() == Some("Healthy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_state_counts_and_each_stall() {
        assert_eq!(Health::read(""), Health::default());
        let printed = "state Starting\nstate Healthy\nstate Stalled {0: Stall { .. }}\n\
                       state Healthy\nanother line\nstate Stalled {1: Stall { .. }}\n";
        let health = Health::read(printed);
        assert_eq!((health.state.as_deref(), health.stalls), (Some("Stalled"), 2));
        assert!(!health.is_healthy());
        assert!(Health::read(&format!("{printed}state Healthy\n")).is_healthy());
        assert_eq!(Health::read(&format!("{printed}state Heal")), health, "half a line");
    }
}
