//! A Kafka Streams application, `exactly_once_v2`: its instances are killed, and nothing is lost or
//! doubled.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use streams_tests::broker::TestBroker;
use streams_tests::clients::Client;
use streams_tests::oracle::{check_totals, read_committed};
use streams_tests::process::{Program, target_dir};
use streams_tests::workload::Workload;

const PATIENCE: Duration = Duration::from_secs(180);
const WORKLOAD: Workload = Workload { records: 12_000, ids: 100, rate: 600, seed: 7 };
const RUN: &str = "java -XX:TieredStopAtLevel=1 -Xmx256m \
                   -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp classes:libs/* StreamsApp";

struct Application<'a> {
    client: &'a Client,
    bootstrap: String,
    prefix: &'a str,
    state: PathBuf,
}

impl Application<'_> {
    fn topic(&self, kind: &str) -> String {
        format!("{}-{kind}", self.prefix)
    }

    fn start(&self, instance: &str) -> Result<Program> {
        let state = self.state.join(instance);
        let state = state.to_str().ok_or_else(|| anyhow!("a folder's name"))?;
        let (input, output) = (self.topic("in"), self.topic("out"));
        let arguments = [self.bootstrap.as_str(), self.prefix, &input, &output, state];
        self.client.start(RUN, &arguments)
    }

    fn await_outputs(&self, count: u64) -> Result<Vec<Vec<u8>>> {
        let count = usize::try_from(count)?;
        read_committed(&self.bootstrap, &self.topic("out"), count, PATIENCE)
    }
}

/// One instance is killed and comes back, under its old transactional ids; then the other one is
/// killed and does not, and the first must wait for its session and its transaction to time out.
pub(super) fn survives_sigkill(client: &Client, broker: &TestBroker, prefix: &str) -> Result<()> {
    let state = target_dir()?.join("clients").join(format!("{prefix}-{}", std::process::id()));
    let bootstrap = broker.bootstrap();
    let application = Application { client, bootstrap: bootstrap.clone(), prefix, state };
    let (input, output) = (application.topic("in"), application.topic("out"));
    broker.create_topics(&[(&input, 4), (&output, 4)])?;
    let mut first = application.start("first")?;
    let mut second = application.start("second")?;
    first.await_stdout("state RUNNING", PATIENCE)?;
    second.await_stdout("state RUNNING", PATIENCE)?;
    let sender = std::thread::spawn(move || WORKLOAD.send(&bootstrap, &input));
    application.await_outputs(WORKLOAD.records / 6)?;
    first.kill()?;
    let mut first = application.start("first")?;
    application.await_outputs(WORKLOAD.records / 2)?;
    first.await_stdout("state RUNNING", PATIENCE)?;
    second.kill()?;
    sender.join().map_err(|_| anyhow!("the sender panicked"))??;
    let outputs = application.await_outputs(WORKLOAD.records)?;
    check_totals(&outputs, &WORKLOAD.totals())?;
    // A Java machine that ends on SIGTERM in good order says 143.
    first.signal(libc::SIGTERM)?;
    let status = first.wait(PATIENCE)?;
    ensure!(status.code() == Some(143), "it ended with {status}\n{}", first.stderr());
    std::fs::remove_dir_all(&application.state)?;
    Ok(())
}
