//! Why an event failed, as error policies see it and as the source reports it.

use std::error::Error;
use std::fmt;

use super::error::{CodePlace, EventPlace, SourceError, UserCode};
use crate::codec::CodecError;
use crate::handler::{HandlerError, Severity};

/// Why an event failed.
#[derive(Debug)]
pub(crate) enum EventFailure {
    /// The record's bytes are not the payload of its record type.
    Undecodable(CodecError),
    /// The source has no handler for the record type.
    Unrouted,
    /// The handler, a finalizer or an interjection returned an error.
    Failed(HandlerError),
    /// The event is incomplete, and nobody can complete it.
    WithoutCompleter,
    /// The handler, a finalizer or an interjection panicked.
    Panicked(PanicText),
    /// A change of the store can't be encoded.
    Changes(CodecError),
    /// The encoding of a change panicked.
    ChangesPanicked(PanicText),
}

/// The text of a panic.
#[derive(Debug)]
pub(crate) struct PanicText(pub(crate) String);

impl fmt::Display for PanicText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for PanicText {}

/// An error that says the same each time.
#[derive(Debug)]
struct Always(&'static str);

impl fmt::Display for Always {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Always {}

static UNROUTED: Always = Always("its record type has no handler");
static WITHOUT_COMPLETER: Always = Always(
    "it returned `Incomplete` without a live completer, so nobody could complete the event: take a \
     new one with `ctx.completer()` in the handler or the finalizer that returns `Incomplete`, or \
     return `Complete`",
);

impl EventFailure {
    /// Returns true if no handler could run, because the record has no payload for one.
    pub(crate) const fn is_decode_error(&self) -> bool {
        matches!(self, Self::Undecodable(_) | Self::Unrouted)
    }

    pub(crate) const fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_) | Self::ChangesPanicked(_))
    }

    /// Returns true if the handler says that nothing may run on.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, Self::Failed(error) if error.severity() == Severity::Fatal)
    }

    pub(crate) fn error(&self) -> &(dyn Error + 'static) {
        match self {
            Self::Undecodable(error) | Self::Changes(error) => error,
            Self::Unrouted => &UNROUTED,
            Self::Failed(error) => error.get_ref(),
            Self::WithoutCompleter => &WITHOUT_COMPLETER,
            Self::Panicked(text) | Self::ChangesPanicked(text) => text,
        }
    }

    /// Returns the name of the failure's kind, where Java has the exception's class.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Undecodable(_) => "Undecodable",
            Self::Unrouted => "Unrouted",
            Self::Failed(_) => "HandlerFailed",
            Self::WithoutCompleter => "WithoutCompleter",
            Self::Panicked(_) => "HandlerPanicked",
            Self::Changes(_) => "ChangesFailed",
            Self::ChangesPanicked(_) => "ChangesPanicked",
        }
    }

    /// The error with which the source stops.
    pub(crate) fn into_source_error(self, at: EventPlace) -> SourceError {
        match self {
            Self::Undecodable(source) => SourceError::Undecodable { at, source },
            Self::Unrouted => SourceError::Unrouted { at },
            Self::Failed(error) => {
                let fatal = error.severity() == Severity::Fatal;
                SourceError::Handler { at, reason: error.to_string(), fatal }
            }
            Self::WithoutCompleter => {
                let reason = WITHOUT_COMPLETER.to_string();
                SourceError::Handler { at, reason, fatal: false }
            }
            Self::Panicked(PanicText(message)) => SourceError::Panicked { at, message },
            Self::Changes(source) => SourceError::Changelog { at, source },
            Self::ChangesPanicked(PanicText(message)) => {
                let EventPlace { partition, offset, name } = at;
                let at = CodePlace { code: UserCode::Changes, partition, offset, name };
                SourceError::CodePanicked { at, message }
            }
        }
    }
}
