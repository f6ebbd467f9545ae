//! The example of asynchronous work by key: its lines, and 10,000 mails with SIGKILL in the middle.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde::Deserialize;
use streams_tests::broker::TestBroker;
use streams_tests::oracle::read_committed;
use streams_tests::process::{Program, example};

const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 8;
const ADDRESSES: usize = 500;
const NOTIFICATIONS: usize = 10_000;

const LINES: &str = "Created contact: 123\n\
    Notifying contact: 123 asynchronously by email\n\
    Processing an email job with key: 'billy@bob.com'. \
    This may take some time, emails are tricky!\n\
    Notified contact: 123, address: billy@bob.com, \
    payload: 'sending you mail...from a computer!'\n";

/// A committed output.
#[derive(Deserialize)]
struct Notified {
    contact_id: String,
    number: usize,
    mails: usize,
    last_contact: i64,
}

/// A row of the store, as the changelog has it.
#[derive(Deserialize)]
struct Contact {
    id: String,
    mails: usize,
    last_contact: Option<i64>,
}

pub(crate) fn once(broker: &TestBroker, prefix: &str) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let mut arguments = vec!["--once", "--group", prefix, "--input", prefix];
    if matches!(broker, TestBroker::Kafka(_)) {
        arguments.extend(["--bootstrap", &bootstrap]);
    }
    let mut program = Program::start(&example("async_jobs")?, &arguments)?;
    let status = program.wait(PATIENCE)?;
    ensure!(status.success(), "{status}: {}", program.stderr());
    ensure!(program.stdout() == LINES, "it printed: {}", program.stdout());
    Ok(())
}

fn send(bootstrap: &str, topic: &str) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .create()?;
    let send = |id: &str, record_type: &str, value: &str| -> Result<()> {
        let headers = OwnedHeaders::new();
        let headers = headers.insert(Header { key: "__grt__", value: Some(record_type) });
        let record = BaseRecord::to(topic).key(id).payload(value).headers(headers);
        producer.send(record).map_err(|(error, _)| error)?;
        Ok(())
    };
    for contact in 0..ADDRESSES {
        let id = format!("contact-{contact}");
        let value = format!(r#"{{"id":"{id}","email":"{id}@example.com"}}"#);
        send(&id, "CreateContact", &value)?;
    }
    for place in 0..NOTIFICATIONS {
        let (id, number) = (format!("contact-{}", place % ADDRESSES), place / ADDRESSES + 1);
        let value =
            format!(r#"{{"contact_id":"{id}","notification_type":"email","number":{number}}}"#);
        send(&id, "NotifyContact", &value)?;
    }
    producer.flush(PATIENCE)?;
    Ok(())
}

/// Checks the outputs: each contact's notifications in their order, each once.
fn check_outputs(outputs: &[Vec<u8>]) -> Result<BTreeMap<String, Notified>> {
    let mut last: BTreeMap<String, Notified> = BTreeMap::new();
    for output in outputs {
        let notified: Notified = serde_json::from_slice(output)?;
        let (id, before) = (notified.contact_id.clone(), last.get(&notified.contact_id));
        let expected = before.map_or(0, |before| before.number) + 1;
        let Notified { number, mails, .. } = notified;
        ensure!(number == expected, "{id}: notification {number}, and {expected} comes next");
        ensure!(mails == expected, "{id}: {mails} mails at notification {number}");
        last.insert(id, notified);
    }
    Ok(last)
}

pub(crate) fn sigkill(broker: &TestBroker, prefix: &str) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let (input, changelog) = (format!("{prefix}-in"), format!("{prefix}-changelog"));
    let output = format!("{prefix}-out");
    broker.create_topics(&[(&input, PARTITIONS)])?;
    send(&bootstrap, &input)?;
    let partitions = PARTITIONS.to_string();
    let arguments = [
        ["--bootstrap", bootstrap.as_str()],
        ["--group", prefix],
        ["--input", &input],
        ["--output", &output],
        ["--changelog", &changelog],
        ["--partitions", &partitions],
        ["--instance", "a"],
    ];
    let mut arguments: Vec<&str> = arguments.concat();
    arguments.push("--serve");
    let start = || Program::start(&example("async_jobs")?, &arguments);
    let mut program = start()?;
    for _ in 0..2 {
        let before = read_committed(&bootstrap, &output, 1, PATIENCE)?.len();
        let midway = read_committed(&bootstrap, &output, before + 500, PATIENCE)?.len();
        ensure!(midway < NOTIFICATIONS, "all {midway} mails were sent before the kill");
        program.kill()?;
        program = start()?;
    }
    let outputs = read_committed(&bootstrap, &output, NOTIFICATIONS, PATIENCE)
        .with_context(|| program.stderr())?;
    program.stop(PATIENCE)?;
    ensure!(outputs.len() == NOTIFICATIONS, "{} outputs", outputs.len());
    let last = check_outputs(&outputs)?;
    ensure!(last.len() == ADDRESSES, "{} addresses", last.len());
    let again = read_committed(&bootstrap, &output, NOTIFICATIONS, PATIENCE)?;
    ensure!(again.len() == NOTIFICATIONS, "{} outputs after the end", again.len());
    // The store: a row for each creation and for each mail, and the last one is the output's.
    let changes = read_committed(&bootstrap, &changelog, ADDRESSES + NOTIFICATIONS, PATIENCE)?;
    let rows = changes.iter().filter_map(|change| serde_json::from_slice::<Contact>(change).ok());
    let mut contacts: BTreeMap<String, Contact> = BTreeMap::new();
    let mut count = 0;
    for row in rows {
        count += 1;
        contacts.insert(row.id.clone(), row);
    }
    ensure!(count == ADDRESSES + NOTIFICATIONS, "{count} changes of rows");
    for (id, notified) in &last {
        let row = contacts.get(id).with_context(|| format!("{id} has no row"))?;
        let expected = (notified.mails, Some(notified.last_contact));
        ensure!((row.mails, row.last_contact) == expected, "{id}: the row and the output differ");
    }
    Ok(())
}
