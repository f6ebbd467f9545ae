//! What an application names: `use streams_core::prelude::*;`.

pub use std::time::SystemTime;

pub use crate::handler::ExecutionState::{Complete, Incomplete};
pub use crate::handler::{EventContext, EventSource, ExecutionState, HandlerError, Result, Topic};
pub use crate::producer::EventProducer;
pub use crate::record::Record;
pub use crate::store::{NoStore, OrderedTable, Table};
pub use crate::{
    EventCodec, Events, Job, KeyCodec, StateStore, default_handler, event_handler, event_source,
    interjection,
};
