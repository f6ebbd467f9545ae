//! A handler's error that can't be sent to another thread.

#[path = "../model.rs"]
mod model;

use std::error::Error;

use model::*;
use streams_core::prelude::*;

fn check(_: &Contact) -> std::result::Result<(), Box<dyn Error>> {
    Err("no".into())
}

fn create(_: &mut EventContext<ContactStore>, contact: Contact) -> Result<ExecutionState> {
    check(&contact)?;
    Ok(Complete)
}

fn main() {}
