//! Orders, enriched by a table of customers that every process has: `cargo run --example enrich`.
//!
//! Customers are a compacted topic. Each process reads all of it into a `GlobalTable`, whichever
//! partitions of the orders it owns; the source starts once the table has caught up. A customer who
//! moves is a new record, and the next order finds the new city.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_broker::Broker;
use streams_core::global::{GlobalChangeLog, GlobalTable};
use streams_core::prelude::*;
use streams_core::producer::Destination;
use streams_core::record::ProducerRecord;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Customer {
    city: String,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Order {
    customer: String,
    cents: i64,
}

#[derive(Events)]
enum OrderEvent {
    Placed(Order),
}

#[derive(Events)]
enum Parcel {
    Sent(String),
}

static ORDERS: Topic<OrderEvent> = Topic::new("orders");
static PARCELS: Topic<Parcel> = Topic::new("parcels");

/// What the handlers share.
struct App {
    customers: GlobalTable<String, Customer>,
}

#[event_source(events = OrderEvent, store = NoStore, shared = App)]
mod orders {
    use super::*;

    #[event_handler("Placed")]
    fn placed(
        ctx: &mut EventContext<NoStore>,
        app: &App,
        order: Order,
    ) -> streams_core::Result<ExecutionState> {
        let Some(customer) = app.customers.get(&order.customer) else {
            return ctx.fail(format!("no customer `{}`", order.customer));
        };
        let text = format!("{} cents to {} in {}", order.cents, order.customer, customer.city);
        ctx.forward(&PARCELS, &order.customer, Parcel::Sent(text))?;
        Ok(Complete)
    }
}

fn place(customer: &str, cents: i64) -> OrderEvent {
    OrderEvent::Placed(Order { customer: customer.to_owned(), cents })
}

fn lives_in(customer: &'static str, city: &str) -> Result<ProducerRecord> {
    let value = serde_json::to_vec(&Customer { city: city.to_owned() })?;
    Ok(ProducerRecord::to_default_topic().key(customer).value(value))
}

fn main() -> Result<()> {
    streams_examples::log_to_stderr();
    let broker = Broker::builder().topic("orders", 4).topic("parcels", 4).start()?;
    let bootstrap = broker.bootstrap();
    let customers = Destination::new("customers").bootstrap(&bootstrap).partitions(2);
    let customers = customers.topic_config("cleanup.policy", "compact").create()?;
    let crm = customers.producer().build()?;
    crm.produce(lives_in("billy", "Berlin")?)?;

    let table = GlobalTable::<String, Customer>::builder().bootstrap(&bootstrap);
    let table = table.topic(customers.topic()).start()?;
    let source = orders::Source::builder().bootstrap(&bootstrap).group("parcels").topic("orders");
    let source = source.output("parcels").global(&table).shared(App { customers: table.clone() });
    let source = source.start()?;

    let (sent, parcels) = mpsc::channel();
    let _reader = GlobalChangeLog::builder(move |record: &Record| {
        let text = String::from_utf8(record.value().unwrap_or_default().to_vec())?;
        Ok(sent.send(text)?)
    })
    .bootstrap(&bootstrap)
    .topic("parcels")
    .start()?;

    let shop = EventProducer::new(&bootstrap, ORDERS.clone())?;
    let at = shop.produce("billy", &place("billy", 1_000))?;
    println!("the order is at offset {} of partition {}", at.offset, at.partition());
    println!("{}", parcels.recv_timeout(PATIENCE)?);

    crm.produce(lives_in("billy", "Bremen")?)?;
    let deadline = Instant::now() + PATIENCE;
    while table.get("billy").is_none_or(|billy| billy.city != "Bremen") {
        ensure!(Instant::now() < deadline, "the table does not follow its topic: {table:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    shop.produce("billy", &place("billy", 70))?;
    println!("{}", parcels.recv_timeout(PATIENCE)?);
    source.stop();
    source.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use streams_core::testing::TestDriver;

    use super::*;

    fn app() -> App {
        let billy = ("billy".to_owned(), Customer { city: "Berlin".to_owned() });
        App { customers: GlobalTable::of_rows([billy]) }
    }

    #[test]
    fn an_order_is_sent_to_its_customers_city() {
        let mut driver: TestDriver<_> = orders::Source::builder().shared(app()).test_driver();
        driver.send("billy", place("billy", 5)).run_pending();
        let sent = driver.outputs();
        assert_eq!(sent[0].value(), Some(&b"5 cents to billy in Berlin"[..]));
    }
}
