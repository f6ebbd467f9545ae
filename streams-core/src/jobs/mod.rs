//! Asynchronous work by key: jobs that run outside of the worker's thread, and finalizers that end
//! their events on it.
//!
//! - [`AsyncJobScheduler`] runs jobs for events: the jobs of one key in their order, keys in
//!   parallel. GKES: `AsyncJobScheduler`.
//! - [`SchedulerConfig`] has its settings, with GKES's presets.
//! - [`AsyncBatcher`] executes items of several events together. GKES: `AsyncBatcher`.
//! - [`lanes`] and [`batches`] are the machines below, without a clock or threads.
//! - [`durable`] has jobs that survive crashes and moves.
//!
#![doc = include_str!("../docs/jobs.md")]

mod batcher;
pub mod batches;
mod config;
pub mod durable;
mod error;
mod incarnation;
pub mod lanes;
mod pool;
mod scheduler;
#[doc(hidden)]
pub mod sugar;
mod timer;
mod work;

pub use self::batcher::{
    AsyncBatcher, BATCH_ITEMS_MAX, BatchItem, BatchItems, BatcherConfig, CONCURRENT_BATCHES_MAX,
    CallbackResult, PENDING_ITEMS_MAX,
};
pub use self::config::{
    CONCURRENCY_MAX, CONCURRENT_KEYS_MAX, JOB_ATTEMPTS_MAX, JOB_DURATION_MAX, PENDING_JOBS_MAX,
    SchedulerConfig, WORKER_QUEUE_DEPTH_MAX,
};
pub use self::error::{JobError, JobFailure, JobResult, complete, complete_always};
pub(crate) use self::incarnation::{Incarnation, Life};
pub use self::scheduler::{AsyncJobScheduler, JobCounts};
pub(crate) use self::sugar::Schedulers;
