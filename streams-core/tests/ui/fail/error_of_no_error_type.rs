//! A handler's error that is no error.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

enum Wrong {
    NoName,
}

fn check(_: &Contact) -> std::result::Result<(), Wrong> {
    Err(Wrong::NoName)
}

fn create(_: &mut EventContext<ContactStore>, contact: Contact) -> Result<ExecutionState> {
    check(&contact)?;
    Ok(Complete)
}

fn main() {}
