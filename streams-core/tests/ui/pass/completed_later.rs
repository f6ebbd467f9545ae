//! Events that wait: a completer taken in the handler, completed from another thread.

use std::sync::Mutex;

use streams_core::handler::Completer;
use streams_core::prelude::*;

#[derive(Events)]
enum Calls {
    Call(i64),
}

static WAITING: Mutex<Option<Completer<NoStore>>> = Mutex::new(None);

#[event_source(events = Calls, store = NoStore)]
mod calls {
    use super::*;

    #[event_handler("Call")]
    fn call(ctx: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        *WAITING.lock().expect("nobody panicked") = Some(ctx.completer());
        Ok(Incomplete)
    }
}

#[test]
fn an_event_ends_when_it_is_completed() {
    let mut driver = calls::Source::builder().test_driver();
    driver.send("k", Calls::Call(1));
    assert_ne!(driver.committed(0), Some(1));
    let completer = WAITING.lock().expect("nobody panicked").take().expect("it waits");
    std::thread::spawn(move || completer.complete(|_| Ok(Complete))).join().expect("it ends");
    driver.run_pending();
    assert_eq!(driver.committed(0), Some(1));
}
