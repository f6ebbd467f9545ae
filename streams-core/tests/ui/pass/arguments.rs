//! Arguments by any name and pattern, and in the module's own words.

use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(EventCodec, Serialize, Deserialize, schemars::JsonSchema)]
struct Point {
    x: i64,
    y: i64,
}

#[derive(Events)]
enum Points {
    Named(Point),
    Ignored(Point),
    Taken(Point),
    Changed(i64),
}

type Ctx = EventContext<NoStore>;

#[event_source(events = Points, store = NoStore)]
mod points {
    use super::*;

    #[event_handler("Named")]
    fn named(context: &mut Ctx, point: Point) -> Result<ExecutionState> {
        let _ = context.topic_partition();
        Ok(if point.x == point.y { Complete } else { Incomplete })
    }

    #[event_handler("Ignored")]
    fn ignored(_: &mut Ctx, _point: Point) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("Taken")]
    fn taken(_: &mut Ctx, Point { x, .. }: Point) -> Result<ExecutionState> {
        Ok(if x > 0 { Complete } else { Incomplete })
    }

    #[event_handler("Changed")]
    fn changed(_: &mut Ctx, mut count: i64) -> Result<ExecutionState> {
        count += 1;
        Ok(if count > 0 { Complete } else { Incomplete })
    }
}

#[test]
fn a_pattern_is_an_argument() {
    assert_eq!(points::Source::routes().len(), 4);
}
