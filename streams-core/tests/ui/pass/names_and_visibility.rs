//! Paths of every kind: a private contract, renamed imports, two sources of one contract, handlers
//! of every visibility, patterns as arguments, errors of other types, stores with private fields.

mod contract {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use streams_core::prelude::*;

    #[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
    pub struct Number {
        pub number: u32,
    }

    #[derive(Events)]
    pub(crate) enum Private {
        One(Number),
        #[event("two.v1")]
        Two(Number),
        Raw(Blob),
        Count(i64),
    }

    #[derive(EventCodec)]
    #[codec(transparent)]
    pub struct Blob(Vec<u8>);

    pub mod deeper {
        use streams_core::prelude::*;

        #[derive(Events)]
        pub enum Totals {
            Total(i64),
        }
    }
}

mod other {
    use streams_core::prelude::*;

    /// Of the same name and place as another: their macros must not meet.
    #[derive(Events)]
    pub enum Totals {
        #[event("total.v2")]
        Total(i64),
    }
}

use contract::Private as Renamed;
pub use contract::deeper;
use streams_core::prelude::*;

#[event_source(events = Renamed, store = NoStore)]
mod one {
    use streams_core::prelude::*;

    use crate::names_and_visibility::contract::*;

    #[event_handler("One")]
    fn one(_: &mut EventContext<NoStore>, _: Number) -> Result<ExecutionState> {
        Ok(Complete)
    }

    /// Documented.
    #[streams_core::event_handler("two.v1")]
    #[must_use = "it may have failed"]
    fn two(
        _: &mut EventContext<NoStore>,
        Number { number }: Number,
    ) -> Result<ExecutionState, std::num::ParseIntError> {
        Ok(if number == "1".parse::<u32>()? { Complete } else { Incomplete })
    }

    #[event_handler("Raw")]
    pub fn raw(_: &mut EventContext<NoStore>, _: Blob) -> ExecutionState {
        Complete
    }

    #[event_handler("Count")]
    pub(crate) fn count(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Incomplete)
    }
}

#[event_source(
    events = crate::names_and_visibility::contract::Private,
    store = crate::names_and_visibility::store::Private,
)]
pub(crate) mod two {
    use streams_core::prelude::*;

    #[default_handler]
    fn all(
        _: &mut EventContext<crate::names_and_visibility::store::Private>,
        _: &Record,
    ) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

mod store {
    use std::hash::Hash;

    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use streams_core::prelude::*;

    /// Its fields are of types that nobody else may name.
    #[derive(StateStore)]
    pub struct Private {
        rows: Table<String, Row>,
        r#type: Table<u64, Vec<u8>>,
    }

    #[derive(EventCodec, Serialize, Deserialize, JsonSchema, Hash)]
    struct Row {
        number: u32,
    }

    #[derive(StateStore)]
    pub struct Unit;

    #[derive(StateStore)]
    pub struct Empty {}
}

#[event_source(events = other::Totals, store = store::Unit, handlers = [elsewhere::total])]
mod mixed {
    use streams_core::prelude::*;

    #[interjection(every = "250ms")]
    fn tick(
        _: &mut EventContext<crate::names_and_visibility::store::Unit>,
        _: SystemTime,
    ) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

#[event_source(events = deeper::Totals, store = store::Empty, handlers = [elsewhere::deeper])]
struct Deeper;

mod elsewhere {
    use streams_core::prelude::*;

    use crate::names_and_visibility::store::{Empty, Unit};

    #[event_handler("total.v2")]
    pub fn total(_: &mut EventContext<Unit>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("Total")]
    pub(super) fn deeper(_: &mut EventContext<Empty>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

mod outer {
    pub(super) mod inner {
        use streams_core::prelude::*;

        #[derive(Events)]
        pub(super) enum Near {
            Near(i64),
        }

        #[event_source(events = Near, store = NoStore)]
        pub(super) mod near {
            use streams_core::prelude::*;

            #[event_handler("Near")]
            fn near(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
                Ok(Complete)
            }
        }
    }

    pub(super) fn routes() -> usize {
        use streams_core::prelude::*;

        inner::near::Source::routes().len()
    }
}

#[test]
fn paths_of_every_kind() {
    assert_eq!(one::Source::routes().len(), 4);
    assert_eq!(two::Source::routes().len(), 0);
    assert_eq!(mixed::Source::routes()[0].handler, "elsewhere::total");
    assert_eq!(mixed::Source::TABLE.interjections[0].every.as_millis(), 250);
    assert_eq!(Deeper::routes()[0].record_type, "Total");
    assert_eq!(outer::routes(), 1);
}
