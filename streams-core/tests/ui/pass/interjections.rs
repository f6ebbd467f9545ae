//! Every unit, with and without jitter; what is called by the clock beside events, and alone.

use streams_core::prelude::*;

#[derive(Events)]
enum Nothing {}

#[event_source(events = Nothing, store = NoStore)]
mod clock {
    use super::*;

    #[interjection(every = "1ms")]
    fn fast(_: &mut EventContext<NoStore>, _: SystemTime) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[interjection(every = "2s", jitter = "2s")]
    fn as_long_as_it_may(_: &mut EventContext<NoStore>, _: SystemTime) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[interjection(jitter = "90s", every = "3m")]
    fn in_any_order(_: &mut EventContext<NoStore>, _: SystemTime) -> ExecutionState {
        Complete
    }

    #[interjection(every = "8760 h")]
    fn once_a_year(_: &mut EventContext<NoStore>, at: SystemTime) -> Result<ExecutionState> {
        at.duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(Complete)
    }
}

#[test]
fn intervals_of_every_unit() {
    let times = clock::Source::TABLE.interjections.iter();
    let times = times.map(|i| (i.every.as_millis(), i.jitter.as_millis()));
    let year = 365 * 24 * 3_600_000;
    assert!(times.eq([(1, 0), (2_000, 2_000), (180_000, 90_000), (year, 0)]));
}
