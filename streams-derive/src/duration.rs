//! `"1s"`, `"250ms"`, `"5m"`, `"1h"` become a [`Duration`].

use std::time::Duration;

use syn::LitStr;

/// No interjection waits longer: `SourceBuilder` holds those that are scheduled later to it.
const MS_MAX: u64 = 365 * 24 * 3_600_000;

/// The value of the option `option`.
pub(crate) fn parse(option: &str, literal: &LitStr) -> syn::Result<Duration> {
    parse_text(option, &literal.value()).map_err(|message| syn::Error::new(literal.span(), message))
}

fn parse_text(option: &str, text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    if digits.is_empty() || unit.starts_with(['.', ',']) {
        return Err(format!(
            "`{text}` is not a duration: write a whole number and a unit, like \"1s\" or \"250ms\""
        ));
    }
    let scale_ms = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => {
            return Err(format!("`{text}` has no unit: did you mean \"{text}s\" or \"{text}ms\"?"));
        }
        other => {
            return Err(format!("unknown unit `{other}`: the units are `ms`, `s`, `m` and `h`"));
        }
    };
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(scale_ms)) {
        Some(ms) if ms > MS_MAX => Err(format!("`{text}` is longer than a year")),
        Some(0) => Err(format!("`{option}` must be at least 1ms")),
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err(format!("`{text}` is out of range")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("1s", 1_000),
            ("250ms", 250),
            ("5m", 300_000),
            ("8760h", 31_536_000_000),
            ("10 s", 10_000),
        ] {
            assert_eq!(parse_text("every", text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration() {
        for (text, part) in [
            ("", "is not a duration"),
            ("-1s", "is not a duration"),
            ("1.5s", "is not a duration"),
            ("10", "has no unit"),
            ("10 sec", "unknown unit `sec`"),
            ("0s", "`every` must be at least 1ms"),
            ("99999999999999999999s", "out of range"),
            ("18446744073709551615h", "out of range"),
            ("8761h", "longer than a year"),
        ] {
            let message = parse_text("every", text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
