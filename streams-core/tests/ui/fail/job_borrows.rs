//! A durable job that borrows from its event.

use streams_core::prelude::*;

#[derive(Job)]
struct SendMail<'a> {
    address: &'a str,
}

fn main() {}
