//! What it costs to find an event's handler: route, decode, call, beside the decoder alone.
//!
//! `cargo run --release -p streams-benches --bin dispatch`
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use streams_core::prelude::{Complete, Record, Topic, event_source};
use streams_core::prelude::{
    EventCodec, EventContext, EventSource, Events, ExecutionState, NoStore,
};
use streams_core::{Outcome, codec, testing};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call is forwarded to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[derive(EventCodec, Serialize, Deserialize)]
struct Reading<'a> {
    sensor: &'a str,
    value: i64,
}

/// Twelve record types, as an application may have them, with what they have in common in front.
#[derive(Events)]
enum SensorEvent<'a> {
    #[event("sensor.added.v1")]
    Added(i64),
    #[event("sensor.removed.v1")]
    Removed(i64),
    #[event("sensor.moved.v1")]
    Moved(i64),
    #[event("sensor.renamed.v1")]
    Renamed(i64),
    #[event("sensor.read.v2")]
    #[event("sensor.read.v1", upcast = i64)]
    Read(Reading<'a>),
    #[event("sensor.lost.v1")]
    Lost(i64),
    #[event("sensor.found.v1")]
    Found(i64),
    #[event("sensor.broken.v1")]
    Broken(i64),
    #[event("sensor.mended.v1")]
    Mended(i64),
    #[event("sensor.sold.v1")]
    Sold(i64),
    #[event("sensor.bought.v1")]
    Bought(i64),
    #[event("sensor.counted.v1")]
    Counted(i64),
}

impl From<i64> for Reading<'_> {
    fn from(value: i64) -> Self {
        Self { sensor: "", value }
    }
}

/// What handlers share: a sum that the compiler can't leave out.
#[derive(Default)]
struct Sum(AtomicU64);

impl Sum {
    fn add(&self, number: i64) {
        let sum = self.0.load(Ordering::Relaxed);
        self.0.store(sum.wrapping_add(number.cast_unsigned()), Ordering::Relaxed);
    }
}

type Handled = streams_core::Result<ExecutionState>;

#[event_source(events = SensorEvent<'_>, store = NoStore, shared = Sum)]
mod sensors {
    use super::*;

    #[event_handler("sensor.read.v2")]
    fn read(_: &mut EventContext<NoStore>, sum: &Sum, reading: Reading<'_>) -> Handled {
        sum.add(reading.value + i64::from(reading.sensor.as_bytes()[0]));
        Ok(Complete)
    }

    #[event_handler(
        "sensor.added.v1",
        "sensor.removed.v1",
        "sensor.moved.v1",
        "sensor.renamed.v1",
        "sensor.lost.v1",
        "sensor.found.v1",
        "sensor.broken.v1",
        "sensor.mended.v1",
        "sensor.sold.v1",
        "sensor.bought.v1",
        "sensor.counted.v1"
    )]
    fn number(_: &mut EventContext<NoStore>, sum: &Sum, number: i64) -> Handled {
        sum.add(number);
        Ok(Complete)
    }
}

static SENSORS: Topic<SensorEvent<'static>> = Topic::new("sensors");
const EVENTS: u32 = 2_000_000;
/// The fastest of so many rounds: what is slower was interrupted.
const ROUNDS: usize = 15;

fn main() -> Result<()> {
    let read = SensorEvent::Read(Reading { sensor: "kitchen", value: 21 });
    compare("{sensor: &str, value} as JSON", read, |record| {
        let reading: Reading<'_> = codec::decode(record.into())?;
        Ok(reading.value + i64::from(reading.sensor.as_bytes()[0]))
    })?;
    compare("i64, first of 12 record types", SensorEvent::Added(7), |record| {
        Ok(codec::decode::<i64>(record.into())?)
    })?;
    compare("i64, last of 12 record types", SensorEvent::Counted(7), |record| {
        Ok(codec::decode::<i64>(record.into())?)
    })
}

/// Prints what the decoder takes alone, and what dispatch adds to it.
fn compare(
    what: &str,
    event: SensorEvent<'_>,
    decode: impl Fn(&Record) -> Result<i64>,
) -> Result<()> {
    let record = testing::record(&SENSORS, "key", event)?;
    let sum = Arc::new(Sum::default());
    let mut decoded = || {
        sum.add(decode(black_box(&record))?);
        Ok(())
    };
    let mut context = testing::context::<NoStore>();
    let mut dispatched = || {
        let outcome = sensors::Source::dispatch(&mut context, &sum, black_box(&record));
        ensure!(matches!(outcome, Outcome::Complete), "{outcome:?}");
        Ok(())
    };
    // In turn, or a slower clock for a while would count for one of them.
    let (mut decoder, mut dispatch) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        decoder = decoder.min(round(&mut decoded)?);
        dispatch = dispatch.min(round(&mut dispatched)?);
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..EVENTS).try_for_each(|_| dispatched())?;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    println!(
        "{what:32} decoder {decoder:5.1} ns, dispatch {dispatch:5.1} ns: {:+.1} ns, \
         {allocations} allocations in {EVENTS} events",
        dispatch - decoder
    );
    Ok(())
}

/// Nanoseconds a run.
fn round(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    (0..EVENTS).try_for_each(|_| run())?;
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(EVENTS))
}
