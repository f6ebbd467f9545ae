//! Outages, losses, fences and hanging clients: when the pool tries again, and when it stops.

use std::time::{Duration, Instant};

use super::tests::{commands, event, pool};
use super::*;
use crate::error::ACCESS_REFUSED_MAX;

const SLOTS: usize = 3;

fn failed(txn: u64, disposition: Disposition, cause: Cause) -> Event {
    Event::Failed { txn: TxnSeq(txn), disposition, cause }
}

fn init_failed(slot: usize, cause: Cause) -> Event {
    Event::RecoverFailed { slot, disposition: Disposition::Recover, cause }
}

fn stop(commands: &[Command]) -> Option<StopReason> {
    commands.iter().find_map(|command| match command {
        Command::Stop { reason } => Some(*reason),
        _ => None,
    })
}

/// Begins to commit one event, in the transaction of this number.
fn commit(pool: &mut Pool, now: Instant, txn: u64) {
    event(pool, now, 0, 1, true);
    pool.advance(now, false);
    pool.handle(now, Event::Flushed { txn: TxnSeq(txn) });
    pool.advance(now, false);
    commands(pool);
}

/// Carries out what a failure asks for. Returns why the pool stops, if it does.
fn carry_out(pool: &mut Pool, now: Instant) -> Option<StopReason> {
    let asked = commands(pool);
    for command in &asked {
        match *command {
            Command::Recover { slot } => pool.handle(now, Event::Recovered { slot }),
            Command::Abort { slot, .. } => pool.handle(now, Event::Aborted { slot }),
            _ => {}
        }
    }
    let later = commands(pool);
    stop(&asked).or_else(|| stop(&later))
}

/// When the pool stops, if a transaction fails every 30 s.
fn aborts_until_stopped(pool: &mut Pool, start: Instant, cause: Cause) -> (Duration, StopReason) {
    for n in 0.. {
        let elapsed = Duration::from_secs(30 * n);
        let now = start + elapsed;
        pool.advance(now, false);
        commit(pool, now, n);
        pool.handle(now, failed(n, Disposition::Recover, cause));
        if let Some(reason) = carry_out(pool, now) {
            return (elapsed, reason);
        }
    }
    unreachable!("it never stops");
}

/// A member without traffic that is expelled now and then.
#[test]
fn c2_losses_of_the_partitions_are_no_aborts() {
    let mut pool = Pool::new(EosConfig::default());
    let mut now = Instant::now();
    for n in 0..30 {
        pool.handle(now, Event::LoseAll);
        pool.advance(now, false);
        assert_eq!(stop(&commands(&mut pool)), None, "after {n} losses");
        assert_eq!(pool.resume_at, None, "nothing waits for a back-off");
        now += Duration::from_hours(24);
    }
}

#[test]
fn c2_a_revocation_of_a_pinned_partition_is_no_abort() {
    let (mut pool, now) = pool();
    for n in 1..=ABORTS_IN_A_ROW_MAX + 5 {
        let partition = PartitionId(u64::from(n));
        pool.add_partition(partition, Snapshot::at(0));
        assert!(matches!(pool.offer(now), Offer::Join { .. }), "after {n} revocations");
        pool.deliver(partition, 0);
        let end = EventEnd { event: EventSeq(1), offset: Some(0), records: 1, complete: false };
        pool.end_event(partition, end, false);
        pool.handle(now, Event::Close { partition });
        assert_eq!(carry_out(&mut pool, now), None);
        pool.advance(now, false);
        commands(&mut pool);
    }
}

/// Every slot tries in vain for longer than a broker takes to restart.
#[test]
fn c3_an_outage_is_waited_out() {
    let mut pool = Pool::new(EosConfig::default().pool_size(16).unwrap());
    let start = Instant::now();
    commands(&mut pool);
    let (mut now, mut rounds) = (start, 0);
    let stopped = loop {
        for slot in 0..16 {
            pool.handle(now, init_failed(slot, Cause::Outage));
        }
        if let Some(reason) = stop(&commands(&mut pool)) {
            break reason;
        }
        now += Duration::from_secs(30);
        pool.advance(now, false);
        let retries = commands(&mut pool);
        let recovers = |c: &&Command| matches!(c, Command::Recover { .. });
        assert_eq!(retries.iter().filter(recovers).count(), 16, "each tries again");
        rounds += 1;
    };
    assert_eq!((stopped, now - start), (StopReason::Outage, OUTAGE_TIMEOUT));
    assert_eq!(rounds, 120);
}

#[test]
fn c3_an_error_that_comes_at_once_is_tried_again_with_a_backoff() {
    let config = EosConfig::default().pending_transactions(0).unwrap();
    let mut pool = Pool::new(config.pool_size(1).unwrap());
    let mut now = Instant::now();
    commands(&mut pool);
    let mut waits = vec![];
    for _ in 0..9 {
        pool.handle(now, init_failed(0, Cause::Outage));
        let retry_at = pool.poll_timeout().expect("a timer");
        pool.advance(retry_at - Duration::from_millis(1), false);
        assert_eq!(commands(&mut pool), [], "not before");
        pool.advance(retry_at, false);
        assert_eq!(commands(&mut pool), [Command::Recover { slot: 0 }]);
        waits.push((retry_at - now).as_millis());
        now = retry_at;
    }
    assert_eq!(waits, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    pool.handle(now, Event::Recovered { slot: 0 });
    pool.handle(now, init_failed(0, Cause::Outage));
    assert_eq!(pool.poll_timeout(), Some(now + Duration::from_millis(50)), "a new outage");
}

/// Nothing can be written for as long as too few replicas are there.
#[test]
fn c3_aborts_of_an_outage_are_waited_out() {
    for cause in [Cause::Outage, Cause::Group] {
        let (pool, start) = pool();
        let mut pool = pool.outage_timeout(Duration::from_mins(20));
        let stopped = aborts_until_stopped(&mut pool, start, cause);
        assert_eq!(stopped, (Duration::from_mins(20), StopReason::Outage), "{cause:?}");
    }
}

#[test]
fn c3_a_transaction_that_always_fails_stops_the_source() {
    let (mut pool, start) = pool();
    let (elapsed, reason) = aborts_until_stopped(&mut pool, start, Cause::Transaction);
    assert_eq!(reason, StopReason::TooManyAborts);
    assert_eq!(elapsed, Duration::from_secs(30) * ABORTS_IN_A_ROW_MAX);
}

/// The partition that was tried again goes to another member, and much later something else fails.
#[test]
fn c3_what_the_pool_does_not_try_again_is_no_outage() {
    let (mut pool, start) = pool();
    commit(&mut pool, start, 0);
    pool.handle(start, failed(0, Disposition::Recover, Cause::Outage));
    assert_eq!(carry_out(&mut pool, start), None);
    pool.handle(start, Event::Close { partition: PartitionId(0) });
    pool.advance(start, false);
    commands(&mut pool);
    pool.add_partition(PartitionId(1), Snapshot::at(0));
    let now = start + OUTAGE_TIMEOUT * 2;
    assert!(matches!(pool.offer(now), Offer::Join { .. }));
    pool.deliver(PartitionId(1), 0);
    let end = EventEnd { event: EventSeq(1), offset: Some(0), records: 1, complete: true };
    pool.end_event(PartitionId(1), end, false);
    pool.handle(now, failed(1, Disposition::Recover, Cause::Outage));
    assert_eq!(carry_out(&mut pool, now), None);
}

#[test]
fn c3_refused_credentials_are_no_outage() {
    let mut starting = Pool::new(EosConfig::default());
    let now = Instant::now();
    starting.handle(now, init_failed(0, Cause::Access));
    assert_eq!(stop(&commands(&mut starting)), Some(StopReason::Failed), "it has just started");

    let (mut pool, start) = pool();
    commit(&mut pool, start, 0);
    pool.handle(start, Event::Committed { txn: TxnSeq(0) });
    commands(&mut pool);
    let mut now = start;
    while now < start + ACCESS_REFUSED_MAX {
        pool.handle(now, init_failed(0, Cause::Access));
        assert_eq!(stop(&commands(&mut pool)), None, "after {:?}", now - start);
        now += Duration::from_secs(5);
    }
    pool.handle(now, init_failed(0, Cause::Access));
    assert_eq!(stop(&commands(&mut pool)), Some(StopReason::Failed));
}

/// The transaction may have been the oldest of its batch, and the last one that took too long.
#[test]
fn c1_after_an_abort_that_nothing_explains_each_event_has_a_transaction_of_its_own() {
    let (mut pool, now) = pool();
    commit(&mut pool, now, 0);
    pool.handle(now, failed(0, Disposition::Fenced, Cause::Transaction));
    assert_eq!(carry_out(&mut pool, now), None);
    event(&mut pool, now, 0, 1, true);
    assert_eq!(pool.offer(now), Offer::Full, "it is alone");
    pool.advance(now, false);
    assert_eq!(pool.offer(now), Offer::Full, "the next handler may block");
    pool.handle(now, Event::Flushed { txn: TxnSeq(1) });
    pool.advance(now, false);
    pool.handle(now, Event::Committed { txn: TxnSeq(1) });
    commands(&mut pool);
    event(&mut pool, now, 1, 1, true);
    assert!(matches!(pool.offer(now), Offer::Join { .. }), "until one commits");
}

#[test]
fn c1_a_pinned_transaction_is_aborted_before_the_broker_does_it() {
    let (mut pool, now) = pool();
    event(&mut pool, now, 0, 1, false);
    pool.advance(now, false);
    commands(&mut pool);
    let due = now + EosConfig::default().transaction_timeout;
    assert_eq!((pool.poll_timeout(), pool.next_step()), (Some(due), None));
    pool.advance(due - Duration::from_millis(1), false);
    assert_eq!(commands(&mut pool), []);
    pool.advance(due, false);
    let timed_out = [Command::TimedOut { txn: TxnSeq(0) }, Command::Recover { slot: 0 }];
    assert_eq!(commands(&mut pool), timed_out, "the worker hears of it before the rewind");
    pool.handle(due, Event::Recovered { slot: 0 });
    assert!(matches!(commands(&mut pool)[..], [Command::Rewind { .. }]));
    assert_eq!(pool.poll_timeout(), None);
}

/// The broker counts from the first output, which comes after the first handler.
#[test]
fn c1_the_time_of_handlers_is_not_held_against_an_event_that_waits() {
    let (mut pool, begun) = pool();
    event(&mut pool, begun, 0, 1, true);
    event(&mut pool, begun, 1, 1, false);
    // A handler has blocked for this long.
    let now = begun + EosConfig::default().transaction_timeout;
    pool.advance(now, false);
    assert!(!commands(&mut pool).contains(&Command::TimedOut { txn: TxnSeq(0) }));
    assert_eq!(pool.poll_timeout(), Some(now + EosConfig::default().transaction_timeout));
    pool.advance(now + EosConfig::default().transaction_timeout, false);
    assert!(commands(&mut pool).contains(&Command::TimedOut { txn: TxnSeq(0) }));
}

/// In a steady stream of incomplete events some event pins the transaction at any time.
#[test]
fn c1_a_pinned_transaction_takes_no_events_after_half_of_its_time() {
    let (mut pool, now) = pool();
    event(&mut pool, now, 0, 1, false);
    let half = now + EosConfig::default().transaction_timeout / 2;
    event(&mut pool, half - Duration::from_millis(1), 1, 1, false);
    assert_eq!(pool.offer(half), Offer::Full);
    assert!(matches!(pool.offer_completion(half), Offer::Join { .. }), "it may unpin it");
}

/// A coordinator is gone, and each client that knows it waits for its own bound.
#[test]
fn a_client_that_hangs_renews_all_producers_that_have_made_no_progress() {
    let (mut pool, made_at) = pool();
    let now = made_at + Duration::from_millis(1);
    commit(&mut pool, now, 0);
    event(&mut pool, now, 1, 1, true);
    pool.advance(now, false);
    commands(&mut pool);
    let later = now + Duration::from_secs(3);
    pool.handle(later, failed(0, Disposition::RecoverAll, Cause::Outage));
    let mut renewed: Vec<_> = commands(&mut pool)
        .into_iter()
        .map(|command| match command {
            Command::Recover { slot } => slot,
            other => panic!("{other:?}"),
        })
        .collect();
    renewed.sort_unstable();
    assert_eq!(renewed, (0..SLOTS).collect::<Vec<_>>());
    pool.check_invariants();
    // A producer that was made since then has not caused the failure.
    (0..SLOTS).for_each(|slot| pool.handle(later, Event::Recovered { slot }));
    pool.check_invariants();
    commands(&mut pool);
    commit(&mut pool, later - Duration::from_millis(1), 2);
    pool.handle(later, failed(2, Disposition::RecoverAll, Cause::Outage));
    assert_eq!(commands(&mut pool).len(), 1, "the others are younger than the commit");
}

/// The client finds out during the flush that the group's coordinator has moved.
#[test]
fn a_client_that_is_outdated_before_its_commit_renews_all_producers() {
    let (mut pool, made_at) = pool();
    let now = made_at + Duration::from_millis(1);
    event(&mut pool, now, 0, 1, true);
    pool.advance(now, false);
    assert!(matches!(commands(&mut pool)[..], [.., Command::Flush { .. }]));
    pool.handle(now, failed(0, Disposition::RecoverAll, Cause::Outage));
    let renewed = commands(&mut pool);
    assert_eq!(renewed.len(), SLOTS, "{renewed:?}");
    assert!(renewed.iter().all(|command| matches!(command, Command::Recover { .. })));
    pool.check_invariants();
}
