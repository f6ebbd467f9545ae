//! Several members of a group in one process, on the embedded broker: what an application is told
//! of its partitions, copies that can't be made, and ends that can't wait.

mod app;
mod callbacks;
mod growth;
mod handles;
mod leaving;
mod lifecycle;
mod racks;
mod stuck;
mod takeover;
mod warm_failed;
