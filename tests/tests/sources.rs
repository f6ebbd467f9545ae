//! Several sources in one process, and what the handlers of one share, on the embedded broker.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use streams_broker::Broker;
use streams_core::prelude::*;

#[derive(Events)]
enum Order {
    Placed(i64),
}

#[derive(Events)]
enum Parcel {
    Packed(i64),
    #[event("parcel.lost.v1")]
    Lost(i64),
}

#[derive(StateStore)]
struct Counts {
    parcels: Table<String, i64>,
}

static PARCELS: Topic<Parcel> = Topic::new("parcels");

/// What both applications share: a list of what arrived. It stands for a client of something else,
/// and so may see an event again; hence a set.
#[derive(Default)]
struct Arrived(Mutex<BTreeSet<(String, i64)>>);

impl Arrived {
    fn wait_for(&self, count: usize) -> BTreeSet<(String, i64)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let arrived = self.0.lock().unwrap().clone();
            assert!(Instant::now() < deadline, "{count} are to come, and there are {arrived:?}");
            if arrived.len() >= count {
                return arrived;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Turns orders into parcels.
#[event_source(events = Order, store = NoStore)]
mod shop {
    use super::*;

    #[event_handler("Placed")]
    fn placed(ctx: &mut EventContext<NoStore>, parcels: i64) -> Result<ExecutionState> {
        let Some(order) = ctx.key::<String>()? else { return ctx.fail("no order's number") };
        for parcel in 1..=parcels {
            ctx.forward(&PARCELS, &order, Parcel::Packed(parcel))?;
        }
        Ok(Complete)
    }
}

/// Counts them.
#[event_source(events = Parcel, store = Counts, shared = Arrived)]
mod post {
    use super::*;

    #[event_handler("Packed")]
    fn packed(
        ctx: &mut EventContext<Counts>,
        arrived: &Arc<Arrived>,
        parcel: i64,
    ) -> Result<ExecutionState> {
        let Some(order) = ctx.key::<String>()? else { return ctx.fail("no order's number") };
        assert!(ctx.input().is_some_and(|record| record.leader_epoch().is_some()));
        assert!(ctx.now().elapsed()? < PATIENCE, "the machine's clock");
        let count = ctx.store.parcels.update(order.clone(), |count| {
            *count += 1;
            *count
        });
        assert_eq!(count, parcel, "in order, and once");
        // A completer takes it along to another thread.
        let (arrived, completer) = (Arc::clone(arrived), ctx.completer());
        std::thread::spawn(move || {
            completer.complete(move |_| {
                arrived.0.lock().unwrap().insert((order, parcel));
                Ok(Complete)
            });
        });
        Ok(Incomplete)
    }

    #[default_handler]
    fn lost(
        _: &mut EventContext<Counts>,
        arrived: &Arrived,
        record: &Record,
    ) -> Result<ExecutionState> {
        arrived.0.lock().unwrap().insert((record.record_type().to_owned(), 0));
        Ok(Complete)
    }

    #[interjection(every = "10ms")]
    fn tick(
        _: &mut EventContext<Counts>,
        arrived: &Arrived,
        _: SystemTime,
    ) -> Result<ExecutionState> {
        arrived.0.lock().unwrap().insert(("tick".to_owned(), 0));
        Ok(Complete)
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn two_sources_in_one_process_and_a_value_that_one_shares() {
    let broker = Broker::builder().topic("orders", 2).topic("parcels", 2).start().unwrap();
    let bootstrap = broker.bootstrap();
    let shop = shop::Source::builder().bootstrap(&bootstrap).group("shop").topic("orders");
    let shop = shop.start().unwrap();
    let arrived = Arc::new(Arrived::default());
    let post = post::Source::builder().bootstrap(&bootstrap).group("post").topic("parcels");
    let post = post.shared(Arc::clone(&arrived)).workers(2).start().unwrap();

    let orders = Topic::<Order>::new("orders");
    let orders = EventProducer::new(&bootstrap, orders).unwrap();
    for order in ["a", "b", "c"] {
        orders.send(order, &Order::Placed(2)).unwrap();
    }
    orders.flush(PATIENCE).unwrap();
    let parcels = EventProducer::new(&bootstrap, Topic::<Parcel>::new("parcels")).unwrap();
    parcels.send("a", &Parcel::Lost(1)).unwrap();
    parcels.flush(PATIENCE).unwrap();

    let expected = [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1), ("c", 2)];
    let rest = [("parcel.lost.v1", 0), ("tick", 0)];
    let expected = expected.into_iter().chain(rest).map(|(name, n)| (name.to_owned(), n));
    assert_eq!(arrived.wait_for(8), expected.collect());
    shop.stop();
    post.stop();
    shop.wait().unwrap();
    post.wait().unwrap();
}
