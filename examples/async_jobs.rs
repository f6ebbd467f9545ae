//! Mails that take their time: GKES's example of asynchronous work by key, and the same under load.
//!
//! `cargo run --example async_jobs -- --once` starts the embedded broker, creates a contact, sends
//! it a mail, and prints what the handlers say. With `--notifications 10000` it sends 10,000
//! notifications to 500 addresses instead, 20 ms each, in the order of each address. With `--serve`
//! it sends nothing and processes what comes, until Ctrl-C. `--bootstrap HOST:PORT` does the same
//! on a real cluster.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_broker::Broker;
use streams_core::jobs::{AsyncJobScheduler, JobError, SchedulerConfig};
use streams_core::prelude::*;

#[derive(EventCodec, Serialize, Deserialize, JsonSchema, Clone, Default)]
#[serde(default)]
struct Contact {
    id: String,
    phone_number: String,
    email: String,
    first_name: String,
    last_name: String,
    /// When the last mail was sent, in milliseconds since the Unix epoch.
    last_contact: Option<i64>,
    /// How many mails were sent.
    mails: u64,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct NotifyContact {
    contact_id: String,
    notification_type: String,
    /// The number of the notification among those of its contact.
    #[serde(default)]
    number: u64,
}

#[derive(Events)]
enum ContactEvent {
    CreateContact(Contact),
    NotifyContact(NotifyContact),
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Notified {
    contact_id: String,
    address: String,
    number: u64,
    mails: u64,
    last_contact: i64,
}

#[derive(Events)]
enum Notice {
    Notified(Notified),
}

#[derive(StateStore)]
struct ContactStore {
    contacts: Table<String, Contact>,
}

#[derive(Clone)]
struct EmailNotification {
    contact_id: String,
    address: String,
    payload: String,
    number: u64,
}

struct App {
    notifications: AsyncJobScheduler<ContactStore, String, EmailNotification>,
}

static NOTICES: OnceLock<Topic<Notice>> = OnceLock::new();
/// Whether each step prints a line.
static TALKS: AtomicBool = AtomicBool::new(true);
/// How many mails this process has sent.
static SENT: AtomicU64 = AtomicU64::new(0);

fn say(line: impl FnOnce() -> String) {
    if TALKS.load(Ordering::Relaxed) {
        println!("{}", line());
    }
}

#[event_source(events = ContactEvent, store = ContactStore, shared = App)]
mod contacts {
    use super::*;

    #[event_handler("CreateContact")]
    fn create(
        ctx: &mut EventContext<ContactStore>,
        _: &App,
        contact: Contact,
    ) -> Result<ExecutionState> {
        say(|| format!("Created contact: {}", contact.id));
        ctx.store.contacts.put(contact.id.clone(), contact);
        Ok(Complete)
    }

    #[event_handler("NotifyContact")]
    fn notify(
        ctx: &mut EventContext<ContactStore>,
        app: &App,
        n: NotifyContact,
    ) -> Result<ExecutionState> {
        let Some(contact) = ctx.store.contacts.get(&n.contact_id) else {
            say(|| format!("Contact {} does not exist!", n.contact_id));
            return Ok(Complete);
        };
        say(|| {
            format!("Notifying contact: {} asynchronously by {}", contact.id, n.notification_type)
        });
        let email = EmailNotification {
            contact_id: contact.id.clone(),
            address: contact.email.clone(),
            payload: "sending you mail...from a computer!".to_owned(),
            number: n.number,
        };
        // The job's key is the address: one mail at a time goes to each.
        app.notifications.schedule(ctx, email.address.clone(), email)
    }
}

/// The job: it runs beside the partition's thread, and sees no store.
async fn send_email(key: String, takes: Duration) -> std::io::Result<()> {
    say(|| {
        format!(
            "Processing an email job with key: '{key}'. This may take some time, emails are tricky!"
        )
    });
    tokio::time::sleep(takes).await;
    Ok(())
}

/// The finalizer: it runs on the partition's thread, in the event's transaction.
fn email_sent(
    ctx: &mut EventContext<ContactStore>,
    _: String,
    email: EmailNotification,
    sent: Result<(), JobError>,
) -> Result<ExecutionState> {
    sent?;
    let EmailNotification { contact_id, address, payload, number } = email;
    let Some(contact) = ctx.store.contacts.get(&contact_id) else {
        return Ok(Complete);
    };
    say(|| format!("Notified contact: {contact_id}, address: {address}, payload: '{payload}'"));
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let (last_contact, mails) = (i64::try_from(since.as_millis())?, contact.mails + 1);
    let contact = Contact { last_contact: Some(last_contact), mails, ..contact.clone() };
    ctx.store.contacts.put(contact_id.clone(), contact);
    let notified =
        Notified { contact_id: contact_id.clone(), address, number, mails, last_contact };
    if let Some(notices) = NOTICES.get() {
        ctx.forward(notices, &contact_id, Notice::Notified(notified))?;
    }
    SENT.fetch_add(1, Ordering::Relaxed);
    Ok(Complete)
}

/// Mails that take their time, in the order of each address.
#[derive(Parser, Debug)]
struct Args {
    /// A real cluster (host:port) instead of the embedded broker.
    #[arg(long, env = "STREAMS_BOOTSTRAP")]
    bootstrap: Option<String>,
    /// The consumer group.
    #[arg(long, env = "STREAMS_GROUP", default_value = "ExampleAsyncJobSchedulerGroup")]
    group: String,
    /// The topic of the events.
    #[arg(long, env = "STREAMS_INPUT", default_value = "ExampleAsyncJobScheduler")]
    input: String,
    /// The topic of the notices.
    #[arg(long, env = "STREAMS_OUTPUT", default_value = "contact-mails")]
    output: String,
    /// The changelog topic.
    #[arg(long, env = "STREAMS_CHANGELOG")]
    changelog: Option<String>,
    /// The partitions of topics that have to be made.
    #[arg(long, env = "STREAMS_PARTITIONS", default_value_t = 10)]
    partitions: i32,
    /// This instance's name in the group.
    #[arg(long, env = "STREAMS_INSTANCE")]
    instance: Option<String>,
    /// Mail one contact, and end.
    #[arg(long)]
    once: bool,
    /// Mail so many notifications, and end.
    #[arg(long, conflicts_with = "once")]
    notifications: Option<u64>,
    /// To so many addresses.
    #[arg(long, default_value_t = 500)]
    addresses: u64,
    /// Send no events, and process those of others.
    #[arg(long, conflicts_with_all = ["once", "notifications"])]
    serve: bool,
    /// How many milliseconds a mail takes; by default 500, and 20 under load.
    #[arg(long)]
    mail_ms: Option<u64>,
    /// How many mails are on their way at a time.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
}

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

fn main() -> anyhow::Result<()> {
    streams_examples::log_to_stderr();
    let args = Args::parse();
    let broker = match args.bootstrap {
        Some(_) => None,
        None => Some(Broker::builder().start()?),
    };
    let own = broker.as_ref().map(Broker::bootstrap);
    let bootstrap = args.bootstrap.clone().or(own).unwrap_or_default();
    let is_load = args.serve || args.notifications.is_some();
    TALKS.store(!is_load, Ordering::Relaxed);
    let takes = Duration::from_millis(args.mail_ms.unwrap_or(if is_load { 20 } else { 500 }));
    let config = SchedulerConfig::default().concurrency(args.concurrency);
    let job = move |key, _| send_email(key, takes);
    NOTICES.get_or_init(|| Topic::named(args.output.clone()));
    let notifications = AsyncJobScheduler::new(config, job, email_sent)?;
    let mut source = contacts::Source::builder()
        .shared(App { notifications })
        .bootstrap(&bootstrap)
        .group(&args.group)
        .topic(&args.input)
        .output(&args.output)
        .partitions(args.partitions);
    if let Some(changelog) = &args.changelog {
        source = source.changelog(changelog);
    }
    if let Some(instance) = &args.instance {
        source = source.instance(instance);
    }
    let source = source.start()?;
    if args.serve {
        source.run_until_signal()?;
        return Ok(());
    }
    let began = Instant::now();
    let expected = match args.notifications {
        Some(notifications) => send_many(&bootstrap, &args, notifications)?,
        None => send_two_events(&bootstrap, &args.input)?,
    };
    if args.once || args.notifications.is_some() {
        let patience = PATIENCE + takes * u32::try_from(expected)?;
        while SENT.load(Ordering::Relaxed) < expected {
            anyhow::ensure!(began.elapsed() < patience, "not all mails are sent");
            std::thread::sleep(POLL);
        }
        source.stop();
        source.wait()?;
        if args.notifications.is_some() {
            println!("{expected} mails in {:.1} s", began.elapsed().as_secs_f64());
        }
        return Ok(());
    }
    source.run_until_signal()?;
    Ok(())
}

/// The seed's two events; returns how many mails they cause.
fn send_two_events(bootstrap: &str, topic: &str) -> anyhow::Result<u64> {
    let producer = EventProducer::new(bootstrap, Topic::<ContactEvent>::named(topic.to_owned()))?;
    let contact = Contact {
        id: "123".to_owned(),
        email: "billy@bob.com".to_owned(),
        phone_number: "+18005551212".to_owned(),
        first_name: "Billy".to_owned(),
        last_name: "Bob".to_owned(),
        ..Contact::default()
    };
    producer.send("123", &ContactEvent::CreateContact(contact))?;
    producer.send("123", &notification("123", 1))?;
    producer.flush(PATIENCE)?;
    Ok(1)
}

fn notification(contact_id: &str, number: u64) -> ContactEvent {
    let (contact_id, notification_type) = (contact_id.to_owned(), "email".to_owned());
    ContactEvent::NotifyContact(NotifyContact { contact_id, notification_type, number })
}

/// So many notifications to the addresses in turn; returns how many mails they cause.
fn send_many(bootstrap: &str, args: &Args, notifications: u64) -> anyhow::Result<u64> {
    let topic = Topic::<ContactEvent>::named(args.input.clone());
    let producer = EventProducer::new(bootstrap, topic)?;
    for contact in 0..args.addresses.max(1) {
        let id = format!("contact-{contact}");
        let email = format!("{id}@example.com");
        let contact = Contact { id: id.clone(), email, ..Contact::default() };
        producer.send(&id, &ContactEvent::CreateContact(contact))?;
    }
    for place in 0..notifications {
        let (contact, number) = (place % args.addresses.max(1), place / args.addresses.max(1) + 1);
        let id = format!("contact-{contact}");
        producer.send(&id, &notification(&id, number))?;
    }
    producer.flush(PATIENCE)?;
    Ok(notifications)
}
