//! Stores of one table, of several, ordered ones, with keys and values of every kind.

use serde::{Deserialize, Serialize};
use streams_core::CodecError;
use streams_core::codec::LexoInt64;
use streams_core::prelude::*;
use streams_core::record::TopicPartition;
use streams_core::store::{Change, Changelog, EventSeq, StoreField, split_table_key};
use streams_core::testing::ContextBuilder;

#[derive(EventCodec, Serialize, Deserialize, schemars::JsonSchema, Hash)]
struct Account {
    balance: i64,
}

#[derive(StateStore)]
struct Bank {
    accounts: Table<String, Account>,
    by_time: OrderedTable<LexoInt64, String>,
    totals: Table<u64, i64>,
    raw: Table<Vec<u8>, Vec<u8>>,
}

#[derive(Events)]
enum Payments {
    Paid(i64),
}

#[event_source(events = Payments, store = Bank)]
mod bank {
    use super::*;

    #[event_handler("Paid")]
    fn paid(ctx: &mut EventContext<Bank>, amount: i64) -> Result<ExecutionState> {
        ctx.store.accounts.put("a".to_owned(), Account { balance: amount });
        ctx.store.by_time.put(LexoInt64(amount), "a".to_owned());
        ctx.store.totals.put(1, amount);
        ctx.store.raw.put(vec![0xff], vec![0, 1]);
        let balance = ctx.store.accounts.get("a").map(|account| account.balance);
        Ok(if balance == Some(amount) { Complete } else { Incomplete })
    }
}

#[test]
fn each_table_takes_its_types() {
    let mut driver = bank::Source::builder().test_driver();
    driver.send("a", Payments::Paid(7));
    assert_eq!(driver.committed(0), Some(1));
}

/// A store that needs something of the application's.
struct Limited {
    limit: i64,
    totals: Table<u64, i64>,
}

impl Limited {
    fn of(limit: i64) -> Self {
        Self { limit, totals: StoreField::create("totals") }
    }
}

impl StateStore for Limited {
    fn create(_: &TopicPartition) -> Self {
        Self::of(0)
    }

    fn drain_changes(
        &mut self,
        event: EventSeq,
        changelog: &mut Changelog<'_>,
    ) -> std::result::Result<(), CodecError> {
        self.totals.drain_changes(event, changelog)
    }

    fn undo_from(&mut self, event: EventSeq) {
        self.totals.undo_from(event);
    }

    fn commit_before(&mut self, event: EventSeq) {
        self.totals.commit_before(event);
    }

    fn restore(&mut self, change: Change<'_>) -> std::result::Result<(), CodecError> {
        let (_, key) = split_table_key(&change)?;
        self.totals.restore(key, change.value)
    }
}

#[event_source(events = Payments, store = Limited)]
mod limited {
    use super::*;

    #[event_handler("Paid")]
    pub(super) fn paid(ctx: &mut EventContext<Limited>, amount: i64) -> Result<ExecutionState> {
        let limit = ctx.store.limit;
        ctx.store.totals.update(1, |total| *total = (*total + amount).min(limit));
        Ok(Complete)
    }
}

#[test]
fn the_application_creates_stores_with_what_it_has() {
    let limit = std::sync::Arc::new(5);
    let builder = limited::Source::builder().store(move |_| Limited::of(*limit));
    let mut driver = builder.test_driver();
    driver.send("a", Payments::Paid(7)).crash();
    assert_eq!((driver.store(0).limit, driver.store(0).totals.get(&1)), (5, Some(&5)));
    let mut ctx = ContextBuilder::new().with_store(Limited::of(3)).build();
    limited::paid(&mut ctx, 7).expect("no error");
    assert_eq!(ctx.store.totals.get(&1), Some(&3));
}
