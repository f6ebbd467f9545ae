//! Topics with contracts and keys of every kind, from handlers and from producers.

use streams_core::codec::{AsKey, LexoInt64};
use streams_core::prelude::*;
use streams_core::record::ProducerRecord;

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

/// A source that declares its keys, and a topic whose name is known at run time only.
#[event_source(
    events = Orders,
    store = NoStore,
    key = (u64, String),
    shared = Topic<Parcels<'static>>,
)]
mod keyed {
    use super::*;

    type Output = Topic<Parcels<'static>>;

    #[event_handler("Placed")]
    fn placed(
        ctx: &mut EventContext<NoStore>,
        output: &Output,
        count: i64,
    ) -> Result<ExecutionState> {
        let (number, name) = Source::key(ctx)?;
        let text = format!("{count} of {number}");
        let at = ctx.now();
        ctx.outgoing(output, Parcels::Sent(&text))
            .key(name.as_str())
            .header("traceparent", "own")
            .header("source", [0xff])
            .timestamp(at)
            .partition(1)
            .send()?;
        ctx.outgoing(output, Parcels::Sent("without a key")).send()?;
        ctx.forward_tombstone(output, "Sent", "gone")?;
        Ok(Complete)
    }
}

#[test]
fn an_output_has_a_key_headers_a_timestamp_and_a_partition_if_it_is_given_them() {
    let topic = Topic::named("named");
    let builder = keyed::Source::builder().output(&topic).shared(topic.clone());
    let mut driver = builder.partitions(4).test_driver();
    let key = {
        let mut bytes = vec![];
        AsKey::<(u64, String)>::encode_as_key(&(7, "ann"), &mut bytes);
        bytes
    };
    let record = ProducerRecord::to("test").key(key).record_type("Placed");
    let traced = record.header("traceparent", Some(b"00-1")).header("tracestate", Some(b"a=1"));
    let now = driver.now();
    driver.send_record(traced.value(2_i64.to_be_bytes().to_vec()));
    let outputs = driver.outputs();
    let [full, keyless, tombstone] = &outputs[..] else { panic!("{outputs:?}") };
    let header = |record: &Record, name| {
        let value = record.headers().get(name).flatten();
        value.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    assert_eq!((full.key(), full.value()), (Some(&b"ann"[..]), Some(&b"2 of 7"[..])));
    assert_eq!((full.topic_partition().partition(), full.timestamp()), (1, Some(now)));
    assert_eq!(full.headers().get("source"), Some(Some(&[0xff][..])));
    assert_eq!(header(full, "traceparent").as_deref(), Some("own"));
    assert_eq!(header(full, "tracestate").as_deref(), Some("a=1"));
    assert_eq!((keyless.key(), header(keyless, "traceparent").as_deref()), (None, Some("00-1")));
    assert_eq!((tombstone.key(), tombstone.value()), (Some(&b"gone"[..]), None));
    assert_eq!(
        (tombstone.record_type(), &**tombstone.topic_partition().topic()),
        ("Sent", "named")
    );
    let keyless = ProducerRecord::to("test").record_type("Placed").value(vec![0; 8]);
    driver.when_record(keyless).then_fails("has no key, and the source declares one");
}

#[test]
fn outputs_take_over_no_trace_context_if_that_is_switched_off() {
    let topic = Topic::named("named");
    let builder = keyed::Source::builder().propagate_trace_context(false).shared(topic);
    let mut driver = builder.partitions(2).test_driver();
    let key = [&7_u64.to_be_bytes()[..], b"ann\0\x01"].concat();
    let record = ProducerRecord::to("test").key(key).record_type("Placed").value(vec![0; 8]);
    driver.send_record(record.header("tracestate", Some(b"a=1")));
    assert!(driver.outputs().iter().all(|record| record.headers().get("tracestate").is_none()));
}

/// The same types say what a producer may send.
#[allow(dead_code, reason = "it is compiled, and needs a cluster to run")]
fn producers(orders: &EventProducer<Orders, u64>, parcels: &EventProducer<Parcels<'static>>) {
    orders.send(&7, &Orders::Placed(2)).expect("it is queued");
    parcels.send("name", &Parcels::Sent("text")).expect("it is queued");
}
