//! Contacts, from the first event to the last: the README's program.
//!
//! `cargo run --example contacts -- --once` starts the embedded broker, sends four events, and
//! prints what the handlers say. Without `--once` it runs until Ctrl-C; with
//! `--bootstrap HOST:PORT` it does the same on a real cluster. `--describe` prints which record
//! type goes to which handler.
#![expect(clippy::enum_variant_names, reason = "record types are named as the seed names them")]

use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use clap::Parser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_broker::Broker;

// README: begin
use streams_core::prelude::*;
// README: end

#[derive(EventCodec, Serialize, Deserialize, JsonSchema, Clone)]
struct Contact {
    id: String,
    email: String,
    first_name: String,
    last_name: String,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Notify {
    contact_id: String,
    notification_type: String,
}

// README: begin
#[derive(Events)] // the topic's contract: record type -> payload
enum ContactEvent {
    CreateContact(Contact),
    NotifyContact(Notify),
    DeleteContact(Contact),
}

#[derive(StateStore)] // every change is logged by the table, in the event's transaction
struct ContactStore {
    contacts: Table<String, Contact>,
}

#[event_source(events = ContactEvent, store = ContactStore)]
mod contacts {
    use super::*;

    #[event_handler("CreateContact")]
    fn create(ctx: &mut EventContext<ContactStore>, contact: Contact) -> Result<ExecutionState> {
        say(ctx, &contact.id, format!("Created contact: {}", contact.id))?;
        ctx.store.contacts.put(contact.id.clone(), contact);
        Ok(Complete)
    }
    // README: end

    #[event_handler("NotifyContact")]
    fn notify(ctx: &mut EventContext<ContactStore>, n: Notify) -> Result<ExecutionState> {
        match ctx.store.contacts.get(&n.contact_id) {
            Some(c) => say(
                ctx,
                &n.contact_id,
                format!("Notifying contact: {} by {}", c.id, n.notification_type),
            ),
            None => say(ctx, &n.contact_id, format!("Contact {} does not exist!", n.contact_id)),
        }
    }

    #[event_handler("DeleteContact")]
    fn delete(ctx: &mut EventContext<ContactStore>, contact: Contact) -> Result<ExecutionState> {
        match ctx.store.contacts.remove(&contact.id).cloned() {
            Some(gone) => say(ctx, &gone.id, format!("Deleted contact: {}", gone.id)),
            None => Ok(Complete),
        }
    }

    // README: begin

    #[interjection(every = "1m", jitter = "5s")] // by the clock, once for each partition
    fn count(ctx: &mut EventContext<ContactStore>, _at: SystemTime) -> Result<ExecutionState> {
        let (at, n) = (ctx.topic_partition().to_string(), ctx.store.contacts.len());
        if n > 0 { say(ctx, &at, format!("{at}: {n} contacts")) } else { Ok(Complete) }
    }
}
// README: end

/// What the application says, for whoever wants to read it.
#[derive(Events)]
enum Notice {
    Said(String),
}

/// So many lines are counted before somebody looks.
const LINES_MAX: usize = 16;
static LINES: OnceLock<SyncSender<()>> = OnceLock::new();
static NOTICES: Topic<Notice> = Topic::new("contact-notices");

/// Prints a line, and forwards it in the event's transaction.
fn say(ctx: &mut EventContext<ContactStore>, key: &str, line: String) -> Result<ExecutionState> {
    println!("{line}");
    if let Some(lines) = LINES.get() {
        // Nobody waits for more than the four.
        let _ = lines.try_send(());
    }
    ctx.forward(&NOTICES, key, Notice::Said(line))?;
    Ok(Complete)
}

/// Contacts, exactly once.
#[derive(Parser, Debug)]
struct Args {
    /// A real cluster (host:port) instead of the embedded broker.
    #[arg(long, env = "STREAMS_BOOTSTRAP")]
    bootstrap: Option<String>,
    /// The consumer group.
    #[arg(long, env = "STREAMS_GROUP", default_value = "contacts")]
    group: String,
    /// The topic of the events.
    #[arg(long, env = "STREAMS_INPUT", default_value = "contact-events")]
    input: String,
    /// Send four events, process them, and end.
    #[arg(long)]
    once: bool,
    /// Print which record type goes to which handler, and end.
    #[arg(long)]
    describe: bool,
}

const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    streams_examples::log_to_stderr();
    let args = Args::parse();
    if args.describe {
        print!("{}", contacts::Source::TABLE);
        return Ok(());
    }
    let broker = match args.bootstrap {
        Some(_) => None,
        None => Some(Broker::builder().start()?),
    };
    let bootstrap = match (&args.bootstrap, &broker) {
        (Some(bootstrap), _) => bootstrap.clone(),
        (None, Some(broker)) => broker.bootstrap(),
        (None, None) => unreachable!("without an address there is a broker"),
    };
    let done = watch_lines();
    let source = contacts::Source::builder()
        .bootstrap(&bootstrap)
        .group(&args.group)
        .topic(&args.input)
        .output(NOTICES.name())
        .partitions(1)
        .start()?;
    if args.once {
        send_four_events(&bootstrap, &args.input)?;
        for _ in 0..4 {
            done.recv_timeout(PATIENCE)?;
        }
        source.stop();
        source.wait()?;
        return Ok(());
    }
    let event = r#"{"id":"123","email":"billy@bob.com","first_name":"Billy","last_name":"Bob"}"#;
    println!("The broker listens at {bootstrap}. Send it an event:");
    println!(
        "  echo '123:{event}' | kcat -P -b {bootstrap} -t {} -K: -H __grt__=CreateContact",
        args.input
    );
    println!("Read what the application says, and end with Ctrl-C:");
    println!("  kcat -C -b {bootstrap} -t contact-notices -X isolation.level=read_committed");
    source.run_until_signal()?;
    Ok(())
}

/// One message for each line that is printed.
fn watch_lines() -> Receiver<()> {
    let (line, lines) = sync_channel(LINES_MAX);
    LINES.get_or_init(|| line);
    lines
}

/// The seed's four events.
fn send_four_events(bootstrap: &str, topic: &str) -> anyhow::Result<()> {
    let topic = Topic::<ContactEvent>::named(topic.to_owned());
    let producer = EventProducer::new(bootstrap, topic)?;
    let contact = Contact {
        id: "123".to_owned(),
        email: "billy@bob.com".to_owned(),
        first_name: "Billy".to_owned(),
        last_name: "Bob".to_owned(),
    };
    let notify = || {
        let (contact_id, notification_type) = ("123".to_owned(), "email".to_owned());
        ContactEvent::NotifyContact(Notify { contact_id, notification_type })
    };
    let events = [
        ContactEvent::CreateContact(contact.clone()),
        notify(),
        ContactEvent::DeleteContact(contact),
        notify(),
    ];
    for event in &events {
        producer.send("123", event)?;
    }
    producer.flush(PATIENCE)?;
    Ok(())
}
