//! Topics with contracts and keys of every kind, from handlers and from producers.

use streams_core::codec::LexoInt64;
use streams_core::prelude::*;

#[derive(Events)]
enum Orders {
    Placed(i64),
}

#[derive(Events)]
enum Parcels<'a> {
    Sent(&'a str),
}

static BY_NAME: Topic<Parcels<'static>> = Topic::new("by-name");
static BY_NUMBER: Topic<Parcels<'static>, LexoInt64> = Topic::new("by-number");
static BY_BYTES: Topic<Parcels<'static>, Vec<u8>> = Topic::new("by-bytes");

#[event_source(events = Orders, store = NoStore)]
mod orders {
    use super::*;

    #[event_handler("Placed")]
    fn placed(ctx: &mut EventContext<NoStore>, count: i64) -> Result<ExecutionState> {
        let Some(order) = ctx.key::<u64>()? else { return ctx.fail("an order has a number") };
        let text = format!("{count} of {order}");
        ctx.forward(&BY_NAME, "name", Parcels::Sent(&text))?;
        ctx.forward(&BY_NUMBER, &LexoInt64(count), Parcels::Sent(&text))?;
        ctx.forward_to_partition(&BY_BYTES, 3, &[1, 2][..], Parcels::Sent(&text))?;
        Ok(Complete)
    }
}

#[test]
fn outputs_are_typed() {
    let mut driver = orders::Source::builder().partitions(4).test_driver();
    driver.send(&7_u64, Orders::Placed(2));
    let outputs = driver.outputs();
    let [name, number, bytes] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((name.key(), name.value()), (Some(&b"name"[..]), Some(&b"2 of 7"[..])));
    assert_eq!(number.key().map(<[u8]>::len), Some(9));
    assert_eq!((bytes.key(), bytes.topic_partition().partition()), (Some(&[1, 2][..]), 3));
}

/// The same types say what a producer may send.
#[allow(dead_code, reason = "it is compiled, and needs a cluster to run")]
fn producers(orders: &EventProducer<Orders, u64>, parcels: &EventProducer<Parcels<'static>>) {
    orders.send(&7, &Orders::Placed(2)).expect("it is queued");
    parcels.send("name", &Parcels::Sent("text")).expect("it is queued");
}
