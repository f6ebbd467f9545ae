//! Handlers that are `async fn` and whose jobs the changelog keeps.

use std::sync::Mutex;
use std::time::Duration;

use streams_core::jobs::JobResult;
use streams_core::jobs::durable::{JobConfig, JobRun, Next};
use streams_core::prelude::*;
use streams_core::testing::TestDriver;

#[derive(Clone, EventCodec, serde::Serialize, serde::Deserialize)]
struct Mail {
    address: String,
    text: String,
}

#[derive(Events)]
enum Mails {
    SendMail(Mail),
    Count(String),
}

#[derive(Events, Debug, PartialEq)]
enum Done {
    Sent(String),
}

static DONE: Topic<Done> = Topic::new("done");

#[derive(StateStore)]
struct Sent {
    sent: Table<String, u32>,
}

#[derive(Default)]
struct App {
    runs: Mutex<Vec<String>>,
}

#[event_source(events = Mails, store = Sent, shared = App)]
mod mails {
    use super::*;

    #[event_handler(
        "SendMail",
        durable = "send-mail",
        key = "address",
        timeout = "100ms",
        finalize = sent
    )]
    async fn send(app: &App, mail: Mail) -> Result<usize, String> {
        app.runs.lock().expect("no panic").push(mail.text.clone());
        match mail.text.as_str() {
            "hangs" => tokio::time::sleep(Duration::from_secs(60)).await,
            "fails" => return Err("no route".to_owned()),
            _ => {}
        }
        Ok(mail.text.len())
    }

    pub(super) fn sent(
        ctx: &mut EventContext<Sent>,
        mail: Mail,
        bytes: &JobResult<usize>,
    ) -> Result<Next> {
        ctx.store.sent.update(mail.address.clone(), |sent| *sent += 1);
        let done = match bytes {
            Ok(bytes) => format!("{}: {bytes}", mail.text),
            Err(error) => format!("{}: {error}", mail.text),
        };
        ctx.forward(&DONE, &mail.address, Done::Sent(done))?;
        Ok(Next::Done)
    }

    /// Without a finalizer and a key of its own.
    #[event_handler("Count", durable = "count")]
    async fn count(text: String) -> std::io::Result<()> {
        match text.as_str() {
            "fails" => Err(std::io::Error::other("no counter")),
            _ => Ok(()),
        }
    }
}

fn driver() -> TestDriver<mails::Source> {
    mails::Source::builder().shared(App::default()).test_driver()
}

fn send(driver: &mut TestDriver<mails::Source>, address: &str, text: &str) {
    let (address, text) = (address.to_owned(), text.to_owned());
    driver.send("k", Mails::SendMail(Mail { address, text }));
}

fn done(driver: &TestDriver<mails::Source>) -> Vec<String> {
    driver.read(&DONE).into_iter().map(|(_, Done::Sent(text))| text).collect()
}

#[test]
fn a_durable_handlers_event_is_complete_at_once_and_its_job_survives_a_crash() {
    let mut driver = driver();
    driver.hold_jobs();
    send(&mut driver, "a", "one");
    send(&mut driver, "a", "two");
    send(&mut driver, "b", "three");
    assert_eq!((driver.committed(0), driver.held_jobs()), (Some(3), 2), "keys run side by side");
    driver.crash();
    assert_eq!(driver.held_jobs(), 2);
    driver.release_jobs();
    let mut done = done(&driver);
    done.sort();
    assert_eq!(done, ["one: 3", "three: 5", "two: 3"]);
    assert_eq!(driver.store(0).sent.get("a"), Some(&2));
}

#[test]
fn a_failed_job_and_one_that_takes_too_long_are_results_of_the_finalizer() {
    let mut driver = driver();
    send(&mut driver, "a", "fails");
    send(&mut driver, "a", "hangs");
    let done = done(&driver);
    assert_eq!(done[0], "fails: the job failed in attempt 1: no route");
    assert!(done[1].starts_with("hangs: the job took longer than 100ms"), "{done:?}");
}

#[test]
fn without_a_finalizer_a_job_is_done_or_fails_the_source() {
    let mut driver = driver();
    driver.send("k", Mails::Count("works".to_owned()));
    assert_eq!(driver.committed(0), Some(1));
    driver.when("k", Mails::Count("fails".to_owned()));
    driver.then_fails("the job failed in attempt 1: no counter");
}

#[test]
fn two_job_types_of_one_name_are_refused() {
    #[derive(EventCodec, Job, serde::Serialize, serde::Deserialize)]
    #[job("count")]
    struct Same;

    async fn run(_: Same, _: JobRun) -> std::io::Result<()> {
        Ok(())
    }
    let source = mails::Source::builder().bootstrap("127.0.0.1:1").group("g").topic("t");
    let source = source.durable_job(JobConfig::default(), run, |_, _, _| Ok(Next::Done));
    let error = source.shared(App::default()).start().expect_err("two types have one name");
    assert!(error.to_string().contains("`count`: two job types of the source"), "{error}");
}
