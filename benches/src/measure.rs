//! What `/proc` says of a process, and percentiles.

use std::fs;

use anyhow::{Context, Result};

/// Clock ticks a second: what Linux has on all platforms that matter here.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process so far, in seconds.
///
/// # Errors
/// If there is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may have spaces.
    let fields = stat.rsplit_once(") ").context("a process's stat")?.1;
    let field = |n: usize| -> Result<f64> {
        Ok(fields.split_whitespace().nth(n).context("a field of stat")?.parse()?)
    };
    Ok((field(11)? + field(12)?) / TICKS_PER_SECOND)
}

/// The most memory that a process has had, in MiB.
///
/// # Errors
/// If there is no such process.
pub fn peak_memory_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmHWM")
}

/// The memory that a process has, in MiB.
///
/// # Errors
/// If there is no such process.
pub fn memory_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmRSS")
}

fn status_mib(pid: u32, field: &'static str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).context(field)?;
    let kib: f64 = line.split_whitespace().nth(1).context(field)?.parse()?;
    Ok(kib / 1024.0)
}

/// The value below which the share `q` of `sorted` lies.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "so many are not measured")]
    let place = (sorted.len().saturating_sub(1) as f64 * q).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in the slice"
    )]
    sorted.get(place as usize).copied().unwrap_or(f64::NAN)
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let values = [3.0, 1.0, 2.0];
        assert!((median(&values) - 2.0).abs() < f64::EPSILON);
        assert!((quantile(&[1.0, 2.0, 3.0], 1.0) - 3.0).abs() < f64::EPSILON);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
