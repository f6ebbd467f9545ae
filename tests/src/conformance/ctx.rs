//! What a case works with: a broker's address, names of its own, and the lines it writes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::{Request, StrBytes};

use super::connection::Connection;

/// How long something that comes by itself may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Kafka asks the coordinator about several producers at a time, and answers all as it answers the
/// first, whatever versions the others are in. So one such request is on its way at a time.
static VERIFIED: Mutex<()> = Mutex::new(());
const POLL: Duration = Duration::from_millis(5);

/// What a case works with.
#[derive(Debug)]
pub(super) struct Ctx {
    bootstrap: String,
    prefix: String,
    lines: Vec<String>,
    connection: Option<Connection>,
    aliases: BTreeMap<(&'static str, String), String>,
}

/// A producer as the coordinator knows it.
#[derive(Clone, Debug)]
pub(super) struct Producer {
    pub(super) transactional_id: Option<String>,
    pub(super) id: i64,
    pub(super) epoch: i16,
}

impl Ctx {
    /// `run` tells runs on the same broker apart.
    pub(super) fn new(bootstrap: &str, case: &str, run: &str) -> Self {
        let case = case.replace("::", "-").replace('_', "-");
        Self {
            bootstrap: bootstrap.to_owned(),
            prefix: format!("{case}-{run}-"),
            lines: Vec::new(),
            connection: None,
            aliases: BTreeMap::new(),
        }
    }

    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines
    }

    /// Writes a line of the transcript. The names of the case are written without their prefix.
    pub(super) fn say(&mut self, line: impl AsRef<str>) {
        self.lines.push(line.as_ref().replace(&self.prefix, ""));
    }

    /// A name that no other case and no other run has.
    pub(super) fn name(&self, word: &str) -> String {
        format!("{}{word}", self.prefix)
    }

    pub(super) fn is_mine(&self, name: &str) -> bool {
        name.starts_with(&self.prefix)
    }

    /// A placeholder for an id that the broker chose: the same one for the same id.
    pub(super) fn alias(&mut self, kind: &'static str, id: impl ToString) -> String {
        let known = self.aliases.keys().filter(|(other, _)| *other == kind).count();
        let key = (kind, id.to_string());
        self.aliases.entry(key).or_insert_with(|| format!("{kind}{}", known + 1)).clone()
    }

    pub(super) fn connect(&self) -> Result<Connection> {
        Connection::open(&self.bootstrap)
    }

    /// Sends a request on the case's connection; after an error that is a new one.
    pub(super) fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let response = connection.call(version, request)?;
        self.connection = Some(connection);
        Ok(response)
    }

    /// As [`Ctx::call`], for a request in a transaction that the coordinator is asked about.
    pub(super) fn call_verified<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<R::Response> {
        let _alone = VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
        self.call(version, request)
    }

    /// Writes what came of a request that may end without a response.
    pub(super) fn outcome<T>(
        &mut self,
        label: &str,
        response: &Result<T>,
        describe: impl FnOnce(&T) -> String,
    ) {
        let line = match response {
            Ok(response) => describe(response),
            Err(error) => error.to_string(),
        };
        self.say(format!("{label}: {line}"));
    }
}

/// A text as the protocol wants it.
pub(super) fn text(text: impl AsRef<str>) -> StrBytes {
    StrBytes::from_string(text.as_ref().to_owned())
}

/// Kafka's name of an error code.
pub(super) fn code(code: i16) -> String {
    if code == 0 {
        return "NONE".to_owned();
    }
    let camel = ResponseError::try_from_code(code)
        .map_or_else(|| code.to_string(), |error| format!("{error:?}"));
    let mut name = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// Whether a broker that has just started, or has just done something, may say so for a while.
pub(super) fn is_transient(code: i16) -> bool {
    matches!(
        ResponseError::try_from_code(code),
        Some(
            ResponseError::CoordinatorLoadInProgress
                | ResponseError::CoordinatorNotAvailable
                | ResponseError::NotCoordinator
                | ResponseError::NotLeaderOrFollower
                | ResponseError::NotEnoughReplicas
                | ResponseError::ConcurrentTransactions
        )
    )
}

/// Tries until it gives something.
pub(super) fn wait<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited in vain: {what}");
        }
        std::thread::sleep(POLL);
    }
}
