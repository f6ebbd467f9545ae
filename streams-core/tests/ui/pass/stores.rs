//! Stores of one table, of several, ordered ones, with keys and values of every kind.

use serde::{Deserialize, Serialize};
use streams_core::codec::LexoInt64;
use streams_core::prelude::*;

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
