//! What a handler may return: a result with any error, a state alone, an alias.

use std::error::Error;
use std::num::ParseIntError;
use std::sync::Arc;

use anyhow::Context as _;
use streams_core::handler::{HandlerError, Severity};
use streams_core::prelude::*;
use streams_core::{Outcome, testing};

#[derive(Events)]
enum Texts {
    Ours(String),
    Theirs(String),
    Own(String),
    State(String),
    Alias(String),
    Anyhow(String),
    Boxed(String),
    Text(String),
}

/// An error of the application's, and what it means.
struct Hopeless;

impl From<Hopeless> for HandlerError {
    fn from(_: Hopeless) -> Self {
        Self::fatal("hopeless")
    }
}

type Alias = Result<ExecutionState>;

#[event_source(events = Texts, store = NoStore)]
mod texts {
    use super::*;

    #[event_handler("Ours")]
    fn ours(_: &mut EventContext<NoStore>, text: String) -> Result<ExecutionState> {
        text.parse::<u8>()?;
        Ok(Complete)
    }

    #[event_handler("Theirs")]
    fn theirs(
        _: &mut EventContext<NoStore>,
        text: String,
    ) -> std::result::Result<ExecutionState, ParseIntError> {
        text.parse::<u8>().map(|_| Complete)
    }

    #[event_handler("Own")]
    fn own(_: &mut EventContext<NoStore>, _: String) -> Result<ExecutionState, Hopeless> {
        Err(Hopeless)
    }

    #[event_handler("State")]
    fn state(_: &mut EventContext<NoStore>, _: String) -> ExecutionState {
        Complete
    }

    #[event_handler("Anyhow")]
    fn from_anyhow(_: &mut EventContext<NoStore>, text: String) -> anyhow::Result<ExecutionState> {
        text.parse::<u8>().context("no number")?;
        Ok(Complete)
    }

    #[event_handler("Boxed")]
    fn boxed(_: &mut EventContext<NoStore>, text: String) -> Result<ExecutionState> {
        let boxed = || -> Result<u8, Box<dyn Error + Send + Sync>> { Ok(text.parse()?) };
        boxed()?;
        Err(anyhow::anyhow!("not reached").into())
    }

    #[event_handler("Text")]
    fn text(_: &mut EventContext<NoStore>, text: String) -> Result<ExecutionState> {
        let checked = |text: String| if text.is_empty() { Ok(()) } else { Err(text + "!") };
        checked(text)?;
        Err("not reached".into())
    }

    #[event_handler("Alias")]
    fn alias(ctx: &mut EventContext<NoStore>, _: String) -> Alias {
        ctx.fail("an alias")
    }
}

static TEXTS: Topic<Texts> = Topic::new("texts");

fn dispatch(event: fn(String) -> Texts) -> Outcome {
    let record = testing::record(&TEXTS, "key", event("x".to_owned())).expect("it has a form");
    texts::Source::dispatch(&mut testing::context(), &Arc::new(()), &record)
}

fn failure(event: fn(String) -> Texts) -> HandlerError {
    match dispatch(event) {
        Outcome::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_become_failures() {
    for failing in [Texts::Ours, Texts::Theirs] {
        assert_eq!(failure(failing).to_string(), "invalid digit found in string");
    }
    assert_eq!(failure(Texts::Boxed).to_string(), "invalid digit found in string");
    assert_eq!(failure(Texts::Text).to_string(), "x!");
    let error = failure(Texts::Anyhow);
    assert_eq!(error.to_string(), "no number");
    let cause = error.into_source();
    assert_eq!(
        cause.source().map(ToString::to_string).as_deref(),
        Some("invalid digit found in string")
    );
    assert_eq!(failure(Texts::Own).severity(), Severity::Fatal);
    assert_eq!(failure(Texts::Alias).to_string(), "an alias");
    assert!(matches!(dispatch(Texts::State), Outcome::Complete));
}
