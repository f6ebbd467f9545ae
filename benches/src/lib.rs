//! Measurements: what a process costs, and how long a record takes.

pub mod measure;
pub mod reader;
