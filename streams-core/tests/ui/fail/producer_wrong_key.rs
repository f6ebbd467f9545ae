//! A key of another type than the producer's topic has.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;


fn send(producer: &EventProducer<NotifyEvents, u64>, who: String) {
    let _ = producer.send("1", &NotifyEvents::Notified(who));
}

fn main() {
    let _ = send;
}
