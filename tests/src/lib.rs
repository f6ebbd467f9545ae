//! What the tests and the benchmarks stand on: brokers, child processes, a workload, an oracle.
//!
//! Network traffic stays on the loopback address; a process that is started here is ended here, by
//! its id.

pub mod broker;
pub mod chaos;
pub mod clients;
pub mod conformance;
pub mod counting;
pub mod kafka;
pub mod observer;
pub mod oracle;
pub mod probe;
pub mod process;
pub mod proxy;
pub mod trial;
pub mod workload;
