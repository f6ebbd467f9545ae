//! Record types of every spelling that Kafka's header can carry and a reader can type.

use streams_core::prelude::*;

#[derive(Events)]
enum Named {
    /// Without a name of its own the variant's is taken.
    Plain(i64),
    #[event("dotted.name.v1")]
    Dotted(i64),
    #[event("with-dashes_and_lines")]
    Dashed(i64),
    #[event("With Spaces")]
    Spaced(i64),
    #[event("42")]
    Digits(i64),
    r#Type(i64),
}

#[event_source(events = Named, store = NoStore)]
mod named {
    use streams_core::prelude::*;

    #[event_handler(
        "Plain",
        "dotted.name.v1",
        "with-dashes_and_lines",
        "With Spaces",
        "42",
        "Type"
    )]
    fn all(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

#[test]
fn names_are_taken_as_written() {
    let types: Vec<_> = named::Source::routes().iter().map(|route| route.record_type).collect();
    for name in ["Plain", "dotted.name.v1", "with-dashes_and_lines", "With Spaces", "42", "Type"] {
        assert!(types.contains(&name), "{name}: {types:?}");
    }
}
