//! The list form: handlers, interjections and a default handler of other modules, and what is
//! shared.

use streams_core::prelude::*;

#[derive(Events)]
enum Jobs {
    Begun(i64),
    Ended(i64),
}

struct Config {
    limit: i64,
}

#[event_source(
    events = Jobs,
    store = NoStore,
    shared = Config,
    handlers = [beginning::begun, end::rest, end::sweep],
)]
struct JobSource;

mod beginning {
    use super::*;

    #[event_handler("Begun")]
    pub(super) fn begun(
        _: &mut EventContext<NoStore>,
        config: &Config,
        id: i64,
    ) -> Result<ExecutionState> {
        Ok(if id < config.limit { Complete } else { Incomplete })
    }
}

mod end {
    use super::*;

    #[default_handler]
    pub(super) fn rest(_: &mut EventContext<NoStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[interjection(every = "30s", jitter = "1s")]
    pub(super) fn sweep(_: &mut EventContext<NoStore>, _: SystemTime) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

#[test]
fn the_list_is_the_source() {
    assert_eq!(JobSource::routes().len(), 1);
    assert_eq!(JobSource::TABLE.interjections.len(), 1);
    let mut driver = JobSource::builder().shared(Config { limit: 10 }).test_driver();
    driver.send("k", Jobs::Begun(1));
    driver.send("k", Jobs::Ended(1));
    assert_eq!(driver.committed(0), Some(2));
}
