//! Tests that need what a machine may lack: there they are ignored by name, with the reason. Each
//! reports how long it took.

use std::time::Instant;

use libtest_mimic::{Failed, Trial};

/// Set to 1, it lets tests run their long rounds.
pub const LONG: &str = "STREAMS_LONG_TESTS";

/// Returns true if tests run their long rounds.
pub fn runs_long_rounds() -> bool {
    is_required(LONG)
}

/// Why a test of the long rounds is left out, if it is.
pub fn not_a_long_round() -> Option<String> {
    (!runs_long_rounds()).then(|| format!("a long round ({LONG}=1)"))
}

/// Whether a variable of the environment turns such a skip into a failure.
pub fn is_required(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

/// A test with topics of its own: their names begin with the prefix that `body` gets. Where `skip`
/// says what is missing, it is ignored, or fails if `variable` requires it.
pub fn trial(
    name: String,
    skip: Option<String>,
    variable: &'static str,
    body: impl FnOnce(&str) -> anyhow::Result<()> + Send + 'static,
) -> Trial {
    let prefix = name.replace("::", "-");
    match skip {
        Some(reason) if is_required(variable) => Trial::test(name, move || {
            Err(Failed::from(format!("required ({variable}=1), and missing: {reason}")))
        }),
        Some(reason) => {
            eprintln!("skipped: {name}: {reason}");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
        None => Trial::test(name.clone(), move || {
            let started = Instant::now();
            let ended = body(&prefix).map_err(|error| Failed::from(format!("{error:#}")));
            eprintln!("time: {:.1} s {name}", started.elapsed().as_secs_f64());
            ended
        }),
    }
}
