//! What an application is told of its partitions, and whether a source is well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use streams_core::prelude::*;
use streams_core::{SourceError, SourceState};
use streams_tests::workload::Workload;

use super::app::{PATIENCE, Setup, What, broken, ended, sound, wait_until};

/// Where a partition is, on one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Another member's.
    #[default]
    Elsewhere,
    Assigned,
    Active,
    Closing,
    /// Its store is gone.
    Gone,
}

/// A partition's life on one member, read from the journal.
#[derive(Debug, Default)]
struct Life {
    phase: Phase,
    has_store: bool,
    /// Whether something was committed after `on_will_revoke`.
    finishes: bool,
    /// How often it was owned, from `on_assigned` to `on_revoked`.
    owned: usize,
    /// How often it began with a store that was there.
    from_copies: usize,
    /// Stores that were made and closed without that.
    copies: usize,
    /// How often something was committed after `on_will_revoke`.
    finished: usize,
    /// How often its store stayed as a copy.
    kept: usize,
}

impl Life {
    /// The next thing that happens, if it may.
    fn next(&mut self, what: What) -> Result<()> {
        self.phase = match (self.phase, what, self.has_store) {
            (Phase::Elsewhere | Phase::Assigned, What::StoreMade, false) => {
                self.has_store = true;
                self.phase
            }
            (Phase::Elsewhere, What::StoreRevoked, true) => {
                self.has_store = false;
                self.copies += 1;
                Phase::Elsewhere
            }
            (Phase::Elsewhere, What::Assigned, has_store) => {
                self.from_copies += usize::from(has_store);
                Phase::Assigned
            }
            (Phase::Assigned, What::Activated, true) => Phase::Active,
            (Phase::Active, What::Handled | What::Committed, true) => Phase::Active,
            (Phase::Assigned | Phase::Active, What::WillRevoke, true) => {
                self.finishes = false;
                Phase::Closing
            }
            (Phase::Closing, What::Committed, true) => {
                self.finishes = true;
                Phase::Closing
            }
            (Phase::Closing, What::StoreRevoked, true) => {
                self.has_store = false;
                Phase::Gone
            }
            (Phase::Gone | Phase::Closing, What::Revoked, has_store) => {
                ensure!(has_store == (self.phase == Phase::Closing));
                self.kept += usize::from(has_store);
                self.owned += 1;
                self.finished += usize::from(self.finishes);
                Phase::Elsewhere
            }
            (phase, what, has_store) => bail!("{what:?} while {phase:?}, a store: {has_store}"),
        };
        Ok(())
    }

    fn end(&self) -> Result<()> {
        ensure!(self.phase == Phase::Elsewhere, "it ends {:?}", self.phase);
        ensure!(!self.has_store, "its store was not told");
        Ok(())
    }
}

/// Sums over all lives.
#[derive(Debug, Default)]
struct Lives {
    owned: usize,
    from_copies: usize,
    copies: usize,
    finished: usize,
    kept: usize,
}

fn lives(setup: &Setup) -> Result<Lives> {
    let mut lives: BTreeMap<(String, i32), (Life, Vec<What>)> = BTreeMap::new();
    for entry in setup.journal() {
        let key = (format!("{:?}", entry.worker), entry.at.partition());
        let (life, before) = lives.entry(key.clone()).or_default();
        before.push(entry.what);
        let place = || format!("{key:?}, after {before:?}");
        life.next(entry.what).with_context(place)?;
    }
    let mut sums = Lives::default();
    for (key, (life, _)) in lives {
        life.end().with_context(|| format!("{key:?}"))?;
        sums.owned += life.owned;
        sums.from_copies += life.from_copies;
        sums.copies += life.copies;
        sums.finished += life.finished;
        sums.kept += life.kept;
    }
    Ok(sums)
}

/// A second member comes and goes, under load, with warm copies everywhere.
#[test]
fn each_partition_has_its_callbacks_in_order_on_each_member() -> Result<()> {
    let setup = Setup::new("callbacks", 8)?;
    let member = || setup.member::<sound::Source>().standby_replicas(1);
    let first = member().start()?;
    ensure!(first.wait_for_active(8, PATIENCE));
    let workload = Workload { records: 8_000, ids: 200, rate: 1_000, seed: 3 };
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| setup.send(&workload));
        let second = member().start()?;
        ensure!(second.wait_for_active(4, PATIENCE), "{:?}", first.group_view());
        wait_until("a copy of each of the others", || second.warm_copies().len() == 4)?;
        second.stop();
        ended(second)?;
        ensure!(first.wait_for_active(8, PATIENCE), "{:?}", first.group_view());
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?
    })?;
    setup.check()?;
    first.stop();
    ended(first)?;
    let lives = lives(&setup)?;
    // Eight and the four that came back; the second's four.
    ensure!(lives.owned == 16, "{lives:?}");
    ensure!(lives.from_copies == 8, "what moves goes to a warm copy: {lives:?}");
    ensure!(lives.kept >= 4, "the first's stay as copies while the second has them: {lives:?}");
    ensure!(lives.copies >= 4, "copies of what stays are closed too: {lives:?}");
    // Most often nothing is open at that moment.
    eprintln!("committed after `on_will_revoke`: {} of {} times", lives.finished, lives.owned);
    ensure!(setup.count(What::StoreMade) == setup.count(What::StoreRevoked));
    Ok(())
}

/// The check can tell a good life from bad ones.
#[test]
fn lives_that_can_not_be_are_found_out() {
    use What::{
        Activated, Assigned, Committed, Handled, Revoked, StoreMade, StoreRevoked, WillRevoke,
    };
    let is_good = |whats: &[What]| {
        let mut life = Life::default();
        whats.iter().all(|what| life.next(*what).is_ok()) && life.end().is_ok()
    };
    let good =
        [Assigned, StoreMade, Activated, Handled, WillRevoke, Committed, StoreRevoked, Revoked];
    assert!(is_good(&good));
    // Handled, and not committed: aborted, and the next owner's. Every other one is missed.
    for missing in (0..good.len()).filter(|at| !matches!(good[*at], Handled | Committed)) {
        let mut bad = good.to_vec();
        bad.remove(missing);
        assert!(!is_good(&bad), "without {:?}", good[missing]);
    }
    for place in 1..good.len() {
        let mut bad = good;
        bad.swap(place - 1, place);
        // A store that was there before, a commit that nothing was left for, and a store that
        // stays as a copy for a while.
        let may_be = bad[0] == StoreMade || bad[4] == Committed || bad[6] == Revoked;
        assert_eq!(is_good(&bad), may_be, "{bad:?}");
    }
    assert!(is_good(&[StoreMade, StoreRevoked]));
    assert!(is_good(&[StoreMade, Assigned, Activated, WillRevoke, StoreRevoked, Revoked]));
    assert!(!is_good(&[StoreMade, StoreRevoked, Revoked]), "a copy is nobody's partition");
    assert!(!is_good(&[StoreMade, StoreRevoked, StoreRevoked]), "twice");
}

/// `RunningSource::state`, from the start to an error.
#[test]
fn a_source_is_healthy_from_its_first_active_partition_to_its_error() -> Result<()> {
    let setup = Setup::new("health", 1)?;
    let (reached, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (has_reached, may_go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
    let first = setup.member::<sound::Source>().on_assigned(move |_| {
        has_reached.store(true, Ordering::Relaxed);
        while !may_go_on.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let first = first.start()?;
    let is_reached = wait_until("assigned", || reached.load(Ordering::Relaxed));
    let (state, active) = (first.state(), first.active_partitions());
    go_on.store(true, Ordering::Relaxed);
    is_reached?;
    ensure!(state == SourceState::Starting && active.is_empty(), "{state:?}, {active:?}");
    ensure!(first.wait_for_active(1, PATIENCE));
    ensure!(first.state() == SourceState::Healthy);
    setup.send(&Workload { records: 10, ids: 2, rate: 0, seed: 1 })?;
    setup.check()?;
    // One that waits for partitions, and of its copy it is known that it fails.
    let second = setup.member::<broken::Source>().start()?;
    wait_until("it is a member", || second.group_view().is_some())?;
    wait_until("well without a partition", || second.state() == SourceState::Healthy)?;
    ensure!(second.active_partitions().is_empty());
    let updates = EventProducer::new(&setup.broker.bootstrap(), strange(&setup))?;
    updates.send("x", &Strange::Update(1))?;
    updates.flush(PATIENCE)?;
    wait_until("the error is known", || first.state() == SourceState::Unhealthy)?;
    let error = first.wait().err().context("it ends with an error")?;
    ensure!(matches!(error, SourceError::Undecodable { .. }), "{error}");
    // Nobody else can take it over: its store can't be restored there.
    wait_until("the error is known", || second.state() == SourceState::Unhealthy)?;
    let error = second.wait().err().context("it ends with an error")?;
    ensure!(matches!(error, SourceError::Restore { .. }), "{error}");
    Ok(())
}

/// The record type of an update, with eight bytes that are none.
#[derive(Events)]
enum Strange {
    Update(i64),
}

fn strange(setup: &Setup) -> Topic<Strange> {
    Topic::named(setup.topic("in"))
}
