//! A durable handler whose finalizer is that of an async handler.

use serde::{Deserialize, Serialize};
use streams_core::jobs::JobResult;
use streams_core::prelude::*;

#[derive(Clone, EventCodec, Serialize, Deserialize)]
struct Mail {
    address: String,
}

#[derive(Events)]
enum Mails {
    SendMail(Mail),
}

#[event_source(events = Mails, store = NoStore)]
mod mails {
    use super::*;

    #[event_handler("SendMail", durable = "send-mail", key = "address", finalize = sent)]
    async fn send(mail: Mail) -> std::io::Result<()> {
        drop(mail);
        Ok(())
    }

    pub(super) fn sent(
        _: &mut EventContext<NoStore>,
        _: Mail,
        result: JobResult<()>,
    ) -> Result<ExecutionState> {
        result?;
        Ok(Complete)
    }
}

fn main() {}
