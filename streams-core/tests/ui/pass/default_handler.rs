//! A contract of which only a part has handlers: the rest, and what no contract has, goes to the
//! default handler.

use streams_core::prelude::*;

#[derive(Events)]
enum Mixed {
    Known(i64),
    Unhandled(i64),
}

#[event_source(events = Mixed, store = NoStore)]
mod mixed {
    use super::*;

    #[event_handler("Known")]
    fn known(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[default_handler]
    fn rest(_: &mut EventContext<NoStore>, record: &Record) -> Result<ExecutionState> {
        Ok(if record.record_type() == "Unhandled" { Complete } else { Incomplete })
    }
}

#[test]
fn the_rest_is_handled() {
    let mut driver = mixed::Source::builder().test_driver();
    driver.send("k", Mixed::Unhandled(1));
    driver.send("k", Mixed::Known(1));
    assert_eq!(driver.committed(0), Some(2));
}
