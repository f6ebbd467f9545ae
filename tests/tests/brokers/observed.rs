//! The figures of a source beside what is really in its topics.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use streams_tests::broker::TestBroker;
use streams_tests::oracle::read_committed;
use streams_tests::process::{Program, example};

const PATIENCE: Duration = Duration::from_secs(60);
const ORDERS: u64 = 5_000;

/// Prometheus text, read as `name{labels}` -> value.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    rows.filter_map(row).collect()
}

/// The sum of a figure over its labels, as far as they contain `label`.
fn sum(figures: &BTreeMap<String, f64>, name: &str, label: &str) -> Result<f64> {
    let own = |key: &&String| key.split('{').next() == Some(name) && key.contains(label);
    let keys: Vec<&String> = figures.keys().filter(own).collect();
    ensure!(!keys.is_empty(), "there is no figure {name} with {label}");
    Ok(keys.iter().map(|key| figures[*key]).sum())
}

pub(crate) fn agrees_with_the_oracle(broker: &TestBroker, prefix: &str) -> Result<()> {
    let (bootstrap, orders) = (broker.bootstrap(), ORDERS.to_string());
    let arguments = ["--bootstrap", &bootstrap, "--group", prefix, "--orders", &orders];
    let mut program = Program::start(&example("observed")?, &arguments)?;
    let status = program.wait(PATIENCE)?;
    ensure!(status.success(), "{status}: {}", program.stderr());
    let figures = parse(&program.stdout());

    let outputs = read_committed(
        &bootstrap,
        &format!("{prefix}-counts"),
        usize::try_from(ORDERS)?,
        PATIENCE,
    )?;
    let changelog = format!("gkes_change_log_{prefix}-orders_{prefix}");
    let changes = read_committed(&bootstrap, &changelog, 1, PATIENCE)?;
    let figure = |name, label| sum(&figures, name, label);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let count = |records: usize| records as f64;
    let of = |name: &str| format!("{name}: {}", program.stdout());
    ensure!(figure("streams_source_records_total", "")? == count(outputs.len()), of("records"));
    let produced = figure("streams_output_records_total", "")?;
    ensure!(
        produced == count(outputs.len() + changes.len()),
        "{produced} produced, and {} outputs and {} changes are there",
        outputs.len(),
        changes.len()
    );
    let commits = figure("streams_transactions_total", "result=\"committed\"")?;
    ensure!(commits > 0.0, of("commits"));
    let measured = figure("streams_transaction_duration_seconds_count", "")?;
    ensure!(measured == commits, of("durations"));
    ensure!(figure("streams_rebalances_total", "")? >= 1.0, of("rebalances"));
    let labels = format!("group=\"{prefix}\",topic=\"{prefix}-orders\"");
    figures.keys().find(|key| key.contains(&labels)).context(labels)?;
    Ok(())
}
