//! Handlers that are `async fn`: jobs by key, with typed results for their finalizers.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use streams_core::jobs::JobResult;
use streams_core::prelude::*;
use streams_core::testing::TestDriver;
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);

#[derive(Clone, EventCodec, serde::Serialize, serde::Deserialize)]
struct Mail {
    address: String,
    ms: u32,
}

#[derive(Clone, EventCodec, serde::Serialize, serde::Deserialize)]
struct Call {
    number: String,
    fails: u32,
}

#[derive(Events)]
enum Work {
    Mail(Mail),
    Call(Call),
    Ping(u32),
    Fail(String),
}

#[derive(Events, Debug, PartialEq)]
enum Done {
    Mailed(String),
    Called(String),
}

static DONE: Topic<Done> = Topic::new("done");

#[derive(StateStore)]
struct Counts {
    mails: Table<String, u32>,
}

#[derive(Default)]
struct App {
    /// What ran, in order, by key.
    ran: Mutex<BTreeMap<String, Vec<u32>>>,
}

impl App {
    fn note(&self, key: &str, number: u32) -> usize {
        let mut ran = self.ran.lock().expect("no panic");
        let ran = ran.entry(key.to_owned()).or_default();
        ran.push(number);
        ran.len()
    }

    fn ran(&self, key: &str) -> Vec<u32> {
        self.ran.lock().expect("no panic").get(key).cloned().unwrap_or_default()
    }
}

#[derive(Debug, PartialEq)]
struct Receipt(u32);

#[event_source(events = Work, store = Counts, shared = App, handlers = [elsewhere::ping])]
mod work {
    use std::sync::Arc;

    use super::*;

    #[event_handler("Mail", concurrency = 64, key = "address", finalize = mailed)]
    async fn mail(app: &App, mail: Mail) -> std::io::Result<Receipt> {
        sleep(MS * mail.ms).await;
        app.note(&mail.address, mail.ms);
        Ok(Receipt(mail.ms))
    }

    pub(super) fn mailed(
        ctx: &mut EventContext<Counts>,
        mail: Mail,
        receipt: JobResult<Receipt>,
    ) -> Result<ExecutionState> {
        let Receipt(ms) = receipt?;
        assert_eq!(ms, mail.ms);
        let mails = ctx.store.mails.update(mail.address.clone(), |mails| {
            *mails += 1;
            *mails
        });
        let line = format!("{ms}, {mails}");
        ctx.forward(&DONE, &mail.address, Done::Mailed(line))?;
        Ok(Complete)
    }

    fn country(call: &Call) -> String {
        call.number.chars().take(2).collect()
    }

    #[event_handler(
        "Call",
        key = country,
        retries = 3,
        backoff = "10ms",
        timeout = "1s",
        finalize = called
    )]
    async fn call(app: &Arc<App>, call: Call) -> Result<()> {
        let attempts = app.note(&call.number, 0);
        if attempts <= usize::try_from(call.fails)? {
            return Err(std::io::Error::other("busy").into());
        }
        Ok(())
    }

    pub(super) fn called(
        ctx: &mut EventContext<Counts>,
        call: Call,
        result: JobResult<()>,
    ) -> Result<ExecutionState> {
        let line = result.map_or_else(|error| error.to_string(), |()| "answered".to_owned());
        ctx.forward(&DONE, &call.number, Done::Called(line))?;
        Ok(Complete)
    }

    #[event_handler("Fail")]
    async fn fail(reason: String) -> std::io::Result<()> {
        Err(std::io::Error::other(reason))
    }
}

mod elsewhere {
    use super::*;

    /// Neither key nor finalizer: jobs run in the order of the record's key.
    #[event_handler("Ping")]
    pub(super) async fn ping(app: &App, ms: u32) -> std::io::Result<()> {
        sleep(MS * ms).await;
        app.note("ping", ms);
        Ok(())
    }
}

fn driver() -> TestDriver<work::Source> {
    work::Source::builder().shared(App::default()).test_driver()
}

fn mail(address: &str, ms: u32) -> Work {
    Work::Mail(Mail { address: address.to_owned(), ms })
}

fn done(driver: &TestDriver<work::Source>, key: &str) -> Vec<String> {
    let of_key = driver.read(&DONE).into_iter().filter(|(of, _)| of == key);
    let line = |(_, done)| match done {
        Done::Mailed(line) | Done::Called(line) => line,
    };
    of_key.map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn a_field_orders_the_jobs_and_the_finalizer_gets_the_typed_result() {
    let mut driver = driver();
    // The records' keys differ, and the addresses do not.
    driver.send_all([("1", mail("a", 9)), ("2", mail("a", 1)), ("3", mail("b", 4))]);
    driver.advance_async(MS * 5).await;
    assert_eq!((done(&driver, "a"), done(&driver, "b")), (vec![], vec!["4, 1".to_owned()]));
    driver.advance_async(MS * 6).await;
    assert_eq!(
        (done(&driver, "a"), driver.committed(0)),
        (vec!["9, 1".to_owned(), "1, 2".to_owned()], Some(3))
    );
    assert_eq!(driver.store(0).mails.get("a"), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn a_function_orders_the_jobs_and_a_failed_one_runs_again() {
    let mut driver = driver();
    let call = |number: &str, fails| Work::Call(Call { number: number.to_owned(), fails });
    driver.send_all([("1", call("41-1", 2)), ("2", call("41-2", 0)), ("3", call("49-1", 9))]);
    driver.advance_async(MS).await;
    assert_eq!(done(&driver, "41-2"), [""; 0], "it waits behind the other call of its country");
    driver.advance_async(MS * 60).await;
    assert_eq!(done(&driver, "41-1"), ["answered"]);
    assert_eq!(done(&driver, "41-2"), ["answered"]);
    assert_eq!(done(&driver, "49-1"), ["the job failed in attempt 3: busy"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_key_the_key_of_the_record_orders_the_jobs() {
    let app = std::sync::Arc::new(App::default());
    let builder = work::Source::builder().shared(std::sync::Arc::clone(&app));
    let mut driver = builder.test_driver();
    driver.send_all([("a", Work::Ping(20)), ("a", Work::Ping(1)), ("b", Work::Ping(5))]);
    driver.advance_async(MS * 30).await;
    assert_eq!((app.ran("ping"), driver.committed(0)), (vec![5, 20, 1], Some(3)));
}

#[tokio::test(start_paused = true)]
async fn without_a_finalizer_an_error_fails_the_event() {
    let mut driver = driver();
    driver.hold_completions().send("a", Work::Fail("no route".to_owned()));
    driver.advance_async(MS).await;
    let complete = std::panic::AssertUnwindSafe(|| {
        driver.complete(0);
    });
    assert!(std::panic::catch_unwind(complete).is_err());
    let failure = driver.failure().expect("a failure").to_string();
    assert!(failure.contains("the job failed in attempt 1: no route"), "{failure}");
}

#[test]
fn an_async_handler_stays_a_function_and_has_its_row() {
    let route = work::Source::routes().iter().find(|route| route.record_type == "Ping");
    assert_eq!(route.expect("a row").handler, "elsewhere::ping");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let ran = runtime.expect("a runtime").block_on(elsewhere::ping(&App::default(), 0));
    assert!(ran.is_ok());
}
