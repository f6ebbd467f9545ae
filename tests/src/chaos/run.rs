//! A run: the cluster, the members, the load, the faults one after the other, and the oracle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::cluster::{Cluster, NODES};
use super::pauses::{Pauses, Span, latencies};
use super::report::{FaultReport, Report};
use super::{Fault, Health, ROUND, Settings};
use crate::broker::create_replicated_topics;
use crate::observer::{Observer, Seen};
use crate::oracle::{Tally, add_up, check_totals, read_committed, read_placed, tally};
use crate::process::{Program, example};
use crate::workload::{Random, Workload, now_us};

const GROUP: &str = "chaos";
const INPUT: &str = "chaos-in";
const OUTPUT: &str = "chaos-out";
const CHANGELOG: &str = "chaos-changelog";
const PARTITIONS: i32 = 8;
const IDS: u64 = 1_000;

/// How long the cluster may take to be well again, and the members to catch up.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long the group may take to have all members at the end.
const GROUP_PATIENCE: Duration = Duration::from_secs(30);
/// How long a member may take to be healthy at the end.
const HEALTH_PATIENCE: Duration = Duration::from_secs(30);
/// How long a member may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(90);
/// A partition has caught up if its last output was due no longer ago than this.
const CAUGHT_UP: Duration = Duration::from_secs(2);
/// The load before the first fault, between two faults, and after the last one.
const QUIET: Duration = Duration::from_secs(3);
/// What a round takes beside the time that nodes are away.
const RETURN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// The load generator, on a thread of its own.
struct Load {
    workload: Workload,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Load {
    fn start(workload: Workload, bootstrap: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sends, stopping) = (workload.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            sends.send_while(&bootstrap, INPUT, || !stopping.load(Ordering::Relaxed))
        });
        Self { workload, stop, thread }
    }

    /// Stops, waits for all acknowledgements, and returns what was sent.
    fn finish(self) -> Result<Workload> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.thread.join().map_err(|_| anyhow!("the load generator panicked"))?;
        Ok(Workload { records: sent.context("the load generator")?, ..self.workload })
    }
}

struct Run<'s> {
    settings: &'s Settings,
    random: Random,
    observer: Observer,
    members: BTreeMap<String, Program>,
    stopped: Vec<String>,
    /// Ends last: its drop ends the nodes.
    cluster: Cluster,
}

/// Runs the faults under load, and asks the oracle. `say` gets a line for each step.
///
/// # Errors
/// If the cluster, the load generator or the observer fails. What the members did wrong is in the
/// report.
pub fn run(settings: &Settings, say: &mut dyn FnMut(&str)) -> Result<Report> {
    let mut run = Run::start(settings)?;
    say(&format!("{NODES} nodes, {} members, {} updates/s", settings.members, settings.rate));
    // Enough for any duration: the load ends when it is told.
    let workload =
        Workload { records: u64::MAX, ids: IDS, rate: settings.rate, seed: settings.seed };
    let load = Load::start(workload, run.cluster.bootstrap());
    let started = Instant::now();
    run.await_caught_up()?;
    run.check_replicas()?;
    std::thread::sleep(QUIET);
    let mut faults = Vec::new();
    for fault in run.faults(started) {
        let report = run.strike(fault)?;
        say(&report.to_string());
        faults.push(report);
        std::thread::sleep(QUIET);
    }
    std::thread::sleep(settings.duration.saturating_sub(started.elapsed()));
    run.finish(load.finish()?, faults)
}

impl<'s> Run<'s> {
    fn start(settings: &'s Settings) -> Result<Self> {
        let session = settings.broker_session.as_millis();
        let heartbeat = (session / 4).min(2_000);
        let further = format!(
            "broker.session.timeout.ms={session}\nbroker.heartbeat.interval.ms={heartbeat}\n"
        );
        let cluster = Cluster::start(&further)?;
        let bootstrap = cluster.bootstrap();
        create_replicated_topics(&bootstrap, &[(INPUT, PARTITIONS), (OUTPUT, PARTITIONS)], NODES)?;
        let observer = Observer::start(&bootstrap, OUTPUT)?;
        let mut members = BTreeMap::new();
        for number in 1..=settings.members {
            let name = format!("member-{number}");
            let program = start_member(&bootstrap, &name, &settings.properties)?;
            members.insert(name, program);
        }
        let random = Random::new(settings.seed);
        Ok(Self { settings, random, observer, members, stopped: Vec::new(), cluster })
    }

    /// Checks that each partition has a replica on each node.
    fn check_replicas(&self) -> Result<()> {
        let nodes = self.cluster.running();
        let mut replicas = self.cluster.replicas()?;
        replicas.retain(|_, replicas| replicas.all != nodes);
        ensure!(replicas.is_empty(), "partitions without {NODES} replicas: {replicas:?}");
        Ok(())
    }

    /// Returns the faults: rounds for as long as there is time, one at least, and the outage.
    fn faults(&self, started: Instant) -> Vec<Fault> {
        let round = (self.settings.away + RETURN + QUIET) * u32::try_from(ROUND.len()).unwrap_or(1);
        let rest = self.settings.outage + RETURN + QUIET;
        let time = self.settings.duration.saturating_sub(started.elapsed() + rest);
        let rounds = (time.as_secs() / round.as_secs().max(1)).max(1);
        let mut faults: Vec<Fault> = (0..rounds).flat_map(|_| ROUND).collect();
        faults.push(Fault::Outage);
        faults
    }

    /// Chooses what a fault hits. Returns it in words, and the nodes to kill.
    fn aim(&mut self, fault: Fault) -> Result<(String, Vec<i32>)> {
        let count = u64::try_from(PARTITIONS)?;
        let partition = i32::try_from(self.random.below(count))?;
        let leader = |topic: &str| -> Result<(String, Vec<i32>)> {
            let target = format!("the leader of {topic}-{partition}");
            Ok((target, vec![self.cluster.leader(topic, partition)?]))
        };
        match fault {
            Fault::SourceLeader => leader(INPUT),
            Fault::ChangelogLeader => leader(CHANGELOG),
            Fault::TransactionCoordinator => {
                let ids = self.cluster.transactional_ids(GROUP)?;
                ensure!(!ids.is_empty(), "no transactional id has `{GROUP}` in its name");
                let chosen = usize::try_from(self.random.below(u64::try_from(ids.len())?))?;
                let (id, node) = &ids[chosen];
                Ok((format!("the coordinator of transactional id {id}"), vec![*node]))
            }
            Fault::GroupCoordinator => {
                let node = self.cluster.group_coordinator(GROUP)?;
                Ok((format!("the coordinator of group {GROUP}"), vec![node]))
            }
            Fault::Outage => {
                let spared = 1 + i32::try_from(self.random.below(u64::try_from(NODES)?))?;
                let victims = (1..=NODES).filter(|node| *node != spared).collect();
                Ok(("two of three nodes".to_owned(), victims))
            }
        }
    }

    /// Kills, waits, starts the nodes again, and waits until all is as before.
    fn strike(&mut self, fault: Fault) -> Result<FaultReport> {
        let (target, victims) = self.aim(fault).with_context(|| format!("{fault:?}"))?;
        let (killed, from_us) = (Instant::now(), now_us());
        victims.iter().try_for_each(|node| self.cluster.kill(*node))?;
        let (failover, away) = match fault {
            Fault::Outage => (None, self.settings.outage),
            _ => (Some(self.cluster.await_leaders(PATIENCE)?), self.settings.away),
        };
        std::thread::sleep(away.saturating_sub(killed.elapsed()));
        self.cluster.restart(&victims)?;
        self.cluster.await_in_sync(PATIENCE)?;
        let in_sync = killed.elapsed();
        self.await_caught_up().with_context(|| target.clone())?;
        let span = Span { from_us, to_us: now_us() };
        let pauses = self.observer.read(|seen| Pauses::measure(seen, span));
        Ok(FaultReport { fault, target, victims, failover, pauses, in_sync, span })
    }

    /// Notes members that have stopped.
    fn note_stopped(&mut self) -> Result<()> {
        let mut ended = Vec::new();
        for (name, program) in &mut self.members {
            if let Some(status) = program.ended()? {
                self.stopped.push(format!("{name}: {status}: {}", last_words(&program.stderr())));
                ended.push(name.clone());
            }
        }
        for name in ended {
            self.members.remove(&name);
        }
        ensure!(!self.members.is_empty(), "all members have stopped: {:#?}", self.stopped);
        Ok(())
    }

    /// Waits until every partition has an output that was due a moment ago.
    fn await_caught_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.note_stopped()?;
            let lags = self.lags();
            if lags.len() == usize::try_from(PARTITIONS)?
                && lags.values().all(|lag| *lag < CAUGHT_UP)
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("the output has not caught up within {PATIENCE:?}; by partition: {lags:?}");
            }
            std::thread::sleep(POLL);
        }
    }

    /// Returns how long ago the last output of each partition was due.
    fn lags(&self) -> BTreeMap<i32, Duration> {
        let now_us = now_us();
        self.observer.read(|seen| {
            let mut lags = BTreeMap::new();
            for one in seen.iter().rev() {
                let lag = u64::try_from(now_us - one.due_us).unwrap_or(0);
                lags.entry(one.partition).or_insert_with(|| Duration::from_micros(lag));
                if lags.len() == usize::try_from(PARTITIONS).unwrap_or(usize::MAX) {
                    break;
                }
            }
            lags
        })
    }

    /// Notes if the group does not become stable with all members.
    fn check_group(&mut self) -> Result<()> {
        let deadline = Instant::now() + GROUP_PATIENCE;
        loop {
            let (state, members) = self.cluster.group(GROUP)?;
            if state == "Stable" && members == self.settings.members {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.stopped.push(format!("the group is {state} and has {members} members"));
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until each member is healthy. Returns those that are not, and how often a member was
    /// stalled during the run.
    fn check_health(&self) -> (Vec<String>, usize) {
        let (mut unhealthy, mut stalls) = (Vec::new(), 0);
        for (name, program) in &self.members {
            let health = Health::wait(program, HEALTH_PATIENCE);
            stalls += health.stalls;
            if !health.is_healthy() {
                unhealthy.push(format!("{name}: {:?}", health.state));
            }
        }
        (unhealthy, stalls)
    }

    /// Waits for the last output, ends the members, and asks the oracle.
    fn finish(mut self, sent: Workload, faults: Vec<FaultReport>) -> Result<Report> {
        let count = usize::try_from(sent.records)?;
        let complete = self.observer.wait_for(count, PATIENCE);
        self.note_stopped()?;
        self.check_group()?;
        let (unhealthy, stalls) = self.check_health();
        for (name, program) in &mut self.members {
            if let Err(error) = program.stop(STOP_PATIENCE) {
                self.stopped.push(format!("{name} at its end: {error:#}"));
            }
        }
        let at_least = count.min(self.observer.count());
        let bootstrap = self.cluster.bootstrap();
        let input = read_placed(&bootstrap, INPUT, count, PATIENCE)?;
        let outputs = read_committed(&bootstrap, OUTPUT, at_least, PATIENCE)?;
        // What the topic has counts, not what the load generator believes.
        let (totals, twice) = add_up(&input)?;
        twice.iter().for_each(|update| eprintln!("the input has an update twice: {update}"));
        let complaint = check_totals(&outputs, &totals).and(complete).err();
        let sent_twice = u64::try_from(twice.len())?;
        let acknowledged = u64::try_from(input.len())? - sent_twice;
        ensure!(acknowledged == sent.records, "{INPUT} has {acknowledged} of {sent:?}");
        let latency = self.observer.read(|seen| {
            let outages = faults.iter().filter(|fault| fault.fault == Fault::Outage);
            let outages: Vec<Span> = outages.map(|fault| fault.span).collect();
            let counts = |one: &&Seen| !outages.iter().any(|span| span.contains(one.due_us));
            latencies(seen.iter().filter(counts), [0.5, 0.99])
        });
        Ok(Report {
            sent: sent.records,
            faults,
            latency,
            tally: Tally { sent_twice, ..tally(&outputs, &totals)? },
            complaint: complaint.map(|error| format!("{error:#}")),
            stopped: self.stopped,
            unhealthy,
            stalls,
        })
    }
}

/// Returns what a member that has failed logged last.
fn last_words(log: &str) -> String {
    let tells = |line: &&str| line.starts_with("Error: ") || line.contains(" ERROR streams_core");
    let lines: Vec<&str> = log.lines().filter(tells).collect();
    lines.last().map_or_else(|| "its log has no error".to_owned(), |line| (*line).to_owned())
}

fn start_member(bootstrap: &str, name: &str, properties: &[String]) -> Result<Program> {
    let (partitions, path) = (PARTITIONS.to_string(), example("running_totals")?);
    let arguments = [
        ["--bootstrap", bootstrap],
        ["--group", GROUP],
        ["--input", INPUT],
        ["--output", OUTPUT],
        ["--changelog", CHANGELOG],
        ["--partitions", &partitions],
        ["--instance", name],
    ];
    let properties = properties.iter().flat_map(|property| ["-X", property]);
    let all: Vec<&str> = arguments.as_flattened().iter().copied().chain(properties).collect();
    Program::start(&path, &all)
}
