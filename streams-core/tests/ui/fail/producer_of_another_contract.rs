//! A producer sends what another contract describes.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;


fn send(producer: &EventProducer<NotifyEvents>, gone: DeleteContact) {
    let _ = producer.send("1", &ContactEvent::DeleteContact(gone));
}

fn main() {
    let _ = send;
}
