//! Payloads that borrow from the record: references, `Cow`, structs with a lifetime, whatever its
//! name.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::prelude::*;
use streams_core::testing::TestDriver;

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Line<'l> {
    #[serde(borrow)]
    text: Cow<'l, str>,
}

#[derive(Events)]
enum Lines<'any> {
    Line(Line<'any>),
    Word(&'any str),
    Bytes(&'any [u8]),
    Owned(String),
}

#[event_source(events = Lines<'_>, store = NoStore)]
mod lines {
    use super::*;

    #[event_handler("Line")]
    fn line(_: &mut EventContext<NoStore>, line: Line<'_>) -> Result<ExecutionState> {
        assert!(matches!(line.text, Cow::Borrowed("a")));
        Ok(Complete)
    }

    #[event_handler("Word")]
    fn word(_: &mut EventContext<NoStore>, word: &str) -> Result<ExecutionState> {
        assert_eq!(word, "word");
        Ok(Complete)
    }

    #[event_handler("Bytes")]
    fn bytes(ctx: &mut EventContext<NoStore>, bytes: &[u8]) -> Result<ExecutionState> {
        let value = ctx.input().and_then(Record::value);
        assert_eq!(value.map(<[u8]>::as_ptr), Some(bytes.as_ptr()), "the record's own bytes");
        Ok(Complete)
    }

    #[default_handler]
    fn rest(_: &mut EventContext<NoStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

#[test]
fn payloads_borrow() {
    let mut driver = TestDriver::<lines::Source>::new();
    driver.send("key", Lines::Line(Line { text: "a".into() }));
    driver.send("key", Lines::Word("word"));
    driver.send("key", Lines::Bytes(b"abc"));
    driver.send("key", Lines::Owned("owned".to_owned()));
    assert_eq!(driver.committed(0), Some(4));
}
