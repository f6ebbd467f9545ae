//! Names that a job type can't have.

use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(Job, EventCodec, Serialize, Deserialize)]
#[job("")]
struct Empty;

#[derive(Job, EventCodec, Serialize, Deserialize)]
#[job("a")]
#[job("b")]
struct Twice;

#[derive(Job, EventCodec, Serialize, Deserialize)]
#[job(name)]
struct NotALiteral;

fn main() {}
