//! What is no handler may be anything: generic, async, a method, a constant, a type.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers {
    Number(i64),
}

#[event_source(events = Numbers, store = NoStore)]
mod numbers {
    use super::*;

    const LIMIT: i64 = 10;

    struct Doubled(i64);

    impl Doubled {
        fn of(self) -> i64 {
            self.0 * 2
        }
    }

    fn largest<T: Ord>(a: T, b: T) -> T {
        a.max(b)
    }

    pub(crate) async fn later(number: i64) -> i64 {
        number
    }

    /// Handlers are functions like others, with documents of their own.
    #[inline]
    #[allow(clippy::unnecessary_wraps, reason = "an attribute of the user's stays")]
    #[event_handler("Number")]
    fn number(_: &mut EventContext<NoStore>, number: i64) -> Result<ExecutionState> {
        let doubled = largest(Doubled(number).of(), 0);
        Ok(if doubled < LIMIT { Complete } else { Incomplete })
    }
}

#[test]
fn what_is_no_handler_is_left_alone() {
    assert_eq!(numbers::Source::routes().len(), 1);
    drop(numbers::later(1));
}
