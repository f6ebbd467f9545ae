//! Tables whose keys are tuples and newtypes, and whose values are types of the standard library:
//! a crash restores them from the changelog.

use std::collections::BTreeMap;

use streams_core::prelude::*;
use streams_core::testing::TestDriver;

#[derive(KeyCodec, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct OrderId(String);

#[derive(KeyCodec, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    shelf: i16,
    order: OrderId,
}

#[derive(StateStore)]
struct Store {
    due: OrderedTable<(u64, OrderId), ()>,
    places: Table<Place, f64>,
    lines: Table<OrderId, Vec<String>>,
    paid: Table<(OrderId, bool), bool>,
    notes: Table<[u8; 2], Option<String>>,
    counts: Table<u8, BTreeMap<String, u32>>,
}

#[derive(Events)]
enum Orders {
    Placed(String),
    Sent(String),
}

#[event_source(events = Orders, store = Store, key = OrderId)]
mod orders {
    use super::*;

    #[event_handler("Placed")]
    fn placed(ctx: &mut EventContext<Store>, text: String) -> Result<ExecutionState> {
        let (id, store) = (Source::key(ctx)?, &mut ctx.store);
        let weight = i16::try_from(text.len())?;
        store.due.put((text.len() as u64, id.clone()), ());
        store.places.put(Place { shelf: -weight, order: id.clone() }, f64::from(weight) / 2.0);
        store.lines.update(id.clone(), |lines| lines.push(text.clone()));
        store.paid.put((id.clone(), true), text.is_empty());
        store.notes.put([0, 255], (weight > 1).then_some(text.clone()));
        store.counts.update(0, |counts| *counts.entry(text).or_default() += 1);
        Ok(Complete)
    }

    #[event_handler("Sent")]
    fn sent(ctx: &mut EventContext<Store>, _: String) -> Result<ExecutionState> {
        let id = Source::key(ctx)?;
        let of_one: Vec<_> = ctx.store.due.prefix(&1).map(|(key, ())| key.clone()).collect();
        for key in of_one.iter().filter(|key| key.1 == id) {
            ctx.store.due.remove(key);
        }
        ctx.store.lines.remove(&id);
        Ok(Complete)
    }
}

#[test]
fn rows_of_every_kind_are_restored() {
    let mut driver = TestDriver::<orders::Source>::new();
    driver.send("a\0", Orders::Placed("x".to_owned()));
    driver.send("b", Orders::Placed("x".to_owned()));
    driver.send("b", Orders::Placed("yy".to_owned()));
    driver.send("a\0", Orders::Sent(String::new()));
    driver.crash();
    let id = |text: &str| OrderId(text.to_owned());
    let store = driver.store(0);
    let due: Vec<_> = store.due.iter().map(|((at, id), ())| (*at, id.0.as_str())).collect();
    assert_eq!(due, [(1, "b"), (2, "b")]);
    let place = Place { shelf: -2, order: id("b") };
    assert_eq!((store.places.len(), store.places.get(&place)), (3, Some(&1.0)));
    assert_eq!(store.lines.get(&id("b")), Some(&vec!["x".to_owned(), "yy".to_owned()]));
    assert_eq!(store.lines.get(&id("a\0")), None);
    assert_eq!(store.paid.get(&(id("b"), true)), Some(&false));
    assert_eq!(store.notes.get(&[0, 255]), Some(&Some("yy".to_owned())));
    let counts = [("x".to_owned(), 2), ("yy".to_owned(), 1)];
    assert_eq!(store.counts.get(&0), Some(&counts.into()));
}
