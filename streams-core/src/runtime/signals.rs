//! The signals on which a source stops.

use std::fmt;
use std::io;

/// A signal that asks a process to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT: the user has pressed Ctrl-C. The only one on other systems than Unix.
    Interrupt,
    /// SIGTERM: what `kill` and Kubernetes send.
    Terminate,
    /// SIGHUP: the terminal is gone.
    Hangup,
    /// SIGQUIT.
    Quit,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
}

impl Signal {
    /// The signals that stop a source unless others are named: SIGINT and SIGTERM. (GKES: SIGINT
    /// and SIGHUP.)
    #[cfg(unix)]
    pub const DEFAULT: &'static [Self] = &[Self::Interrupt, Self::Terminate];
    /// The signal that stops a source unless another is named: Ctrl-C.
    #[cfg(not(unix))]
    pub const DEFAULT: &'static [Self] = &[Self::Interrupt];

    /// Returns the name: `SIGTERM`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
            Self::Quit => "SIGQUIT",
            Self::User1 => "SIGUSR1",
            Self::User2 => "SIGUSR2",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Listens to signals from now on, until the process ends; `on_signal` is told each, and returns
/// false to hear no more. Needs a tokio runtime with I/O.
#[cfg(unix)]
pub(super) fn listen(
    signals: &[Signal],
    on_signal: impl Fn(Signal) -> bool + Clone + Send + 'static,
) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    for named in signals.iter().copied() {
        let kind = match named {
            Signal::Interrupt => SignalKind::interrupt(),
            Signal::Terminate => SignalKind::terminate(),
            Signal::Hangup => SignalKind::hangup(),
            Signal::Quit => SignalKind::quit(),
            Signal::User1 => SignalKind::user_defined1(),
            Signal::User2 => SignalKind::user_defined2(),
        };
        let (mut stream, on_signal) = (signal(kind)?, on_signal.clone());
        tokio::spawn(async move { while stream.recv().await.is_some() && on_signal(named) {} });
    }
    Ok(())
}

/// As on Unix, of Ctrl-C alone.
#[cfg(not(unix))]
pub(super) fn listen(
    signals: &[Signal],
    on_signal: impl Fn(Signal) -> bool + Clone + Send + 'static,
) -> io::Result<()> {
    if let Some(other) = signals.iter().find(|signal| **signal != Signal::Interrupt) {
        let message = format!("{other} does not exist on this system: name `Signal::Interrupt`");
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && on_signal(Signal::Interrupt) {}
    });
    Ok(())
}
