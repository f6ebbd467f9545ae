//! What a source checks and decides when it starts: its settings, its topics, its start positions
//! and its transactional ids, on the embedded broker.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod app;
mod identity;
mod outages;
mod positions;
mod properties;
mod settings;
mod topics;
