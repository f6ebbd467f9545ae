//! `"1s"`, `"250ms"`, `"5m"`, `"1h"` -> Duration.
use std::time::Duration;
use syn::LitStr;

pub(crate) fn parse(option: &str, lit: &LitStr) -> syn::Result<Duration> {
    let text = lit.value();
    let fail = |what: String| Err(syn::Error::new(lit.span(), what));
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    if digits.is_empty() || (unit.starts_with('.') || unit.starts_with(',')) {
        return fail(format!(
            "`{text}` is not a duration: write a whole number and a unit, like \"1s\" or \"250ms\""
        ));
    }
    let Ok(n) = digits.parse::<u64>() else {
        return fail(format!("`{text}` is out of range"));
    };
    let scale = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => {
            return fail(format!(
                "`{text}` has no unit: did you mean \"{text}s\" or \"{text}ms\"?"
            ));
        }
        other => {
            return fail(format!("unknown unit `{other}`: the units are `ms`, `s`, `m` and `h`"));
        }
    };
    match n.checked_mul(scale) {
        Some(0) => fail(format!("`{option}` must be at least 1ms")),
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => fail(format!("`{text}` is out of range")),
    }
}
