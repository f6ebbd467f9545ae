//! Options that durable jobs do not have, and a job type that is none.

use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(Clone, EventCodec, Serialize, Deserialize)]
struct Mail {
    address: String,
}

#[derive(Events)]
enum Mails {
    SendMail(Mail),
    Other(Mail),
}

#[event_source(events = Mails, store = NoStore)]
mod mails {
    use super::*;

    #[event_handler("SendMail", durable = "send-mail", concurrency = 64, retries = 3)]
    async fn send(mail: Mail) -> std::io::Result<()> {
        drop(mail);
        Ok(())
    }

    #[event_handler("Other", durable = true)]
    async fn other(mail: Mail) -> std::io::Result<()> {
        drop(mail);
        Ok(())
    }
}

fn main() {}
