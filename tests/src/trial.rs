//! Tests that need what a machine may lack: there they are ignored by name, with the reason.

use libtest_mimic::{Failed, Trial};

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
        None => Trial::test(name, move || {
            body(&prefix).map_err(|error| Failed::from(format!("{error:#}")))
        }),
    }
}
