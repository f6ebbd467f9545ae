//! What a run measured, and whether that is as it must be.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Fault;
use super::pauses::{Pauses, Span};
use crate::oracle::Tally;

/// What one fault did.
#[derive(Clone, Debug)]
pub struct FaultReport {
    /// The fault.
    pub fault: Fault,
    /// What the fault hit, in words.
    pub target: String,
    /// The nodes that were killed.
    pub victims: Vec<i32>,
    /// After how long every partition had a leader that runs; `None` without a majority.
    pub failover: Option<Duration>,
    /// The pauses within the span.
    pub pauses: Pauses,
    /// After how long all replicas were in sync again, from the kill.
    pub in_sync: Duration,
    /// From the kill until all partitions had caught up with the load.
    pub span: Span,
}

/// What a run measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// Updates that the load generator sent.
    pub sent: u64,
    /// The faults, in order.
    pub faults: Vec<FaultReport>,
    /// The latency of half of the outputs, and of 99 of 100.
    pub latency: [Duration; 2],
    /// The oracle's count.
    pub tally: Tally,
    /// The oracle's complaint, if it has one.
    pub complaint: Option<String>,
    /// The members that stopped, and what they said last.
    pub stopped: Vec<String>,
    /// The members that were not healthy at the end, and their states.
    pub unhealthy: Vec<String>,
    /// How often a member was stalled.
    pub stalls: usize,
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, victims, pauses, .. } = self;
        write!(f, "{target}: killed {victims:?}; ")?;
        if let Some(failover) = self.failover {
            write!(f, "new leaders after {}; ", seconds(failover))?;
        }
        let (whole, partition) = (seconds(pauses.whole), seconds(pauses.partition));
        let (in_sync, caught_up) = (seconds(self.in_sync), seconds(self.span.length()));
        write!(f, "pause {whole}, of one partition {partition}; ")?;
        write!(f, "in sync after {in_sync}, caught up after {caught_up}")
    }
}

impl Report {
    /// Returns the longest pauses of the faults that left a majority.
    pub fn longest_pause(&self) -> Pauses {
        let with_majority = self.faults.iter().filter(|fault| fault.fault != Fault::Outage);
        with_majority.fold(Pauses::default(), |longest, fault| longest.max(fault.pauses))
    }

    /// Checks that nothing is lost or doubled, and that no member has stopped or is unhealthy.
    ///
    /// # Errors
    /// If it is not so.
    pub fn check(&self) -> Result<()> {
        let Tally { records, lost, doubled, sent_twice } = self.tally;
        if let Some(complaint) = &self.complaint {
            bail!("the output is wrong ({lost} lost, {doubled} doubled): {complaint}");
        }
        if lost > 0 || doubled > 0 || records != self.sent + sent_twice {
            let expected = self.sent + sent_twice;
            bail!("the output has {records} of {expected} totals: {lost} lost, {doubled} doubled");
        }
        if !self.stopped.is_empty() {
            bail!("members have stopped: {}", self.stopped.join("; "));
        }
        if !self.unhealthy.is_empty() {
            bail!("members are not healthy at the end: {}", self.unhealthy.join("; "));
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pauses { whole, partition } = self.longest_pause();
        let [median, most] = self.latency;
        let Tally { records, lost, doubled, sent_twice } = self.tally;
        write!(
            f,
            "{} records sent, {records} committed, {} faults, ",
            self.sent,
            self.faults.len()
        )?;
        write!(f, "longest pause {} (one partition {}), ", seconds(whole), seconds(partition))?;
        write!(f, "p50 {}, p99 {}, ", seconds(median), seconds(most))?;
        let (stopped, unhealthy) = (self.stopped.len(), self.unhealthy.len());
        write!(f, "{lost} lost, {doubled} doubled, {stopped} members stopped, ")?;
        write!(f, "{unhealthy} unhealthy at the end, {} times stalled", self.stalls)?;
        match sent_twice {
            0 => Ok(()),
            sent_twice => write!(f, "; the input has {sent_twice} updates twice"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(fault: Fault, seconds: u64) -> FaultReport {
        let pause = Duration::from_secs(seconds);
        FaultReport {
            fault,
            target: "the leader of in-0".to_owned(),
            victims: vec![2],
            failover: Some(Duration::from_millis(7_100)),
            pauses: Pauses { whole: pause / 2, partition: pause },
            in_sync: Duration::from_secs(31),
            span: Span { from_us: 5, to_us: 32_000_005 },
        }
    }

    fn report() -> Report {
        Report {
            sent: 10,
            faults: vec![fault(Fault::SourceLeader, 8), fault(Fault::Outage, 190)],
            latency: [Duration::from_millis(40), Duration::from_secs(9)],
            tally: Tally { records: 10, ..Tally::default() },
            complaint: None,
            stopped: Vec::new(),
            unhealthy: Vec::new(),
            stalls: 2,
        }
    }

    #[test]
    fn the_summary_names_every_figure() {
        assert_eq!(
            report().to_string(),
            "10 records sent, 10 committed, 2 faults, longest pause 4.0 s (one partition 8.0 s), \
             p50 0.0 s, p99 9.0 s, 0 lost, 0 doubled, 0 members stopped, 0 unhealthy at the end, \
             2 times stalled"
        );
        assert_eq!(
            report().faults[0].to_string(),
            "the leader of in-0: killed [2]; new leaders after 7.1 s; pause 4.0 s, of one \
             partition 8.0 s; in sync after 31.0 s, caught up after 32.0 s"
        );
    }

    #[test]
    fn each_kind_of_failure_fails_the_run() {
        assert!(report().check().is_ok());
        let tally = |records, lost, doubled| Tally { records, lost, doubled, sent_twice: 0 };
        assert!(Report { tally: tally(9, 1, 0), ..report() }.check().is_err());
        assert!(Report { tally: tally(11, 0, 1), ..report() }.check().is_err());
        assert!(Report { complaint: Some("the sum".to_owned()), ..report() }.check().is_err());
        assert!(Report { stopped: vec!["member-1".to_owned()], ..report() }.check().is_err());
        assert!(Report { unhealthy: vec!["member-1".to_owned()], ..report() }.check().is_err());
    }
}
