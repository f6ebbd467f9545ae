//! Topics that every process reads whole: global changelogs, and tables of them.
//!
//! A source's [`Table`](crate::Table) holds the rows of one partition. Data that every partition
//! needs (customers, prices, settings) goes into a [`GlobalTable`]: each process reads all
//! partitions of a topic into memory, and handlers read the rows through what they share.
//!
//! ```no_run
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use streams_core::global::GlobalTable;
//! use streams_core::prelude::*;
//!
//! #[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
//! struct Customer {
//!     name: String,
//! }
//!
//! #[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
//! struct Order {
//!     customer: String,
//!     cents: i64,
//! }
//!
//! #[derive(Events)]
//! enum OrderEvent {
//!     Placed(Order),
//! }
//!
//! #[derive(Events)]
//! enum Letter {
//!     Thanks(String),
//! }
//!
//! static LETTERS: Topic<Letter> = Topic::new("letters");
//!
//! struct App {
//!     customers: GlobalTable<String, Customer>,
//! }
//!
//! #[event_source(events = OrderEvent, store = NoStore, shared = App)]
//! mod orders {
//!     use super::*;
//!
//!     #[event_handler("Placed")]
//!     fn placed(
//!         ctx: &mut EventContext<NoStore>,
//!         app: &App,
//!         order: Order,
//!     ) -> Result<ExecutionState> {
//!         let Some(customer) = app.customers.get(&order.customer) else {
//!             return ctx.fail(format!("no customer `{}`", order.customer));
//!         };
//!         ctx.forward(&LETTERS, &order.customer, Letter::Thanks(customer.name.clone()))?;
//!         Ok(Complete)
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let customers = GlobalTable::<String, Customer>::builder()
//!         .bootstrap("kafka:9092")
//!         .topic("customers")
//!         .start()?;
//!     let source = orders::Source::builder().bootstrap("kafka:9092").group("orders");
//!     // The source starts once the table has caught up.
//!     let source = source.topic("orders").global(&customers).shared(App { customers });
//!     source.start()?.run_until_signal()?;
//!     Ok(())
//! }
//! ```
//!
//! # What handlers see
//!
//! A global table is no part of an event's transaction. It follows its topic at its own pace: the
//! same event, processed again, may see a newer row. An application whose result must not depend on
//! that keeps what it has read in a [`Table`](crate::Table) of its own.
//!
//! # Outages
//!
//! While the cluster is away, the rows stay, and reads succeed. The state is
//! [`GlobalState::Stale`] once changes may be missing that are older than
//! [`stale_after`](GlobalBuilder::stale_after).

mod builder;
mod driver;
mod error;
mod log;
mod lookup;
mod positions;
#[cfg(test)]
mod positions_tests;
mod receiver;
mod state;
mod table;

pub use self::builder::{CleanupPolicy, GlobalBuilder, OnTruncated};
pub use self::error::{GlobalError, ReceiveError};
pub use self::log::GlobalChangeLog;
pub use self::receiver::ChangeLogReceiver;
pub use self::state::GlobalState;
pub(crate) use self::state::GlobalWatch;
pub use self::table::{Global, GlobalRows, GlobalTable, GlobalTableBuilder, OrderedGlobalTable};
