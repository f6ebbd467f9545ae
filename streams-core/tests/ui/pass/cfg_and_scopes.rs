//! Handlers under `#[cfg]`, a default handler under `#[cfg]`, a source inside a function.

use streams_core::prelude::*;

#[derive(Events)]
pub enum Numbers {
    Add(i64),
    Sub(i64),
}

#[event_source(events = Numbers, store = NoStore)]
mod numbers {
    use streams_core::prelude::*;

    #[cfg(unix)]
    #[event_handler("Add")]
    fn add(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[cfg(not(unix))]
    #[event_handler("Add")]
    fn add(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Incomplete)
    }

    /// It calls itself, and its neighbour, by name.
    #[event_handler("Sub")]
    fn sub(ctx: &mut EventContext<NoStore>, number: i64) -> Result<ExecutionState> {
        if number > 0 { sub(ctx, number - 1) } else { add(ctx, number) }
    }

    #[cfg(windows)]
    #[interjection(every = "1s")]
    fn sweep(_: &mut EventContext<NoStore>, _: SystemTime) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

#[event_source(events = Numbers, store = NoStore)]
mod rest {
    use streams_core::prelude::*;

    #[cfg(unix)]
    #[default_handler]
    fn rest(_: &mut EventContext<NoStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[cfg(not(unix))]
    #[default_handler]
    fn rest(_: &mut EventContext<NoStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Incomplete)
    }
}

#[event_source(events = Numbers, store = NoStore)]
mod configured_away {
    use streams_core::prelude::*;

    #[event_handler("Add")]
    fn add(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("Sub")]
    fn sub(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[cfg(not(unix))]
    #[default_handler]
    fn rest(_: &mut EventContext<NoStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

#[test]
fn configurations_and_scopes() {
    assert_eq!(numbers::Source::routes().len(), 2);
    assert!(numbers::Source::TABLE.interjections.is_empty());
    assert_eq!((rest::Source::routes().len(), configured_away::Source::routes().len()), (0, 2));

    #[derive(Events)]
    enum Inner {
        Add(i64),
    }

    #[event_source(events = Inner, store = NoStore, handlers = [add])]
    struct InnerSource;

    #[event_handler("Add")]
    fn add(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }

    assert_eq!(InnerSource::routes()[0].handler, "add");
}
